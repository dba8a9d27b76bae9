//! The `#[repr(C)]` face of the letter: what the library fills and the host reads. Layout is ABI; `tests/abi.rs` compares it with C.
#![forbid(unsafe_code)]
#![allow(non_camel_case_types)]

/// A run of octets, never NUL-terminated. `ptr` is NULL exactly when the thing it names is absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_slice {
    /// First octet, or NULL.
    pub ptr: *const u8,
    /// How many octets.
    pub len: usize,
}

impl ingest_slice {
    pub const NONE: ingest_slice = ingest_slice { ptr: std::ptr::null(), len: 0 };

    pub const fn of(bytes: &'static [u8]) -> Self {
        ingest_slice { ptr: bytes.as_ptr(), len: bytes.len() }
    }
}

/// A name and its value: a header field, a query pair, a cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_header {
    /// The name, as received.
    pub name: ingest_slice,
    /// The value, without the whitespace around it.
    pub value: ingest_slice,
}

/// A request's 64-bit name: bit 63 is zero, 0 is never a token, and a token is never used twice.
pub type ingest_token = u64;

/// Who sent the request.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_peer {
    /// Size of this struct in octets.
    pub size: u32,
    /// 4 for IPv4 (also when it came through a dual-stack listener), 6 for IPv6, 0 for a unix socket.
    pub family: u16,
    /// The peer's port, 0 for a unix socket.
    pub port: u16,
    /// The address alone: `192.0.2.1`, `2001:db8::1`; empty for a unix socket.
    pub address: ingest_slice,
    /// Address and port: `192.0.2.1:4711`, `[2001:db8::1]:4711`; empty for a unix socket.
    pub text: ingest_slice,
}

/// The session was resumed, with a ticket of an earlier one.
pub const INGEST_TLS_RESUMED: u32 = 1;

/// The client's certificate could be read: serial, `client_not_before` and `client_not_after` are there, and subject and issuer unless they
/// are malformed or make more than 16 KiB of text.
pub const INGEST_TLS_CLIENT_READ: u32 = 2;
/// The client's certificate has alternative names, and `client_names` has none of them: they are malformed, more than 256, or make more than
/// 16 KiB of text.
pub const INGEST_TLS_CLIENT_NAMES_UNREAD: u32 = 4;

/// What TLS negotiated; a request that came in plain has none.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_tls {
    /// Size of this struct in octets.
    pub size: u32,
    /// `INGEST_TLS_...` bits.
    pub flags: u32,
    /// 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
    pub version: u16,
    /// The IANA number of the cipher suite.
    pub cipher_suite: u16,
    /// The IANA number of the group that keys were exchanged with, 0 if none were.
    pub group: u16,
    /// Zero.
    pub reserved: u16,
    /// The server name that the client asked for (SNI), absent if it sent none.
    pub server_name: ingest_slice,
    /// The application protocol that was agreed on (ALPN), absent if none.
    pub alpn: ingest_slice,
    /// The client's certificate in DER, absent if it sent none. It was verified against `tls.client_ca`. In a session that was resumed it is
    /// the one of the first session.
    pub client_certificate: ingest_slice,
    /// Its subject as text (RFC 4514): UTF-8, the last part first, `CN=client,O=Example`. Nothing is cut off: commas and the like have a
    /// backslash in front, control characters are a backslash and two hexadecimal digits for each octet (NUL is `\00`). Attributes without a
    /// registered name, and values that are no text, are `1.2.3.4=#04024869`. Present and empty if the certificate has an empty one.
    pub client_subject: ingest_slice,
    /// Its issuer, in the same form.
    pub client_issuer: ingest_slice,
    /// Its serial number, the octets as they stand in the certificate: the most significant first, 0 in front of one above 127.
    pub client_serial: ingest_slice,
    /// SHA-256 of `client_certificate`, 32 octets (not text). There whenever that is.
    pub client_fingerprint: ingest_slice,
    /// Its subject's alternative names in the order of the certificate, NULL if none is shown. The name of a pair is `DNS`, `IP Address`,
    /// `email`, `URI`, `DirName` or `Registered ID`, the value is text: an address as `192.0.2.1` or `2001:db8::1`, a DirName as the subject,
    /// anything else as it stands in the certificate, but a backslash is two, and a control character a backslash and two hexadecimal
    /// digits. Other kinds are left out.
    pub client_names: *const ingest_header,
    /// How many of them.
    pub client_name_count: usize,
    /// From when it is valid, in seconds since 1970, without leap seconds.
    pub client_not_before: i64,
    /// Until when, the last second included.
    pub client_not_after: i64,
}

