//! News about a request that the host holds, or has answered: kept in the slot's word, so that noting it cannot fail.
#![forbid(unsafe_code)]

use super::inlet::Next;
use super::{GENERATION_MASK, Gone, HELD, HELD_CLOSED, POSTED, QUEUED, SPOKE, STATE_MASK, Slot, SlotTable, TAKING, TOLD, Taker};
use crate::memory::sync::Ordering;
use crate::request::{
    INGEST_EVENT_BODY, INGEST_EVENT_BODY_END, INGEST_EVENT_GONE, INGEST_EVENT_RELEASED, INGEST_EVENT_SENT, INGEST_EVENT_WRITABLE,
    INGEST_GONE_READ_CLOSED, INGEST_GONE_RESET, ingest_token,
};

/// There is more of a streamed body, or its end.
pub const BODY: u64 = 1 << 7;
/// The peer has sent FIN. The marks stand in the order in which the host hears of them.
pub const READ_CLOSED: u64 = 1 << 8;
/// There is room again in a stream that was busy.
pub const WRITABLE: u64 = 1 << 9;
/// The right to answer has ended.
pub const RESET: u64 = 1 << 10;
/// The answer is with the kernel, whole.
pub const SENT: u64 = 1 << 11;
/// A lent body is the host's again.
pub const RELEASED: u64 = 1 << 12;
/// Both ways of being gone.
pub const GONE: u64 = READ_CLOSED | RESET;

/// Every mark.
pub(super) const ALL: u64 = BODY | GONE | WRITABLE | SENT | RELEASED;

/// One event, as the host will see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    pub kind: u16,
    pub reason: u32,
    pub token: ingest_token,
    pub tag: u64,
    /// It was the last of a request that is over: the slot goes home.
    pub goes_home: bool,
    /// The octets of a piece of a body, or the trailer section behind it: where they are and how many.
    pub data: (*const u8, usize),
}

pub(super) fn has_any(word: u64) -> bool {
    word & ALL != 0
}

fn event_of(mark: u64) -> (u16, u32) {
    match mark {
        READ_CLOSED => (INGEST_EVENT_GONE, INGEST_GONE_READ_CLOSED),
        WRITABLE => (INGEST_EVENT_WRITABLE, 0),
        RESET => (INGEST_EVENT_GONE, INGEST_GONE_RESET),
        SENT => (INGEST_EVENT_SENT, 0),
        _ => (INGEST_EVENT_RELEASED, 0),
    }
}

