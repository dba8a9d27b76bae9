//! C functions: answering a request, or giving it up, from any thread.

use super::boundary::{Tagged, area, fence, read_tagged};
use super::packed;
use super::server::{ingest_server, server_of};
use crate::memory::tail::Lent;
use crate::request::{ingest_header, ingest_slice, ingest_token};
use crate::server::{Head, Server};
use crate::status::{INGEST_E_ARGUMENT, INGEST_OK, ingest_status};
use std::ffi::{CStr, c_char, c_void};

/// The connection closes after this answer.
pub const INGEST_RESPONSE_CLOSE: u16 = 1;

/// An answer. Set size to sizeof(ingest_response) and every other field that is not used to zero. Framing
/// and the connection are the library's to write: fields named Content-Length, Transfer-Encoding,
/// Keep-Alive and Connection are left out, `Connection: close` is obeyed, and Date is added unless a
/// field brings one. A name or value with an octet that could split the answer is refused.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_response {
    /// Size of this struct in octets.
    pub size: u32,
    /// 200 to 599; `ingest_respond_begin` takes 1xx too.
    pub status: u16,
    /// `INGEST_RESPONSE_...` bits.
    pub flags: u16,
    /// The field lines, in the order in which they are sent; NULL if there are none.
    pub headers: *const ingest_header,
    /// How many field lines.
    pub header_count: usize,
    /// The body; absent is empty. For a HEAD request it is measured but not sent.
    pub body: ingest_slice,
    /// For `ingest_respond_begin` and `ingest_respond_file`; -1 is unknown. Elsewhere 0 or the body's length.
    pub content_length: i64,
    /// 1: the body is borrowed until the event RELEASED, which the option `events` has to ask for; 0: it is copied.
    pub lend: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), starts with its size; zeros are integers, a NULL pointer and an absent slice.
unsafe impl Tagged for ingest_response {
    const REQUIRED: usize = 8;
}

/// More field lines than any client takes; a larger count is memory that was never set.
const FIELDS_CEILING: usize = 65_536;

pub(super) fn is_final(status: u16) -> bool {
    (200..=599).contains(&status)
}

/// An answer whose pointers and numbers were looked at; names and values are `respond/fields`' to judge.
pub(super) struct Checked<'a> {
    pub response: ingest_response,
    fields: &'a [ingest_header],
    pub body: &'a [u8],
}

impl<'a> Checked<'a> {
    pub fn head(&self) -> Head<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a>> {
        let close = self.response.flags & INGEST_RESPONSE_CLOSE != 0;
        Head { status: self.response.status, close, fields: lines(self.fields) }
    }
}

/// Names and values of fields that `fields_of` has looked at.
pub(super) fn lines<'a>(fields: &'a [ingest_header]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
    fields.iter().map(|field| (octets(&field.name), octets(&field.value)))
}

/// The array of fields that a call brings, if each of them is an area.
///
/// SAFETY for callers: a pointer that is not NULL is readable for `count` fields during `'a`, and so is what they point to.
pub(super) unsafe fn fields_of<'a>(fields: *const ingest_header, count: usize) -> Option<&'a [ingest_header]> {
    if count > FIELDS_CEILING {
        return None;
    }
    // SAFETY: promised by the caller of this function.
    let fields = unsafe { area(fields, count) }?;
    // SAFETY: as above; nothing is read yet, only the shape of each area is looked at.
    let shaped = |slice: &ingest_slice| unsafe { area(slice.ptr, slice.len) }.is_some();
    fields.iter().all(|field| shaped(&field.name) && shaped(&field.value)).then_some(fields)
}

/// SAFETY for callers: `response` is NULL or the host's struct, its pointers readable and unchanged during `'a`.
pub(super) unsafe fn check<'a>(response: *const ingest_response) -> Result<Checked<'a>, ingest_status> {
    // SAFETY: promised by the caller of this function.
    let response = unsafe { read_tagged(response) }.ok_or(INGEST_E_ARGUMENT)?;
    if response.flags & !INGEST_RESPONSE_CLOSE != 0 || response.reserved != 0 || response.lend > 1 {
        return Err(INGEST_E_ARGUMENT);
    }
    // SAFETY: promised by the caller of this function.
    let fields = unsafe { fields_of(response.headers, response.header_count) }.ok_or(INGEST_E_ARGUMENT)?;
    // SAFETY: promised by the caller of this function.
    let body = unsafe { area(response.body.ptr, response.body.len) }.ok_or(INGEST_E_ARGUMENT)?;
    Ok(Checked { response, fields, body })
}