/// Decoded names and values, in the order received.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_pairs {
    /// Size of this struct in octets.
    pub size: u32,
    /// How many pairs there are.
    pub count: u32,
    /// The first pair, NULL when there is none.
    pub items: *const ingest_header,
}

/// One part of a multipart body. It may grow at its end, so parts are reached by pointers, one for each.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_part {
    /// Size of this struct in octets.
    pub size: u32,
    /// Zero.
    pub flags: u32,
    /// The field's name; clients may give several parts the same.
    pub name: ingest_slice,
    /// The file's name as the client says it, absent if it sent none, empty if no file was chosen. Never a path to write to.
    pub filename: ingest_slice,
    /// The parameter `filename*` in UTF-8, absent if it was not sent, malformed, or in a charset that is not known.
    pub filename_extended: ingest_slice,
    /// Its Content-Type, absent if it has none, which means `text/plain`.
    pub content_type: ingest_slice,
    /// The field lines of its head, in the order received, names as received.
    pub headers: *const ingest_header,
    /// How many field lines.
    pub header_count: usize,
    /// Its content, as sent: no Content-Transfer-Encoding is undone. Absent when it is in a file alone (docs/spool.md).
    pub body: ingest_slice,
    /// The request's `body_fd`: -1 while the whole body is in memory, else the file that has this content, too.
    pub body_fd: i32,
    /// Zero.
    pub reserved: u32,
    /// Where the content begins in the request's body, wherever that is: in `body_fd`, or behind `request->body.ptr`.
    pub body_offset: u64,
    /// How long it is.
    pub body_len: u64,
}

/// The parts of a multipart body, in the order received.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_parts {
    /// Size of this struct in octets.
    pub size: u32,
    /// How many parts there are.
    pub count: u32,
    /// A pointer to each part, NULL when there is none.
    pub items: *const *const ingest_part,
}

/// The times of this request were read at every step (`journey=steps`, or this one was drawn by `journey=sample`).
pub const INGEST_JOURNEY_EXACT: u32 = 1;
/// This is the first request of its connection, so `accept_ns` and `handshake_ns` are its own.
pub const INGEST_JOURNEY_FIRST: u32 = 2;

/// What each step cost, in nanoseconds. Without `INGEST_JOURNEY_EXACT` only waits between ticks show: body and queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ingest_journey {
    /// Size of this struct in octets.
    pub size: u32,
    /// `INGEST_JOURNEY_...` bits.
    pub flags: u32,
    /// CLOCK_MONOTONIC when the request's first octets were read.
    pub received_at_ns: u64,
    /// CLOCK_MONOTONIC when the sealed request was handed over.
    pub delivered_at_ns: u64,
    /// Taking the connection in: `accept` and its bookkeeping.
    pub accept_ns: u64,
    /// The TLS handshake, waits included.
    pub handshake_ns: u64,
    /// Reading from the socket.
    pub read_ns: u64,
    /// Decrypting.
    pub decrypt_ns: u64,
    /// Parsing the head and the framing.
    pub parse_ns: u64,
    /// Decoding target, query, cookies and body.
    pub decode_ns: u64,
    /// From the end of the head to the end of the body, waits included.
    pub body_wait_ns: u64,
    /// In the queue, until a consumer took it.
    pub queue_ns: u64,
    /// CLOCK_MONOTONIC when the first octets of the TLS handshake were there, and when it was complete; `handshake_ns` counts from the
    /// accept on. Zero for plain connections, and for all requests but the first of a connection.
    pub handshake_began_at_ns: u64,
    pub handshake_ended_at_ns: u64,
    /// Of `body_wait_ns`, writing the body to its file with `body=spool`, and finding its parts meanwhile. Zero without `INGEST_JOURNEY_EXACT`.
    pub spool_ns: u64,
}

