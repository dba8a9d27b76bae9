//! Handshakes kept in bounds, so that who has one behind him is served: they are done by other threads, or few in a tick, and not too
//! many are under way at once.
#![forbid(unsafe_code)]

use super::ferry::Ferry;
use super::{AtWork, Segment};
use crate::connection::{Connection, Ending};
use crate::decrypt::Opened;
use crate::engine::{Engine, SeatId};
use crate::limits::{HANDSHAKE_PATIENCE_MS, HANDSHAKES_PER_TICK};
use crate::stats::Phase;
use crate::topology::quarantine::Visit;
use crate::topology::serving::Landed;
use crate::topology::tell;
use crate::topology::trip::Pass;
use std::collections::VecDeque;

/// What one thread knows of its handshakes.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// The way to the threads for handshakes, if there are any.
    pub(super) ferry: Ferry<Visit>,
    /// Connections whose octets were put by since this thread had done its share of a tick; first in, first out.
    shelf: VecDeque<SeatId>,
    /// Connections in the order in which their handshakes began, and when; some of them are over.
    begun: VecDeque<(SeatId, u64)>,
    /// As many are under way as may be: listeners with TLS accept nobody.
    shut: bool,
}

impl Handshakes {
    /// Some of them wait for the next tick.
    #[inline]
    pub fn has_shelved(&self) -> bool {
        !self.shelf.is_empty()
    }

    /// When the oldest has had its time, while nobody is let in for its sake.
    pub fn look_at_ms(&self) -> Option<u64> {
        let (_, began_ms) = self.begun.front().filter(|_| self.shut)?;
        Some(began_ms + HANDSHAKE_PATIENCE_MS)
    }
}

impl<E: Engine<Connection>> Segment<E> {
    /// Has handshakes done by threads of their own.
    pub fn isolate_handshakes(&mut self, pass: Pass<Visit>) {
        self.handshakes.ferry = Ferry::new(pass);
    }

    /// Whether octets of this connection are not to be opened now and here.
    #[inline]
    pub(super) fn puts_by(&self, connection: &Connection) -> bool {
        connection.session.is_before_established()
            && connection.ending == Ending::Open
            && (self.handshakes.ferry.crosses() || self.handshakes.has_shelved() || self.serving.openings >= HANDSHAKES_PER_TICK)
    }

    /// Octets of a handshake have come that others, or a later tick, will open.
    #[inline(never)]
    pub(super) fn put_by(&mut self, id: SeatId, mut connection: Box<Connection>, octets: &[u8], read_ns: u64) {
        if !self.serving.put_by(&mut connection, octets) {
            return self.go_on(id, connection);
        }
        if !self.handshakes.ferry.crosses() {
            self.handshakes.shelf.push_back(id);
            return self.go_on(id, connection);
        }
        // What its session carries stays charged while it is away.
        self.serving.memory.recount_read_ahead(&mut connection.read_ahead, connection.session.carried());
        self.count(id, &mut connection);
        self.engine.set_deadline(id, 0);
        let home = self.number as u16;
        let visit = Visit { baton: connection, home, seat: id, read_ns, decrypt_ns: 0, opened: None, plain: Vec::new(), fault: false };
        self.handshakes.ferry.send_to_idlest(id.index as usize, visit);
    }

    /// Notes what a connection is about now.
    #[inline]
    pub(super) fn count(&mut self, id: SeatId, connection: &mut Connection) {
        let phase = connection.phase();
        if phase == Phase::Handshake && connection.counted != phase {
            self.handshakes.begun.push_back((id, self.clock.now_ms()));
        }
        self.census.moves(&mut connection.counted, phase);
    }

    /// Opens what was put by in earlier ticks: as much as may be in this one.
    #[inline(never)]
    pub(super) fn clear_shelf(&mut self) {
        // Only what was there at first, so that a tick has an end.
        for _ in 0..self.handshakes.shelf.len() {
            if self.serving.openings >= HANDSHAKES_PER_TICK {
                return;
            }
            let Some(id) = self.handshakes.shelf.pop_front() else { return };
            let Some(mut connection) = self.engine.seats().take_baton(id) else { continue };
            self.at_work = AtWork::on(id, &connection);
            let mut plain = Vec::new();
            if connection.session.is_waiting() && connection.ending == Ending::Open {
                self.serving.open_put_by(&mut connection, &mut plain);
            }
            self.go_on_with(id, connection, &mut plain, (0, 0));
            self.at_work = None;
            self.hand_over_if_full();
        }
    }

