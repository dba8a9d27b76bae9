//! One I/O thread with the whole rope in its hands: the tick, its sleep, and what the server orders.
#![forbid(unsafe_code)]

mod cut;
mod errands;
mod events;
mod faults;
mod ferry;
mod handshakes;
mod newcomers;
mod obey;
mod shortage;

use super::coming::Coming;
use super::orders::Orders;
use super::serving::{Landed, Serving};
use super::spinner::Spinner;
use super::tell;
use crate::connection::Connection;
use crate::engine::clock::Clock;
use crate::engine::{Engine, Event, SeatId};
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Home};
use crate::limits::{LOOK_UP_MS, SLAB_BYTES};
use crate::stats::{Census, Phase};
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
    home_coming: Coming,
    /// The connection that is being worked on, in case that work panics.
    at_work: Option<AtWork>,
    /// The tick before ended by a panic.
    recovered: bool,
    /// The engine cannot wait any more: the thread ends.
    engine_is_broken: bool,
    draining: bool,
    /// The drain has begun in this tick.
    closes_idle: bool,
    paused: bool,
    scratch: Vec<SeatId>,
    /// How long a tick may wait; -1 on a thread of our own.
    patience_ms: i32,
    /// When a turn of the host's is due though nothing comes; `None` on a thread of our own.
    pub alarm_ms: Option<u64>,
    interrupted: bool,
    shortage: shortage::Shortage,
    /// How often the limits had changed when they were taken on.
    limits_known: u64,
    census: Census,
    handshakes: handshakes::Handshakes,
    errands: errands::Errands,
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
    body: usize,
    read_ahead: u32,
}

