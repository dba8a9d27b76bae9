//! The thread ahead of the home: it accepts, and gives each connection to one of the threads that serve.
#![forbid(unsafe_code)]

use super::lanes::{Gate, Lanes, Newcomer};
use super::orders::Orders;
use super::tell;
use crate::accept;
use crate::connection::Connection;
use crate::engine::clock::Clock;
use crate::engine::epoll::EpollEngine;
use crate::engine::{Arrival, Engine, Event, sys};
use crate::handoff::{Door, Home};
use crate::options::JourneyMode;
use crate::request::INGEST_EVENT_FAULT;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// See the file's first line.
pub struct Acceptor {
    /// It has listeners and no seats.
    engine: EpollEngine<Connection>,
    gate: Gate,
    door: Arc<Door>,
    orders: Arc<Orders>,
    /// By which it is reached from outside.
    number: usize,
    clock: Clock,
    journeys: bool,
    /// `max_connections` is reached.
    paused: bool,
}

impl Acceptor {
    pub fn new(
        engine: EpollEngine<Connection>,
        gate: Gate,
        door: Arc<Door>,
        orders: Arc<Orders>,
        number: usize,
        journey: JourneyMode,
    ) -> Self {
        let journeys = journey != JourneyMode::Off;
        Acceptor { engine, gate, door, orders, number, clock: Clock::default(), journeys, paused: false }
    }

    /// The ways to the threads that serve.
    pub fn lanes(&self) -> Arc<Lanes> {
        Arc::clone(self.gate.lanes())
    }

    /// Runs until the server drains or stops. A panic in a tick costs the connection that was being accepted, no more.
    pub fn run(mut self) {
        self.clock.read();
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.tick())) {
                Ok(true) => {}
                Ok(false) => break,
                Err(payload) => self.recover(&*payload),
            }
        }
        // Before the gate: when the threads that serve hear that nobody will come any more, nobody can.
        self.engine.close_listeners();
    }

    fn home(&self) -> &Home {
        &self.door.homes()[self.number]
    }

    /// One round: tell, wait, accept. False when the thread is to end.
    fn tick(&mut self) -> bool {
        self.sleep();
        self.clock.read();
        if self.orders.stop.load(Ordering::Acquire) || self.orders.drain.load(Ordering::Acquire) {
            return false;
        }
        if self.paused && self.orders.has_room() {
            self.paused = false;
            self.engine.resume_listeners();
        }
        while let Some(event) = self.engine.reap(self.clock.now_ms(), &mut []) {
            match event {
                Event::Arrived(listener, arrival) => self.arrived(listener, arrival),
                // The engine pauses an exhausted listener by itself and tries again.
                Event::ListenerFailed(listener, error) => tell::listener_failed(&self.orders.log, listener, &error),
                _ => debug_assert!(false, "it has no seats, so nothing else can happen"),
            }
        }
        true
    }

    fn sleep(&mut self) {
        // Here, since it is done after a tick that ended by a panic, too.
        self.gate.tell();
        self.home().waker.announce_sleep();
        // The last look: whoever makes room after it sees that we sleep.
        let timeout_ms = if self.paused && self.orders.has_room() { 0 } else { -1 };
        // Library threads block signals; any other failure is found again by the next tick.
        let _ = self.engine.wait(self.clock.now_ms(), timeout_ms);
        self.home().waker.awake();
    }

    fn arrived(&mut self, listener: u16, arrival: Arrival) {
        let began_ns = if self.journeys { sys::monotonic_ns() } else { 0 };
        let is_local = arrival.is_local();
        let (stream, mut baton) = accept::admit(arrival, listener, self.clock.now_ms());
        // From here on it is the gate's, then a thread's that serves, which counts it out again.
        let open = self.orders.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.home().counters.connections_accepted.add(1);
        if began_ns > 0 {
            baton.accept_ns = sys::monotonic_ns() - began_ns;
        }
        self.gate.send(Newcomer { stream, is_local, baton });
        if open >= self.orders.max_connections && !self.paused {
            self.paused = true;
            self.engine.pause_listeners();
            tell::full(&self.orders.log, self.orders.max_connections);
        }
    }

    fn recover(&self, payload: &(dyn Any + Send)) {
        tell::fault(&self.orders.log, "the thread that accepts", payload);
        self.door.say(INGEST_EVENT_FAULT);
        self.home().counters.panics.add(1);
    }
}
