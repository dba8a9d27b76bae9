//! One queue as a consumer sees it: poll, wait, descriptor, wake, depth. Handler threads run the same loop as a host.
#![forbid(unsafe_code)]

mod judge;

use super::Door;
use super::delay::Delay;
use super::packed::Packer;
use super::takers::Takers;
use crate::engine::sys::{self, EventFd};
use crate::limits::CONSUMER_LOOK_UP_MS;
use crate::memory::queue::{Asked, Asker, Entry, Heard, Queue, Sleep, Taken};
use crate::memory::slots::{News, Taker};
use crate::request::{
    INGEST_EVENT_FAULT, INGEST_EVENT_REQUEST, INGEST_EVENT_STOPPED, ingest_event, ingest_request, ingest_slice, ingest_token,
};
use crate::respond;
use crate::status::{INGEST_E_INTERRUPTED, INGEST_E_SPACE, INGEST_E_STATE, INGEST_E_STOPPED, INGEST_E_SYSTEM, INGEST_OK, ingest_status};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Entries taken under one lock.
const AT_ONCE: usize = 64;
/// How long after the end news waits for the consumer that is busy with its request; then anyone hears it.
const LAST_NEWS_MS: u64 = 1000;
/// How long a thread sleeps at most that waits for that.
const LAST_LOOK_MS: i64 = 50;

/// See the file's first line.
#[derive(Debug)]
pub struct HostQueue {
    door: Arc<Door>,
    index: usize,
    /// Threads inside `poll` or `wait`; the queue must outlive their stay.
    inside: AtomicUsize,
    packed_inline_max: u64,
    /// What sleepers are woken by lies at or above this number.
    fd_floor: RawFd,
    takers: Takers,
    /// When it was closed, in milliseconds of the monotonic clock; zero before.
    closed_ms: AtomicU64,
    delay: Delay,
}

