//! The way out of an I/O thread: `deliver` hands a tick's requests to the callback, or pushes their tokens into a queue.
#![forbid(unsafe_code)]

use super::Door;
use super::host_queue::{about_server, about_token, event};
use crate::memory::queue::Entry;
use crate::memory::slots::{SlotOwner, Taker, slot_of};
use crate::request::{ingest_event, ingest_request};
use crate::respond;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the host's callback looks like from inside.
pub trait EventSink: Send + Sync {
    /// Calls the host with a batch.
    fn deliver(&self, events: &[ingest_event]);
}

/// Who takes the requests of this thread.
#[derive(Clone)]
pub enum Way {
    /// The callback, on the I/O thread.
    Inline(Arc<dyn EventSink>),
    /// The queues in turn, a batch each, beginning with this one.
    Queues(usize),
}

/// See the file's first line.
pub struct Outlet {
    way: Way,
    /// Requests that are gathered before they are handed over, though the tick goes on.
    batch: usize,
    events: Vec<ingest_event>,
    /// News for the callback.
    unsaid: Vec<ingest_event>,
    /// What is not yet in the queue, since the tick goes on or the queue is full.
    entries: VecDeque<Entry>,
    /// The last batch found the queue full.
    stalled: bool,
}

impl Outlet {
    pub fn new(way: Way, batch: usize) -> Self {
        Outlet {
            way,
            batch,
            events: Vec::with_capacity(batch),
            unsaid: Vec::new(),
            entries: VecDeque::with_capacity(batch),
            stalled: false,
        }
    }

    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Whether requests belong to the host as soon as they are delivered.
    pub fn is_inline(&self) -> bool {
        matches!(self.way, Way::Inline(_))
    }

    /// Adds a request to the tick's batch.
    pub fn add(&mut self, token: u64, request: *const ingest_request, bytes: usize, now_ns: u64, patience_ms: u64) {
        match self.way {
            Way::Inline(_) => self.events.push(event(token, request)),
            Way::Queues(_) => self.entries.push_back(Entry::new(token, bytes, now_ns, patience_ms)),
        }
    }

    /// The batch is as large as batches get.
    pub fn is_full(&self) -> bool {
        self.events.len() + self.entries.len() >= self.batch
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.entries.is_empty()
    }

    /// Requests found the queue full and wait here: nothing more is to be read.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether the request of this slot waits for the callback.
    pub fn waits(&self, slot: u32) -> bool {
        self.events.iter().any(|event| slot_of(event.token) == slot)
    }

    /// Requests wait until the host gives some back.
    pub fn waits_for_host(&self) -> bool {
        self.stalled && self.is_inline()
    }

    /// Hands the batch over. What a full queue has no room for stays, and `is_stalled` says so.
    pub fn deliver(&mut self, door: &Door) {
        fail_point!("deliver");
        match &mut self.way {
            Way::Inline(sink) => {
                if self.stalled {
                    // What timed out meanwhile, or lost its peer, is not for the host any more.
                    self.events.retain(|event| {
                        door.slots().alive(event.token) > 0 || {
                            respond::give_up_undelivered(door, event.token);
                            false
                        }
                    });
                }
                let mut delivered = 0;
                while delivered < self.events.len() {
                    // At in_flight_max nothing more is delivered.
                    let count = door.reserve((self.events.len() - delivered).min(self.batch));
                    if count == 0 {
                        break;
                    }
                    sink.deliver(&self.events[delivered..delivered + count]);
                    delivered += count;
                }
                self.events.drain(..delivered);
                self.stalled = !self.events.is_empty();
            }
            Way::Queues(next) => {
                let Some(queue) = door.queues().get(*next % door.queues().len().max(1)) else { return };
                // Round and round, so that no queue stays empty however few I/O threads there are.
                *next = next.wrapping_add(1);
                let mut pushed = queue.push(self.entries.make_contiguous());
                if pushed < self.entries.len() {
                    // Requests that timed out meanwhile still stand in the queue when nobody polls it.
                    queue.purge(|token| !door.slots().is_waiting(token));
                    pushed += queue.push(&self.entries.make_contiguous()[pushed..]);
                }
                self.entries.drain(..pushed);
                self.stalled = !self.entries.is_empty();
            }
        }
    }

    /// Has the host hear of what was noted. A callback hears it at once, whatever requests wait for room, but not before the
    /// request that it is about.
    pub fn tell(&mut self, owner: &mut SlotOwner, door: &Door) {
        let Way::Inline(sink) = &self.way else {
            while let Some(slot) = owner.next_notice() {
                door.announce(slot);
            }
            return;
        };
        let mut early = Vec::new();
        while let Some(slot) = owner.next_notice() {
            if self.events.iter().any(|event| door.slots().index_of(event.token) == Ok(slot)) {
                early.push(slot);
                continue;
            }
            door.slots().delist(slot);
            while let Ok(Some(news)) = door.slots().next_news(slot, Taker::default(), |_| true) {
                self.unsaid.push(about_token(news));
                if news.goes_home {
                    owner.finish(slot, 0);
                }
                if self.unsaid.len() >= self.batch {
                    // Before any more is taken: the host may end this very request, and then hears nothing of it in a later batch.
                    say_all(&mut self.unsaid, self.batch, sink);
                }
            }
        }
        early.into_iter().for_each(|slot| owner.keep_notice(slot));
        say_all(&mut self.unsaid, self.batch, sink);
    }

    /// Has the host hear of something about the server.
    pub fn say(&mut self, door: &Door, kind: u16) {
        match self.way {
            Way::Inline(_) if door.events().has(kind) => self.unsaid.push(about_server(kind)),
            Way::Inline(_) => {}
            Way::Queues(_) => door.say(kind),
        }
    }

    /// Something about the server is to be told to a callback.
    pub fn has_unsaid(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Requests wait for the callback.
    pub fn has_batch(&self) -> bool {
        !self.events.is_empty()
    }

    /// Gives up requests that were never delivered, when everything stops; their connections are closed.
    pub fn clear(&mut self, door: &Door) {
        self.entries.clear();
        for event in self.events.drain(..) {
            respond::give_up_undelivered(door, event.token);
        }
        self.stalled = false;
    }
}

/// Tells the callback, a batch at a time.
fn say_all(events: &mut Vec<ingest_event>, batch: usize, sink: &Arc<dyn EventSink>) {
    events.chunks(batch).for_each(|events| sink.deliver(events));
    events.clear();
}
