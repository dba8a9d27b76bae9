//! Step four, parse: `advance` turns plain octets into the head table of one request. No I/O, no clock.
#![forbid(unsafe_code)]

pub mod authority;
pub mod chunked;
pub mod framing;
pub mod head;
pub mod known;
pub mod octets;
pub mod refusal;
pub mod request_line;
pub mod sketch;

mod fields;

pub use refusal::Refusal;

use crate::limits::Limits;
use crate::request::{
    INGEST_METHOD_HEAD, INGEST_REQUEST_CHUNKED, INGEST_REQUEST_EXPECTS_CONTINUE, INGEST_REQUEST_HEAD, INGEST_REQUEST_KEEP_ALIVE,
    INGEST_REQUEST_TLS,
};
use head::{Head, HeadScan};
use sketch::{Framing, Sketch, Span};
use std::ops::Range;

/// Looks for the next head in `window`, which holds every octet since the last message, empty lines included.
/// `Ok(None)`: not complete yet, call again with the same octets and more. `Ok(Some(range))`: the head is `window[range]`,
/// the sketch describes it, and the scan is ready for the next one. The outcome depends on the octets alone, not on the reads they came in.
pub fn advance(
    scan: &mut HeadScan,
    window: &[u8],
    limits: &Limits,
    secure: bool,
    sketch: &mut Sketch,
) -> Result<Option<Range<usize>>, Refusal> {
    let Some(found) = head::find_end(scan, window, limits, secure)? else { return Ok(None) };
    *scan = HeadScan::default();
    fill(&found, window, limits, secure, sketch)?;
    Ok(Some(found.start..found.end))
}

fn fill(found: &Head, window: &[u8], limits: &Limits, secure: bool, sketch: &mut Sketch) -> Result<(), Refusal> {
    let head = &window[found.start..found.end];
    let line = &found.request_line;
    sketch.clear();
    sketch.head_len = head.len();
    sketch.method = line.method;
    sketch.target = line.target;
    sketch.method_id = known::method_id(line.method.of(head));
    sketch.http_version = line.http_version;
    let summary = fields::read(head, found.fields_start - found.start, found.field_lines, line.http_version, sketch)?;
    sketch.framing = summary.announced.decide(line.http_version, limits)?;
    sketch.keep_alive = summary.keep_alive(line.http_version);
    let has_body = matches!(sketch.framing, Framing::Chunked | Framing::Length(1..));
    // An HTTP/1.0 client does not know interim answers, and without a body there is nothing to wait for (RFC 9110 section 10.1.1).
    sketch.expects_continue = summary.expects_continue && has_body && line.http_version >= 11;
    if line.scheme.len > 0 {
        sketch.scheme = sketch.add(line.scheme.of(head));
        sketch.extra.make_ascii_lowercase();
        // RFC 9112 section 3.2.2: an absolute-form target replaces whatever Host said.
        sketch.authority = line.authority;
    } else {
        sketch.authority = summary.host.unwrap_or(Span::default());
    }
    sketch.flags = flags(sketch, secure);
    Ok(())
}

fn flags(sketch: &Sketch, secure: bool) -> u32 {
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    bit(secure, INGEST_REQUEST_TLS)
        | bit(sketch.keep_alive, INGEST_REQUEST_KEEP_ALIVE)
        | bit(sketch.method_id == INGEST_METHOD_HEAD, INGEST_REQUEST_HEAD)
        | bit(sketch.framing == Framing::Chunked, INGEST_REQUEST_CHUNKED)
        | bit(sketch.expects_continue, INGEST_REQUEST_EXPECTS_CONTINUE)
}

#[cfg(test)]
mod chunked_tests;
#[cfg(test)]
mod tests;
