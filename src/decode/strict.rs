//! What a host may ask of targets beyond the plain decoding: no malformed escapes, and text that is UTF-8 (`decode.escapes`, `decode.utf8`).
#![forbid(unsafe_code)]

use super::rules::{Rules, Utf8};
use super::target;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::{Sketch, Span};
use crate::request::INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE;
use std::borrow::Cow;

const ESCAPE: Refusal = Refusal::new(400, "malformed percent-escape in the target: send two hexadecimal digits behind each percent sign");
const PATH: Refusal = Refusal::new(400, "the path is not utf-8: send percent-encoded utf-8");
const QUERY: Refusal = Refusal::new(400, "a name or value of the query is not utf-8: send percent-encoded utf-8");

/// Refuses, or mends, what the rules do not let pass.
pub fn judge(sketch: &mut Sketch, head: &[u8], rules: &Rules) -> Result<(), Refusal> {
    if rules.strict_escapes {
        let query = sketch.query.of(head);
        let is_whole = |at: usize| target::escaped(&query[at + 1..]).is_some();
        let is_malformed = sketch.flags & INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE != 0;
        if is_malformed || !memchr::memchr_iter(b'%', query).all(is_whole) {
            return Err(ESCAPE);
        }
    }
    if rules.utf8 == Utf8::Refuse && std::str::from_utf8(sketch.bytes(head, sketch.path)).is_err() {
        return Err(PATH);
    }
    if rules.utf8 != Utf8::Keep {
        for at in 0..sketch.query_pairs.len() {
            let pair = sketch.query_pairs[at];
            sketch.query_pairs[at].name = judged(sketch, head, pair.name, rules.utf8)?;
            sketch.query_pairs[at].value = judged(sketch, head, pair.value, rules.utf8)?;
        }
    }
    Ok(())
}

fn judged(sketch: &mut Sketch, head: &[u8], span: Span, utf8: Utf8) -> Result<Span, Refusal> {
    match String::from_utf8_lossy(sketch.bytes(head, span)) {
        Cow::Borrowed(_) => Ok(span),
        Cow::Owned(_) if utf8 == Utf8::Refuse => Err(QUERY),
        Cow::Owned(text) => Ok(sketch.add(text.as_bytes())),
    }
}
