//! What every thread at the door shares: the token table, the queues, and the way home for answers.
#![forbid(unsafe_code)]

use super::delay::Wish;
use crate::engine::clock::Source;
use crate::engine::sys::EventFd;
use crate::limits::{BodyPolicy, Limits};
use crate::memory::budget::Budget;
use crate::memory::mailbox::Mailbox;
use crate::memory::queue::{Bounds, Queue};
use crate::memory::slots::SlotTable;
use crate::memory::waker::Waker;
use crate::options::Events;
use crate::stats::Counters;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// One I/O thread, seen from outside.
#[derive(Debug)]
pub struct Home {
    pub mailbox: Mailbox,
    pub waker: Arc<Waker<EventFd>>,
    pub counters: Counters,
}

/// See the file's first line.
#[derive(Debug)]
pub struct Door {
    slots: Arc<SlotTable>,
    homes: Vec<Home>,
    queues: Vec<Queue<EventFd>>,
    /// Requests that the host holds.
    in_flight: AtomicI64,
    in_flight_max: AtomicI64,
    /// Somebody found that the host may hold no more, and has to hear when it may.
    turned_away: AtomicBool,
    /// How often it kept a consumer from taking what it had room for.
    in_flight_met: AtomicU64,
    queue_age_ns: AtomicU64,
    /// What is wanted of the delay of queues; `u64::MAX` wants nothing.
    delay_target_ns: AtomicU64,
    delay_interval_ns: AtomicU64,
    /// System calls made to wake an I/O thread.
    wakeups: AtomicU64,
    /// The host runs the I/O in turns, so nobody may sleep in a queue.
    driven: AtomicBool,
    events: Events,
    /// Bodies are streamed, or were at some time, so that events come which nobody asked for.
    streams: AtomicBool,
    budget: Arc<Budget>,
    clock: Source,
}

impl Door {
    pub fn new(
        slots: Arc<SlotTable>,
        homes: Vec<Home>,
        queues: Vec<Queue<EventFd>>,
        limits: &Limits,
        events: Events,
        clock: Source,
    ) -> Self {
        Door {
            slots,
            homes,
            queues,
            in_flight: AtomicI64::new(0),
            in_flight_max: AtomicI64::new(i64::try_from(limits.in_flight_max).unwrap_or(i64::MAX)),
            turned_away: AtomicBool::new(false),
            in_flight_met: AtomicU64::new(0),
            queue_age_ns: AtomicU64::new(limits.queue_age_ms.saturating_mul(1_000_000)),
            delay_target_ns: AtomicU64::new(delay_target_ns(limits)),
            delay_interval_ns: AtomicU64::new(limits.queue_delay_interval_ms.saturating_mul(1_000_000)),
            wakeups: AtomicU64::new(0),
            driven: AtomicBool::new(false),
            events,
            streams: AtomicBool::new(limits.body == BodyPolicy::Stream),
            budget: Arc::new(Budget::new(limits.memory_max)),
            clock,
        }
    }

    pub fn slots(&self) -> &Arc<SlotTable> {
        &self.slots
    }

    pub fn homes(&self) -> &[Home] {
        &self.homes
    }

    pub fn queues(&self) -> &[Queue<EventFd>] {
        &self.queues
    }

    /// What all threads may hold together.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What every thread of the server reads the time from.
    pub fn clock(&self) -> Source {
        self.clock
    }

    pub fn drive_by_host(&self) {
        self.driven.store(true, Ordering::Relaxed);
    }

    pub fn is_driven_by_host(&self) -> bool {
        self.driven.load(Ordering::Relaxed)
    }

    pub fn queue_age_ns(&self) -> u64 {
        self.queue_age_ns.load(Ordering::Relaxed)
    }

    /// What is wanted of the delay of queues.
    pub fn wish(&self) -> Wish {
        let target_ns = self.delay_target_ns.load(Ordering::Relaxed);
        Wish { target_ns, interval_ns: self.delay_interval_ns.load(Ordering::Relaxed) }
    }

    /// Who has waited no longer than this, and whose client waits on, is nobody's concern.
    #[inline]
    pub fn unremarkable_ns(&self) -> u64 {
        self.queue_age_ns().min(self.delay_target_ns.load(Ordering::Relaxed))
    }

