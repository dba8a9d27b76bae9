//! The way out of an I/O thread: `deliver` hands a tick's requests to the callback, or pushes their tokens into a queue.
#![forbid(unsafe_code)]

use super::Door;
use super::host_queue::{about_server, about_token, event};
use crate::memory::queue::Entry;
use crate::memory::slots::{SlotOwner, Taker};
use crate::request::{INGEST_EVENT_REQUEST, ingest_event, ingest_request};
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
    /// What is not yet in the queue, since the tick goes on or the queue is full.
    entries: VecDeque<Entry>,
    /// The last batch found the queue full.
    stalled: bool,
}

impl Outlet {
    pub fn new(way: Way, batch: usize) -> Self {
        Outlet { way, batch, events: Vec::with_capacity(batch), entries: VecDeque::with_capacity(batch), stalled: false }
    }

    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Whether requests belong to the host as soon as they are delivered.
    pub fn is_inline(&self) -> bool {
        matches!(self.way, Way::Inline(_))
    }

    /// Adds a request to the tick's batch.
    pub fn add(&mut self, token: u64, request: *const ingest_request, bytes: usize, now_ns: u64) {
        match self.way {
            Way::Inline(_) => self.events.push(event(token, request)),
            Way::Queues(_) => self.entries.push_back(Entry { token, bytes: bytes as u32, at_ns: now_ns }),
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

    /// Hands the batch over. What a full queue has no room for stays, and `is_stalled` says so.
    pub fn deliver(&mut self, door: &Door) {
        match &mut self.way {
            Way::Inline(sink) => {
                let mut delivered = 0;
                while delivered < self.events.len() {
                    let count = permitted(&self.events[delivered..], self.batch, door);
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

    /// Has the host hear of what was noted: at once by its queue, or with the next batch by its callback.
    pub fn tell(&mut self, owner: &mut SlotOwner, door: &Door) {
        if !self.is_inline() {
            while let Some(slot) = owner.next_notice() {
                door.announce(slot);
            }
            return;
        }
        while !self.is_full() {
            let Some(slot) = owner.next_notice() else { return };
            door.slots().delist(slot);
            while let Ok(Some(news)) = door.slots().next_news(slot, Taker::default(), |_| true) {
                self.events.push(about_token(news));
                if news.goes_home {
                    owner.finish(slot, 0);
                }
            }
        }
    }

    /// Has the host hear of something about the server.
    pub fn say(&mut self, door: &Door, kind: u16) {
        match self.way {
            Way::Inline(_) if door.events().has(kind) => self.events.push(about_server(kind)),
            Way::Inline(_) => {}
            Way::Queues(_) => door.say(kind),
        }
    }

    /// Forgets requests that were never delivered, when everything stops.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.events.retain(|event| event.kind != INGEST_EVENT_REQUEST);
        self.stalled = false;
    }
}

/// How many of these events the host may get in one batch: so many requests as it may still hold, and everything between.
fn permitted(events: &[ingest_event], most: usize, door: &Door) -> usize {
    let batch = &events[..events.len().min(most)];
    let requests = batch.iter().filter(|event| event.kind == INGEST_EVENT_REQUEST).count();
    let held = door.reserve(requests);
    if held == requests {
        return batch.len();
    }
    // Up to the first request that there is no room for.
    let beyond = batch.iter().enumerate().filter(|(_, event)| event.kind == INGEST_EVENT_REQUEST).nth(held);
    beyond.map_or(batch.len(), |(at, _)| at)
}
