//! A thread for handshakes alone: it opens what batons bring, which is dear while keys are agreed on, and sends each home again.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::tell;
use super::trip::Belts;
use crate::connection::{Connection, Ending};
use crate::decrypt::Opened;
use crate::engine::SeatId;
use crate::engine::clock::Source;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A baton on its way to such a thread and back. What is to be opened was put by in its session.
#[derive(Debug)]
pub struct Visit {
    pub baton: Box<Connection>,
    /// The thread that owns the descriptor, and the seat there.
    pub home: u16,
    pub seat: SeatId,
    /// What the receive took, if it was timed, and then what opening took.
    pub read_ns: u64,
    pub decrypt_ns: u64,
    /// What came of it; `None` when it was too late to begin.
    pub opened: Option<Opened>,
    /// Octets that came behind the handshake.
    pub plain: Vec<u8>,
    /// The thread panicked over it.
    pub fault: bool,
}

/// See the file's first line.
#[derive(Debug)]
pub struct Quarantine {
    number: usize,
    belts: Arc<Belts<Visit>>,
    orders: Arc<Orders>,
    clock: Source,
    /// Holds the one that is being worked on and no other, so that who sends sees how many wait.
    visits: VecDeque<Visit>,
}

impl Quarantine {
    pub fn new(belts: Arc<Belts<Visit>>, orders: Arc<Orders>, clock: Source, number: usize) -> Self {
        Quarantine { number, belts, orders, clock, visits: VecDeque::with_capacity(1) }
    }

    /// Runs until nobody is left who could send a baton.
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

    /// Serves the baton that came first. False when there is none.
    pub(super) fn serve_one(&mut self) -> bool {
        self.belts.outward[self.number].take(&mut self.visits, 1);
        let Some(mut visit) = self.visits.pop_front() else { return false };
        let home = usize::from(visit.home);
        // A panic costs the connection that was worked on. Its baton goes home all the same, to be closed there.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.serve(&mut visit))) {
            tell::fault(&self.orders.log, "a thread for handshakes", &*payload);
            visit.fault = true;
            visit.baton.ending = Ending::Abort;
        }
        self.belts.homeward[home].put(visit);
        // At once, since the next handshake may take as long again.
        self.belts.homeward[home].wake();
        true
    }

    fn serve(&self, visit: &mut Visit) {
        fail_point!("shake");
        let now_ns = (self.clock)();
        let Some(secure) = visit.baton.session.secure() else { return };
        // Nobody waits for it any more; the home says so.
        if self.orders.is_over(now_ns / 1_000_000) || secure.handshake_until_ms().is_none_or(|until_ms| until_ms <= now_ns / 1_000_000) {
            return;
        }
        visit.opened = Some(secure.open(&mut [], &mut visit.plain, now_ns));
        if visit.read_ns > 0 {
            visit.decrypt_ns = (self.clock)() - now_ns;
        }
    }
}