/// The octets of a slice that `check` has found to be an area.
fn octets<'a>(slice: &ingest_slice) -> &'a [u8] {
    // SAFETY: `check` saw the shape of this area, and the host promises that it is readable during the call.
    unsafe { area(slice.ptr, slice.len) }.unwrap_or(&[])
}

/// One complete answer.
///
/// SAFETY for callers: as for `check`.
unsafe fn answer(server: &Server, token: ingest_token, response: *const ingest_response) -> ingest_status {
    // SAFETY: promised by the caller of this function.
    let checked = match unsafe { check(response) } {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    let response = &checked.response;
    let length_agrees = response.content_length == 0 || usize::try_from(response.content_length) == Ok(checked.body.len());
    if !is_final(response.status) || !length_agrees {
        return INGEST_E_ARGUMENT;
    }
    if response.lend == 0 {
        return server.respond(token, checked.head(), checked.body);
    }
    // SAFETY: with `lend` the host promises that the body stays as it is until it hears RELEASED.
    let body = unsafe { Lent::new(checked.body) };
    server.respond_lent(token, checked.head(), body)
}

/// Answers a request. Status, fields and body are copied before the call returns, and sent by the
/// thread that owns the connection, in the order in which its requests came.
///
/// With `lend` the body is not copied but sent from where it is: it has to stay readable and unchanged
/// until the event RELEASED of this token, which comes exactly once if the call returns INGEST_OK,
/// whether the body could be sent or not; at the latest it is the caller's again when
/// ingest_server_free has returned. Without `released` in the option `events` nobody would hear of
/// that, so lend is INGEST_E_ARGUMENT then.
///
/// Ownership: the response and everything in it but a lent body stay the caller's. Unless the call
/// returns INGEST_E_ARGUMENT or INGEST_E_STATE the request's memory is the library's again, also when
/// the client has left or the answer came too late.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the token is stale, foreign or was answered before;
/// INGEST_E_ARGUMENT for NULL, a status outside 200 to 599, a field that cannot be sent, or more than
/// a mebibyte of field lines (nothing happened, try again); INGEST_E_STATE if an answer was begun with
/// ingest_respond_begin, which has to be ended or abandoned (nothing happened); INGEST_E_MEMORY;
/// INGEST_E_STOPPED; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond(
    server: *mut ingest_server,
    token: ingest_token,
    response: *const ingest_response,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call; the response is the host's and stays as it is.
        unsafe { server_of(server).map_or(INGEST_E_ARGUMENT, |server| answer(server, token, response)) }
    })
}

/// Answers a request with a status, a content type and a body, the shortest way to say it.
///
/// Ownership: type and body stay the caller's; a NULL type sends no Content-Type, body may be NULL if
/// length is 0. Unless the call returns INGEST_E_ARGUMENT or INGEST_E_STATE the request's memory is the
/// library's again.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: as ingest_respond.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_bytes(
    server: *mut ingest_server,
    token: ingest_token,
    status: u16,
    r#type: *const c_char,
    body: *const c_void,
    length: usize,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and a body of `length` octets.
        let (Some(server), Some(body)) = (unsafe { (server_of(server), area(body.cast::<u8>(), length)) }) else {
            return INGEST_E_ARGUMENT;
        };
        // SAFETY: NULL, or a C string that stays as it is during the call.
        let content_type = (!r#type.is_null()).then(|| unsafe { CStr::from_ptr(r#type) }.to_bytes());
        server.respond_typed(token, status, content_type, body)
    })
}