/// The request came over TLS.
pub const INGEST_REQUEST_TLS: u32 = 1;
/// The connection will be kept open after the answer, unless the answer says otherwise.
pub const INGEST_REQUEST_KEEP_ALIVE: u32 = 2;
/// The method is HEAD: the answer's body is measured but not sent.
pub const INGEST_REQUEST_HEAD: u32 = 4;
/// `path` has a `/` that was `%2F` in the target.
pub const INGEST_REQUEST_PATH_HAS_ENCODED_SLASH: u32 = 8;
/// `path` has a NUL that was `%00` in the target.
pub const INGEST_REQUEST_PATH_HAS_ENCODED_NUL: u32 = 16;
/// `path` has a `%` that no two hexadecimal digits followed; it stands there as it came.
pub const INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE: u32 = 32;
/// The body came with `Transfer-Encoding: chunked`.
pub const INGEST_REQUEST_CHUNKED: u32 = 64;
/// The client asked for `100 Continue` before it sent the body.
pub const INGEST_REQUEST_EXPECTS_CONTINUE: u32 = 128;
/// The body is not here yet: it comes in BODY events of this token, then BODY_END, or GONE if it is cut short (`body=stream`). `body_len` is the
/// length that was announced, 0 if none was or the body is decoded; `encoded_len` the announced length in any case.
pub const INGEST_REQUEST_STREAMED: u32 = 256;

/// A method that has no number; read `method`.
pub const INGEST_METHOD_OTHER: u16 = 0;
pub const INGEST_METHOD_GET: u16 = 1;
pub const INGEST_METHOD_HEAD: u16 = 2;
pub const INGEST_METHOD_POST: u16 = 3;
pub const INGEST_METHOD_PUT: u16 = 4;
pub const INGEST_METHOD_DELETE: u16 = 5;
pub const INGEST_METHOD_OPTIONS: u16 = 6;
pub const INGEST_METHOD_TRACE: u16 = 7;
pub const INGEST_METHOD_PATCH: u16 = 8;

/// One complete request. Read-only for the host; it lives until the host answers, abandons or returns it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_request {
    /// Size of this struct in octets: a field exists if it ends within.
    pub size: u32,
    /// `INGEST_REQUEST_...` bits.
    pub flags: u32,
    /// The request's name, for the answer.
    pub token: ingest_token,
    /// `INGEST_METHOD_...`, 0 for any other method.
    pub method_id: u16,
    /// 10 for HTTP/1.0, 11 for HTTP/1.1 (and 1.2 to 1.9), 20 for HTTP/2.
    pub http_version: u16,
    /// Index of the listener that took the connection, as `ingest_server_listen` returned it.
    pub listener: u16,
    /// Zero.
    pub reserved: u16,
    /// The method, case-sensitive (RFC 9110 section 9.1).
    pub method: ingest_slice,
    /// The request-target as sent.
    pub target: ingest_slice,
    /// The target's path, percent-decoded once; `/` when the target has none, `*` for the asterisk-form. Dot segments are kept.
    pub path: ingest_slice,
    /// What follows the first `?`, as sent; absent when there is no `?`.
    pub query: ingest_slice,
    /// `http` or `https`, or the scheme of an absolute-form target in lower case.
    pub scheme: ingest_slice,
    /// From an absolute-form target, else the Host field, else empty.
    pub authority: ingest_slice,
    /// The field lines, in the order received, names as received.
    pub headers: *const ingest_header,
    /// How many field lines.
    pub header_count: usize,
    /// The complete body, de-chunked and decoded; absent when it is in `body_fd` or there is none.
    pub body: ingest_slice,
    /// With `body=spool`, a file that has the body when it is too large for memory, else -1. It is the library's: read it with pread, and do
    /// not write to it, move its position or close it. It is closed when the request is given back; dup() it to keep it.
    pub body_fd: i32,
    /// The body's length in octets, wherever it is.
    pub body_len: u64,
    /// Who sent it; never NULL.
    pub peer: *const ingest_peer,
    /// What TLS negotiated, NULL when plain.
    pub tls: *const ingest_tls,
    /// The query's pairs, `+` and percent-escapes decoded; never NULL.
    pub query_pairs: *const ingest_pairs,
    /// The cookies' pairs; never NULL.
    pub cookies: *const ingest_pairs,
    /// The fields of a body of type `application/x-www-form-urlencoded`, decoded; NULL for any other.
    pub form: *const ingest_pairs,
    /// The trailer fields of a chunked body; never NULL.
    pub trailers: *const ingest_pairs,
    /// What each step cost, NULL with `journey=off`.
    pub journey: *const ingest_journey,
    /// The body's length before its content-codings were undone and its text was converted; `body_len` when neither was.
    pub encoded_len: u64,
    /// The content-codings that were undone, as `gzip` or `gzip, br` in the order in which the client applied them; absent when none were.
    /// `headers` still has Content-Encoding and Content-Length as they were sent.
    pub decoded: ingest_slice,
    /// The parts of a body of type `multipart/form-data`; NULL for any other.
    pub parts: *const ingest_parts,
    /// With `decode.charset`, what the text of `body`, or of `form`, was converted from: the encoding's name in the WHATWG standard, as
    /// `windows-1252` or `Shift_JIS`. It is well-formed UTF-8 then, and was before if this is `UTF-8`. Absent if nothing was converted.
    pub charset: ingest_slice,
    /// With `deadline_header`, CLOCK_MONOTONIC at which the client stops to wait, counted from the first octet of the head on; the library
    /// answers 504 then. Zero if it has not said so.
    pub deadline_ns: u64,
}

