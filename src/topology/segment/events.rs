//! What each event of the engine sets off: a connection arrives, octets come, a deadline passes, an end is decided.
#![forbid(unsafe_code)]

use super::{AtWork, Segment};
use crate::accept::{self, Unadmitted};
use crate::connection::http1::NO_MEMORY;
use crate::connection::overdue::Overdue;
use crate::connection::{Connection, Ending};
use crate::engine::{Arrival, Engine, Event, Landing, SeatId, Window, sys};
use crate::parse::refusal::Refusal;
use crate::request::INGEST_EVENT_FAULT;
use crate::respond;
use crate::stats::Phase;
use crate::topology::serving::Landed;
use crate::topology::tell;
use std::io;
use std::sync::atomic::Ordering;

const HEAD_TIMEOUT: Refusal = Refusal::new(408, "the request did not arrive in time");
const BODY_TIMEOUT: Refusal = Refusal::new(408, "the body did not arrive in time");
const QUEUE_TIMEOUT: Refusal = Refusal::new(503, "waited too long in the queue, try again later");
const RESPONSE_TIMEOUT: Refusal = Refusal::new(504, "no answer in time");
const DEADLINE_PASSED: Refusal = Refusal::new(504, "no answer within the time that the request allows");

impl<E: Engine<Connection>> Segment<E> {
    // Measured: inlined into the tick it costs 55 instructions more a request.
    #[inline(never)]
    pub(super) fn handle(&mut self, event: Event) {
        if self.sends_out() && self.is_for_later(&event) {
            return self.park(event);
        }
        match event {
            Event::Arrived(listener, arrival) => self.arrived(listener, arrival),
            Event::Received { seat, window, read_ns } => self.received(seat, window, read_ns),
            Event::ReadClosed(seat) => self.with(seat, |segment, connection| {
                connection.read_closed = true;
                connection.fin_seen = true;
                connection.receiving = false;
                segment.serving.peer_finished(connection);
            }),
            Event::Finished(seat) => self.with(seat, |segment, connection| {
                connection.fin_seen = true;
                segment.serving.note_read_closed(connection);
            }),
            Event::Broken(seat) => self.with(seat, |_, connection| connection.ending = Ending::Abort),
            Event::Sent(seat, outgoing) => {
                let now_ms = self.clock.now_ms();
                self.home().counters.bytes_sent.add(outgoing.sent);
                self.with(seat, |segment, connection| {
                    connection.sending = false;
                    connection.since_ms = now_ms;
                    segment.serving.went_out(connection, outgoing);
                });
            }
            Event::SendProgressed(seat, sent) => {
                let now_ms = self.clock.now_ms();
                self.with(seat, |_, connection| {
                    connection.since_ms = now_ms;
                    connection.sent = sent;
                });
            }
            Event::Expired(seat) => self.expired(seat),
            Event::ListenerFailed(listener, error) => self.listener_failed(listener, &error),
        }
    }

    /// The engine pauses an exhausted listener by itself and tries again; one that is broken was given up.
    fn listener_failed(&mut self, listener: u16, error: &io::Error) {
        if self.orders.drain.load(Ordering::Acquire) || self.orders.stop.load(Ordering::Acquire) {
            // Another thread has shut the socket that both accept from.
            return;
        }
        self.home().counters.accepts_failed.add(1);
        tell::listener_failed(&self.orders.log, listener, error);
        if sys::accept_broken(error) {
            self.serving.outlet.say(&self.door, INGEST_EVENT_FAULT);
        }
    }

    /// Says what a thread without an outlet, the one that accepts, owes the host.
    pub(super) fn say_faults(&mut self) {
        if self.orders.faults_unsaid.load(Ordering::Relaxed) > 0 {
            for _ in 0..self.orders.faults_unsaid.swap(0, Ordering::Relaxed) {
                self.serving.outlet.say(&self.door, INGEST_EVENT_FAULT);
            }
        }
    }

    /// Takes the baton, changes it, and goes on with it.
    pub(super) fn with(&mut self, id: SeatId, change: impl FnOnce(&mut Self, &mut Connection)) {
        if let Some(mut connection) = self.engine.seats().take_baton(id) {
            self.at_work = AtWork::on(id, &connection);
            change(self, &mut connection);
            self.go_on(id, connection);
            self.at_work = None;
        }
    }

