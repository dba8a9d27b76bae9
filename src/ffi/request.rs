//! C functions: looking things up in a request by name, and a request by its token.

use super::boundary::{area, area_mut, fence, fence_or};
use super::packed;
use super::server::{ingest_server, server_of};
use crate::decode::json::pointer::{self, Trouble};
use crate::request::{INGEST_REQUEST_STREAMED, ingest_header, ingest_pairs, ingest_request, ingest_slice, ingest_token};
use crate::status::{
    INGEST_E_ARGUMENT, INGEST_E_FORKED, INGEST_E_MALFORMED, INGEST_E_PANIC, INGEST_E_UNSUPPORTED, INGEST_OK, ingest_status,
};
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

/// Finds the first item whose name matches.
fn first(items: &[ingest_header], name: &[u8], matches: fn(&[u8], &[u8]) -> bool) -> ingest_slice {
    let found = items.iter().find(|item| {
        // SAFETY: the items are the library's own and live as long as the request.
        unsafe { area(item.name.ptr, item.name.len) }.is_some_and(|candidate| matches(candidate, name))
    });
    found.map_or(ingest_slice::NONE, |item| item.value)
}

fn same(candidate: &[u8], name: &[u8]) -> bool {
    candidate == name
}

/// Field names are compared without regard to case (RFC 9110 section 5.1).
fn same_field(candidate: &[u8], name: &[u8]) -> bool {
    candidate.eq_ignore_ascii_case(name)
}

/// SAFETY for callers: NULL, or readable for `length` octets during `'a`.
unsafe fn name_of<'a>(name: *const c_char, length: usize) -> Option<&'a [u8]> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not NULL, and promised readable by the caller of this function.
    unsafe { area(name.cast::<u8>(), length) }
}

/// Looks a name up in one of the request's groups of pairs.
///
/// SAFETY for callers: `request` is NULL or the library's and still held, `name` NULL or readable for `length` octets.
unsafe fn pair(
    request: *const ingest_request,
    group: fn(&ingest_request) -> *const ingest_pairs,
    name: *const c_char,
    length: usize,
) -> ingest_slice {
    fence_or(ingest_slice::NONE, ingest_slice::NONE, || {
        // SAFETY: as promised by the caller of this function.
        let (Some(request), Some(name)) = (unsafe { (request.as_ref(), name_of(name, length)) }) else {
            return ingest_slice::NONE;
        };
        // SAFETY: NULL, or a group that lives as long as the request.
        let Some(pairs) = (unsafe { group(request).as_ref() }) else {
            return ingest_slice::NONE;
        };
        // SAFETY: the group's items are the library's own and live as long as the request.
        unsafe { area(pairs.items, pairs.count as usize) }.map_or(ingest_slice::NONE, |items| first(items, name, same))
    })
}

/// The value of the first header field with this name, compared without regard to ASCII case. A field
/// that came more than once has its other values in request->headers.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; name stays
/// the caller's and needs no NUL.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: the value, empty if the field is empty; ptr is NULL if there is no such field, request or
/// name is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_header(request: *const ingest_request, name: *const c_char, length: usize) -> ingest_slice {
    fence_or(ingest_slice::NONE, ingest_slice::NONE, || {
        // SAFETY: NULL, or a request that the host still holds, and a name of `length` octets.
        let (Some(request), Some(name)) = (unsafe { (request.as_ref(), name_of(name, length)) }) else {
            return ingest_slice::NONE;
        };
        // SAFETY: the field lines are the library's own and live as long as the request.
        unsafe { area(request.headers, request.header_count) }.map_or(ingest_slice::NONE, |items| first(items, name, same_field))
    })
}

/// The decoded value of the first pair with this name in the query. Names are compared exactly.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; name stays
/// the caller's and needs no NUL.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: the value, empty if the pair has none; ptr is NULL if there is no such pair, request or
/// name is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_query(request: *const ingest_request, name: *const c_char, length: usize) -> ingest_slice {
    // SAFETY: NULL, or a request that the host still holds, and a name of `length` octets.
    unsafe { pair(request, |request| request.query_pairs, name, length) }
}

/// The value of the first cookie with this name. Names are compared exactly.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; name stays
/// the caller's and needs no NUL.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: the value, empty if the cookie is empty; ptr is NULL if there is no such cookie, request or
/// name is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_cookie(request: *const ingest_request, name: *const c_char, length: usize) -> ingest_slice {
    // SAFETY: NULL, or a request that the host still holds, and a name of `length` octets.
    unsafe { pair(request, |request| request.cookies, name, length) }
}