/// A complete request is here.
pub const INGEST_EVENT_REQUEST: u16 = 1;
/// Octets of a streamed body; they stay where they are until `ingest_request_credit`, or until the request is given back.
pub const INGEST_EVENT_BODY: u16 = 2;
/// A streamed body is complete; `data` is the trailer section as it came, field lines and all, absent if there is none.
pub const INGEST_EVENT_BODY_END: u16 = 3;
/// The peer's side is over; `reason` says how.
pub const INGEST_EVENT_GONE: u16 = 4;
/// A streamed answer may be written to again.
pub const INGEST_EVENT_WRITABLE: u16 = 5;
/// A lent body is the host's again.
pub const INGEST_EVENT_RELEASED: u16 = 6;
/// The answer was handed to the kernel whole.
pub const INGEST_EVENT_SENT: u16 = 7;
/// The server began to drain.
pub const INGEST_EVENT_DRAINING: u16 = 8;
/// The server has stopped.
pub const INGEST_EVENT_STOPPED: u16 = 9;
/// A message of a message-based protocol.
pub const INGEST_EVENT_MESSAGE: u16 = 10;
/// The library caught a fault of its own, or a thread of it cannot go on; the log says which.
pub const INGEST_EVENT_FAULT: u16 = 11;

/// `GONE`: the peer sends nothing more (FIN or close_notify); the answer can still be sent.
pub const INGEST_GONE_READ_CLOSED: u32 = 1;
/// `GONE`: the connection is lost (RST, write error, deadline); answers are `INGEST_E_GONE`.
pub const INGEST_GONE_RESET: u32 = 2;

/// What reaches the host, in batches, the same for poll and callback. Frozen: it appears in arrays.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_event {
    /// `INGEST_EVENT_...`.
    pub kind: u16,
    /// Zero.
    pub flags: u16,
    /// `INGEST_GONE_...` for GONE, else 0.
    pub reason: u32,
    /// Which request it is about, 0 for events of the server.
    pub token: ingest_token,
    /// The host's own word, 0 until `ingest_token_tag`.
    pub tag: u64,
    /// The request for REQUEST, else NULL.
    pub request: *const ingest_request,
    /// The octets of BODY, until credited; of BODY_END the trailer section.
    pub data: ingest_slice,
}
