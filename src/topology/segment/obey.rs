//! What the server orders of a thread that serves: to stop, to drain, to take on other limits, to accept again.
#![forbid(unsafe_code)]

use super::{AtWork, Segment};
use crate::connection::{Connection, Ending};
use crate::engine::Engine;
use crate::limits::Limits;
use crate::request::INGEST_EVENT_DRAINING;
use crate::topology::tell;
use std::sync::atomic::Ordering;

impl<E: Engine<Connection>> Segment<E> {
    /// Nobody is connected or on the way here, and no request waits for room in a queue.
    pub(super) fn is_drained(&mut self) -> bool {
        self.engine.seats().taken() == 0 && self.serving.outlet.is_empty() && !self.expects_newcomers()
    }

    /// Looks at the server's orders. False when the thread is to end.
    pub(super) fn obey(&mut self) -> bool {
        if let Some(limits) = self.orders.changed_limits(&mut self.limits_known) {
            self.take_on(&limits);
        }
        if self.engine_is_broken {
            return false;
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
        self.say_faults();
        true
    }

    /// The limits have changed. What is waited for already ends by the new ones.
    #[cold]
    fn take_on(&mut self, limits: &Limits) {
        if self.serving.limits.write_timeout_ms != limits.write_timeout_ms {
            self.engine.change_write_timeout(limits.write_timeout_ms);
        }
        self.serving.limits = limits.clone();
        if self.intake.is_none() && !self.orders.has_room() {
            self.stop_accepting();
        }
        for id in self.engine.seats().ids() {
            let deadline = self.engine.seats().baton(id).map(|connection| connection.deadline(limits));
            if let Some(deadline) = deadline {
                self.engine.set_deadline(id, deadline.map_or(0, |(at_ms, _)| at_ms));
            }
        }
    }

    /// As many connections are open as may be: the others wait in the backlog.
    pub(super) fn stop_accepting(&mut self) {
        if !self.paused {
            self.paused = true;
            self.engine.pause_listeners();
            self.home().counters.limit_max_connections.add(1);
            tell::full(&self.orders.log, self.orders.max_connections());
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
    /// a request that was sent in time gets its answer. Who has just connected is looked at again when the time for a first request is over:
    /// it has been let in, so nobody else will take its request.
    pub(super) fn close_idle(&mut self) {
        self.closes_idle = false;
        let now_ms = self.clock.now_ms();
        for id in self.engine.seats().ids() {
            let until_ms = self.engine.seats().baton(id).and_then(|connection| connection.may_begin_until_ms());
            if let Some(until_ms) = until_ms.filter(|until_ms| now_ms < *until_ms) {
                self.engine.set_deadline(id, until_ms);
                self.closes_idle = true;
                continue;
            }
            if let Some(mut connection) = self.engine.seats().take_baton(id) {
                self.at_work = AtWork::on(id, &connection);
                if connection.is_idle() {
                    connection.ending = Ending::AfterFlush;
                }
                self.go_on(id, connection);
                self.at_work = None;
            }
        }
    }
}
