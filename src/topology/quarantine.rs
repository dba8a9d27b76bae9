//! What a thread for handshakes does: it opens what batons bring, which is dear while keys are agreed on.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::worker::Work;
use crate::connection::{Connection, Ending};
use crate::decrypt::Opened;
use crate::engine::SeatId;
use crate::engine::clock::Source;

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

impl Work for Visit {
    const WORKER: &'static str = "a thread for handshakes";

    fn serve(&mut self, orders: &Orders, clock: Source) {
        fail_point!("shake");
        let now_ns = clock();
        let Some(secure) = self.baton.session.secure() else { return };
        // Nobody waits for it any more; the home says so.
        if orders.is_over(now_ns / 1_000_000) || secure.handshake_until_ms().is_none_or(|until_ms| until_ms <= now_ns / 1_000_000) {
            return;
        }
        self.opened = Some(secure.open(&mut [], &mut self.plain, now_ns));
        if self.read_ns > 0 {
            self.decrypt_ns = clock() - now_ns;
        }
    }

    fn fail(&mut self) {
        self.fault = true;
        self.baton.ending = Ending::Abort;
    }

    fn home(&self) -> usize {
        usize::from(self.home)
    }
}
