//! The home's end of a cut: batons leave with what was read, come back with what was parsed, and find what came meanwhile.
#![forbid(unsafe_code)]

use super::ferry::Ferry;
use super::{AtWork, BURST, Segment};
use crate::connection::Connection;
use crate::engine::{Engine, Event, SeatId};
use crate::topology::serving::Landed;
use crate::topology::trip::{Luggage, Pass, Trip};

/// Luggage kept for the next trips.
const SPARE_LUGGAGE: usize = 64;

/// Where batons go when other threads hold the stations from parse on.
#[derive(Debug)]
pub struct Cut {
    ferry: Ferry<Trip>,
    // They travel in their boxes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Luggage>>,
}

impl Cut {
    pub fn new(pass: Pass) -> Self {
        Cut { ferry: Ferry::new(pass), spare: Vec::with_capacity(SPARE_LUGGAGE) }
    }

    fn put_away(&mut self, mut luggage: Box<Luggage>) {
        if self.spare.len() < SPARE_LUGGAGE {
            luggage.clear();
            self.spare.push(luggage);
        }
    }
}

/// Whose event it is, if it can wait. A deadline cannot: it is set anew when the baton comes home, and has then passed.
fn seat_of(event: &Event) -> Option<SeatId> {
    match event {
        Event::Received { seat, .. } | Event::Finished(seat) | Event::ReadClosed(seat) | Event::Broken(seat) => Some(*seat),
        Event::Sent(seat, _) | Event::SendProgressed(seat, _) => Some(*seat),
        Event::Expired(_) | Event::Arrived(..) | Event::ListenerFailed(..) => None,
    }
}

impl<E: Engine<Connection>> Segment<E> {
    /// Cuts the rope behind this segment's stations, of which decrypt is one unless what is sealed is sent on.
    pub fn cut(&mut self, pass: Pass, sends_sealed: bool) {
        self.serving.sends_sealed = sends_sealed;
        self.cut = Some(Box::new(Cut::new(pass)));
    }

    /// Whether batons wait to be let in.
    pub(super) fn has_batons_home(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.ferry.has_arrivals(self.number))
            || self.handshakes.ferry.has_arrivals(self.number)
            || self.errands.ferry.has_arrivals(self.number)
    }

    /// Whether batons leave this thread, to parse or to have a handshake done, or what decodes their bodies.
    #[inline]
    pub(super) fn sends_out(&self) -> bool {
        self.cut.is_some() || self.handshakes.ferry.crosses() || self.errands.ferry.crosses()
    }

    #[inline(never)]
    pub(super) fn tell_far_threads(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.ferry.tell();
        }
        self.handshakes.ferry.tell();
        self.errands.ferry.tell();
    }

    /// Sends a baton out. While it is away nothing is received and no deadline is due; what comes for it waits in its seat.
    #[inline(never)]
    pub(super) fn send_out(&mut self, id: SeatId, mut connection: Box<Connection>, landed: Landed<'_>) {
        let Some(cut) = &mut self.cut else { return };
        let mut luggage = cut.spare.pop().unwrap_or_default();
        if !self.serving.pack(&mut connection, landed, &mut luggage) {
            cut.put_away(luggage);
            self.go_on(id, connection);
            return;
        }
        debug_assert!(!connection.receiving, "a receive would bring octets that nobody can take");
        (luggage.home, luggage.seat) = (self.number as u16, id);
        self.engine.set_deadline(id, 0);
        // Where nobody waits more than elsewhere it is always the same thread for a seat: its caches know the client.
        cut.ferry.send_to_idlest(id.index as usize, Trip { baton: connection, luggage });
    }

    /// Whether an event is for a baton that is away.
    pub(super) fn is_for_later(&mut self, event: &Event) -> bool {
        let away = seat_of(event).is_some_and(|id| self.engine.seats().is_away(id));
        let unasked = matches!(event, Event::Received { .. } | Event::ReadClosed(_));
        debug_assert!(!(away && unasked), "nothing is received while a baton is away");
        away
    }

    /// Keeps an event until its baton is home.
    #[cold]
    pub(super) fn park(&mut self, event: Event) {
        if let Some(id) = seat_of(&event) {
            self.engine.seats().park(id, event);
        }
    }

    /// Lets the batons in that are home again: what they completed is handed in, and what came meanwhile is next.
    #[inline(never)]
    pub(super) fn let_in(&mut self) {
        // Only what was there at first, so that a tick has an end.
        let most = self.cut.as_ref().map_or(0, |cut| cut.ferry.away());
        for _ in 0..most {
            let Some(trip) = self.cut.as_mut().and_then(|cut| cut.ferry.next_home(self.number)) else { return };
            self.arrive(trip, false);
            self.hand_over_if_full();
        }
    }

    /// Somebody was served in the middle of a tick.
    #[inline]
    pub(super) fn hand_over_if_full(&mut self) {
        if self.serving.outlet.is_full() {
            self.hand_over();
            if self.touched.len() >= BURST {
                self.go_on_touched();
            }
        }
    }

    /// The last tick: waits for every baton that is out, and closes its connection. It is not long: a far thread only computes.
    #[inline(never)]
    pub(super) fn call_home(&mut self) {
        self.tell_far_threads();
        while self.cut.as_ref().is_some_and(|cut| cut.ferry.away() > 0) {
            let Some(cut) = &mut self.cut else { return };
            match cut.ferry.next_home(self.number) {
                Some(trip) => self.arrive(trip, true),
                None => cut.ferry.wait(self.number),
            }
        }
        self.call_handshakes_home();
        self.call_errands_home();
    }

    /// One baton is home. With `over` its connection ends.
    fn arrive(&mut self, trip: Trip, over: bool) {
        let Trip { baton: mut connection, mut luggage } = trip;
        let id = luggage.seat;
        self.at_work = AtWork::on(id, &connection);
        // Answers that came meanwhile are settled with the next that come, once the baton sits in its seat; events are reaped again.
        self.engine.seats().replay(id, &mut self.home_coming.slots);
        if luggage.fault {
            self.count_fault();
        }
        let stale = self.engine.seats().is_stale(id);
        self.serving.unpack(id, &mut connection, &mut luggage, over || stale);
        if let Some(cut) = &mut self.cut {
            cut.put_away(luggage);
        }
        connection.touched = false;
        if stale {
            self.serving.dissolve(&mut connection);
            self.serving.let_go(&mut connection);
        } else if over {
            self.close(id, &mut connection);
        } else {
            // It was away when what is idle was closed.
            self.closes_idle |= self.draining;
            self.go_on(id, connection);
        }
        self.at_work = None;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
