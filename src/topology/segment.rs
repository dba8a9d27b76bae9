//! One I/O thread with the whole rope in its hands: the tick, its sleep, and what the server orders.
#![forbid(unsafe_code)]

mod cut;
mod events;
mod newcomers;
mod shortage;

use super::orders::Orders;
use super::serving::Serving;
use super::spinner::Spinner;
use super::tell;
use crate::connection::{Connection, Ending};
use crate::engine::clock::Clock;
use crate::engine::{Engine, Event, SeatId};
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Home};
use crate::limits::{Limits, SLAB_BYTES};
use crate::request::{INGEST_EVENT_DRAINING, INGEST_EVENT_FAULT};
use crate::stats::{Census, Phase};
use std::any::Any;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connections whose answers are gathered before they are sent, though the tick goes on.
const BURST: usize = 32;

/// See the file's first line. `E` is the kernel's engine, or a simulation of it.
pub struct Segment<E> {
    engine: E,
    door: Arc<Door>,
    orders: Arc<Orders>,
    number: usize,
    clock: Clock,
    slab: Vec<u8>,
    serving: Serving,
    spinner: Spinner,
    /// Connections to go on with before the tick ends.
    touched: Vec<SeatId>,
    /// Connections that have more to seal and send, though the kernel would take it: the others had their turn.
    tired: Vec<SeatId>,
    /// Connections that have octets to parse although nothing new came.
    resume: Vec<SeatId>,
    /// Slots that came home.
    home_coming: Vec<u32>,
    /// The connection that is being worked on, in case that work panics.
    at_work: Option<AtWork>,
    draining: bool,
    /// The drain has begun in this tick.
    closes_idle: bool,
    paused: bool,
    scratch: Vec<SeatId>,
    /// How long a tick may wait; -1 on a thread of our own.
    patience_ms: i32,
    interrupted: bool,
    /// Since when there is no room within `memory_max`; zero while there is.
    short_since_ms: u64,
    /// How often the limits had changed when they were taken on.
    limits_known: u64,
    census: Census,
    /// Present when other threads parse.
    cut: Option<Box<cut::Cut>>,
    /// Present when another thread accepts.
    intake: Option<Box<newcomers::Intake>>,
}

/// A connection that is being worked on, and what is known of it should its baton be lost.
#[derive(Clone, Copy, Debug)]
struct AtWork {
    seat: SeatId,
    counted: Phase,
    read_ahead: u32,
    body: usize,
}

impl AtWork {
    #[inline]
    fn on(seat: SeatId, connection: &Connection) -> Option<AtWork> {
        let Connection { counted, read_ahead, .. } = *connection;
        Some(AtWork { seat, counted, read_ahead, body: connection.protocol.body_charged() })
    }
}

/// How a turn came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    Done,
    /// A signal ended the wait.
    Interrupted,
    /// The server has stopped; there is no next turn.
    Over,
}

impl<E: Engine<Connection>> Segment<E> {
    pub fn new(engine: E, door: Arc<Door>, orders: Arc<Orders>, number: usize, mut serving: Serving, spinner: Spinner) -> Self {
        let clock = Clock::new(door.clock());
        serving.clock = door.clock();
        Segment {
            engine,
            door,
            orders,
            number,
            clock,
            slab: vec![0; SLAB_BYTES],
            serving,
            spinner,
            touched: Vec::new(),
            tired: Vec::new(),
            resume: Vec::new(),
            home_coming: Vec::new(),
            at_work: None,
            draining: false,
            closes_idle: false,
            paused: false,
            scratch: Vec::new(),
            patience_ms: -1,
            interrupted: false,
            short_since_ms: 0,
            limits_known: 0,
            census: Census::default(),
            cut: None,
            intake: None,
        }
    }

    /// The descriptor that a host polls between turns.
    pub fn outside(&mut self) -> io::Result<RawFd> {
        self.engine.outside()
    }

    /// Who takes the requests.
    pub fn way(&self) -> &Way {
        self.serving.outlet.way()
    }

    /// Seats, slots and octets of lent blocks that are taken now, for tests that want to see them all come back.
    #[doc(hidden)]
    pub fn holdings(&mut self) -> (usize, usize, isize) {
        let (slots, blocks) = self.serving.holdings();
        (self.engine.seats().taken(), slots, blocks)
    }

