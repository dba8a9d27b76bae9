//! Gives what the host says piece by piece its wire form: interim answers, the head, octets or chunks, the end.
#![forbid(unsafe_code)]

use super::encode::{self, Body, Framed, Opening};
use super::settle::{APART_BYTES, Desk};
use crate::connection::exchange::{Pending, Terms};
use crate::connection::{Connection, Ending};
use crate::engine::Outgoing;
use crate::memory::reply::Reply;
use crate::memory::slots::{Form, Stream};
use crate::memory::tail::Tail;
use crate::memory::wire::Wire;
use std::sync::Arc;

/// Writes what there is of the answer whose turn it is, and its end if the host has ended it. True when the connection closes
/// behind it.
pub fn advance(connection: &mut Connection, pending: Pending, desk: &mut Desk<'_>) -> bool {
    let unread = connection.protocol.awaits_body_of(pending.slot);
    let close = unread || !pending.terms.keep_alive || (desk.draining && connection.protocol.owed() == 1);
    let (outbox, opening) = (&mut connection.outbox, desk.opening);
    let written = desk.slots.stream(pending.slot, |stream| {
        // Nobody may overtake what goes to the outbox now; the wire is lent again once that is sent.
        stream.wire = None;
        // An HTTP/1.0 client would take an interim answer for the final one (RFC 9110 section 15.2).
        if pending.terms.http_version >= 11 {
            outbox.first.extend_from_slice(&stream.interim);
        }
        stream.interim.clear();
        if let Some(head) = stream.head.take() {
            write_head(outbox, stream, &head, pending.terms, close, opening);
        }
        // What another thread began to send comes first, framed already.
        let octets = stream.framed.len() + stream.octets.len();
        if outbox.first.is_empty() {
            // Most of what was begun waits there: a peer that reads nothing would hold it twice.
            std::mem::swap(&mut outbox.first, &mut stream.framed);
        } else {
            outbox.first.append(&mut stream.framed);
        }
        if stream.head_written {
            write_octets(outbox, stream, pending.answered);
        }
        (octets, stream.head_written, stream.close, std::mem::take(&mut stream.straight))
    });
    let Some((octets, head_written, closes, straight)) = written else { return false };
    connection.sent_straight += straight;
    if octets > 0 {
        let before = connection.pulled.filter(|(slot, _)| *slot == pending.slot).map_or(0, |(_, octets)| octets);
        connection.pulled = Some((pending.slot, before + octets));
    }
    if let Some(oldest) = connection.protocol.oldest_mut() {
        oldest.head_written = head_written;
        oldest.begun |= head_written;
    }
    closes
}

/// Lends the wire to whoever writes a large answer, for so many octets, while nothing else is on its way to this peer.
pub fn lend_wire(connection: &Connection, wire: impl FnOnce() -> Option<Arc<dyn Wire>>, allowance: u64, desk: &mut Desk<'_>) {
    let idle = connection.ending == Ending::Open && !connection.sending && connection.outbox.is_empty();
    let Some(oldest) = connection.protocol.oldest().filter(|oldest| oldest.head_written && !oldest.answered && idle) else { return };
    if connection.session.is_secure() {
        return;
    }
    desk.slots.stream(oldest.slot, |stream| {
        if stream.is_large && stream.wire.is_none() && stream.is_drained() && stream.form != Form::Nothing {
            stream.wire = wire();
            stream.allowance = allowance;
        }
    });
}

/// Status line and fields, with the framing that the protocol version allows (RFC 9112 section 6.3).
fn write_head(outbox: &mut Outgoing, stream: &mut Stream, head: &Reply, terms: Terms, close: bool, opening: &Opening) {
    let body = match stream.length {
        Some(length) => Body::Length(length),
        None if terms.http_version >= 11 => Body::Chunked,
        None => Body::UntilClose,
    };
    let has_body = encode::may_have_body(head.status) && !terms.head_only;
    stream.form = match body {
        _ if !has_body => Form::Nothing,
        Body::Chunked => Form::Chunked,
        Body::Length(_) | Body::UntilClose => Form::Plain,
    };
    stream.close = close || head.close || (has_body && body == Body::UntilClose);
    let framed = Framed { status: head.status, http_version: terms.http_version, close: stream.close, dated: !head.has_date, body };
    encode::head(&mut outbox.first, opening, &framed);
    outbox.first.extend_from_slice(&head.block);
    stream.head_written = true;
}

/// The octets that wait, and the end behind them. Many octets are sent from the buffer that they are in.
fn write_octets(outbox: &mut Outgoing, stream: &mut Stream, ended: bool) {
    let count = stream.octets.len();
    let chunked = stream.form == Form::Chunked;
    if stream.form == Form::Nothing {
        stream.octets.clear();
        return;
    }
    if chunked && count > 0 {
        encode::chunk_size(&mut outbox.first, count);
    }
    let apart = count >= APART_BYTES;
    let mut buffer = if apart { std::mem::take(&mut stream.octets) } else { Vec::new() };
    let behind = if apart {
        &mut buffer
    } else {
        outbox.first.append(&mut stream.octets);
        &mut outbox.first
    };
    if chunked && count > 0 {
        behind.extend_from_slice(b"\r\n");
    }
    if chunked && ended {
        encode::last_chunk(behind, &stream.trailers);
    }
    if apart {
        outbox.tail = Tail::Octets(buffer);
    }
}
