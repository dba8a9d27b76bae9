//! What is left to do after a fault: a panic costs the connection at work, an engine that fails costs the thread.
#![forbid(unsafe_code)]

use super::Segment;
use crate::connection::{Connection, Ending};
use crate::engine::{Engine, SeatId};
use crate::limits::SLAB_BYTES;
use crate::request::INGEST_EVENT_FAULT;
use crate::stats::Phase;
use crate::topology::tell;
use std::any::Any;
use std::io;

impl<E: Engine<Connection>> Segment<E> {
    /// After a panic: the connection at work is closed, everything else goes on.
    pub(super) fn recover(&mut self, payload: &(dyn Any + Send)) {
        tell::fault(&self.orders.log, "a tick", payload);
        self.count_fault();
        self.recovered = true;
        if self.slab.len() < SLAB_BYTES {
            self.slab = vec![0; SLAB_BYTES];
        }
        if let Some(mut lost) = self.at_work.take() {
            // Its baton is lost: what the host holds of it is over, and nobody may send on its wire any more.
            self.serving.abandon_seat(lost.seat);
            if self.sends_out() {
                // Some batons are away with what is charged to them, so nothing can be counted again: what was known of it has to do.
                self.serving.memory.release_body(lost.body);
                self.serving.memory.recount_read_ahead(&mut lost.read_ahead, 0);
            }
            self.census.moves(&mut lost.counted, Phase::Nowhere);
            self.engine.close(lost.seat, true);
            self.one_less();
        }
        if let Some(seat) = self.home_coming.at_work.take() {
            self.home_coming.failed();
            self.end_at_home(seat);
        }
        self.recount_memory();
        self.resume.append(&mut self.scratch);
        // Connections that were to be gone on with, if that is where it happened.
        for id in self.engine.seats().ids() {
            if self.engine.seats().baton(id).is_some_and(|connection| connection.touched) && !self.touched.contains(&id) {
                self.touched.push(id);
            }
        }
    }

    /// What a lost connection had received is gone, however much that was.
    fn recount_memory(&mut self) {
        if self.sends_out() {
            return;
        }
        let (mut bodies, mut read_ahead) = (0, 0);
        for id in self.engine.seats().ids() {
            if let Some(connection) = self.engine.seats().baton(id) {
                bodies += connection.protocol.body_charged() as u64;
                read_ahead += u64::from(connection.read_ahead);
            }
        }
        self.serving.memory.recount(bodies, read_ahead);
    }

    /// The host hears of a fault of ours, and operators if there are too many.
    pub(super) fn count_fault(&mut self) {
        self.serving.outlet.say(&self.door, INGEST_EVENT_FAULT);
        self.home().counters.panics.add(1);
        if self.orders.faults.note(self.clock.now_ms()) {
            tell::unhealthy(&self.orders.log);
        }
    }

    /// An answer could not be settled: the baton is at home, and its connection ends.
    fn end_at_home(&mut self, seat: SeatId) {
        if let Some(mut connection) = self.engine.seats().take_baton(seat) {
            connection.ending = Ending::Abort;
            self.close(seat, &mut connection);
        }
    }

    /// The engine cannot wait: there is nothing left that this thread could serve.
    #[cold]
    pub(super) fn engine_failed(&mut self, error: &io::Error) {
        self.engine_is_broken = true;
        tell::engine_failed(&self.orders.log, error);
        self.serving.outlet.say(&self.door, INGEST_EVENT_FAULT);
    }
}