/// A thread is inside; dropped when it leaves.
struct Stay<'a>(&'a AtomicUsize);

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl HostQueue {
    pub fn new(door: Arc<Door>, index: usize, packed_inline_max: u64, fd_floor: RawFd) -> Self {
        HostQueue {
            door,
            index,
            inside: AtomicUsize::new(0),
            packed_inline_max,
            fd_floor,
            takers: Takers::new(sys::thread_lives),
            closed_ms: AtomicU64::new(0),
            delay: Delay::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.door.clock()()
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    fn queue(&self) -> &Queue<EventFd> {
        &self.door.queues()[self.index]
    }

    /// Takes what is there, at most `out.len()`; 0 when there is nothing, and only then the descriptor is reset.
    pub fn poll(&self, out: &mut [MaybeUninit<ingest_event>]) -> i32 {
        let (capacity, mut next) = (out.len(), 0);
        self.visit(|| {
            self.grab(capacity, false, &mut |event| {
                out[next].write(event);
                next += 1;
            })
            .0
        })
    }

    /// Like `poll`, but sleeps until something comes: at most `timeout_ms`, -1 for ever.
    pub fn wait(&self, out: &mut [MaybeUninit<ingest_event>], timeout_ms: i32) -> i32 {
        if self.door.is_driven_by_host() {
            // Who sleeps here cannot run the turn that would bring something.
            return INGEST_E_STATE;
        }
        let (capacity, mut next) = (out.len(), 0);
        self.visit(|| {
            self.wait_for(capacity, timeout_ms, &mut || None, &mut |event| {
                out[next].write(event);
                next += 1;
            })
        })
    }

    /// Waits for ever, and replaces what `events` holds, within its capacity. `own` is what the thread sleeps on if nothing else is
    /// to be had, so that a thread of ours that has been started does not end because the host has used up all descriptors.
    pub fn wait_into(&self, events: &mut Vec<ingest_event>, own: &mut Option<EventFd>) -> i32 {
        events.clear();
        self.visit(|| self.wait_for(events.capacity(), -1, &mut || own.take(), &mut |event| events.push(event)))
    }

    /// What a thread of ours brings to its first sleep.
    pub fn sleeper(&self) -> io::Result<EventFd> {
        EventFd::above(self.fd_floor)
    }

    /// Like `poll`, for a consumer that packs requests into a block of limited size: what does not fit stays in the queue.
    pub fn poll_packed(&self, packer: &mut dyn Packer) -> i32 {
        if self.door.streams() {
            // A block has no place for octets that are the host's until credited.
            return INGEST_E_STATE;
        }
        self.visit(|| self.grab_fitting(packer))
    }

    /// Largest body that a packed block carries itself.
    pub fn packed_inline_max(&self) -> u64 {
        self.packed_inline_max
    }

    /// Counts the caller in while it is here, so that `wait_until_left` knows.
    fn visit(&self, stay: impl FnOnce() -> i32) -> i32 {
        self.inside.fetch_add(1, Ordering::Relaxed);
        // A guard, since a panic of ours has to leave the queue, too: `wait_until_left` would wait for ever.
        let _stay = Stay(&self.inside);
        stay()
    }

    /// Gives up what this consumer has taken and the host has never seen, after a panic.
    pub fn lose(&self, events: &mut Vec<ingest_event>) {
        let mut lost = 0;
        for event in events.drain(..).filter(|event| event.kind == INGEST_EVENT_REQUEST) {
            respond::give_up_undelivered(&self.door, event.token);
            lost += 1;
        }
        // They counted as held since they were taken.
        self.door.came_back(lost);
        self.door.say(INGEST_EVENT_FAULT);
    }

    fn wait_for(
        &self,
        capacity: usize,
        timeout_ms: i32,
        own: &mut dyn FnMut() -> Option<EventFd>,
        put: &mut dyn FnMut(ingest_event),
    ) -> i32 {
        let deadline_ms = (timeout_ms >= 0).then(|| self.now_ms() + timeout_ms as u64);
        loop {
            let (found, announced) = self.grab(capacity, true, put);
            if found != 0 {
                return found;
            }
            let sated = self.door.is_full();
            let (signal, nudges) = match self.queue().fall_asleep(sated, announced, || own().or_else(|| self.sleeper().ok())) {
                None => return INGEST_E_SYSTEM,
                Some(Sleep::Work) => continue,
                Some(Sleep::Nudged) => return 0,
                Some(Sleep::Closed) => return INGEST_E_STOPPED,
                Some(Sleep::On(signal, nudges)) => (signal, nudges),
            };
            if sated && self.door.in_flight_room() > 0 {
                // A request came back while we lay down; whoever brought it may not have seen us.
                if self.queue().woken(signal, nudges, false) {
                    return 0;
                }
                continue;
            }
            let mut left = deadline_ms.map_or(-1, |deadline| deadline.saturating_sub(self.now_ms()) as i64);
            // Nobody says when the thread of a busy consumer ends, or has become too slow to wait for after the end.
            let news_waits = self.door.has_news() && self.queue().notices() > 0;
            if news_waits || self.closed_ms.load(Ordering::Relaxed) != 0 {
                left = if left < 0 { LAST_LOOK_MS } else { left.min(LAST_LOOK_MS) };
            }
            // Whoever closes our descriptors takes the wake-up with them, so nobody sleeps for ever (H16).
            left = if left < 0 { CONSUMER_LOOK_UP_MS } else { left.min(CONSUMER_LOOK_UP_MS) };
            let slept = signal.wait(left);
            if self.queue().woken(signal, nudges, slept.is_err()) {
                return 0;
            }
            if slept.is_err() {
                return INGEST_E_INTERRUPTED;
            }
            if deadline_ms.is_some_and(|deadline| self.now_ms() >= deadline) {
                return self.grab(capacity, true, put).0;
            }
        }
    }

    /// Takes back what the host has not begun: to the front, in the old order, under new tokens. Returns how many were
    /// still open; the memory of the others is the library's again all the same.
    pub fn give_back(&self, tokens: &[ingest_token]) -> i32 {
        let now_ns = self.now_ns();
        let mut back = 0;
        for &token in tokens.iter().rev() {
            let Ok((token, weight, deadline_ns)) = self.door.slots().requeue(token, self.door.events().marks()) else {
                respond::give_up_unspoken(&self.door, token);
                continue;
            };
            let patience_ms = if deadline_ns == 0 { u64::MAX } else { deadline_ns.saturating_sub(now_ns) / 1_000_000 };
            self.queue().push_front(Entry::new(token, weight, now_ns, patience_ms).returned());
            back += 1;
        }
        self.door.came_back(back);
        i32::try_from(back).unwrap_or(i32::MAX)
    }

    pub fn descriptor(&self) -> RawFd {
        self.queue().descriptor().descriptor()
    }

    pub fn wake(&self) -> ingest_status {
        self.queue().nudge();
        INGEST_OK
    }

    pub fn depth(&self) -> i32 {
        self.queue().depth() as i32
    }

    /// How many requests each of those that consume from it has taken.
    pub fn shares(&self) -> Vec<u64> {
        self.takers.shares()
    }

    /// Requests and news that wait.
    pub fn waiting(&self) -> i32 {
        let notices = if !self.door.has_news() { 0 } else { self.queue().notices() };
        count_of(self.queue().depth() + notices)
    }

    /// Nothing comes any more; everyone who waits returns.
    pub fn close(&self) {
        let _ = self.closed_ms.compare_exchange(0, self.now_ms().max(1), Ordering::Relaxed, Ordering::Relaxed);
        self.queue().close(self.door.events().has(INGEST_EVENT_STOPPED).then_some(INGEST_EVENT_STOPPED));
    }

    /// After a start that failed: as if nothing had been.
    pub fn reopen(&self) {
        self.closed_ms.store(0, Ordering::Relaxed);
        self.queue().reopen();
    }

    /// After `close`: waits until the last thread has left.
    pub fn wait_until_left(&self) {
        while self.inside.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
    }

    /// Brings the news, at most so much of it, to a consumer that asks for something to do.
    fn hear(&self, most: usize, put: &mut dyn FnMut(ingest_event)) -> Asked {
        if !self.door.has_news() {
            return Asked::default();
        }
        let closed_ms = self.closed_ms.load(Ordering::Relaxed);
        let impatient = closed_ms != 0 && self.now_ms() >= closed_ms + LAST_NEWS_MS;
        let asker = Asker { queue: self.index as u32, thread: sys::thread_number(), lives: sys::thread_lives, impatient };
        let slots = self.door.slots();
        let mut strays = Vec::new();
        let asked = self.queue().ask(slots, asker, most, INGEST_EVENT_STOPPED, &mut |heard| match heard {
            Heard::Server(kind) => put(about_server(kind)),
            Heard::Token(slot, news) => {
                put(about_token(news));
                if news.goes_home {
                    self.door.send_home(slots.home(slot), slot);
                }
            }
            Heard::Stray(slot) => strays.push(slot),
        });
        strays.into_iter().for_each(|slot| self.door.announce(slot));
        asked
    }

    /// Hands over what is there, at most `capacity`. A waiting consumer takes its fair share of one look, so that its
    /// neighbours get theirs; only a poll that finds nothing makes the descriptor unreadable (design, section 6). Also says
    /// how much had been announced when it looked.
    fn grab(&self, capacity: usize, waiting: bool, put: &mut dyn FnMut(ingest_event)) -> (i32, u64) {
        fail_point!("poll");
        let (mut filled, mut requests) = (0, 0);
        let Asked { taker, announced } = self.hear(capacity, &mut |event| {
            put(event);
            filled += 1;
        });
        let found = if filled > 0 && waiting {
            count_of(filled)
        } else {
            self.take(filled, capacity, waiting, taker, &mut |event| {
                put(event);
                requests += 1;
            })
        };
        self.takers.count(sys::thread_number(), requests);
        (found, announced)
    }

    /// How many to take in one go: what seems to be there, so that little more is reserved than taken.
    fn at_once(&self) -> usize {
        self.queue().depth().clamp(1, AT_ONCE)
    }

    /// Hands requests over until `capacity` is reached; `filled` of it is used already.
    fn take(&self, mut filled: usize, capacity: usize, waiting: bool, taker: Taker, put: &mut dyn FnMut(ingest_event)) -> i32 {
        let mut entries = [Entry::default(); AT_ONCE];
        let mut now_ns = 0;
        while filled < capacity {
            let room = self.door.reserve((capacity - filled).min(self.at_once()));
            if room == 0 && filled > 0 {
                break;
            }
            if room == 0 && !self.queue().is_closed() {
                // At in_flight_max nothing more is delivered; what waits grows old and is refused.
                if !waiting {
                    self.have_enough();
                }
                break;
            }
            let (taken, starved) = self.draw(&mut entries[..room], waiting, !waiting && filled == 0);
            if starved {
                self.door.wake_homes();
            }
            let count = match taken {
                Taken::Some(count) if count > 0 => count,
                Taken::Some(_) | Taken::Closed | Taken::Empty => {
                    self.door.came_back(room);
                    if filled == 0 && taken == Taken::Closed {
                        return INGEST_E_STOPPED;
                    }
                    break;
                }
            };
            if now_ns == 0 {
                now_ns = self.now_ns();
            }
            let mut opened = 0;
            for (index, entry) in entries[..count].iter().enumerate() {
                let behind = count - 1 - index;
                if let Ok(Some(event)) = self.open(entry, now_ns, behind, taker, |_| true) {
                    put(event);
                    opened += 1;
                }
            }
            self.door.came_back(room - opened);
            filled += opened;
            if waiting && filled > 0 {
                break;
            }
        }
        count_of(filled)
    }

    /// As `grab`, until the packer is full. The first that does not fit and all behind it go back to the front.
    fn grab_fitting(&self, packer: &mut dyn Packer) -> i32 {
        let mut entries = [Entry::default(); AT_ONCE];
        let (mut filled, mut now_ns) = (0, 0);
        let Asked { taker, .. } = self.hear(packer.news_room(), &mut |event| {
            packer.put(event);
            filled += 1;
        });
        loop {
            let wanted = packer.room().min(self.at_once());
            let room = self.door.reserve(wanted);
            if room == 0 && (filled > 0 || !self.queue().is_closed()) {
                if filled == 0 && wanted > 0 {
                    self.have_enough();
                }
                return count_of(filled);
            }
            let (taken, starved) = self.draw(&mut entries[..room], false, filled == 0);
            if starved {
                self.door.wake_homes();
            }
            let Taken::Some(count @ 1..) = taken else {
                self.door.came_back(room);
                return self.nothing_for(packer, filled, taken);
            };
            if now_ns == 0 {
                now_ns = self.now_ns();
            }
            let before = filled;
            let refused = entries[..count].iter().enumerate().position(|(index, entry)| {
                let opened = self.open(entry, now_ns, count - 1 - index, taker, |letter| packer.fits(letter.request()));
                if let Ok(Some(event)) = opened {
                    packer.put(event);
                    filled += 1;
                }
                matches!(opened, Ok(None))
            });
            self.door.came_back(room - (filled - before));
            self.takers.count(sys::thread_number(), filled - before);
            if let Some(refused) = refused {
                self.queue().put_back(&entries[refused..count]);
                return if filled == 0 { INGEST_E_SPACE } else { count_of(filled) };
            }
        }
    }

    /// What a packed poll says that found no more requests.
    fn nothing_for(&self, packer: &mut dyn Packer, filled: usize, taken: Taken) -> i32 {
        if filled == 0 && packer.news_room() == 0 && self.queue().notices() > 0 {
            packer.fits(std::ptr::null());
            return INGEST_E_SPACE;
        }
        if filled == 0 && taken == Taken::Closed { INGEST_E_STOPPED } else { count_of(filled) }
    }

    /// A poll that may take nothing makes the descriptor unreadable, or a level-triggered loop would spin until something
    /// is given back. Whoever gives back makes it readable again; if that has just happened, we do.
    fn have_enough(&self) {
        self.queue().quiet();
        if self.door.in_flight_room() > 0 {
            self.queue().rouse_all();
        }
    }
}

/// A REQUEST event.
pub fn event(token: u64, request: *const ingest_request) -> ingest_event {
    ingest_event { kind: INGEST_EVENT_REQUEST, flags: 0, reason: 0, token, tag: 0, request, data: ingest_slice::NONE }
}

/// An event about a request that the host knows already.
pub fn about_token(news: News) -> ingest_event {
    let News { kind, reason, token, tag, data: (ptr, len), .. } = news;
    ingest_event { kind, flags: 0, reason, token, tag, request: std::ptr::null(), data: ingest_slice { ptr, len } }
}

/// An event about the server.
pub fn about_server(kind: u16) -> ingest_event {
    ingest_event { kind, flags: 0, reason: 0, token: 0, tag: 0, request: std::ptr::null(), data: ingest_slice::NONE }
}

/// How many, as the C functions say it.
fn count_of(events: usize) -> i32 {
    i32::try_from(events).unwrap_or(i32::MAX)
}
