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
use fields::Summary;
use head::{Head, HeadScan};
use sketch::{Framing, Sketch};
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
    // Nearly every head is there whole when its first octets are seen. What is not taken then is looked at line by line.
    let taken = if scan.scanned == 0 { head::take(window, limits, sketch) } else { None };
    let Head { start, end, summary } = match taken {
        Some(head) => head,
        None => {
            let Some(head) = head::read(scan, window, limits, secure, sketch)? else { return Ok(None) };
            *scan = HeadScan::default();
            head
        }
    };
    conclude(&window[start..end], &summary, limits, secure, sketch)?;
    Ok(Some(start..end))
}

/// The lines are in the sketch; what they mean together is added.
#[inline]
fn conclude(head: &[u8], summary: &Summary, limits: &Limits, secure: bool, sketch: &mut Sketch) -> Result<(), Refusal> {
    let version = sketch.http_version;
    sketch.head_len = head.len();
    fields::check(summary, version)?;
    sketch.framing = summary.announced.decide(version, limits)?;
    sketch.keep_alive = summary.keep_alive(version);
    let has_body = matches!(sketch.framing, Framing::Chunked | Framing::Length(1..));
    // An HTTP/1.0 client does not know interim answers, and without a body there is nothing to wait for (RFC 9110 section 10.1.1).
    sketch.expects_continue = summary.expects_continue && has_body && version >= 11;
    if sketch.scheme.len > 0 {
        // RFC 9112 section 3.2.2: an absolute-form target replaces whatever Host said.
        sketch.scheme = sketch.add(sketch.scheme.of(head));
        sketch.extra.make_ascii_lowercase();
    } else {
        sketch.authority = summary.host.unwrap_or_default();
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
