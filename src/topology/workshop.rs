//! What a thread that decodes large bodies does: it takes a share of one after the other, so that none waits for a whole other one.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::worker::Work;
use crate::connection::http1::errand::Errand;
use crate::engine::SeatId;
use crate::engine::clock::Source;

/// An errand on its way to such a thread and back.
#[derive(Debug)]
pub struct Job {
    pub errand: Box<Errand>,
    /// The thread that owns the connection, and its seat there.
    pub home: u16,
    pub seat: SeatId,
    /// The thread panicked over it.
    pub fault: bool,
}

impl Work for Job {
    const WORKER: &'static str = "a thread that decodes";

    fn serve(&mut self, orders: &Orders, clock: Source) {
        fail_point!("inflate");
        // Nobody waits for it once the server is to end.
        self.errand.run(clock, || orders.is_over(clock() / 1_000_000));
    }

    fn fail(&mut self) {
        self.fault = true;
    }

    fn home(&self) -> usize {
        usize::from(self.home)
    }
}
