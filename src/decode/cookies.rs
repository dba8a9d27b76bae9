//! Cookie pairs, in the order of the lines and of the pairs in them (RFC 6265 section 5.4). Several Cookie lines count as one.
#![forbid(unsafe_code)]

use crate::limits::PAIRS_MAX;
use crate::parse::octets;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::{Pair, Sketch, Span};

const TOO_MANY: Refusal = Refusal::new(400, "too many cookies: send at most 1000");

/// Fills `cookies` from the lines that parsing noted. Nothing is decoded, so every pair lies in the head.
pub fn split(sketch: &mut Sketch, head: &[u8]) -> Result<(), Refusal> {
    for at in 0..sketch.cookie_lines.len() {
        let line = sketch.headers[usize::from(sketch.cookie_lines[at])].value;
        let end = line.start + line.len;
        let mut start = line.start;
        while start < end {
            let rest = &head[start as usize..end as usize];
            let len = memchr::memchr(b';', rest).unwrap_or(rest.len());
            if let Some(pair) = pair(head, &rest[..len]) {
                if sketch.cookies.len() == PAIRS_MAX {
                    return Err(TOO_MANY);
                }
                sketch.cookies.push(pair);
            }
            start += len as u32 + 1;
        }
    }
    Ok(())
}

/// A piece without an equals sign is a name with an empty value, as in a query; an empty piece is nothing.
fn pair(head: &[u8], piece: &[u8]) -> Option<Pair> {
    let piece = octets::trim(piece);
    if piece.is_empty() {
        return None;
    }
    let (name, value) = match memchr::memchr(b'=', piece) {
        Some(equals) => (octets::trim(&piece[..equals]), octets::trim(&piece[equals + 1..])),
        None => (piece, &piece[piece.len()..]),
    };
    let place = |piece: &[u8]| Span { start: (piece.as_ptr().addr() - head.as_ptr().addr()) as u32, len: piece.len() as u32 };
    Some(Pair { name: place(name), value: place(unquote(value)) })
}

/// The quotes that `cookie-value` may have around it (RFC 6265 section 4.1.1) are not part of the value.
fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}
