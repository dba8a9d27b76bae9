//! Query pairs as `application/x-www-form-urlencoded` has them: `&` between pairs, `+` for a space, percent-escapes.
#![forbid(unsafe_code)]

use super::target;
use crate::limits::PAIRS_MAX;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::{Pair, Sketch, Span};

const TOO_MANY: Refusal = Refusal::new(400, "too many query pairs: send at most 1000");

/// Fills `query_pairs` from `query`.
pub fn split(sketch: &mut Sketch, head: &[u8]) -> Result<(), Refusal> {
    let query = sketch.query;
    let end = query.start + query.len;
    let mut start = query.start;
    while start < end {
        let rest = &head[start as usize..end as usize];
        let len = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        if len > 0 {
            if sketch.query_pairs.len() == PAIRS_MAX {
                return Err(TOO_MANY);
            }
            let segment = &rest[..len];
            let name_len = memchr::memchr(b'=', segment).unwrap_or(len);
            // Without an equals sign the value is empty and lies at the segment's end.
            let value_at = (name_len + 1).min(len);
            let name = decode(sketch, start, &segment[..name_len]);
            let value = decode(sketch, start + value_at as u32, &segment[value_at..]);
            sketch.query_pairs.push(Pair { name, value });
        }
        start += len as u32 + 1;
    }
    Ok(())
}

/// The span of the decoded piece: the piece itself when there is nothing to decode. A malformed escape stays as it is.
fn decode(sketch: &mut Sketch, start: u32, piece: &[u8]) -> Span {
    let Some(first) = memchr::memchr2(b'%', b'+', piece) else { return Span { start, len: piece.len() as u32 } };
    let begin = sketch.extra.len();
    target::unescape(piece, first, &mut sketch.extra);
    target::added(sketch, begin)
}