    /// The bounds have changed: whoever found them too narrow looks again.
    pub fn set_limits(&self, limits: &Limits) {
        self.in_flight_max.store(i64::try_from(limits.in_flight_max).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.queue_age_ns.store(limits.queue_age_ms.saturating_mul(1_000_000), Ordering::Relaxed);
        self.delay_target_ns.store(delay_target_ns(limits), Ordering::Relaxed);
        self.delay_interval_ns.store(limits.queue_delay_interval_ms.saturating_mul(1_000_000), Ordering::Relaxed);
        self.budget.set_most(limits.memory_max);
        if limits.body == BodyPolicy::Stream {
            self.streams.store(true, Ordering::Relaxed);
        }
        for queue in &self.queues {
            queue.set_bounds(Bounds::of(limits));
            queue.rouse_all();
        }
        self.wake_homes();
    }

    /// Posts a slot to the thread that owns its connection, and wakes that thread if it sleeps. False when it has ended: nobody
    /// will send what was said.
    #[inline]
    pub fn send_home(&self, home: u16, slot: u32) -> bool {
        let Some(home) = self.homes.get(home as usize) else { return false };
        let posted = home.mailbox.post(&self.slots, slot);
        if posted {
            self.wake(home);
        } else {
            self.retire(home, slot);
        }
        posted
    }

    /// The thread of a slot has ended, so what came too late is freed here.
    #[cold]
    fn retire(&self, home: &Home, slot: u32) {
        if let Some((kind, charge)) = self.slots.retire(slot) {
            home.counters.memory_bytes.lower(charge as u64);
            home.counters.memory_requests_bytes.lower(charge as u64);
            self.came_back(usize::from(kind.was_held()));
        }
    }

    #[inline]
    fn wake(&self, home: &Home) {
        if home.waker.wake() {
            self.woke(1);
        }
    }

    /// So many I/O threads were woken by a system call each.
    pub fn woke(&self, threads: u64) {
        self.wakeups.fetch_add(threads, Ordering::Relaxed);
    }

    pub fn events(&self) -> Events {
        self.events
    }

    /// Whether bodies are streamed, or were at some time.
    pub fn streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed)
    }

    /// Whether there may be events beside requests.
    pub fn has_news(&self) -> bool {
        !self.events.is_empty() || self.streams()
    }

    /// An enlisted slot has news, which its queue is to bring.
    pub fn announce(&self, slot: u32) {
        let queue = self.slots.taker(slot).queue as usize;
        if let Some(queue) = self.queues.get(queue).or(self.queues.first()) {
            queue.add_notice(&self.slots, slot);
        }
    }

    /// Every queue brings this event, if the host wants it.
    pub fn say(&self, kind: u16) {
        if self.events.has(kind) {
            self.queues.iter().for_each(|queue| queue.say(kind));
        }
    }

    /// How often an I/O thread had to be woken by a system call.
    pub fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Wakes every I/O thread: there is room in a queue again.
    pub fn wake_homes(&self) {
        for home in &self.homes {
            self.wake(home);
        }
    }

    /// Lets a consumer take so many requests, or as many as the host may still hold; what it does not take has to `come_back`.
    pub fn reserve(&self, wanted: usize) -> usize {
        let mut held = self.in_flight.load(Ordering::Relaxed);
        loop {
            let count = usize::try_from(self.in_flight_max() - held).unwrap_or(0).min(wanted);
            if count < wanted {
                self.in_flight_met.fetch_add(1, Ordering::Relaxed);
            }
            if wanted == 0 {
                return 0;
            }
            if count == 0 {
                if self.is_full() {
                    return 0;
                }
                held = self.in_flight.load(Ordering::Relaxed);
                continue;
            }
            match self.in_flight.compare_exchange_weak(held, held + count as i64, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return count,
                Err(found) => held = found,
            }
        }
    }

    /// Whether the host may hold no more. If so, whatever comes back next is told to everyone who may be waiting for it.
    pub fn is_full(&self) -> bool {
        // Said before it is looked at, so that either we see what comes back, or whoever brings it sees us.
        self.turned_away.store(true, Ordering::SeqCst);
        self.in_flight_room() == 0
    }

    /// How many more requests the host may hold.
    pub fn in_flight_room(&self) -> usize {
        usize::try_from(self.in_flight_max() - self.in_flight.load(Ordering::SeqCst)).unwrap_or(0)
    }

    pub fn in_flight_max(&self) -> i64 {
        self.in_flight_max.load(Ordering::Relaxed)
    }

    /// How often `in_flight_max` kept a consumer from taking more.
    pub fn in_flight_met(&self) -> u64 {
        self.in_flight_met.load(Ordering::Relaxed)
    }

    /// That many requests came back from the host.
    pub fn came_back(&self, count: usize) {
        if count == 0 {
            return;
        }
        let before = self.in_flight.fetch_sub(count as i64, Ordering::SeqCst);
        // A place that was reserved and not used comes back here too: a consumer that finds nothing must not rouse itself.
        if before >= self.in_flight_max() && self.turned_away.swap(false, Ordering::SeqCst) {
            // Consumers that had their fill may take more now.
            self.queues.iter().for_each(Queue::rouse_all);
            // So may callbacks on I/O threads.
            self.wake_homes();
        }
    }

    /// Requests that the host holds.
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// The target as consumers compare it.
fn delay_target_ns(limits: &Limits) -> u64 {
    if limits.queue_delay_target_ms == 0 { u64::MAX } else { limits.queue_delay_target_ms.saturating_mul(1_000_000) }
}
