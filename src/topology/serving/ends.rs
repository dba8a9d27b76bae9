//! What is given back when a connection ends, when its body is given up, and when it is lost.
#![forbid(unsafe_code)]

use super::Serving;
use crate::connection::Connection;
use crate::connection::http1::NO_MEMORY;
use crate::engine::SeatId;
use crate::memory::slots::RELEASED;
use crate::respond::settle;

impl Serving {
    /// There is no memory for what it has sent: gives that up, and tells it so once earlier answers are written.
    pub fn turn_away(&mut self, connection: &mut Connection) {
        if let Some(letter) = connection.protocol.drop_body(&mut self.memory) {
            letter.dissolve(&mut self.pool);
        }
        connection.inbox.take();
        connection.protocol.refuse(NO_MEMORY);
    }

    /// Frees everything that a connection which ends still owns. Returns how many of its requests nobody had taken.
    pub fn dissolve(&mut self, connection: &mut Connection) -> u64 {
        if let Some(letter) = connection.protocol.drop_body(&mut self.memory) {
            letter.dissolve(&mut self.pool);
        }
        self.memory.recount_read_ahead(&mut connection.read_ahead, 0);
        let unseen = settle::drop_pending(connection, &mut self.desk());
        self.count_unfinished(connection);
        connection.truncated |= connection.sealing.take().is_some();
        let outgoing = std::mem::take(&mut connection.outbox);
        self.recycle(outgoing);
        unseen
    }

    /// A connection was lost in a fault of the library: ends whatever is known of it.
    pub fn abandon_seat(&mut self, id: SeatId) {
        let charge = self.slots.abandon_seat(id.word(), &mut self.pool);
        self.memory.release(charge);
    }

    /// After the engine has let go of what was on its way out: it never arrives, but lent memory is the host's again.
    pub fn let_go(&mut self, connection: &mut Connection) {
        for (slot, marks) in connection.unsent.drain(..) {
            self.slots.finish(slot, marks & RELEASED);
        }
    }
}