    fn arrived(&mut self, listener: u16, arrival: Arrival) {
        let began_ns = if self.serving.journeys() { self.clock.fresh_ns() } else { 0 };
        fail_point!("accept");
        let is_local = arrival.is_local();
        let keys = self.orders.keys.of(listener);
        let admitted = accept::admit(arrival, listener, self.orders.per_address.as_ref(), keys.as_ref(), self.clock.now_ns());
        let (stream, connection) = match admitted {
            Ok(admitted) => admitted,
            Err(Unadmitted::NoSession) => return self.home().counters.accepts_failed.add(1),
            Err(Unadmitted::Crowded(peer)) => {
                self.home().counters.limit_connections_per_ip.add(1);
                return tell::crowded(&self.orders.log, peer);
            }
        };
        // Without a place in epoll it cannot be served: dropping the stream closes it.
        let id = match self.engine.seat(stream, is_local, connection) {
            Ok(id) => id,
            Err((error, _)) => return tell::unseated(&self.orders.log, &error),
        };
        let open = self.orders.connections.fetch_add(1, Ordering::Relaxed) + 1;
        if open >= self.orders.max_connections() {
            self.stop_accepting();
        }
        let counters = &self.home().counters;
        counters.connections_accepted.add(1);
        counters.connections_open.add(1);
        let accept_ns = if began_ns > 0 { self.clock.fresh_ns() - began_ns } else { 0 };
        self.with(id, |_, connection| connection.accept_ns = accept_ns);
    }

    fn received(&mut self, id: SeatId, window: Window, read_ns: u64) {
        let Some(mut connection) = self.engine.seats().take_baton(id) else { return };
        self.at_work = AtWork::on(id, &connection);
        connection.receiving = false;
        let count = match &window {
            Window::Slab(count) | Window::Buffer(_, count) => *count,
        };
        let counters = &self.home().counters;
        counters.receives.add(1);
        counters.bytes_received.add(count as u64);
        fail_point!("read");
        self.flush_first(id, &mut connection);
        let mut slab = std::mem::take(&mut self.slab);
        match window {
            Window::Slab(count) if self.puts_by(&connection) => {
                self.put_by(id, connection, &slab[..count], read_ns);
                self.slab = slab;
            }
            window if self.cut.is_some() => {
                self.send_out(id, connection, Landed::Received(window, &mut slab, read_ns));
                self.slab = slab;
            }
            window => {
                self.serving.received(id, &mut connection, window, &mut slab, read_ns);
                self.slab = slab;
                self.go_on(id, connection);
            }
        }
        self.at_work = None;
        self.watch_memory();
    }

    /// Sends what was rendered in this tick, before anything else is written: a body may stand apart from its head.
    fn flush_first(&mut self, id: SeatId, connection: &mut Connection) {
        if !connection.outbox.is_empty() {
            let counters = &self.door.homes()[self.number].counters;
            self.serving.flush(id, connection, &mut self.engine, counters);
        }
    }

    fn expired(&mut self, id: SeatId) {
        let Some(mut connection) = self.engine.seats().take_baton(id) else { return };
        self.at_work = AtWork::on(id, &connection);
        fail_point!("expire");
        self.flush_first(id, &mut connection);
        let now_ms = self.clock.now_ms();
        let due = connection.deadline(&self.serving.limits).filter(|&(at_ms, _)| at_ms <= now_ms);
        match due {
            Some((_, Overdue::Look)) => {
                let waiting = self.engine.unacknowledged(id);
                connection.looked(waiting, now_ms);
            }
            Some((_, overdue)) => self.overdue(&mut connection, overdue),
            None => {}
        }
        self.go_on(id, connection);
        self.at_work = None;
    }

