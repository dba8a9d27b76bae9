//! Streamed bodies at home: what has come is poured into the slot of its request, and what breaks ends the request.
#![forbid(unsafe_code)]

use super::Serving;
use crate::connection::http1::NO_MEMORY;
use crate::connection::{Connection, Ending};
use crate::memory::slots::Closed;

impl Serving {
    /// Streamed bodies that went with their requests are no bodies that wait any more.
    #[inline]
    pub fn reckon_bodies(&mut self) {
        let pieces = self.slots.take_pieces_back();
        self.memory.fewer_bodies(pieces);
    }

    /// Hands on what has come of a streamed body, and hears how much of it the host has given back.
    #[inline]
    pub fn pour(&mut self, connection: &mut Connection) {
        if connection.protocol.has_upload() {
            self.pour_upload(connection);
        }
    }

    #[inline(never)]
    fn pour_upload(&mut self, connection: &mut Connection) {
        if connection.ending != Ending::Open {
            return connection.protocol.end_upload(&mut self.memory);
        }
        if connection.protocol.is_upload_broken() {
            return self.break_upload(connection);
        }
        let drawn = connection.protocol.draw(&mut self.memory);
        let ended = drawn.end.is_some();
        // Of a request that is answered already the rest is read and thrown away.
        if let Some(slot) = connection.protocol.upload_slot() {
            let came = !drawn.octets.is_empty();
            let Some(flow) = self.slots.pour(slot, drawn.octets, drawn.end) else {
                connection.protocol.refuse(NO_MEMORY);
                return self.break_upload(connection);
            };
            // What the host has not given back is as much a body that waits as one that is gathered.
            self.memory.charge_body(flow.charged);
            self.memory.release_body(flow.freed);
            let moved = came || ended || flow.freed > 0;
            if connection.protocol.note_owed(flow.owed, moved, self.limits.body_window, self.now_ms()) {
                connection.since_ms = self.now_ms();
            }
        }
        if ended {
            connection.protocol.end_upload(&mut self.memory);
        }
    }

    /// A streamed body is malformed, too large, too slow or cut short: its request ends here, unless it is answered already.
    #[cold]
    fn break_upload(&mut self, connection: &mut Connection) {
        let slot = connection.protocol.upload_slot();
        connection.protocol.end_upload(&mut self.memory);
        connection.protocol.no_more();
        let Some(pending) = slot.and_then(|slot| connection.protocol.pending_mut(slot)) else {
            // Nothing may follow an answer but the next one, and that will not be asked for.
            connection.protocol.forgive();
            if connection.protocol.owed() == 0 {
                connection.ending = Ending::AfterFlush;
            }
            return;
        };
        if pending.head_written && !pending.answered {
            connection.truncated = true;
            connection.ending = Ending::Abort;
            return;
        }
        let slot = pending.slot;
        pending.terms.keep_alive = false;
        let closed = if pending.answered { Closed::OnItsWay } else { self.slots.close(slot) };
        if closed == Closed::OnItsWay {
            return connection.protocol.forgive();
        }
        if closed == Closed::Mine {
            let charge = self.slots.free(slot, &mut self.pool);
            self.memory.release(charge);
        }
        connection.protocol.remove_pending(slot);
    }
}