/// The decoded value of the first field with this name in a form body (request->form). Names are
/// compared exactly. Fields of a multipart body are parts, which ingest_request_part finds.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; name stays
/// the caller's and needs no NUL.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: the value, empty if the field is empty; ptr is NULL if there is no such field, the body is
/// no form, request or name is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_form(request: *const ingest_request, name: *const c_char, length: usize) -> ingest_slice {
    // SAFETY: NULL, or a request that the host still holds, and a name of `length` octets.
    unsafe { pair(request, |request| request.form, name, length) }
}

/// The content of the first part with this name in a multipart body. Names are compared exactly; the other
/// parts of the name, file names and heads are in request->parts.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; name stays
/// the caller's and needs no NUL.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: the content, empty if the part is empty; ptr is NULL if there is no such part, the body is
/// no multipart/form-data, request or name is NULL, in a forked child, and if the part is in a file alone
/// (body=spool): request->parts says where.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_part(request: *const ingest_request, name: *const c_char, length: usize) -> ingest_slice {
    fence_or(ingest_slice::NONE, ingest_slice::NONE, || {
        // SAFETY: NULL, or a request that the host still holds, and a name of `length` octets.
        let (Some(request), Some(name)) = (unsafe { (request.as_ref(), name_of(name, length)) }) else {
            return ingest_slice::NONE;
        };
        // SAFETY: NULL, or the library's own, and it lives as long as the request; so do the pointers.
        let parts = unsafe { request.parts.as_ref().and_then(|parts| area(parts.items, parts.count as usize)) };
        // SAFETY: each points to a part that lives as long as the request.
        let mut parts = parts.unwrap_or(&[]).iter().filter_map(|part| unsafe { part.as_ref() });
        // SAFETY: the names are the library's own and live as long as the request.
        let found = parts.find(|part| unsafe { area(part.name.ptr, part.name.len) } == Some(name));
        found.map_or(ingest_slice::NONE, |part| part.body)
    })
}

/// The value at a JSON pointer (RFC 6901: "/a/0/b", "" for the whole text) in a JSON body, as it stands there: a string
/// with its quotes and escapes, an object with its braces. The body is passed once, and checked, whatever decode.json
/// says and whatever its Content-Type is; nothing is allocated. Of members with the same name the last one counts.
///
/// Ownership: the slice is the request's and lives as long as the host holds the request; pointer stays
/// the caller's and needs no NUL; value is the caller's, and written in any case unless it is NULL.
/// Thread: any, also several at once.
/// Blocks: never; it takes time in proportion to the body.
/// Returns: INGEST_OK, and value->ptr is NULL if the pointer leads to nothing; INGEST_E_MALFORMED if the body is no
/// well-formed JSON, is empty, or nests deeper than 512; INGEST_E_UNSUPPORTED if it is in a file (body=spool) or
/// arrives in events (body=stream); INGEST_E_ARGUMENT for NULL, or a pointer that is no JSON pointer in UTF-8;
/// INGEST_E_FORKED. After an error value->ptr is NULL.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_json(
    request: *const ingest_request,
    pointer: *const c_char,
    length: usize,
    value: *mut ingest_slice,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a slice of the caller's that nobody else uses during the call.
        let Some(value) = (unsafe { value.as_mut() }) else { return INGEST_E_ARGUMENT };
        *value = ingest_slice::NONE;
        // SAFETY: NULL, or a request that the host still holds, and a pointer of `length` octets.
        let (Some(request), Some(pointer)) = (unsafe { (request.as_ref(), name_of(pointer, length)) }) else {
            return INGEST_E_ARGUMENT;
        };
        if request.body_fd >= 0 || request.flags & INGEST_REQUEST_STREAMED != 0 {
            return INGEST_E_UNSUPPORTED;
        }
        // SAFETY: the body is the library's own and lives as long as the request.
        let body = unsafe { area(request.body.ptr, request.body.len) }.unwrap_or(&[]);
        match pointer::find(body, pointer) {
            Ok(found) => {
                if let Some(found) = found.and_then(|range| body.get(range)) {
                    *value = ingest_slice { ptr: found.as_ptr(), len: found.len() };
                }
                INGEST_OK
            }
            Err(Trouble::Pointer) => INGEST_E_ARGUMENT,
            Err(Trouble::Text(_)) => INGEST_E_MALFORMED,
        }
    })
}