    fn overdue(&mut self, connection: &mut Connection, overdue: Overdue) {
        let counters = &self.door.homes()[self.number].counters;
        // Whoever had to wait for memory is not blamed for it.
        let short = self.shortage.is_any() || connection.protocol.is_starved();
        let is_late = connection.protocol.oldest().is_some_and(|oldest| oldest.terms.deadline.has_passed(self.clock.now_ms()));
        let refusal = match overdue {
            Overdue::Look => return,
            Overdue::Write => {
                counters.limit_write.add(1);
                connection.ending = Ending::Abort;
                return;
            }
            Overdue::Linger => {
                counters.limit_linger.add(1);
                connection.ending = Ending::Abort;
                return;
            }
            Overdue::Handshake => {
                counters.limit_handshake.add(1);
                connection.ending = Ending::AfterFlush;
                return;
            }
            Overdue::KeepAlive => {
                counters.limit_keepalive_timeout.add(1);
                connection.ending = Ending::AfterFlush;
                return;
            }
            Overdue::Head | Overdue::Body if short => return self.serving.turn_away(connection),
            Overdue::Head => {
                counters.limit_header_timeout.add(1);
                return connection.protocol.refuse(HEAD_TIMEOUT);
            }
            Overdue::Body => {
                counters.limit_body.add(1);
                return connection.protocol.refuse(BODY_TIMEOUT);
            }
            Overdue::Queue if self.serving.left_queue(connection) => return,
            Overdue::Queue => {
                let limit = if is_late { &counters.limit_deadline } else { &counters.limit_queue_age };
                limit.add(1);
                counters.refused(QUEUE_TIMEOUT.status);
                if is_late { respond::LATE } else { QUEUE_TIMEOUT }
            }
            Overdue::Response => {
                counters.requests_timed_out.add(1);
                counters.limit_deadline.add(is_late.into());
                if is_late { DEADLINE_PASSED } else { RESPONSE_TIMEOUT }
            }
        };
        respond::fail(connection, refusal, &mut self.serving.desk());
    }

    /// Goes on with those that had sent their share of the tick before.
    #[inline]
    pub(super) fn go_on_tired(&mut self) {
        if self.tired.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.tired) {
            self.with(id, |_, _| {});
        }
    }

    /// Everything that may follow a change: write answers, send them, end, or ask for more octets. Brings the baton home.
    pub(super) fn go_on(&mut self, id: SeatId, mut connection: Box<Connection>) {
        self.serving.pour(&mut connection);
        let counters = &self.door.homes()[self.number].counters;
        self.serving.flush(id, &mut connection, &mut self.engine, counters);
        // What is not sealed yet has its turn in the next tick, when this one has had its share.
        if connection.ending == Ending::AfterFlush && !connection.sending && connection.sealing.is_none() {
            self.serving.begin_linger(id, &mut connection, &mut self.engine);
        }
        if connection.ending == Ending::Abort {
            self.close(id, &mut connection);
            return;
        }
        if !connection.receiving {
            // Else the engine has what is carried, and it stays charged.
            let carried = connection.inbox.len() + connection.session.carried();
            self.serving.memory.recount_read_ahead(&mut connection.read_ahead, carried);
        }
        if connection.sealing.is_some() && !connection.sending && !self.tired.contains(&id) {
            self.tired.push(id);
        }
        if self.shortage.stops_bodies() && connection.protocol.in_body() && !connection.receiving {
            self.shortage.starve(id, &mut connection);
        } else if connection.protocol.has_errand() && connection.ending == Ending::Open {
            self.send_errand(id, &mut connection);
        } else if self.serving.can_resume(&connection) {
            // What was carried over comes first; the kernel is asked for more once it has been looked at.
            if !std::mem::replace(&mut connection.resumes, true) {
                self.resume.push(id);
            }
        } else if let Some(landing) = connection.landing(&self.serving.limits) {
            if matches!(landing, Landing::Buffer(_, 0)) {
                // No memory for what comes next. Once it is refused nothing is wanted but what lingers, in the slab.
                connection.protocol.refuse(NO_MEMORY);
                return self.go_on(id, connection);
            }
            connection.receiving = true;
            self.engine.receive(id, landing);
        }
        let at_ms = connection.deadline(&self.serving.limits).map_or(0, |(at_ms, _)| at_ms);
        self.engine.set_deadline(id, at_ms);
        self.count(id, &mut connection);
        self.engine.seats().return_baton(id, connection);
    }

    pub(super) fn close(&mut self, id: SeatId, connection: &mut Connection) {
        let was_cut = connection.ending == Ending::Abort;
        let unseen = self.serving.dissolve(connection);
        if unseen > 0 && was_cut {
            self.home().counters.requests_left.add(unseen);
        }
        self.census.moves(&mut connection.counted, Phase::Nowhere);
        // A peer that has closed its side has read what it wanted: no need for RST, unless an answer would seem to be complete.
        self.engine.close(id, !connection.read_closed || connection.truncated || connection.sending);
        self.serving.let_go(connection);
        self.one_less();
    }

    pub(super) fn one_less(&mut self) {
        self.make_room();
        let counters = &self.home().counters;
        counters.connections_open.set(counters.connections_open.get().saturating_sub(1));
    }
}
