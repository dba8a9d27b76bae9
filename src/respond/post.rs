//! Where an answer is given, on any thread of the host: check, claim, flatten, post to the thread that owns the connection.
#![forbid(unsafe_code)]

use super::fields;
use crate::handoff::Door;
use crate::memory::slots::{Claim, Reply, ReplyKind};
use crate::request::ingest_token;
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_GONE, INGEST_OK, ingest_status};

/// Answers a request. Nothing has happened when the result is `INGEST_E_ARGUMENT`; with every other result the request's
/// memory is the library's again.
pub fn post<'a>(
    door: &Door,
    token: ingest_token,
    status: u16,
    close: bool,
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    body: &[u8],
) -> ingest_status {
    let fields_ok = lines.clone().all(|(name, value)| fields::check_field(name, value).is_ok());
    if fields::check_status(status).is_err() || !fields_ok {
        return INGEST_E_ARGUMENT;
    }
    answer(door, token, status, close, body, |reply| {
        for (name, value) in lines {
            fields::flatten(reply, name, value);
        }
    })
}

/// As `post`, for an answer whose only field is its content type.
pub fn post_typed(door: &Door, token: ingest_token, status: u16, content_type: Option<&[u8]>, body: &[u8]) -> ingest_status {
    if fields::check_status(status).is_err() || !content_type.is_none_or(fields::is_value) {
        return INGEST_E_ARGUMENT;
    }
    answer(door, token, status, false, body, |reply| {
        if let Some(value) = content_type {
            reply.block.extend_from_slice(b"Content-Type: ");
            reply.block.extend_from_slice(value);
            reply.block.extend_from_slice(b"\r\n");
        }
    })
}

/// Claims the request and sends the answer home; `render` appends the field lines.
#[inline]
fn answer(door: &Door, token: ingest_token, status: u16, close: bool, body: &[u8], render: impl FnOnce(&mut Reply)) -> ingest_status {
    let Ok(claim) = door.slots().claim(token) else { return INGEST_E_GONE };
    if !claim.open {
        return release(door, claim);
    }
    let home = claim.home;
    let slot = claim.seal(|reply| {
        reply.kind = ReplyKind::Answer;
        reply.status = status;
        reply.close = close;
        reply.has_date = false;
        reply.block.clear();
        reply.block.reserve(body.len() + 64);
        render(reply);
        reply.block.extend_from_slice(b"\r\n");
        reply.body_at = reply.block.len();
        reply.block.extend_from_slice(body);
    });
    door.send_home(home, slot);
    INGEST_OK
}

/// Gives a request up: its connection is closed, since nothing can be answered after it.
pub fn abandon(door: &Door, token: ingest_token) -> ingest_status {
    let Ok(claim) = door.slots().claim(token) else { return INGEST_E_GONE };
    if !claim.open {
        return release(door, claim);
    }
    give_back(door, claim, ReplyKind::Abandon);
    INGEST_OK
}

/// A consumer found a request that has waited too long: 503 instead of delivery.
pub fn refuse_aged(door: &Door, token: ingest_token) {
    if let Ok(claim) = door.slots().claim_queued(token) {
        give_back(door, claim, ReplyKind::Aged);
    }
}

/// The right to answer had ended; the memory goes back all the same (design, section 2, two lives).
pub fn release(door: &Door, claim: Claim<'_>) -> ingest_status {
    give_back(door, claim, ReplyKind::Release);
    INGEST_E_GONE
}

fn give_back(door: &Door, claim: Claim<'_>, kind: ReplyKind) {
    let home = claim.home;
    let slot = claim.seal(|reply| {
        reply.kind = kind;
        reply.block.clear();
    });
    door.send_home(home, slot);
}