/// Gives octets of a streamed body back, the oldest that BODY events of this token brought, so that as many
/// may follow: while the host has `body_window` octets nothing more of that body is read. Credit need not
/// be given event by event. What was not given back when the request is answered, abandoned or returned
/// is given back by that.
///
/// Ownership: the octets are the library's again, and must not be read any more.
/// Thread: any, also from a callback.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the token is stale or foreign, or the right to answer has ended
/// (nothing happened: the octets may be read until the request is given back); INGEST_E_ARGUMENT for
/// NULL, a request whose body is not streamed, or more octets than the host has of it (nothing happened);
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_credit(server: *mut ingest_server, token: ingest_token, bytes: usize) -> ingest_status {
    // SAFETY: NULL, or a server that is not freed during the call.
    fence(|| unsafe { server_of(server) }.map_or(INGEST_E_ARGUMENT, |server| server.credit(token, bytes)))
}

/// Copies octets of a request's body into the caller's buffer, from an offset on, whether the body is in memory
/// or in a file (body=spool): for a body that a packed block does not carry. The host must hold the request: it was delivered, and neither answered, abandoned
/// nor returned.
///
/// Ownership: the buffer is the caller's.
/// Thread: any.
/// Blocks: never for a body in memory; for one in a file as long as the kernel takes to read it.
/// Returns: how many octets were copied, 0 at the body's end or if there is no body, and fewer than there is
/// room for only if the body ends there; INGEST_E_GONE if the token is stale or foreign; INGEST_E_SYSTEM if the file
/// cannot be read (errno says why); INGEST_E_ARGUMENT for NULL (a buffer may be NULL if capacity is 0);
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_request_body_read(
    server: *mut ingest_server,
    token: ingest_token,
    offset: u64,
    buffer: *mut c_void,
    capacity: usize,
) -> i64 {
    fence_or(i64::from(INGEST_E_FORKED), i64::from(INGEST_E_PANIC), || {
        // SAFETY: NULL, or a server that is not freed during the call, and a buffer of `capacity` octets.
        match unsafe { (server_of(server), area_mut(buffer.cast::<MaybeUninit<u8>>(), capacity)) } {
            (Some(server), Some(buffer)) => packed::read_body(server, token, offset, buffer),
            _ => i64::from(INGEST_E_ARGUMENT),
        }
    })
}

/// The request of a token, for hosts that keep the token only. The host must hold the request: it was
/// delivered, and neither answered, abandoned nor returned.
///
/// Ownership: the request is the library's, read-only, and lives as long as the host holds it.
/// Thread: any.
/// Blocks: never.
/// Returns: the request; NULL if the token is stale or foreign, server is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_token_request(server: *mut ingest_server, token: ingest_token) -> *const ingest_request {
    fence_or(std::ptr::null(), std::ptr::null(), || {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.map_or(std::ptr::null(), |server| server.token_request(token))
    })
}

/// Ties a word of the host to a request: events about this token carry it from then on. It is 0 before.
///
/// Ownership: the library never looks at the word, so a pointer in it stays the caller's.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_GONE if the token is stale or foreign; INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_token_tag(server: *mut ingest_server, token: ingest_token, tag: u64) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.map_or(INGEST_E_ARGUMENT, |server| server.token_tag(token, tag))
    })
}

