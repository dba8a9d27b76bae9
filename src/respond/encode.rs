//! Writes the wire form of an HTTP/1 answer: status line, Date, fields, framing, body. No I/O, no clock.
#![forbid(unsafe_code)]

use crate::parse::refusal::Refusal;

/// A Date value as RFC 9110 section 5.6.7 has it: always 29 octets.
pub type Date = [u8; 29];

/// How nearly every answer begins, rendered when Date changes: `HTTP/1.1 200 OK`, Date, and their line ends.
#[derive(Clone, Copy, Debug)]
pub struct Opening([u8; OPENING.len()]);

const OPENING: &[u8; 54] = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
/// Where the status line ends, and where Date's value stands.
const STATUS_END: usize = 17;
const DATE_AT: usize = 23;

impl Opening {
    pub fn new(date: &Date) -> Self {
        let mut octets = *OPENING;
        octets[DATE_AT..DATE_AT + date.len()].copy_from_slice(date);
        Opening(octets)
    }

    /// The status line, with the Date line behind it if `dated`.
    fn write(&self, out: &mut Vec<u8>, status: u16, dated: bool) {
        let end = if dated { OPENING.len() } else { STATUS_END };
        if status == 200 {
            out.extend_from_slice(&self.0[..end]);
            return;
        }
        status_line(out, status);
        out.extend_from_slice(&self.0[STATUS_END..end]);
    }
}

/// Everything about an answer's head that the connection decides.
#[derive(Clone, Copy, Debug)]
pub struct Framed {
    pub status: u16,
    /// The version of the request; the answer is always HTTP/1.1 (RFC 9110 section 6.2).
    pub http_version: u16,
    /// The connection closes after this answer.
    pub close: bool,
    /// The host's fields bring no Date of their own.
    pub dated: bool,
    pub body: Body,
}

/// How the peer finds the end of a body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
    /// The end of the connection is its end, for HTTP/1.0.
    UntilClose,
}

/// Whether an answer with this status has a body at all (RFC 9110 sections 15.3.5, 15.4.5).
pub fn may_have_body(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

/// Appends the status line and the fields that are the library's to write. The host's fields, the empty line and the body
/// follow: they stand together already, so an answer is three copies in all.
pub fn head(out: &mut Vec<u8>, opening: &Opening, answer: &Framed) {
    opening.write(out, answer.status, answer.dated);
    // A 304 could announce the length of what it stands for (RFC 9110 section 8.6); we do not know that one.
    if may_have_body(answer.status) {
        match answer.body {
            Body::Length(length) => length_line(out, length),
            Body::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Body::UntilClose => {}
        }
    }
    if answer.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if answer.http_version < 11 {
        // An HTTP/1.0 client has to be told that it may go on (RFC 9112 section 9.3).
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn length_line(out: &mut Vec<u8>, length: u64) {
    const NAME: &[u8] = b"Content-Length: ";
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(length).as_bytes();
    // Put together on the stack: one copy into the buffer instead of three.
    let mut line = [0u8; NAME.len() + 22];
    let end = NAME.len() + digits.len();
    line[..NAME.len()].copy_from_slice(NAME);
    line[NAME.len()..end].copy_from_slice(digits);
    line[end..end + 2].copy_from_slice(b"\r\n");
    out.extend_from_slice(&line[..end + 2]);
}

/// The interim answer to `Expect: 100-continue` (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A refusal, whole: head, a one-line text, and the announcement that the connection closes if `framed` says so.
pub fn refusal(out: &mut Vec<u8>, opening: &Opening, refusal: Refusal, head_only: bool, framed: Framed) {
    let place = refusal.offset().map_or_else(String::new, |offset| format!(" (offset {offset} of the body)"));
    head(out, opening, &Framed { body: Body::Length((refusal.text.len() + place.len()) as u64 + 1), ..framed });
    if framed.status == 503 {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    if refusal.lists_codings() {
        // What the codings of a body may be (RFC 9110 section 12.5.3).
        out.extend_from_slice(b"Accept-Encoding: gzip, deflate, br, zstd\r\n");
    }
    out.extend_from_slice(b"Content-Type: text/plain\r\n\r\n");
    if !head_only {
        out.extend_from_slice(refusal.text.as_bytes());
        out.extend_from_slice(place.as_bytes());
        out.push(b'\n');
    }
}

/// The status line; the answer is HTTP/1.1 whatever the request was (RFC 9110 section 6.2).
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What stands before the octets of a chunk (RFC 9112 section 7.1).
pub fn chunk_size(out: &mut Vec<u8>, octets: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - octets.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(DIGITS[octets >> (4 * place) & 0xF]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The last chunk, the trailer section and the empty line that ends a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase; empty for a code that has no name.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: Date = *b"Mon, 23 Nov 2026 09:00:00 GMT";

    fn encoded(status: u16, http_version: u16, close: bool) -> String {
        let mut out = Vec::new();
        let framed = Framed { status, http_version, close, dated: true, body: Body::Length(13) };
        head(&mut out, &Opening::new(&DATE), &framed);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_the_head_of_an_answer() {
        let expected = "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\nContent-Length: 13\r\n";
        assert_eq!(encoded(200, 11, false), expected);
        assert!(encoded(404, 11, true).starts_with("HTTP/1.1 404 Not Found\r\n"));
        assert!(encoded(404, 11, true).ends_with("Connection: close\r\n"));
        assert!(encoded(200, 10, false).ends_with("Connection: keep-alive\r\n"));
    }

    #[test]
    fn writes_sizes_of_chunks_in_hexadecimal() {
        for (octets, written) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65536, "10000\r\n"), (0xABCDEF, "abcdef\r\n")] {
            let mut out = Vec::new();
            chunk_size(&mut out, octets);
            assert_eq!(out, written.as_bytes());
        }
    }

    #[test]
    fn announces_no_length_where_there_is_no_body() {
        for status in [204, 304] {
            assert!(!encoded(status, 11, false).contains("Content-Length"));
        }
    }
}
