//! Large bodies that other threads decode: which errands are out, which wait for a place, and what is done when one comes home.
#![forbid(unsafe_code)]

use super::ferry::Ferry;
use super::{AtWork, Segment};
use crate::connection::{Connection, Ending};
use crate::decode::content::Places;
use crate::engine::{Engine, SeatId};
use crate::topology::trip::Pass;
use crate::topology::workshop::Job;
use std::collections::VecDeque;

/// See the file's first line.
#[derive(Debug, Default)]
pub struct Errands {
    /// The way to the threads that decode, if there are any.
    pub(super) ferry: Ferry<Job>,
    /// As many are out, or between two errands, as `decode_states_max` allows; these connections wait, first in, first out.
    waiting: VecDeque<SeatId>,
    places: Places,
    /// What of the memory those that are out may take, and have not been charged for.
    promised: usize,
}

impl Errands {
    /// Somebody who waited for a place can have one.
    #[inline]
    pub fn has_sendable(&self, most: u64) -> bool {
        !self.waiting.is_empty() && self.places.has_room(most)
    }
}

impl<E: Engine<Connection>> Segment<E> {
    /// Has large bodies decoded by threads of their own.
    pub fn decode_elsewhere(&mut self, pass: Pass<Job>) {
        self.errands.ferry = Ferry::new(pass);
    }

    /// The decoders of a connection's body leave for a thread that decodes, or wait until they may.
    pub(super) fn send_errand(&mut self, id: SeatId, connection: &mut Connection) {
        let most = self.serving.limits.decode_states_max;
        let Some(place) = connection.protocol.kept_place().or_else(|| self.errands.places.take(most)) else {
            if !std::mem::replace(&mut connection.resumes, true) {
                self.errands.waiting.push_back(id);
            }
            return;
        };
        let room = self.serving.memory.room_for_windows().saturating_sub(self.errands.promised);
        let Some(errand) = connection.protocol.begin_errand(place, room) else { return };
        self.door.homes()[self.number].counters.decodings_offloaded.add(1);
        self.errands.promised += errand.promised();
        self.errands.ferry.send_to_idlest(id.index as usize, Job { errand, home: self.number as u16, seat: id, fault: false });
    }

    /// Goes on with bodies whose errands have come home, and sends some that have waited for a place.
    #[inline(never)]
    pub(super) fn let_errands_in(&mut self) {
        // Only what was there at first, so that a tick has an end.
        let most = self.errands.ferry.away();
        for _ in 0..most {
            let Some(job) = self.errands.ferry.next_home(self.number) else { break };
            self.return_errand(job);
        }
        for _ in 0..self.errands.waiting.len() {
            if !self.errands.has_sendable(self.serving.limits.decode_states_max) {
                break;
            }
            let Some(id) = self.errands.waiting.pop_front() else { break };
            self.with(id, |_, connection| connection.resumes = false);
        }
    }

    /// The last tick: every connection is closed, and whatever is out is waited for and dropped. Nothing is begun any more.
    pub(super) fn call_errands_home(&mut self) {
        while self.errands.ferry.away() > 0 {
            match self.errands.ferry.next_home(self.number) {
                Some(job) => self.return_errand(job),
                None => self.errands.ferry.wait(self.number),
            }
        }
    }

    fn return_errand(&mut self, job: Job) {
        let Job { errand, seat: id, fault, .. } = job;
        self.errands.promised = self.errands.promised.saturating_sub(errand.promised());
        if fault {
            self.count_fault();
        }
        debug_assert!(!self.engine.seats().is_away(id), "a connection stays at home while its decoders are out");
        let Some(mut connection) = self.engine.seats().take_baton(id) else {
            return self.serving.memory.release_body(errand.charged());
        };
        self.at_work = AtWork::on(id, &connection);
        if let Err(errand) = connection.protocol.end_errand(errand, &mut self.serving.memory) {
            self.serving.memory.release_body(errand.charged());
        } else if fault {
            connection.ending = Ending::Abort;
        }
        self.go_on(id, connection);
        self.at_work = None;
        self.watch_memory();
    }
}