    /// Lets those in whose handshakes the other threads have brought further.
    #[inline(never)]
    pub(super) fn let_visitors_in(&mut self) {
        // Only what was there at first, so that a tick has an end.
        let most = self.handshakes.ferry.away();
        for _ in 0..most {
            let Some(visit) = self.handshakes.ferry.next_home(self.number) else { return };
            self.return_from(visit, false);
            self.hand_over_if_full();
        }
    }

    /// The last tick: waits for every baton that is out. It is not long, since no handshake is begun once a server is to end.
    pub(super) fn call_handshakes_home(&mut self) {
        while self.handshakes.ferry.away() > 0 {
            match self.handshakes.ferry.next_home(self.number) {
                Some(visit) => self.return_from(visit, true),
                None => self.handshakes.ferry.wait(self.number),
            }
        }
    }

    /// One baton is home. With `over` its connection ends.
    fn return_from(&mut self, visit: Visit, over: bool) {
        let Visit { baton: mut connection, seat: id, read_ns, decrypt_ns, opened, mut plain, fault, .. } = visit;
        self.at_work = AtWork::on(id, &connection);
        self.engine.seats().replay(id, &mut self.home_coming.slots);
        if fault {
            self.count_fault();
        } else if let Some(opened) = opened {
            if opened == Opened::Failed {
                plain.clear();
            }
            self.serving.opened(&mut connection, opened, true, !plain.is_empty());
        }
        if self.engine.seats().is_stale(id) {
            self.serving.dissolve(&mut connection);
            self.serving.let_go(&mut connection);
        } else if over {
            self.close(id, &mut connection);
        } else {
            self.go_on_with(id, connection, &mut plain, (read_ns, decrypt_ns));
        }
        self.at_work = None;
    }

    /// Goes on with what came behind a handshake, which is parsed as any other octets are. The receive took so long, and the opening.
    fn go_on_with(&mut self, id: SeatId, mut connection: Box<Connection>, plain: &mut [u8], times_ns: (u64, u64)) {
        if self.cut.is_some() && !plain.is_empty() && connection.ending == Ending::Open {
            return self.send_out(id, connection, Landed::Opened(plain, times_ns));
        }
        self.serving.read_opened(id, &mut connection, plain, times_ns);
        // It was away when what is idle was closed.
        self.closes_idle |= self.draining;
        self.go_on(id, connection);
    }

    /// Shuts the door for who would begin another handshake while there are as many as may be, and opens it again. So that it is not held
    /// shut by peers that do not go on, the oldest that wait for theirs are closed once they have had their time.
    #[inline]
    pub(super) fn mind_the_door(&mut self) {
        if self.census.of(Phase::Handshake) > 0 || self.handshakes.shut {
            self.count_handshakes();
        } else {
            self.handshakes.begun.clear();
        }
    }

    fn count_handshakes(&mut self) {
        let most = self.serving.limits.handshakes_max;
        let now_ms = self.clock.now_ms();
        let mut ours = Vec::new();
        while self.census.of(Phase::Handshake) >= most {
            let Some(&(id, began_ms)) = self.handshakes.begun.front() else { break };
            if now_ms < began_ms + HANDSHAKE_PATIENCE_MS {
                break;
            }
            self.handshakes.begun.pop_front();
            if self.engine.seats().is_away(id) || self.engine.seats().baton(id).is_some_and(|connection| connection.session.is_waiting()) {
                // It waits for us, and is looked at again when it does not: nobody gains time by sending an octet now and then.
                ours.push((id, began_ms));
            } else if self.engine.seats().baton(id).is_some_and(|connection| connection.session.is_in_handshake()) {
                self.home().counters.handshakes_displaced.add(1);
                self.with(id, |_, connection| connection.ending = Ending::Abort);
            }
        }
        ours.into_iter().rev().for_each(|entry| self.handshakes.begun.push_front(entry));
        let under_way = self.census.of(Phase::Handshake);
        if self.handshakes.begun.len() as u64 > 2 * under_way + 64 {
            let seats = self.engine.seats();
            self.handshakes
                .begun
                .retain(|(id, _)| seats.is_away(*id) || seats.baton(*id).is_some_and(|connection| connection.session.is_in_handshake()));
        }
        let shut = under_way >= most && !self.draining;
        if shut != self.handshakes.shut {
            self.handshakes.shut = shut;
            self.shut_door(shut);
        }
    }

    #[cold]
    fn shut_door(&mut self, shut: bool) {
        if shut {
            self.home().counters.limit_handshakes_max.add(1);
            tell::many_handshakes(&self.orders.log, self.serving.limits.handshakes_max);
        }
        if self.shut_lane(shut) {
            // Another thread accepts.
            return;
        }
        for listener in self.orders.keys.listeners() {
            self.engine.hold_listener(listener, shut);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