impl AtWork {
    #[inline]
    fn on(seat: SeatId, connection: &Connection) -> Option<AtWork> {
        let Connection { counted, read_ahead, .. } = *connection;
        Some(AtWork { seat, counted, body: connection.protocol.body_charged(), read_ahead })
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
        serving.spool = Arc::clone(&orders.spool);
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
            home_coming: Coming::default(),
            at_work: None,
            recovered: false,
            engine_is_broken: false,
            draining: false,
            closes_idle: false,
            paused: false,
            scratch: Vec::new(),
            patience_ms: -1,
            alarm_ms: None,
            interrupted: false,
            shortage: shortage::Shortage::default(),
            limits_known: 0,
            census: Census::default(),
            handshakes: handshakes::Handshakes::default(),
            errands: errands::Errands::default(),
            cut: None,
            intake: None,
        }
    }

    /// The descriptor that a host polls between turns. Turns may have been taken before, so what is due is told now.
    pub fn outside(&mut self) -> io::Result<RawFd> {
        let descriptor = self.engine.outside()?;
        self.rest();
        Ok(descriptor)
    }

    /// Has the descriptor become readable when the next turn is due.
    fn rest(&mut self) {
        // The end of a drain is no seat's deadline.
        let drained_ms = self.draining.then(|| self.orders.drain_until_ms.load(Ordering::Relaxed));
        let alarm_ms = self.look_at_ms().into_iter().chain(drained_ms).chain(self.alarm_ms).min();
        self.engine.rest(self.clock.now_ms(), alarm_ms);
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
        self.rest();
        self.home().waker.announce_sleep();
        // Room that an answer of this very turn made was told to nobody.
        let has_room = self.serving.outlet.waits_for_host() && self.door.in_flight_room() > 0;
        if self.is_busy() || has_room || self.has_memory_again() || !self.home().mailbox.is_empty() {
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
        if self.handshakes.ferry.crosses() {
            self.let_visitors_in();
        }
        if self.errands.ferry.crosses() {
            self.let_errands_in();
        }
        if self.intake.is_some() {
            self.let_newcomers_in();
        }
        self.resume_waiting();
        self.go_on_tired();
        if self.handshakes.has_shelved() {
            self.clear_shelf();
        }
        self.engine.time_next_receive(self.serving.wants_timed());
        while let Some(event) = self.next_event() {
            self.handle(event);
            self.hand_over_if_full();
        }
        if self.sends_out() {
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
        self.mind_the_door();
        if let Some(error) = self.orders.spool.take_error() {
            tell::not_spooled(&self.orders.log, &error);
        }
        if self.serving.has_shed() {
            tell::overloaded(&self.orders.log, self.serving.limits.queue_delay_target_ms);
        }
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
        if self.sends_out() {
            // A tick that ended by a panic may not have told them.
            self.tell_far_threads();
        }
        // After a panic there may be work that nothing announces any more.
        let is_busy = std::mem::take(&mut self.recovered) || self.is_busy();
        let mut timeout_ms = if is_busy { 0 } else { self.patience_ms };
        if timeout_ms < 0 {
            timeout_ms = self.look_around();
        }
        if timeout_ms != 0 {
            self.home().waker.announce_sleep();
            // The last look: whoever posts, or makes room in a full queue, after it sees that we sleep.
            if self.serving.outlet.is_stalled() {
                self.deliver();
            }
            if !self.home().mailbox.is_empty() || self.is_busy() || self.has_memory_again() {
                timeout_ms = 0;
            }
        }
        if self.draining {
            let left = self.orders.drain_until_ms.load(Ordering::Relaxed).saturating_sub(self.clock.now_ms());
            // The last connection may have left in the tick before.
            let left = if self.is_drained() { 0 } else { left.clamp(1, 1000) as i32 };
            timeout_ms = if timeout_ms < 0 { left } else { timeout_ms.min(left) };
        }
        if let Some(at_ms) = self.look_at_ms() {
            let left = at_ms.saturating_sub(self.clock.now_ms()).clamp(1, 10_000) as i32;
            timeout_ms = if timeout_ms < 0 { left } else { timeout_ms.min(left) };
        }
        if timeout_ms < 0 && !self.door.is_driven_by_host() {
            timeout_ms = LOOK_UP_MS;
        }
        // A signal is for the host to hear of. Any other failure is for ever: somebody closed what we wait on.
        let waited = self.engine.wait(self.clock.now_ms(), timeout_ms);
        self.interrupted = waited.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
        if let Err(error) = waited
            && !self.interrupted
        {
            self.engine_failed(&error);
        }
        self.home().waker.awake();
    }

    /// Work is waiting that no event will announce.
    fn is_busy(&self) -> bool {
        let resumes = !self.resume.is_empty() && !self.serving.outlet.is_stalled() && !self.waits_for_memory();
        resumes
            || !self.tired.is_empty()
            || self.handshakes.has_shelved()
            || self.engine.has_ready()
            || self.serving.has_news()
            || self.errands.has_sendable(self.serving.limits.decode_states_max)
            || self.has_arrivals()
    }

    /// When this thread has to look at something that is no seat's deadline.
    fn look_at_ms(&self) -> Option<u64> {
        self.shed_at_ms().into_iter().chain(self.handshakes.look_at_ms()).min()
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

    /// Parses what was carried over, for connections whose earlier answers have left.
    fn resume_waiting(&mut self) {
        if self.serving.outlet.is_stalled() || self.waits_for_memory() {
            return;
        }
        // Those of this tick stand apart, so that a panic loses none of them and a tick has an end.
        std::mem::swap(&mut self.resume, &mut self.scratch);
        self.scratch.reverse();
        while let Some(id) = self.scratch.pop() {
            if let Some(mut connection) = self.engine.seats().take_baton(id) {
                connection.resumes = false;
                // Whose decoders are elsewhere has nothing to do here.
                let has_turn = !connection.protocol.is_suspended() || connection.protocol.has_turn_to_come();
                if !has_turn || (self.shortage.stops_bodies() && connection.protocol.is_suspended()) {
                    self.go_on(id, connection);
                    continue;
                }
                if self.cut.is_some() {
                    self.send_out(id, connection, Landed::Nothing);
                    continue;
                }
                self.at_work = AtWork::on(id, &connection);
                self.serving.resume(id, &mut connection);
                self.go_on(id, connection);
                self.at_work = None;
                self.watch_memory();
            }
        }
    }

    /// Hands the batch to the host and notes which connections have answers now. True when consumers have something to do now.
    fn hand_over(&mut self) -> bool {
        let queued = !self.serving.outlet.is_empty() && !self.serving.outlet.is_inline();
        if !self.serving.outlet.is_empty() {
            self.deliver();
        }
        self.door.homes()[self.number].mailbox.take(self.door.slots(), &mut self.home_coming.slots);
        if self.home_coming.is_empty() {
            return queued;
        }
        self.serving.came_home(&mut self.home_coming, &mut self.engine, &mut self.touched, &self.door);
        queued
    }

    /// While a queue is full nothing more is read; what was parsed already waits for room, or for its deadline.
    fn deliver(&mut self) {
        let counters = &self.home().counters;
        counters.requests_delivered.set(self.serving.delivered);
        counters.batches_delivered.add(1);
        let was_stalled = self.serving.outlet.is_stalled();
        self.serving.outlet.deliver(&self.door);
        if self.serving.outlet.is_stalled() && !was_stalled && !self.serving.outlet.is_inline() {
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

    /// The last tick: whoever is connected is let go, no request is left open. After a failed start the next has the same sockets.
    pub fn end(mut self) {
        if !self.orders.failed.load(Ordering::Relaxed) {
            self.engine.close_listeners();
        }
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
        self.door.homes()[self.number].mailbox.close(self.door.slots(), &mut self.home_coming.slots);
        let used = self.serving.memory.used;
        self.serving.came_home(&mut self.home_coming, &mut self.engine, &mut self.touched, &self.door);
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
