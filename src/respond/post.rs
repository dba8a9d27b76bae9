//! Where an answer is given, on any thread of the host: check, claim, flatten, post to the thread that owns the connection.
#![forbid(unsafe_code)]

use super::fields;
use crate::handoff::Door;
use crate::memory::reply::{Reply, ReplyKind};
use crate::memory::slots::{Claim, Refused};
use crate::memory::tail::Tail;
use crate::request::ingest_token;
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_GONE, INGEST_E_MEMORY, INGEST_E_STATE, INGEST_OK, ingest_status};

/// The body of an answer that is given whole.
#[derive(Debug)]
pub enum Body<'a> {
    /// To be copied behind the head.
    Copied(&'a [u8]),
    /// To be sent from where it is.
    Apart(Tail),
}

/// Answers a request. Nothing has happened when the result is `INGEST_E_ARGUMENT` or `INGEST_E_STATE`; with every other result
/// the request's memory is the library's again.
pub fn post<'a>(
    door: &Door,
    token: ingest_token,
    status: u16,
    close: bool,
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    body: Body<'_>,
) -> ingest_status {
    if fields::check_status(status).is_err() || !fields::are_sendable(lines.clone()) {
        return INGEST_E_ARGUMENT;
    }
    answer(door, token, status, |reply| {
        reply.close = close;
        if let Body::Copied(octets) = &body {
            if !has_room(reply, octets) {
                return false;
            }
        }
        fields::flatten_all(reply, lines);
        match body {
            Body::Copied(octets) => end_head(reply, octets),
            Body::Apart(tail) => {
                end_head(reply, &[]);
                reply.tail = tail;
            }
        }
        true
    })
}

/// As `post`, for an answer whose only field is its content type.
pub fn post_typed(door: &Door, token: ingest_token, status: u16, content_type: Option<&[u8]>, body: &[u8]) -> ingest_status {
    if fields::check_status(status).is_err() || !content_type.is_none_or(fields::is_value) {
        return INGEST_E_ARGUMENT;
    }
    answer(door, token, status, |reply| {
        if !has_room(reply, body) {
            return false;
        }
        if let Some(value) = content_type {
            reply.block.extend_from_slice(b"Content-Type: ");
            reply.block.extend_from_slice(value);
            reply.block.extend_from_slice(b"\r\n");
        }
        end_head(reply, body);
        true
    })
}

/// Sets room aside for a body, and for a few fields before it; false if there is no memory.
fn has_room(reply: &mut Reply, body: &[u8]) -> bool {
    reply.block.try_reserve(body.len().saturating_add(64)).is_ok()
}

/// The empty line that ends a head, and the octets that are copied behind it.
#[inline]
fn end_head(reply: &mut Reply, body: &[u8]) {
    reply.block.extend_from_slice(b"\r\n");
    reply.body_at = reply.block.len();
    reply.block.extend_from_slice(body);
}

/// Claims the request and sends the answer home; `render` appends fields and body. When it cannot, its connection is closed.
#[inline]
fn answer(door: &Door, token: ingest_token, status: u16, render: impl FnOnce(&mut Reply) -> bool) -> ingest_status {
    fail_point!("answer");
    let claim = match door.slots().claim(token, false) {
        Ok(claim) => claim,
        Err(Refused::Gone) => return INGEST_E_GONE,
        Err(Refused::Begun) => return INGEST_E_STATE,
    };
    if !claim.open {
        return release(door, claim);
    }
    let home = claim.home;
    let mut rendered = true;
    let slot = claim.seal(|reply| {
        reply.begin(ReplyKind::Answer);
        reply.status = status;
        rendered = render(reply);
        if !rendered {
            reply.begin(ReplyKind::Abandon);
        }
    });
    match (send_home(door, home, slot), rendered) {
        (_, false) => INGEST_E_MEMORY,
        (true, true) => INGEST_OK,
        (false, true) => INGEST_E_GONE,
    }
}

/// Gives a request up: its connection is closed, since nothing can be answered after it.
pub fn abandon(door: &Door, token: ingest_token) -> ingest_status {
    let Ok(claim) = door.slots().claim(token, true) else { return INGEST_E_GONE };
    if !claim.open {
        return release(door, claim);
    }
    give_back(door, claim, ReplyKind::Abandon);
    INGEST_OK
}

/// A consumer found a request that has waited too long, in the way that `kind` says: 503 instead of delivery.
pub fn refuse_queued(door: &Door, token: ingest_token, kind: ReplyKind) {
    if let Ok(claim) = door.slots().claim_queued(token) {
        give_back(door, claim, kind);
    }
}

/// The right to answer had ended; the memory goes back all the same (design, section 2, two lives).
pub fn release(door: &Door, claim: Claim<'_>) -> ingest_status {
    give_back(door, claim, ReplyKind::Release);
    INGEST_E_GONE
}

/// Gives back the memory of a request whose right to answer has ended; one that can still be answered is left alone.
pub fn give_up_memory(door: &Door, token: ingest_token) {
    if let Ok(claim) = door.slots().claim_closed(token, true) {
        release(door, claim);
    }
}

/// Everything stops, and the host has never seen this request.
pub fn give_up_undelivered(door: &Door, token: ingest_token) {
    if let Ok(claim) = door.slots().claim(token, true) {
        give_back(door, claim, ReplyKind::Aged);
    }
}

/// As `give_up_memory`, for one that the host has not begun: whoever spoke to it ends it by other calls.
pub fn give_up_unspoken(door: &Door, token: ingest_token) {
    if let Ok(claim) = door.slots().claim_closed(token, false) {
        release(door, claim);
    }
}

/// True when somebody is there to act on it.
pub(super) fn give_back(door: &Door, claim: Claim<'_>, kind: ReplyKind) -> bool {
    let home = claim.home;
    let slot = claim.seal(|reply| reply.begin(kind));
    send_home(door, home, slot)
}

/// Posts a slot, unless it stands in the mailbox already.
fn send_home(door: &Door, home: u16, slot: Option<u32>) -> bool {
    slot.is_none_or(|slot| door.send_home(home, slot))
}
