//! The unsealed letter: one request's head as tables of offsets into the octets it came in, plus what decoding added.
#![forbid(unsafe_code)]

use crate::limits::PAIRS_MAX;

/// Field lines and decoded octets that a sketch has room for from the start.
const HEADERS_ROOM: usize = 100;
const EXTRA_ROOM_BYTES: usize = 16 * 1024;

/// Where a piece of the letter lies: an offset from the first octet of the head. Offsets at or past the head's length
/// lie in `Sketch::extra`, which the letter appends to the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// The octets of a span that lies in the head itself.
    pub fn of<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.start as usize..(self.start + self.len) as usize]
    }
}

/// A field line, a query pair or a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub name: Span,
    pub value: Span,
}

/// How the body is delimited; `framing.rs` alone decides it (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Neither Content-Length nor Transfer-Encoding: there is no body.
    #[default]
    None,
    /// Content-Length, zero included.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// Filled by `parse` and `decode`, sealed into a letter by `memory`. One per thread, reused: it keeps its capacity.
#[derive(Debug, Default)]
pub struct Sketch {
    /// Length of the head, from the first octet of the request line to the blank line's LF.
    pub head_len: usize,
    /// `INGEST_REQUEST_…` bits.
    pub flags: u32,
    pub method_id: u16,
    /// 10 or 11.
    pub http_version: u16,
    pub method: Span,
    pub target: Span,
    /// Filled by `decode`.
    pub path: Span,
    /// Raw query after the first `?`; `has_query` tells an empty one from none. Filled by `decode`.
    pub query: Span,
    pub has_query: bool,
    /// Lower-case scheme of an absolute-form target, in `extra`; empty means the listener's own.
    pub scheme: Span,
    pub authority: Span,
    pub headers: Vec<Pair>,
    /// Indices into `headers` of the Cookie fields, noted while parsing so that decode need not look again.
    pub cookie_lines: Vec<u16>,
    /// And of the Content-Encoding fields.
    pub coding_lines: Vec<u16>,
    /// Decoded pairs, filled by `decode`.
    pub query_pairs: Vec<Pair>,
    pub cookies: Vec<Pair>,
    /// Octets that are not in the head: decoded paths, names and values.
    pub extra: Vec<u8>,
    pub framing: Framing,
    /// The connection persists after the answer (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// The last Host value that was found valid. Neighbouring requests mostly have the same, which then need not be judged again.
    pub valid_host: Vec<u8>,
    /// The client waits for `100 Continue` (RFC 9110 section 10.1.1); only ever set for HTTP/1.1 and up.
    pub expects_continue: bool,
}

impl Sketch {
    /// With room for what peers may fill, so that no request has to find memory for it.
    pub fn roomy() -> Self {
        Sketch {
            headers: Vec::with_capacity(HEADERS_ROOM),
            query_pairs: Vec::with_capacity(PAIRS_MAX),
            cookies: Vec::with_capacity(PAIRS_MAX),
            extra: Vec::with_capacity(EXTRA_ROOM_BYTES),
            ..Sketch::default()
        }
    }

    /// Forgets the last request, keeps the capacity.
    pub fn clear(&mut self) {
        self.flags = 0;
        self.method_id = 0;
        self.has_query = false;
        self.path = Span::default();
        self.query = Span::default();
        self.scheme = Span::default();
        self.authority = Span::default();
        self.headers.clear();
        self.cookie_lines.clear();
        self.coding_lines.clear();
        self.query_pairs.clear();
        self.cookies.clear();
        self.extra.clear();
        self.framing = Framing::None;
        self.keep_alive = false;
        self.expects_continue = false;
    }

    /// Appends octets to `extra` and says where they lie in the letter.
    pub fn add(&mut self, bytes: &[u8]) -> Span {
        let start = self.head_len + self.extra.len();
        self.extra.extend_from_slice(bytes);
        Span { start: start as u32, len: bytes.len() as u32 }
    }

    /// The octets of a span, wherever they lie; `head` is the head that this sketch describes.
    pub fn bytes<'a>(&'a self, head: &'a [u8], span: Span) -> &'a [u8] {
        let start = span.start as usize;
        let end = start + span.len as usize;
        if start >= self.head_len { &self.extra[start - self.head_len..end - self.head_len] } else { &head[start..end] }
    }
}
