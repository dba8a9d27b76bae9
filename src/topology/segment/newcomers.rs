//! The home's end of the cut before read: newcomers from the thread that accepts get their seats, and stay.
#![forbid(unsafe_code)]

use super::Segment;
use crate::connection::Connection;
use crate::engine::{Engine, SeatId};
use crate::topology::lanes::{Lanes, Newcomer};
use crate::topology::tell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where newcomers come from when another thread accepts.
#[derive(Debug)]
pub struct Intake {
    lanes: Arc<Lanes>,
    /// Taken from the conveyor, and not yet looked at.
    round: VecDeque<Newcomer>,
    /// Some got their seats in this tick: what they have sent is heard of in the next.
    fresh: bool,
}

impl Intake {
    /// Nobody is there and nobody will come.
    fn is_over(&self, number: usize) -> bool {
        self.round.is_empty() && self.lanes.is_over(number)
    }
}

impl<E: Engine<Connection>> Segment<E> {
    /// Has another thread accept.
    pub fn take_in(&mut self, lanes: Arc<Lanes>) {
        self.intake = Some(Box::new(Intake { lanes, round: VecDeque::new(), fresh: false }));
    }

    /// Whether newcomers wait to be let in, or were let in so late that idle connections are still to be closed.
    pub(super) fn has_newcomers(&self) -> bool {
        self.intake
            .as_ref()
            .is_some_and(|intake| !intake.round.is_empty() || intake.lanes.is_awaited(self.number) || (intake.fresh && self.closes_idle))
    }

    /// Whether newcomers may still come, or have not been heard yet.
    pub(super) fn expects_newcomers(&self) -> bool {
        self.intake.as_ref().is_some_and(|intake| intake.fresh || !intake.is_over(self.number))
    }

    /// Lets newcomers in: as many as a thread that accepts itself would take at once.
    #[inline(never)]
    pub(super) fn let_newcomers_in(&mut self) {
        let most = usize::try_from(self.serving.limits.accepts_per_wake).unwrap_or(usize::MAX);
        let Some(intake) = &mut self.intake else { return };
        intake.lanes.take(self.number, &mut intake.round, most);
        intake.fresh = !intake.round.is_empty();
        // A drain that has closed what was idle does so again for who came behind it.
        self.closes_idle |= self.draining && intake.fresh;
        while let Some(newcomer) = self.next_newcomer() {
            if let Some(id) = self.seat(newcomer) {
                self.with(id, |_, _| {});
            }
        }
    }

    /// The last tick: waits until the thread that accepts has ended, which does not take long, and closes whom it has sent.
    #[inline(never)]
    pub(super) fn turn_newcomers_away(&mut self) {
        while let Some(intake) = &mut self.intake {
            if intake.is_over(self.number) {
                return;
            }
            intake.lanes.take(self.number, &mut intake.round, usize::MAX);
            if intake.round.is_empty() {
                intake.lanes.wait(self.number);
            }
            while let Some(newcomer) = self.next_newcomer() {
                if let Some((id, mut connection)) = self.seat(newcomer).and_then(|id| Some((id, self.engine.seats().take_baton(id)?))) {
                    self.close(id, &mut connection);
                }
            }
        }
    }

    fn next_newcomer(&mut self) -> Option<Newcomer> {
        self.intake.as_mut()?.round.pop_front()
    }

    fn seat(&mut self, newcomer: Newcomer) -> Option<SeatId> {
        let Newcomer { stream, is_local, baton } = newcomer;
        match self.engine.seat(stream, is_local, baton) {
            Ok(id) => {
                self.home().counters.connections_open.add(1);
                Some(id)
            }
            Err((error, _)) => {
                // Without a place in epoll it cannot be served; the stream is closed already.
                tell::unseated(&self.orders.log, &error);
                self.make_room();
                None
            }
        }
    }

    /// Where another thread accepts, tells it to send nobody who would begin a handshake here, or that it may again. False where none does.
    pub(super) fn shut_lane(&self, shut: bool) -> bool {
        let Some(intake) = &self.intake else { return false };
        intake.lanes.shut(self.number, shut);
        if !shut {
            self.door.wake_homes();
        }
        true
    }

    /// One connection less: others may be accepted for it.
    pub(super) fn make_room(&mut self) {
        if self.orders.one_less() {
            // Threads that stopped accepting at the cap may be asleep.
            self.door.wake_homes();
        }
        if let Some(intake) = &self.intake {
            intake.lanes.left(self.number);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