/// Whether an answer would still reach somebody. It may have changed before the caller looks at it: a
/// hint for long work, not a promise.
///
/// Ownership: none.
/// Thread: any.
/// Blocks: never.
/// Returns: 2 if the request is open; 1 if the peer sends nothing more but may still read; 0 if the
/// token is gone; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_token_alive(server: *const ingest_server, token: ingest_token) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.map_or(INGEST_E_ARGUMENT, |server| server.token_alive(token))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{ingest_part, ingest_parts};

    fn item(name: &'static str, value: &'static str) -> ingest_header {
        ingest_header { name: ingest_slice::of(name.as_bytes()), value: ingest_slice::of(value.as_bytes()) }
    }

    fn pairs(items: &[ingest_header]) -> ingest_pairs {
        ingest_pairs { size: size_of::<ingest_pairs>() as u32, count: items.len() as u32, items: items.as_ptr() }
    }

    fn text(slice: ingest_slice) -> Option<String> {
        // SAFETY: the slices of this test point to constants.
        let octets = (!slice.ptr.is_null()).then(|| unsafe { area(slice.ptr, slice.len) }.unwrap_or(&[]));
        octets.map(|octets| String::from_utf8_lossy(octets).into_owned())
    }

    #[test]
    fn lookups_find_the_first_of_a_name() {
        let headers = [item("Host", "a"), item("X-Empty", ""), item("Accept", "one"), item("ACCEPT", "two")];
        let query = [item("q", "1"), item("Q", "2"), item("q", "3"), item("", "none")];
        let (query, cookies) = (pairs(&query), pairs(&[]));
        // SAFETY: zeros are valid in every field: integers, absent slices, NULL pointers.
        let mut request: ingest_request = unsafe { std::mem::zeroed() };
        request.headers = headers.as_ptr();
        request.header_count = headers.len();
        request.query_pairs = &raw const query;
        request.cookies = &raw const cookies;
        type Lookup = unsafe extern "C" fn(*const ingest_request, *const c_char, usize) -> ingest_slice;
        let find = |lookup: Lookup, name: &str| {
            // SAFETY: request and name live through the call.
            text(unsafe { lookup(&raw const request, name.as_ptr().cast(), name.len()) })
        };
        assert_eq!(find(ingest_request_header, "accept").as_deref(), Some("one"));
        assert_eq!(find(ingest_request_header, "x-empty").as_deref(), Some(""));
        assert_eq!(find(ingest_request_header, "accep"), None);
        assert_eq!(find(ingest_request_query, "q").as_deref(), Some("1"));
        assert_eq!(find(ingest_request_query, "Q").as_deref(), Some("2"));
        assert_eq!(find(ingest_request_query, "").as_deref(), Some("none"));
        assert_eq!(find(ingest_request_cookie, "q"), None);
        assert_eq!(find(ingest_request_form, "q"), None);
        assert_eq!(find(ingest_request_part, "q"), None);
        let part = |name: &'static str, body: &'static str| {
            // SAFETY: zeros are valid in every field: integers, absent slices, NULL pointers.
            let part: ingest_part = unsafe { std::mem::zeroed() };
            ingest_part { name: ingest_slice::of(name.as_bytes()), body: ingest_slice::of(body.as_bytes()), ..part }
        };
        let several = [part("p", "one"), part("P", ""), part("p", "two")];
        let pointers = [&raw const several[0], &raw const several[1], &raw const several[2]];
        let parts = ingest_parts { size: size_of::<ingest_parts>() as u32, count: 3, items: pointers.as_ptr() };
        let with_parts = ingest_request { parts: &raw const parts, ..request };
        for (name, expected) in [("p", Some("one")), ("P", Some("")), ("q", None), ("", None)] {
            // SAFETY: request and name live through the call.
            let found = text(unsafe { ingest_request_part(&raw const with_parts, name.as_ptr().cast(), name.len()) });
            assert_eq!(found.as_deref(), expected);
        }
        // SAFETY: NULL is allowed.
        assert_eq!(text(unsafe { ingest_request_header(&raw const request, std::ptr::null(), 4) }), None);
    }

    #[test]
    fn json_is_looked_up_in_the_body() {
        let find = |body: &'static str, pointer: &str| {
            // SAFETY: zeros are valid in every field: integers, absent slices, NULL pointers.
            let mut request: ingest_request = unsafe { std::mem::zeroed() };
            request.body = if body.is_empty() { ingest_slice::NONE } else { ingest_slice::of(body.as_bytes()) };
            request.body_fd = -1;
            let mut value = ingest_slice::of(b"left over");
            // SAFETY: request, pointer and value live through the call.
            let status = unsafe { ingest_request_json(&raw const request, pointer.as_ptr().cast(), pointer.len(), &raw mut value) };
            (status, text(value))
        };
        let found = |value: &str| (INGEST_OK, Some(value.to_owned()));
        assert_eq!(find("{\"a\":[1, \"x\" ]}", "/a/1"), found("\"x\""));
        assert_eq!(find(" [] ", ""), found("[]"));
        assert_eq!(find("[1]", "/1"), (INGEST_OK, None));
        assert_eq!(find("[1", "/0"), (INGEST_E_MALFORMED, None));
        assert_eq!(find("", ""), (INGEST_E_MALFORMED, None));
        assert_eq!(find("[1]", "0"), (INGEST_E_ARGUMENT, None));
        // SAFETY: NULL is allowed.
        let status = unsafe { ingest_request_json(std::ptr::null(), c"".as_ptr(), 0, std::ptr::null_mut()) };
        assert_eq!(status, INGEST_E_ARGUMENT);
    }
}
