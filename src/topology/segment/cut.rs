//! The home's end of a cut: batons leave with what was read, come back with what was parsed, and find what came meanwhile.
#![forbid(unsafe_code)]

use super::{AtWork, BURST, Segment};
use crate::connection::{Connection, Ending};
use crate::engine::{Engine, Event, SeatId};
use crate::topology::serving::Landed;
use crate::topology::trip::{Luggage, Pass, Trip};
use std::collections::VecDeque;

/// Luggage kept for the next trips.
const SPARE_LUGGAGE: usize = 64;

/// Where batons go when other threads hold the stations from parse on.
#[derive(Debug)]
pub struct Cut {
    pass: Pass,
    /// Batons that are out.
    away: usize,
    /// Far threads that were sent a baton and not yet told.
    untold: Vec<bool>,
    /// Batons that have come home and were not yet looked at.
    home_again: VecDeque<Trip>,
    // They travel in their boxes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Luggage>>,
}

impl Cut {
    pub fn new(pass: Pass) -> Self {
        let untold = vec![false; pass.belts().outward.len()];
        Cut { pass, away: 0, untold, home_again: VecDeque::new(), spare: Vec::with_capacity(SPARE_LUGGAGE) }
    }

    /// Whether batons are home again or on their last few metres.
    fn has_arrivals(&self, home: usize) -> bool {
        !self.home_again.is_empty() || !self.pass.belts().homeward[home].is_empty()
    }

    /// Tells the far threads what they were sent: once a tick, and with a system call only to those that sleep.
    fn tell(&mut self) {
        for (conveyor, untold) in self.pass.belts().outward.iter().zip(&mut self.untold) {
            if std::mem::take(untold) {
                conveyor.wake();
            }
        }
    }

    fn next_home(&mut self, home: usize) -> Option<Trip> {
        if self.home_again.is_empty() {
            self.pass.belts().homeward[home].take(&mut self.home_again, usize::MAX);
        }
        self.home_again.pop_front()
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
    /// Cuts the rope behind this segment's stations.
    pub fn cut(&mut self, pass: Pass) {
        self.cut = Some(Box::new(Cut::new(pass)));
    }

    /// Whether batons wait to be let in.
    pub(super) fn has_batons_home(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.has_arrivals(self.number))
    }

    #[inline(never)]
    pub(super) fn tell_far_threads(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.tell();
        }
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
        // Always the same thread for a seat: its caches know the client, and the seats spread evenly.
        let far = id.index as usize % cut.untold.len().max(1);
        cut.away += 1;
        cut.untold[far] = true;
        cut.pass.belts().outward[far].put(Trip { baton: connection, luggage });
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
        let most = self.cut.as_ref().map_or(0, |cut| cut.away);
        for _ in 0..most {
            let Some(trip) = self.cut.as_mut().and_then(|cut| cut.next_home(self.number)) else { return };
            self.arrive(trip, false);
            if self.serving.outlet.is_full() {
                self.hand_over();
                if self.touched.len() >= BURST {
                    self.go_on_touched();
                }
            }
        }
    }

    /// The last tick: waits for every baton that is out, and closes its connection. It is not long: a far thread only computes.
    #[inline(never)]
    pub(super) fn call_home(&mut self) {
        while self.cut.as_ref().is_some_and(|cut| cut.away > 0) {
            self.tell_far_threads();
            let Some(cut) = &mut self.cut else { return };
            match cut.next_home(self.number) {
                Some(trip) => self.arrive(trip, true),
                None => cut.pass.belts().homeward[self.number].wait(),
            }
        }
    }

    /// One baton is home. With `over` its connection ends.
    fn arrive(&mut self, trip: Trip, over: bool) {
        let Trip { baton: mut connection, mut luggage } = trip;
        let id = luggage.seat;
        if let Some(cut) = &mut self.cut {
            cut.away -= 1;
        }
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
            if self.draining && connection.is_idle() {
                connection.ending = Ending::AfterFlush;
            }
            self.go_on(id, connection);
        }
        self.at_work = None;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
