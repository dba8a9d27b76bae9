//! Where the connection lives: answers are put in order, given their wire form, and their slots are freed.
#![forbid(unsafe_code)]

use super::encode::{self, Body, Framed, Opening};
use super::streamed;
use crate::connection::exchange::{Pending, Terms};
use crate::connection::{Connection, Ending, Memory};
use crate::engine::Outgoing;
use crate::limits::FLUSH_BYTES;
use crate::memory::pool::Pool;
use crate::memory::reply::{Reply, ReplyKind};
use crate::memory::slots::{Closed, Homing, RELEASED, SENT, SlotOwner};
use crate::memory::tail::Tail;
use crate::parse::refusal::Refusal;

/// A body of this size or more is sent from where it is instead of being copied behind the head.
pub(super) const APART_BYTES: usize = 16 * 1024;

const AGED: Refusal = Refusal::new(503, "waited too long in the queue, try again later");
const SHED: Refusal = Refusal::new(503, "more requests than this server can take, try again later");
/// Nothing was begun, so it can be tried again as it is; that is why it is not 504.
pub const LATE: Refusal = Refusal::new(503, "not begun within the time that the request allows, try again with more");

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
    /// Refused with this status; a connection ends behind it.
    pub refused: u64,
    pub refused_with: u16,
    /// Refused because they waited too long in the queue: for `queue_age`, in a queue that stands, and for their clients.
    pub aged: u64,
    pub shed: u64,
    pub late: u64,
    pub abandoned: u64,
}

impl Settled {
    /// Refused without the host having seen them.
    pub fn unserved(&self) -> u64 {
        self.aged + self.shed + self.late
    }
}

/// Takes note of what came home. What nobody waits for any more is dropped, and its slot freed.
pub fn settle(connection: Option<&mut Connection>, slot: u32, homing: Homing, desk: &mut Desk<'_>) {
    fail_point!("respond");
    let Some(connection) = connection else {
        if homing.kind.is_some() {
            release(desk, slot);
        }
        return;
    };
    if homing.spoke {
        connection.protocol.mark_speaking(slot, homing.begun);
    }
    if homing.freed > 0 && homing.kind.is_none() && connection.protocol.upload_slot() != Some(slot) {
        // Of a body that is all here nothing more is poured in, where this is seen else.
        let freed = desk.slots.take_freed(slot);
        desk.memory.release(freed);
    }
    if let Some(kind) = homing.kind {
        if !connection.protocol.mark_answered(slot, kind == ReplyKind::Abandon) {
            release(desk, slot);
        }
    }
}

/// Renders every answer whose turn it is, until the outbox is full or one is missing.
pub fn write_ready(connection: &mut Connection, desk: &mut Desk<'_>) -> Settled {
    let mut settled = Settled::default();
    fail_point!("encode");
    while connection.ending == Ending::Open && !connection.sending && !is_full(connection) {
        let Some(oldest) = connection.protocol.oldest() else {
            if let Some(refusal) = connection.protocol.due_refusal() {
                refuse(connection, refusal, desk);
                settled.refused += 1;
                settled.refused_with = refusal.status;
            }
            break;
        };
        if !oldest.answered && !oldest.speaking {
            break;
        }
        let oldest = *oldest;
        let closes = oldest.speaking && !oldest.cut && streamed::advance(connection, oldest, desk);
        if !oldest.answered {
            break;
        }
        connection.protocol.pop_pending();
        match write_reply(connection, oldest, closes, desk) {
            ReplyKind::Answer | ReplyKind::Streamed => settled.answered += 1,
            ReplyKind::Aged => settled.aged += 1,
            ReplyKind::Shed => settled.shed += 1,
            ReplyKind::Late => settled.late += 1,
            _ => settled.abandoned += 1,
        }
        if connection.ending != Ending::Open {
            drop_pending(connection, desk);
        }
    }
    settled
}

fn is_full(connection: &Connection) -> bool {
    connection.outbox.first.len() >= FLUSH_BYTES || !connection.outbox.tail.is_empty()
}

