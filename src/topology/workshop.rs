//! A thread that decodes large bodies: it takes a share of one after the other, so that none waits for a whole other one, and sends each home.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::tell;
use super::trip::Belts;
use crate::connection::http1::errand::Errand;
use crate::engine::SeatId;
use crate::engine::clock::Source;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

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

/// See the file's first line.
#[derive(Debug)]
pub struct Workshop {
    number: usize,
    belts: Arc<Belts<Job>>,
    orders: Arc<Orders>,
    clock: Source,
    /// Holds the one that is being worked on and no other, so that who sends sees how many wait.
    jobs: VecDeque<Job>,
}

impl Workshop {
    pub fn new(belts: Arc<Belts<Job>>, orders: Arc<Orders>, clock: Source, number: usize) -> Self {
        Workshop { number, belts, orders, clock, jobs: VecDeque::with_capacity(1) }
    }

    /// Runs until nobody is left who could send anything.
    pub fn run(mut self) {
        loop {
            // Looked at before the belt: whatever was sent before the last pass was dropped is then on it.
            let over = self.belts.is_over();
            if self.serve_one() {
                continue;
            }
            if over {
                return;
            }
            self.belts.outward[self.number].wait();
        }
    }

    /// Does what came first. False when there is nothing.
    fn serve_one(&mut self) -> bool {
        self.belts.outward[self.number].take(&mut self.jobs, 1);
        let Some(mut job) = self.jobs.pop_front() else { return false };
        let home = usize::from(job.home);
        // A panic costs the connection that it was for. What there is of the errand goes home all the same: it is charged there.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.serve(&mut job))) {
            tell::fault(&self.orders.log, "a thread that decodes", &*payload);
            job.fault = true;
        }
        self.belts.homeward[home].put(job);
        // At once, since the next may take as long again.
        self.belts.homeward[home].wake();
        true
    }

    fn serve(&self, job: &mut Job) {
        fail_point!("inflate");
        // Nobody waits for it once the server is to end.
        job.errand.run(self.clock, || self.orders.is_over((self.clock)() / 1_000_000));
    }
}
