//! The request-target's path, percent-decoded once, and where its query lies. Nothing is normalised: dot segments are the host's business.
#![forbid(unsafe_code)]

use crate::parse::octets;
use crate::parse::sketch::{Sketch, Span};
use crate::request::{
    INGEST_REQUEST_PATH_HAS_ENCODED_NUL, INGEST_REQUEST_PATH_HAS_ENCODED_SLASH, INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE,
};

/// Fills `path`, `query` and `has_query`, and flags what decoding made ambiguous.
pub fn split(sketch: &mut Sketch, head: &[u8]) {
    let end = sketch.target.start + sketch.target.len;
    // Only an absolute-form target has a scheme; its path begins where its authority ends.
    let start = if sketch.scheme.len > 0 { sketch.authority.start + sketch.authority.len } else { sketch.target.start };
    let rest = &head[start as usize..end as usize];
    // One search finds that most targets have neither a query nor an escape.
    let first = octets::first_of(b'?', b'%', &head[start as usize..], rest.len());
    let mark = first.and_then(|at| memchr::memchr(b'?', &rest[at..]).map(|further| at + further));
    let mut path = rest;
    if let Some(mark) = mark {
        path = &rest[..mark];
        sketch.has_query = true;
        let query = start + mark as u32 + 1;
        sketch.query = Span { start: query, len: end - query };
    }
    sketch.path = match first {
        _ if path.is_empty() => sketch.add(b"/"),
        Some(escape) if escape < path.len() => decode_path(sketch, path, escape),
        _ => Span { start, len: path.len() as u32 },
    };
}

/// `escape` is the offset of the first percent sign.
fn decode_path(sketch: &mut Sketch, path: &[u8], escape: usize) -> Span {
    let start = sketch.extra.len();
    let (plain, mut rest) = path.split_at(escape);
    sketch.extra.extend_from_slice(plain);
    while let [octet, after @ ..] = rest {
        rest = after;
        let mut decoded = *octet;
        if decoded == b'%' {
            match escaped(after) {
                Some(value) => {
                    decoded = value;
                    rest = &after[2..];
                    sketch.flags |= match value {
                        b'/' => INGEST_REQUEST_PATH_HAS_ENCODED_SLASH,
                        0 => INGEST_REQUEST_PATH_HAS_ENCODED_NUL,
                        _ => 0,
                    };
                }
                None => sketch.flags |= INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE,
            }
        }
        sketch.extra.push(decoded);
    }
    added(sketch, start)
}

/// The octet that the two digits after a percent sign stand for (RFC 3986 section 2.1).
#[inline]
pub fn escaped(after: &[u8]) -> Option<u8> {
    match after {
        [high, low, ..] => Some(octets::hex_value(*high)? << 4 | octets::hex_value(*low)?),
        _ => None,
    }
}

/// Adds a piece of a query or a form with its escapes undone and spaces for plus signs; what needs that begins at `first`. False when an
/// escape is malformed; it stays as it is.
pub fn unescape(piece: &[u8], first: usize, into: &mut Vec<u8>) -> bool {
    let mut is_well_formed = true;
    let (plain, mut rest) = piece.split_at(first);
    into.extend_from_slice(plain);
    while let [octet, after @ ..] = rest {
        rest = after;
        let mut decoded = *octet;
        if decoded == b'+' {
            decoded = b' ';
        } else if decoded == b'%' {
            if let Some(value) = escaped(after) {
                decoded = value;
                rest = &after[2..];
            } else {
                is_well_formed = false;
            }
        }
        into.push(decoded);
    }
    is_well_formed
}

/// The span of what was appended to `extra` since it had the length `start`.
pub fn added(sketch: &Sketch, start: usize) -> Span {
    Span { start: (sketch.head_len + start) as u32, len: (sketch.extra.len() - start) as u32 }
}