    /// One tick on a thread of the host's, which waits at most so long (-1: for ever). Between turns nothing runs: what is
    /// posted, due, or left over makes the descriptor readable.
    pub fn turn(&mut self, timeout_ms: i32) -> Turned {
        self.patience_ms = timeout_ms;
        self.serving.shares_thread = true;
        self.interrupted = false;
        match catch_unwind(AssertUnwindSafe(|| self.tick())) {
            Ok(true) => {}
            Ok(false) => return Turned::Over,
            Err(payload) => self.recover(&*payload),
        }
        self.engine.rest(self.clock.now_ms(), self.shed_at_ms());
        self.home().waker.announce_sleep();
        if self.is_busy() || !self.home().mailbox.is_empty() {
            self.home().waker.wake_always();
        }
        if self.interrupted { Turned::Interrupted } else { Turned::Done }
    }

    /// Runs until the server stops. A panic in a tick costs the connection that was at work, no more.
    pub fn run(mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.tick())) {
                Ok(true) => {}
                Ok(false) => break,
                Err(payload) => self.recover(&*payload),
            }
        }
        self.end();
    }

    fn home(&self) -> &Home {
        &self.door.homes()[self.number]
    }

    /// One round: wait, serve what came, hand over, settle. False when the thread is to end.
    fn tick(&mut self) -> bool {
        self.sleep();
        self.clock.read();
        self.serving.begin_tick(self.clock.now_ns());
        if !self.obey() {
            return false;
        }
        if self.cut.is_some() {
            self.let_in();
        }
        if self.intake.is_some() {
            self.let_newcomers_in();
        }
        self.resume_waiting();
        self.go_on_tired();
        self.engine.time_next_receive(self.serving.wants_timed());
        while let Some(event) = self.next_event() {
            self.handle(event);
            if self.serving.outlet.is_full() {
                self.hand_over();
                if self.touched.len() >= BURST {
                    self.go_on_touched();
                }
            }
        }
        if self.cut.is_some() {
            self.tell_far_threads();
        }
        if self.hand_over() {
            self.spinner.make_way();
            self.hand_over();
        }
        self.go_on_touched();
        if self.closes_idle && !self.expects_newcomers() {
            self.close_idle();
        }
        self.serving.tell(&self.door);
        self.weigh_memory();
        let counters = &self.door.homes()[self.number].counters;
        self.serving.show_memory(counters);
        self.census.show(counters);
        true
    }

    fn next_event(&mut self) -> Option<Event> {
        self.engine.reap(self.clock.now_ms(), &mut self.slab)
    }

    /// Waits for events, unless there is work already.
    fn sleep(&mut self) {
        if self.cut.is_some() {
            // A tick that ended by a panic may not have told them.
            self.tell_far_threads();
        }
        let mut timeout_ms = if self.is_busy() { 0 } else { self.patience_ms };
        if timeout_ms < 0 {
            timeout_ms = self.look_around();
        }
        if timeout_ms != 0 {
            self.home().waker.announce_sleep();
            // The last look: whoever posts, or makes room in a full queue, after it sees that we sleep.
            if self.serving.outlet.is_stalled() {
                self.deliver();
            }
            if !self.home().mailbox.is_empty() || self.has_arrivals() {
                timeout_ms = 0;
            }
        }
        if self.draining {
            let left = self.orders.drain_until_ms.load(Ordering::Relaxed).saturating_sub(self.clock.now_ms());
            // The last connection may have left in the tick before.
            let left = if self.is_drained() { 0 } else { left.clamp(1, 1000) as i32 };
            timeout_ms = if timeout_ms < 0 { left } else { timeout_ms.min(left) };
        }
        if let Some(at_ms) = self.shed_at_ms() {
            let left = at_ms.saturating_sub(self.clock.now_ms()).clamp(1, 10_000) as i32;
            timeout_ms = if timeout_ms < 0 { left } else { timeout_ms.min(left) };
        }
        // A signal is for the host to hear of; any other failure is found again by the next tick.
        let waited = self.engine.wait(self.clock.now_ms(), timeout_ms);
        self.interrupted = waited.is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
        self.home().waker.awake();
    }

    /// Work is waiting that no event will announce.
    fn is_busy(&self) -> bool {
        let resumes = !self.resume.is_empty() && !self.serving.outlet.is_stalled() && !self.waits_for_memory();
        resumes || !self.tired.is_empty() || self.engine.has_ready() || self.serving.has_news() || self.has_arrivals()
    }

    /// Somebody waits to be let in: a baton that is home again, a newcomer, or whoever connects now that there is room again.
    fn has_arrivals(&self) -> bool {
        self.has_batons_home() || self.has_newcomers() || self.may_accept_again()
    }

    /// There is room again since this thread has stopped accepting. Whoever made it may have found this thread awake, or be it.
    fn may_accept_again(&self) -> bool {
        self.paused && !self.draining && self.orders.has_room()
    }

    /// Looks for work for a few microseconds before sleeping. Returns how long to wait then.
    fn look_around(&mut self) -> i32 {
        let limit_ns = self.spinner.time_ns();
        if limit_ns == 0 {
            return -1;
        }
        let until_ns = self.clock.fresh_ns() + limit_ns;
        loop {
            let found = !self.home().mailbox.is_empty() || self.has_arrivals() || self.engine.peek();
            if found {
                self.spinner.found();
                return 0;
            }
            if self.clock.fresh_ns() >= until_ns {
                self.spinner.missed();
                return -1;
            }
            std::hint::spin_loop();
        }
    }

    /// Nobody is connected or on the way here, and no request waits for room in a queue.
    fn is_drained(&mut self) -> bool {
        self.engine.seats().taken() == 0 && self.serving.outlet.is_empty() && !self.expects_newcomers()
    }

    /// Looks at the server's orders. False when the thread is to end.
    fn obey(&mut self) -> bool {
        if let Some(limits) = self.orders.changed_limits(&mut self.limits_known) {
            self.take_on(&limits);
        }
        if self.orders.stop.load(Ordering::Acquire) {
            if self.orders.drain.load(Ordering::Acquire) {
                self.tell_draining();
            }
            return false;
        }
        if self.orders.drain.load(Ordering::Acquire) && !self.draining {
            self.begin_drain();
        }
        if self.draining {
            let over = self.clock.now_ms() >= self.orders.drain_until_ms.load(Ordering::Relaxed);
            return !over && !self.is_drained();
        }
        if self.may_accept_again() {
            self.paused = false;
            self.engine.resume_listeners();
        }
        true
    }

    /// The limits have changed. What is waited for already ends by the new ones.
    #[cold]
    fn take_on(&mut self, limits: &Limits) {
        if self.serving.limits.write_timeout_ms != limits.write_timeout_ms {
            self.engine.change_write_timeout(limits.write_timeout_ms);
        }
        self.serving.limits = limits.clone();
        for id in self.engine.seats().ids() {
            let deadline = self.engine.seats().baton(id).map(|connection| connection.deadline(limits));
            if let Some(deadline) = deadline {
                self.engine.set_deadline(id, deadline.map_or(0, |(at_ms, _)| at_ms));
            }
        }
    }

    fn tell_draining(&mut self) {
        if tell::draining(&self.orders, self.clock.now_ms()) {
            self.serving.outlet.say(&self.door, INGEST_EVENT_DRAINING);
        }
    }

    fn begin_drain(&mut self) {
        self.draining = true;
        self.serving.draining = true;
        // Stop is async-signal-safe and reads no clock, so the first thread that hears of it sets the end.
        let until_ms = self.clock.now_ms().saturating_add(self.serving.limits.drain_timeout_ms);
        let _ = self.orders.drain_until_ms.compare_exchange(0, until_ms, Ordering::Relaxed, Ordering::Relaxed);
        self.engine.close_listeners();
        self.tell_draining();
        self.closes_idle = true;
    }

    /// Ends the connections that nothing is under way on. Not before the tick has served what had arrived when the drain began:
    /// a request that was sent in time gets its answer.
    fn close_idle(&mut self) {
        self.closes_idle = false;
        for id in self.engine.seats().ids() {
            if let Some(mut connection) = self.engine.seats().take_baton(id) {
                if connection.is_idle() {
                    connection.ending = Ending::AfterFlush;
                }
                self.go_on(id, connection);
            }
        }
    }

    /// Parses what was carried over, for connections whose earlier answers have left.
    fn resume_waiting(&mut self) {
        if self.serving.outlet.is_stalled() || self.waits_for_memory() {
            return;
        }
        let mut waiting = std::mem::replace(&mut self.resume, std::mem::take(&mut self.scratch));
        for id in waiting.drain(..) {
            if let Some(mut connection) = self.engine.seats().take_baton(id) {
                if self.cut.is_some() {
                    self.send_out(id, connection, None);
                    continue;
                }
                self.at_work = AtWork::on(id, &connection);
                self.serving.resume(id, &mut connection);
                self.go_on(id, connection);
                self.at_work = None;
            }
        }
        self.scratch = waiting;
    }

    /// Hands the batch to the host and notes which connections have answers now. True when consumers have something to do now.
    fn hand_over(&mut self) -> bool {
        let queued = !self.serving.outlet.is_empty() && !self.serving.outlet.is_inline();
        if !self.serving.outlet.is_empty() {
            self.deliver();
        }
        self.door.homes()[self.number].mailbox.take(self.door.slots(), &mut self.home_coming);
        if self.home_coming.is_empty() {
            return queued;
        }
        let mut slots = std::mem::take(&mut self.home_coming);
        self.serving.came_home(&slots, &mut self.engine, &mut self.touched, &self.door);
        slots.clear();
        self.home_coming = slots;
        queued
    }

    /// While a queue is full nothing more is read; what was parsed already waits for room, or for its deadline.
    fn deliver(&mut self) {
        let counters = &self.home().counters;
        counters.requests_delivered.set(self.serving.delivered);
        counters.batches_delivered.add(1);
        let was_stalled = self.serving.outlet.is_stalled();
        self.serving.outlet.deliver(&self.door);
        if self.serving.outlet.is_stalled() && !was_stalled {
            self.home().counters.limit_queue.add(1);
        }
        self.read_or_pause();
    }

    /// Sends what was answered, for all connections in one burst: a peer that is woken by the first answer finds more.
    fn go_on_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.with(id, |_, connection| connection.touched = false);
        }
        self.touched = touched;
    }

    /// After a panic: the connection at work is closed, everything else goes on.
    fn recover(&mut self, payload: &(dyn Any + Send)) {
        tell::fault(&self.orders.log, "a tick", payload);
        self.serving.outlet.say(&self.door, INGEST_EVENT_FAULT);
        self.home().counters.panics.add(1);
        if self.slab.len() < SLAB_BYTES {
            self.slab = vec![0; SLAB_BYTES];
        }
        if let Some(mut lost) = self.at_work.take() {
            // Its baton is lost: what the host holds of it is over, and nobody may send on its wire any more.
            self.serving.abandon_seat(lost.seat);
            self.serving.memory.release_body(lost.body);
            self.serving.memory.recount_read_ahead(&mut lost.read_ahead, 0);
            self.census.moves(&mut lost.counted, Phase::Nowhere);
            self.engine.close(lost.seat, true);
            self.one_less();
        }
        // Connections that were to be gone on with, if that is where it happened.
        for id in self.engine.seats().ids() {
            if self.engine.seats().baton(id).is_some_and(|connection| connection.touched) && !self.touched.contains(&id) {
                self.touched.push(id);
            }
        }
    }

    /// The last tick: whoever is still connected is let go, and no request is left open.
    pub fn end(mut self) {
        for id in self.engine.seats().ids() {
            if let Some(mut connection) = self.engine.seats().take_baton(id) {
                self.close(id, &mut connection);
            }
        }
        self.call_home();
        self.turn_newcomers_away();
        self.serving.outlet.clear(&self.door);
        self.hand_over_all();
        // From here on the host's threads free what they give back; what was posted before is the last that comes home.
        let counters = &self.door.homes()[self.number].counters;
        self.serving.show_memory(counters);
        self.census.show(counters);
        self.door.homes()[self.number].mailbox.close(self.door.slots(), &mut self.home_coming);
        let used = self.serving.memory.used;
        let slots = std::mem::take(&mut self.home_coming);
        self.serving.came_home(&slots, &mut self.engine, &mut self.touched, &self.door);
        self.door.homes()[self.number].counters.memory_bytes.lower(used - self.serving.memory.used);
        self.door.homes()[self.number].counters.memory_requests_bytes.lower(used - self.serving.memory.used);
        self.hand_over_all();
        if self.serving.memory.close() {
            self.door.wake_homes();
        }
    }

    /// Hands over until the host has heard everything.
    fn hand_over_all(&mut self) {
        self.serving.tell(&self.door);
        self.hand_over();
        while self.serving.has_news() {
            self.serving.tell(&self.door);
            self.hand_over();
        }
    }
}
