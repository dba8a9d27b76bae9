//! Where the connection lives: answers are put in order, given their wire form, and their slots are freed.
#![forbid(unsafe_code)]

use super::encode::{self, Framed, Opening};
use crate::connection::exchange::Terms;
use crate::connection::{Connection, Ending, Memory};
use crate::engine::Outgoing;
use crate::limits::FLUSH_BYTES;
use crate::memory::pool::Pool;
use crate::memory::slots::{Closed, Reply, ReplyKind, SlotOwner};
use crate::parse::refusal::Refusal;

/// A body of this size or more is sent from where it is instead of being copied behind the head.
const LENT_BODY_BYTES: usize = 16 * 1024;

const AGED: &str = "waited too long in the queue, try again later";

/// What settling needs from the thread that does it.
#[derive(Debug)]
pub struct Desk<'a> {
    pub slots: &'a mut SlotOwner,
    pub pool: &'a mut Pool,
    pub memory: &'a mut Memory,
    pub opening: &'a Opening,
    /// The server drains: every answer is its connection's last.
    pub draining: bool,
}

/// What came of settling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settled {
    pub answered: u64,
    pub refused: u64,
    pub abandoned: u64,
}

/// Takes note of an answer that came home. One that nobody waits for any more is dropped, and its slot freed.
pub fn settle(connection: Option<&mut Connection>, slot: u32, desk: &mut Desk<'_>) {
    if !connection.is_some_and(|connection| connection.protocol.mark_answered(slot)) {
        release(desk, slot);
    }
}

/// Renders every answer whose turn it is, until the outbox is full or one is missing.
pub fn write_ready(connection: &mut Connection, desk: &mut Desk<'_>) -> Settled {
    let mut settled = Settled::default();
    while connection.ending == Ending::Open && !connection.sending && !is_full(connection) {
        let Some(oldest) = connection.protocol.oldest() else {
            if let Some(refusal) = connection.protocol.due_refusal() {
                refuse(connection, refusal, desk);
                settled.refused += 1;
            }
            break;
        };
        if !oldest.answered {
            break;
        }
        let (slot, terms) = (oldest.slot, oldest.terms);
        connection.protocol.pop_pending();
        // A drain answers everything that was delivered; only the last answer ends the connection.
        let close = !terms.keep_alive || (desk.draining && connection.protocol.oldest().is_none());
        let opening = desk.opening;
        let settle = |reply: &mut Reply| write(connection, reply, terms, close, opening);
        let (outcome, charge) = desk.slots.settle(slot, desk.pool, settle);
        desk.memory.release(charge);
        match outcome {
            ReplyKind::Answer => settled.answered += 1,
            ReplyKind::Aged => settled.refused += 1,
            _ => settled.abandoned += 1,
        }
        if connection.ending != Ending::Open {
            drop_pending(connection, desk);
        }
    }
    settled
}

fn is_full(connection: &Connection) -> bool {
    connection.outbox.first.len() >= FLUSH_BYTES || !connection.outbox.second.is_empty()
}

fn write(connection: &mut Connection, reply: &mut Reply, terms: Terms, close: bool, opening: &Opening) -> ReplyKind {
    let outbox = &mut connection.outbox;
    let mut framed = Framed { status: reply.status, http_version: terms.http_version, close, dated: true, body_len: 0 };
    match reply.kind {
        ReplyKind::Answer => {
            framed.close |= reply.close;
            framed.dated = !reply.has_date;
            framed.body_len = reply.block.len() - reply.body_at;
            encode::head(&mut outbox.first, opening, &framed);
            append(outbox, reply, encode::may_have_body(reply.status) && !terms.head_only);
        }
        ReplyKind::Aged => {
            framed.status = 503;
            encode::refusal(&mut outbox.first, opening, AGED, terms.head_only, framed);
        }
        ReplyKind::Abandon | ReplyKind::Release => {
            // What was answered before it still goes out; then the peer sees the connection end without an answer.
            connection.ending = if outbox.is_empty() { Ending::Abort } else { Ending::AfterFlush };
            return ReplyKind::Abandon;
        }
    }
    if framed.close {
        connection.ending = Ending::AfterFlush;
    }
    reply.kind
}

/// Fields, empty line and body. A large body is not copied: its buffer is sent from where it is.
fn append(outbox: &mut Outgoing, reply: &mut Reply, with_body: bool) {
    let body_len = reply.block.len() - reply.body_at;
    if !with_body {
        outbox.first.extend_from_slice(&reply.block[..reply.body_at]);
    } else if body_len < LENT_BODY_BYTES {
        outbox.first.extend_from_slice(&reply.block);
    } else {
        outbox.second = std::mem::take(&mut reply.block);
    }
}

/// Renders a refusal, after which the connection ends.
pub fn refuse(connection: &mut Connection, refusal: Refusal, desk: &mut Desk<'_>) {
    if let Some(letter) = connection.protocol.drop_body(desk.memory) {
        letter.dissolve(desk.pool);
    }
    connection.inbox.take();
    let framed = Framed { status: refusal.status, http_version: 11, close: true, dated: true, body_len: 0 };
    encode::refusal(&mut connection.outbox.first, desk.opening, refusal.text, false, framed);
    connection.ending = Ending::AfterFlush;
    drop_pending(connection, desk);
}

/// Ends the oldest request with a status of our own; the host's answer, should it come, is late.
pub fn fail(connection: &mut Connection, refusal: Refusal, desk: &mut Desk<'_>) {
    let Some(oldest) = connection.protocol.pop_pending() else { return };
    close_slot(desk, oldest.slot);
    let Terms { http_version, head_only, .. } = oldest.terms;
    let framed = Framed { status: refusal.status, http_version, close: true, dated: true, body_len: 0 };
    encode::refusal(&mut connection.outbox.first, desk.opening, refusal.text, head_only, framed);
    connection.ending = Ending::AfterFlush;
    drop_pending(connection, desk);
}

/// Every answer that is still owed will not be given any more.
pub fn drop_pending(connection: &mut Connection, desk: &mut Desk<'_>) {
    while let Some(pending) = connection.protocol.pop_pending() {
        if pending.answered { release(desk, pending.slot) } else { close_slot(desk, pending.slot) }
    }
}

fn close_slot(desk: &mut Desk<'_>, slot: u32) {
    if desk.slots.close(slot) == Closed::Mine {
        release(desk, slot);
    }
}

fn release(desk: &mut Desk<'_>, slot: u32) {
    let charge = desk.slots.free(slot, desk.pool);
    desk.memory.release(charge);
}