/// Writes the reply of a request that is no longer owed one. Its slot is free then, or once the kernel has all of it.
fn write_reply(connection: &mut Connection, pending: Pending, closes: bool, desk: &mut Desk<'_>) -> ReplyKind {
    let Pending { slot, terms, .. } = pending;
    // A drain answers everything that was delivered; only the last answer ends the connection.
    let unread = connection.protocol.leave_upload(slot);
    let close = closes || unread || !terms.keep_alive || (desk.draining && connection.protocol.oldest().is_none());
    let opening = desk.opening;
    let settled = desk.slots.settle(slot, desk.pool, |reply| {
        let lent = if reply.tail.is_lent() { RELEASED } else { 0 };
        let kind = write(connection, reply, pending, close, opening);
        (kind, if matches!(kind, ReplyKind::Answer | ReplyKind::Streamed) { SENT | lent } else { 0 })
    });
    desk.memory.release(settled.charge);
    if settled.owes != 0 {
        connection.unsent.push((slot, settled.owes));
    }
    if pending.speaking {
        connection.pulled = connection.pulled.filter(|(pulled, _)| *pulled != slot);
    }
    settled.kind
}

fn write(connection: &mut Connection, reply: &mut Reply, pending: Pending, close: bool, opening: &Opening) -> ReplyKind {
    let Terms { http_version, head_only, .. } = pending.terms;
    let outbox = &mut connection.outbox;
    let mut framed = Framed { status: reply.status, http_version, close, dated: true, body: Body::Length(0) };
    match reply.kind {
        ReplyKind::Answer => {
            framed.close |= reply.close;
            framed.dated = !reply.has_date;
            framed.body = Body::Length(reply.body_len());
            encode::head(&mut outbox.first, opening, &framed);
            append(outbox, reply, encode::may_have_body(reply.status) && !head_only);
        }
        // What it consists of was written as it came.
        ReplyKind::Streamed => {}
        ReplyKind::Aged | ReplyKind::Shed | ReplyKind::Late => {
            let refusal = match reply.kind {
                ReplyKind::Shed => SHED,
                ReplyKind::Late => LATE,
                _ => AGED,
            };
            framed.status = refusal.status;
            encode::refusal(&mut outbox.first, opening, refusal, head_only, framed);
        }
        ReplyKind::Abandon | ReplyKind::Release | ReplyKind::Told => {
            // What was answered before it still goes out, also from the kernel's buffers, which RST would empty; then the peer
            // sees the connection end without an answer. An answer that was begun must not look complete: no polite end for it.
            let polite = (!outbox.is_empty() || connection.protocol.served() > 1) && !pending.head_written;
            connection.ending = if polite { Ending::AfterFlush } else { Ending::Abort };
            connection.truncated |= pending.head_written;
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
    let copied = reply.block.len() - reply.body_at;
    if !with_body {
        outbox.first.extend_from_slice(&reply.block[..reply.body_at]);
    } else if !reply.tail.is_empty() {
        outbox.first.extend_from_slice(&reply.block);
        outbox.tail = std::mem::take(&mut reply.tail);
    } else if copied < APART_BYTES {
        outbox.first.extend_from_slice(&reply.block);
    } else {
        outbox.tail = Tail::Octets(std::mem::take(&mut reply.block));
    }
}

/// Renders a refusal, after which the connection ends.
pub fn refuse(connection: &mut Connection, refusal: Refusal, desk: &mut Desk<'_>) {
    if let Some(letter) = connection.protocol.drop_body(desk.memory) {
        letter.dissolve(desk.pool);
    }
    connection.inbox.take();
    let framed = Framed { status: refusal.status, http_version: 11, close: true, dated: true, body: Body::Length(0) };
    encode::refusal(&mut connection.outbox.first, desk.opening, refusal, false, framed);
    connection.ending = Ending::AfterFlush;
    drop_pending(connection, desk);
}

/// Ends the oldest request with a status of our own; the host's answer, should it come, is late. If the host has never seen the request, the
/// connection is in step and goes on: a new one would cost more than was saved, when there is too much to do anyway.
pub fn fail(connection: &mut Connection, refusal: Refusal, desk: &mut Desk<'_>) {
    let Some(oldest) = connection.protocol.pop_pending() else { return };
    let unread = connection.protocol.leave_upload(oldest.slot);
    let unseen = give_up(desk, oldest);
    let Terms { http_version, head_only, .. } = oldest.terms;
    let close = !unseen || unread || !oldest.terms.keep_alive || (desk.draining && connection.protocol.oldest().is_none());
    let framed = Framed { status: refusal.status, http_version, close, dated: true, body: Body::Length(0) };
    encode::refusal(&mut connection.outbox.first, desk.opening, refusal, head_only, framed);
    if close {
        connection.ending = Ending::AfterFlush;
        drop_pending(connection, desk);
    }
}

/// Every answer that is still owed will not be given any more. Returns how many of the requests nobody had taken.
pub fn drop_pending(connection: &mut Connection, desk: &mut Desk<'_>) -> u64 {
    let mut unseen = 0;
    while let Some(pending) = connection.protocol.pop_pending() {
        connection.truncated |= pending.head_written;
        unseen += u64::from(give_up(desk, pending));
    }
    unseen
}

/// A request gets no answer of the host's. One that is here already comes home no second time, so its slot is freed now. True if nobody had
/// taken it.
fn give_up(desk: &mut Desk<'_>, pending: Pending) -> bool {
    let unseen = !pending.answered && desk.slots.close(pending.slot) == Closed::Mine;
    if pending.answered || unseen {
        release(desk, pending.slot);
    }
    unseen
}

fn release(desk: &mut Desk<'_>, slot: u32) {
    let charge = desk.slots.free(slot, desk.pool);
    desk.memory.release(charge);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::accept::Peer;
    use crate::connection::exchange::Deadline;
    use crate::decrypt::Session;
    use crate::memory::letter::{Letter, Parts};
    use crate::memory::slots::SlotTable;
    use crate::parse::sketch::Sketch;
    use std::sync::Arc;

    #[test]
    fn a_request_that_fails_frees_its_slot_also_if_it_is_answered() {
        let table = Arc::new(SlotTable::new(1, 7));
        let (mut slots, mut pool, mut memory) = (SlotOwner::new(Arc::clone(&table), 0), Pool::new(), Memory::empty());
        let mut connection = Connection::new(0, Peer::unnamed(), Session::Plain, 0);
        let (sketch, peer, head) = (Sketch::default(), Peer::unnamed(), b"GET / HTTP/1.1\r\n\r\n");
        let (scheme, peer) = (b"http", peer.view());
        let parts = Parts {
            sketch: &sketch,
            head,
            body: b"",
            has_body: false,
            scheme,
            listener: 0,
            peer,
            journey: None,
            tls: None,
            deadline_ns: 0,
        };
        let terms = Terms {
            http_version: 11,
            safe: true,
            head_only: false,
            keep_alive: true,
            left_coded: false,
            streamed: false,
            deadline: Deadline::NONE,
        };
        let letter = Letter::seal(&mut pool, &parts).unwrap();
        memory.charge(letter.charge());
        let (slot, token, _) = slots.open(letter, 0, true).unwrap();
        connection.protocol.push_pending(Pending::new(slot, terms, 0));
        let claim = table.claim(token, false).unwrap();
        assert_eq!(claim.seal(|reply| reply.begin(ReplyKind::Answer)), Some(slot));
        let homing = slots.homing(slot).unwrap();
        let free = slots.taken() - 1;
        let opening = Opening::new(b"Mon, 23 Nov 2026 09:00:00 GMT");
        let mut desk = Desk { slots: &mut slots, pool: &mut pool, memory: &mut memory, opening: &opening, draining: false };
        settle(Some(&mut connection), slot, homing, &mut desk);
        fail(&mut connection, AGED, &mut desk);
        assert_eq!((memory.used, pool.lent(), slots.taken()), (0, 0, free));
        assert!(connection.outbox.first.starts_with(b"HTTP/1.1 503 "));
    }
}
