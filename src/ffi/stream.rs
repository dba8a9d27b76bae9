//! C functions: answering a request in pieces, or with a file, from any thread.

use super::boundary::{area, fence};
use super::respond::{check, fields_of, ingest_response, is_final, lines};
use super::server::{ingest_server, server_of};
use crate::request::{ingest_header, ingest_token};
use crate::status::{INGEST_E_ARGUMENT, ingest_status};
use std::ffi::{c_int, c_void};

/// Begins an answer whose body follows in pieces, or sends an interim answer.
///
/// With a status of 200 to 599 the answer's head is sent; ingest_respond_write adds octets, and
/// ingest_respond_end ends it. content_length says how many octets will be written, 0 for none; -1 is
/// unknown: the body is sent in chunks, to an HTTP/1.0 client until the connection closes. Until the end
/// the request's memory stays the host's, whatever becomes of the client.
///
/// With a status of 100 to 199 (but 101) an interim answer is sent, such as 103 with Link fields; the
/// request stays the host's to answer, whatever the call returns. An HTTP/1.0 client gets none.
///
/// Ownership: the response and everything in it stay the caller's. After INGEST_E_GONE for a status of
/// 200 or more the request's memory is the library's again, since nothing was begun that could be ended.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the token is stale or foreign, or the right to answer has ended;
/// INGEST_E_STATE if an answer was begun before (nothing happened); INGEST_E_BUSY for an interim answer
/// if 16 KiB of them are not sent yet (nothing happened); INGEST_E_ARGUMENT for NULL, another status, a
/// body, lend, or a field that cannot be sent (nothing happened); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_begin(
    server: *mut ingest_server,
    token: ingest_token,
    response: *const ingest_response,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call; the response is the host's and stays as it is.
        let (Some(server), Ok(checked)) = (unsafe { (server_of(server), check(response)) }) else {
            return INGEST_E_ARGUMENT;
        };
        let asked = &checked.response;
        if !checked.body.is_empty() || asked.lend != 0 || asked.content_length < -1 {
            return INGEST_E_ARGUMENT;
        }
        if is_final(asked.status) {
            return server.respond_begin(token, checked.head(), u64::try_from(asked.content_length).ok());
        }
        server.respond_interim(token, asked.status, checked.head().fields)
    })
}

/// Adds octets to the body of an answer that was begun. They are copied: as many as there is room for,
/// since at most 64 KiB of one answer wait for the client to read. With INGEST_E_BUSY there is no room;
/// the event WRITABLE says when there is some again, if the option `events` asks for it. For a HEAD
/// request, and for 204 and 304, octets are taken and not sent.
///
/// Ownership: the octets stay the caller's. The request's memory stays the host's, also after
/// INGEST_E_GONE: ingest_respond_end or ingest_abandon gives it back.
/// Thread: any, also from a callback. Pieces from several threads are sent in the order of the calls.
/// Blocks: never.
/// Returns: how many octets were taken, possibly fewer than length; INGEST_E_BUSY if none (nothing
/// happened); INGEST_E_GONE if the client has left, the server has stopped, or the token is stale or
/// foreign; INGEST_E_STATE if no answer was begun (nothing happened); INGEST_E_ARGUMENT for NULL, or for
/// more octets in all than content_length said (nothing happened); INGEST_E_MEMORY (nothing happened);
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_write(server: *mut ingest_server, token: ingest_token, bytes: *const c_void, length: usize) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and an area of `length` octets.
        match unsafe { (server_of(server), area(bytes.cast::<u8>(), length)) } {
            (Some(server), Some(octets)) => server.respond_write(token, octets),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Ends an answer that was begun. Trailer fields are sent behind a body of unknown length, and left out
/// where the protocol has no place for them.
///
/// Ownership: the trailers stay the caller's. Unless the call returns INGEST_E_ARGUMENT or INGEST_E_STATE
/// the request's memory is the library's again.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the client has left, the server has stopped, or the token is stale
/// or foreign; INGEST_E_STATE if no answer was begun, or it was ended before (nothing happened);
/// INGEST_E_ARGUMENT for NULL, a trailer that cannot be sent, or fewer octets than content_length said:
/// write the rest, or abandon the request (nothing happened); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_end(
    server: *mut ingest_server,
    token: ingest_token,
    trailers: *const ingest_header,
    count: usize,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and an array of `count` fields.
        match unsafe { (server_of(server), fields_of(trailers, count)) } {
            (Some(server), Some(trailers)) => server.respond_end(token, lines(trailers)),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Answers a request with a part of a regular file as the body: length octets from offset on. The kernel
/// sends them without a copy, except in a server that is driven by turns. If the file becomes shorter
/// meanwhile, the connection is closed so that the client sees that something is missing.
///
/// Ownership: the response stays the caller's, and the descriptor too: it is duplicated, and may be closed
/// at once. Unless the call returns INGEST_E_ARGUMENT, INGEST_E_STATE or INGEST_E_SYSTEM the request's
/// memory is the library's again.
/// Thread: any, also from a callback.
/// Blocks: never on the network; opening nothing, it asks the file for its length.
/// Returns: as ingest_respond; INGEST_E_ARGUMENT also for a descriptor that is no regular file, a part that
/// does not lie in it, a body, lend, or a content_length that is neither 0 nor length (nothing happened);
/// INGEST_E_SYSTEM if the descriptor cannot be duplicated (nothing happened).
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_respond_file(
    server: *mut ingest_server,
    token: ingest_token,
    response: *const ingest_response,
    fd: c_int,
    offset: u64,
    length: u64,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call; the response is the host's and stays as it is.
        let (Some(server), Ok(checked)) = (unsafe { (server_of(server), check(response)) }) else {
            return INGEST_E_ARGUMENT;
        };
        let asked = &checked.response;
        let length_agrees = asked.content_length == 0 || u64::try_from(asked.content_length) == Ok(length);
        if !is_final(asked.status) || !length_agrees || !checked.body.is_empty() || asked.lend != 0 || fd < 0 {
            return INGEST_E_ARGUMENT;
        }
        server.respond_file(token, checked.head(), (fd, offset, length))
    })
}
