//! Which of the requests that leave a queue are for the host: not those that waited too long, nor those that nobody waits for any more.
#![forbid(unsafe_code)]

use super::{HostQueue, event};
use crate::memory::letter::Letter;
use crate::memory::queue::{Entry, Taken};
use crate::memory::reply::ReplyKind;
use crate::memory::slots::{Gone, Taker};
use crate::request::ingest_event;
use crate::respond;

impl HostQueue {
    /// Takes entries from the queue, see `Queue::take`; as much as there is to be had of one that stands (`share`).
    pub(super) fn draw(&self, room: &mut [Entry], fair: bool, reset: bool) -> (Taken, bool) {
        let drawn = if self.delay.stands() { self.draw_slowly(room, fair, reset) } else { self.queue().take(room, fair, reset) };
        if !matches!(drawn.0, Taken::Some(_)) {
            self.delay.calm();
        }
        drawn
    }

    #[cold]
    fn draw_slowly(&self, room: &mut [Entry], fair: bool, reset: bool) -> (Taken, bool) {
        let (now_ns, wish) = (self.now_ns(), self.door.wish());
        let drawn = self.queue().take_from(room, fair, reset, self.delay.cuts(now_ns, wish));
        if let (Taken::Some(count @ 1..), 0) = (drawn.0, self.queue().depth()) {
            self.delay.emptied(now_ns.saturating_sub(room[count - 1].at_ns), wish);
        }
        drawn
    }

    /// Makes an entry, with so many taken `behind` it, the host's if `accept` says so, else the result is `None`; `Gone` when it is stale, or
    /// refused instead.
    pub(super) fn open(
        &self,
        entry: &Entry,
        now_ns: u64,
        behind: usize,
        taker: Taker,
        accept: impl FnOnce(&Letter) -> bool,
    ) -> Result<Option<ingest_event>, Gone> {
        let waited_ns = now_ns.saturating_sub(entry.at_ns);
        if waited_ns > self.door.unremarkable_ns().min(entry.patience_ns()) || !self.delay.is_calm() {
            self.judge(entry, waited_ns, now_ns, behind)?;
        }
        let slots = self.door.slots();
        let taken = slots.take(entry.token, taker, |letter| {
            let accepted = accept(letter);
            if let Some(journey) = letter.journey().filter(|_| accepted) {
                journey.queue_ns += waited_ns;
            }
            accepted
        })?;
        let Some(taken) = taken else { return Ok(None) };
        if taken.has_news {
            if let Some(slot) = slots.index_of(entry.token).ok().filter(|slot| slots.enlist(*slot)) {
                self.queue().add_notice(slots, slot);
            }
        }
        Ok(Some(event(entry.token, taken.request)))
    }

    /// Refuses a request instead of delivering it, if it waited too long in one of three ways. What a consumer gave back was not in the queue
    /// all the time, so it says nothing about it.
    #[cold]
    fn judge(&self, entry: &Entry, waited_ns: u64, now_ns: u64, behind: usize) -> Result<(), Gone> {
        let is_behind = || behind > 0 || self.queue().depth() > 0;
        let wish = self.door.wish();
        let is_shed = !entry.is_returned() && self.delay.leaves(waited_ns, now_ns, is_behind(), wish);
        // While there is more than can be served, whoever has stopped to send is the first to go: most of them have left.
        let has_left =
            || self.delay.stands() && waited_ns > wish.target_ns && is_behind() && self.door.slots().has_read_closed(entry.token);
        let kind = match () {
            () if waited_ns > entry.patience_ns() => ReplyKind::Late,
            () if waited_ns > self.door.queue_age_ns() => ReplyKind::Aged,
            () if is_shed || has_left() => ReplyKind::Shed,
            () => return Ok(()),
        };
        respond::refuse_queued(&self.door, entry.token, kind);
        Err(Gone)
    }

    /// The queue stands now, and how often it has begun to.
    pub fn standing(&self) -> (bool, u64) {
        (self.delay.stands(), self.delay.times())
    }
}