impl SlotTable {
    /// Takes the next of a slot's news, if the consumer that took its request last allows that, and hands the request's news to
    /// `heir` from then on; `None` when there is none, or the host has given the request back meanwhile. With `goes_home` the
    /// slot is the caller's to post.
    pub fn next_news(&self, index: u32, heir: Taker, allowed: impl Fn(Taker) -> bool) -> Result<Option<News>, Taker> {
        let Some((slot, _)) = self.slot(index) else { return Ok(None) };
        let mut word = slot.word.load(Ordering::Acquire);
        loop {
            let marks = word & ALL;
            let state = word & STATE_MASK;
            if marks == 0 || !matches!(state, HELD | HELD_CLOSED | TOLD) {
                return Ok(None);
            }
            // Before the exchange, which fails if the slot has become another request's meanwhile.
            let taker = self.taker(index);
            if !allowed(taker) {
                return Err(taker);
            }
            let mark = marks & marks.wrapping_neg();
            if mark == BODY {
                match self.next_of_body(index, slot, word, taker, heir) {
                    Ok(news) => return Ok(Some(news)),
                    Err(found) => {
                        word = found;
                        continue;
                    }
                }
            }
            let goes_home = state == TOLD && marks == mark;
            let next = if goes_home { word & (GENERATION_MASK | SPOKE) | POSTED } else { word & !mark };
            // Before the exchange: after it the host may give the request back, and the slot's next request has a tag of its own.
            let tag = slot.tag.load(Ordering::Relaxed);
            match slot.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let (kind, reason) = event_of(mark);
                    // Unless the host has given it back already, and another consumer has taken the slot's next request.
                    let _ = slot.taker.compare_exchange(taker.word(), heir.word(), Ordering::Relaxed, Ordering::Relaxed);
                    return Ok(Some(News { kind, reason, token: self.token(index, word), tag, goes_home, data: (std::ptr::null(), 0) }));
                }
                Err(found) => word = found,
            }
        }
    }

    /// The next piece of a body, or its end; else the word to look at next. Under the lock, which stands before every claim of the
    /// host's, so that nobody is handed a piece of the slot's next request.
    fn next_of_body(&self, index: u32, slot: &Slot, word: u64, taker: Taker, heir: Taker) -> Result<News, u64> {
        let mut stream = slot.stream.lock();
        let found = slot.word.load(Ordering::Acquire);
        if found != word {
            return Err(found);
        }
        let inlet = stream.as_mut().and_then(|stream| stream.inlet.as_mut()).filter(|_| word & SPOKE != 0 && word & STATE_MASK == HELD);
        let next = inlet.and_then(|inlet| inlet.next().map(|next| (next, inlet.has_next())));
        if !next.as_ref().is_some_and(|(_, more)| *more) {
            slot.word.fetch_and(!BODY, Ordering::AcqRel);
        }
        let Some((next, _)) = next else { return Err(slot.word.load(Ordering::Acquire)) };
        let _ = slot.taker.compare_exchange(taker.word(), heir.word(), Ordering::Relaxed, Ordering::Relaxed);
        let (kind, data) = match next {
            Next::Piece(data) => (INGEST_EVENT_BODY, data),
            Next::End(data) => (INGEST_EVENT_BODY_END, data),
        };
        let tag = slot.tag.load(Ordering::Relaxed);
        Ok(News { kind, reason: 0, token: self.token(index, word), tag, goes_home: false, data: (data.ptr, data.len) })
    }

    /// Whether a slot still has news.
    pub fn has_news(&self, index: u32) -> bool {
        self.slot(index).is_some_and(|(slot, _)| {
            let word = slot.word.load(Ordering::Acquire);
            has_any(word) && matches!(word & STATE_MASK, HELD | HELD_CLOSED | TOLD)
        })
    }

    /// Notes news about a request that the host holds or is about to hold. True when it holds it, and so wants to be told.
    pub(super) fn note(&self, index: u32, mark: u64) -> bool {
        let Some((slot, _)) = self.slot(index) else { return false };
        let mut word = slot.word.load(Ordering::Relaxed);
        loop {
            let state = word & STATE_MASK;
            if !matches!(state, QUEUED | TAKING | HELD | HELD_CLOSED) {
                return false;
            }
            match slot.word.compare_exchange(word, word | mark, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return matches!(state, HELD | HELD_CLOSED),
                Err(found) => word = found,
            }
        }
    }

    /// Puts a slot on one list at most: false when it stands on one already.
    pub fn enlist(&self, index: u32) -> bool {
        self.slot(index).is_some_and(|(slot, _)| !slot.enlisted.swap(true, Ordering::AcqRel))
    }

    /// It was taken off its list; news that comes from here on enlists it again.
    pub fn delist(&self, index: u32) {
        if let Some((slot, _)) = self.slot(index) {
            slot.enlisted.swap(false, Ordering::AcqRel);
        }
    }

    /// The slot of a token, to enlist it.
    pub fn index_of(&self, token: ingest_token) -> Result<u32, Gone> {
        self.find(token).map(|(_, index, _, _)| index)
    }

    /// Who took the request of this slot last.
    pub fn taker(&self, index: u32) -> Taker {
        self.slot(index).map_or(Taker::default(), |(slot, _)| {
            let word = slot.taker.load(Ordering::Relaxed);
            Taker { queue: slot.taker_queue.load(Ordering::Relaxed), thread: (word >> 32) as u32, stay: word as u32 }
        })
    }

    /// The I/O thread that a slot goes home to.
    pub fn home(&self, index: u32) -> u16 {
        self.slot(index).map_or(0, |(_, home)| home)
    }

    pub(in crate::memory) fn next_notice(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |(slot, _)| slot.next_notice.load(Ordering::Relaxed))
    }

    pub(in crate::memory) fn set_next_notice(&self, index: u32, next: u32) {
        if let Some((slot, _)) = self.slot(index) {
            slot.next_notice.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Word;
    use super::*;

    #[test]
    fn every_mark_is_one_bit_of_its_own() {
        let marks = [BODY, READ_CLOSED, WRITABLE, RESET, SENT, RELEASED];
        assert!(marks.iter().all(|mark| mark.count_ones() == 1));
        assert_eq!(marks.iter().sum::<u64>(), ALL);
        assert_eq!(ALL & (STATE_MASK | SPOKE | GENERATION_MASK), 0);
        assert!(marks.windows(2).all(|pair| pair[0] < pair[1]), "the order is the host's");
    }

    #[test]
    fn word_compares_generation_and_state_alone() {
        assert!((5 << 32 | SPOKE | READ_CLOSED | HELD).is(5 << 32, HELD));
        assert!(!(5u64 << 32 | HELD).is(6 << 32, HELD));
        assert!(!(5u64 << 32 | HELD_CLOSED).is(5 << 32, HELD));
    }
}