/// Calls one after the other for each token, writes each result, and counts those that were taken.
fn for_each(tokens: &[ingest_token], each: *mut ingest_status, mut one: impl FnMut(usize, ingest_token) -> ingest_status) -> i32 {
    let mut taken = 0;
    for (index, token) in tokens.iter().enumerate() {
        let status = one(index, *token);
        if status == INGEST_OK {
            taken += 1;
        }
        if !each.is_null() {
            // SAFETY: the host promises an array with a status for each token.
            unsafe { each.add(index).write(status) };
        }
    }
    taken
}

/// Checks the array of tokens that a call for many brings.
///
/// SAFETY for callers: a pointer that is not NULL is readable for `count` tokens during `'a`.
unsafe fn tokens_of<'a>(tokens: *const ingest_token, count: usize) -> Option<&'a [ingest_token]> {
    // The count of those taken has to fit the result.
    i32::try_from(count).ok()?;
    // SAFETY: promised by the caller of this function.
    unsafe { area(tokens, count) }
}

/// Answers many requests with an answer each. What one call would return for each token is written to
/// each; a token or an answer that cannot be taken does not keep the others from being answered.
///
/// Ownership: the arrays and the answers stay the caller's; each has room for count results, or is
/// NULL. For the memory of each request see ingest_respond.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: how many were still open and are answered now; INGEST_E_ARGUMENT for NULL (nothing
/// happened); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_many(
    server: *mut ingest_server,
    tokens: *const ingest_token,
    responses: *const *const ingest_response,
    count: usize,
    each: *mut ingest_status,
) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and arrays of `count` elements.
        let (Some(server), Some(tokens), Some(responses)) =
            (unsafe { (server_of(server), tokens_of(tokens, count), area(responses, count)) })
        else {
            return INGEST_E_ARGUMENT;
        };
        // SAFETY: each response is NULL or the host's and stays as it is; `responses` is as long as `tokens`.
        for_each(tokens, each, |index, token| unsafe { answer(server, token, responses[index]) })
    })
}

/// Answers many requests with one status and an empty body: group commit in one call, or one refusal
/// for a whole batch. What one call would return for each token is written to each.
///
/// Ownership: the arrays stay the caller's; each has room for count results, or is NULL. For the memory
/// of each request see ingest_respond.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: how many were still open and are answered now; INGEST_E_ARGUMENT for NULL or a status
/// outside 200 to 599 (nothing happened); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_all(
    server: *mut ingest_server,
    tokens: *const ingest_token,
    count: usize,
    status: u16,
    each: *mut ingest_status,
) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and an array of `count` tokens.
        let (Some(server), Some(tokens)) = (unsafe { (server_of(server), tokens_of(tokens, count)) }) else {
            return INGEST_E_ARGUMENT;
        };
        if !is_final(status) {
            return INGEST_E_ARGUMENT;
        }
        let head = Head { status, close: false, fields: std::iter::empty() };
        for_each(tokens, each, |_, token| server.respond(token, head.clone(), &[]))
    })
}

/// Answers a batch from one flat block of records, offsets and octets, the counterpart of
/// ingest_queue_poll_packed; docs/packed.md describes it byte by byte. The whole block is looked at before
/// anything happens. A token that is stale, or a record whose answer cannot be sent, does not keep the
/// others from being answered; ingest_respond_many says which those were.
///
/// Ownership: the block stays the caller's, who leaves it unchanged during the call. For the memory of
/// each request see ingest_respond; a record whose answer cannot be sent leaves its request held.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: how many were still open and are answered now; INGEST_E_ARGUMENT for NULL or a block that is
/// malformed (nothing happened); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_packed(server: *mut ingest_server, block: *const c_void, length: usize) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and a block of `length` octets.
        match unsafe { (server_of(server), area(block.cast::<u8>(), length)) } {
            (Some(server), Some(block)) => packed::respond(server, block),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Gives a request up without an answer: its connection closes. Also the way to give back the memory of
/// a request whose client has left.
///
/// Ownership: unless the call returns INGEST_E_ARGUMENT the request's memory is the library's again.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the token is stale, foreign or was answered before;
/// INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_abandon(server: *mut ingest_server, token: ingest_token) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.map_or(INGEST_E_ARGUMENT, |server| server.abandon(token))
    })
}
