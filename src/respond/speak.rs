//! Where an answer is given piece by piece, on any thread of the host: interim answers, a head, octets, the end.
#![forbid(unsafe_code)]

use super::settle::APART_BYTES;
use super::{encode, fields, post};
use crate::handoff::Door;
use crate::limits::{INTERIM_BYTES, STREAM_BUFFER_BYTES};
use crate::memory::reply::{Reply, ReplyKind};
use crate::memory::slots::{Form, Phase, Spoken, Stream, Unspoken};
use crate::request::ingest_token;
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_BUSY, INGEST_E_GONE, INGEST_E_MEMORY, INGEST_E_STATE, INGEST_OK, ingest_status};

/// The only interim status that the library cannot let pass: it would change the protocol (RFC 9110 section 15.2.2).
const SWITCHING_PROTOCOLS: u16 = 101;

/// Interim answers come before the final one, as many as the host likes; the request stays the host's (RFC 9110 section 15.2).
pub fn interim<'a>(
    door: &Door,
    token: ingest_token,
    status: u16,
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> ingest_status {
    if !(100..200).contains(&status) || status == SWITCHING_PROTOCOLS || !fields::are_sendable(lines.clone()) {
        return INGEST_E_ARGUMENT;
    }
    let said = speak(door, token, |stream| {
        if stream.phase != Phase::Interim {
            return (INGEST_E_STATE, false);
        }
        let mut reply = Reply::default();
        encode::status_line(&mut reply.block, status);
        fields::flatten_all(&mut reply, lines);
        reply.block.extend_from_slice(b"\r\n");
        if stream.interim.len() + reply.block.len() > INTERIM_BYTES {
            return (INGEST_E_BUSY, false);
        }
        stream.interim.extend_from_slice(&reply.block);
        (INGEST_OK, true)
    });
    said.unwrap_or(INGEST_E_GONE)
}

/// Begins the final answer; its octets follow.
pub fn begin<'a>(
    door: &Door,
    token: ingest_token,
    status: u16,
    close: bool,
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    length: Option<u64>,
) -> ingest_status {
    if fields::check_status(status).is_err() || !fields::are_sendable(lines.clone()) {
        return INGEST_E_ARGUMENT;
    }
    let said = speak(door, token, |stream| {
        if stream.phase != Phase::Interim {
            return (INGEST_E_STATE, false);
        }
        let mut head = Reply { kind: ReplyKind::Streamed, status, close, ..Reply::default() };
        fields::flatten_all(&mut head, lines);
        head.block.extend_from_slice(b"\r\n");
        stream.head = Some(head);
        stream.length = length;
        stream.phase = Phase::Begun;
        (INGEST_OK, true)
    });
    said.unwrap_or_else(|unspoken| {
        if unspoken == Unspoken::Closed {
            // Nothing was begun that could be ended, so this call is the one that gives the memory back.
            post::give_up_memory(door, token);
        }
        INGEST_E_GONE
    })
}

/// Adds octets to an answer that was begun: how many were taken.
pub fn write(door: &Door, token: ingest_token, octets: &[u8]) -> i32 {
    let said = speak(door, token, |stream| {
        if stream.phase != Phase::Begun {
            return (INGEST_E_STATE, false);
        }
        if stream.length.is_some_and(|length| octets.len() as u64 > length.saturating_sub(stream.said)) {
            return (INGEST_E_ARGUMENT, false);
        }
        if octets.len() >= APART_BYTES {
            stream.is_large = true;
            if let Some(sent) = send_straight(stream, octets) {
                return (sent as i32, !stream.is_drained());
            }
        }
        let taken = octets.len().min(stream.room());
        if taken == 0 && !octets.is_empty() {
            stream.is_busy = true;
            return (INGEST_E_BUSY, false);
        }
        if !stream.push(&octets[..taken]) {
            return (INGEST_E_MEMORY, false);
        }
        (taken as i32, taken > 0)
    });
    said.unwrap_or(INGEST_E_GONE)
}

/// Sends a piece at once and without a copy, while the I/O thread lends the wire. What the kernel does not take goes home, and
/// the wire with it. `None` when nothing was sent.
fn send_straight(stream: &mut Stream, octets: &[u8]) -> Option<usize> {
    if !stream.is_drained() {
        return None;
    }
    let wire = stream.wire.take().filter(|_| stream.allowance > 0)?;
    let piece = &octets[..octets.len().min(STREAM_BUFFER_BYTES)];
    let line_end: &[u8] = if stream.form == Form::Chunked { b"\r\n" } else { b"" };
    let mut framed = std::mem::take(&mut stream.framed);
    if stream.form == Form::Chunked {
        encode::chunk_size(&mut framed, piece.len());
    }
    let sent = wire.send([&framed, piece, line_end])?;
    if sent < framed.len() + piece.len() + line_end.len() {
        framed.extend_from_slice(piece);
        framed.extend_from_slice(line_end);
        framed.drain(..sent);
        stream.unsent += framed.len();
    } else {
        // Kept empty, for the size line of the next chunk.
        framed.clear();
        stream.wire = Some(wire);
    }
    stream.framed = framed;
    stream.straight += sent as u64;
    stream.allowance = stream.allowance.saturating_sub(sent as u64);
    stream.said += piece.len() as u64;
    Some(piece.len())
}

/// Ends an answer that was begun.
pub fn end<'a>(door: &Door, token: ingest_token, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> ingest_status {
    if !fields::are_sendable(trailers.clone()) {
        return INGEST_E_ARGUMENT;
    }
    let said = speak(door, token, |stream| {
        if stream.phase != Phase::Begun {
            return (INGEST_E_STATE, false);
        }
        if stream.length.is_some_and(|length| stream.said < length) {
            // It would look complete to nobody, and the host may still write the rest.
            return (INGEST_E_ARGUMENT, false);
        }
        let mut reply = Reply::default();
        fields::flatten_all(&mut reply, trailers);
        stream.trailers = reply.block;
        stream.phase = Phase::Ended;
        (INGEST_OK, false)
    });
    match said {
        // Whoever ended it gives the memory back; nobody else gets past the phase.
        Ok(INGEST_OK) => match door.slots().claim(token, true) {
            Ok(claim) if claim.open => {
                if post::give_back(door, claim, ReplyKind::Streamed) {
                    INGEST_OK
                } else {
                    INGEST_E_GONE
                }
            }
            Ok(claim) => post::release(door, claim),
            Err(_) => INGEST_E_GONE,
        },
        Ok(status) => status,
        Err(Unspoken::Closed) => {
            post::give_up_memory(door, token);
            INGEST_E_GONE
        }
        Err(Unspoken::Gone) => INGEST_E_GONE,
    }
}

/// Says it, and posts the slot if something is to be carried home.
fn speak<R>(door: &Door, token: ingest_token, say: impl FnOnce(&mut Stream) -> (R, bool)) -> Result<R, Unspoken> {
    let Spoken { result, post } = door.slots().speak(token, say)?;
    if let Some((home, slot)) = post {
        door.send_home(home, slot);
    }
    Ok(result)
}
