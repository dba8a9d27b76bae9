//! A thread beside the rope: it does one piece of work after the other, as conveyors bring them, and sends each home at once.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::tell;
use super::trip::Belts;
use crate::engine::clock::Source;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is sent to such a thread and back.
pub trait Work: Send + 'static {
    /// Who does it, as the log says it.
    const WORKER: &'static str;

    fn serve(&mut self, orders: &Orders, clock: Source);

    /// The thread panicked over it. What there is of it goes home all the same: to be closed there, and what it is charged to be released.
    fn fail(&mut self);

    /// The thread that owns the connection.
    fn home(&self) -> usize;
}

/// See the file's first line.
#[derive(Debug)]
pub struct Worker<W> {
    number: usize,
    belts: Arc<Belts<W>>,
    orders: Arc<Orders>,
    clock: Source,
    /// Holds the one that is being worked on and no other, so that who sends sees how many wait.
    taken: VecDeque<W>,
}

impl<W: Work> Worker<W> {
    pub fn new(belts: Arc<Belts<W>>, orders: Arc<Orders>, clock: Source, number: usize) -> Self {
        Worker { number, belts, orders, clock, taken: VecDeque::with_capacity(1) }
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
    pub(super) fn serve_one(&mut self) -> bool {
        self.belts.outward[self.number].take(&mut self.taken, 1);
        let Some(mut work) = self.taken.pop_front() else { return false };
        let home = work.home();
        // A panic costs the connection that was worked for.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work.serve(&self.orders, self.clock))) {
            tell::fault(&self.orders.log, W::WORKER, &*payload);
            work.fail();
        }
        self.belts.homeward[home].put(work);
        // At once, since the next may take as long again.
        self.belts.homeward[home].wake();
        true
    }
}
