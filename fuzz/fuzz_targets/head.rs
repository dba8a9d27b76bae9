//! Any octets as a window: the outcome must not depend on how they arrive, and an accepted head must be sound.
#![no_main]

use ingest::decode;
use ingest::limits::{EMPTY_LINES_MAX, Limits};
use ingest::parse::head::HeadScan;
use ingest::parse::sketch::{Framing, Pair, Sketch, Span};
use ingest::parse::{Refusal, advance};
use libfuzzer_sys::fuzz_target;
use std::ops::Range;

type Outcome = Result<Option<(Range<usize>, String)>, Refusal>;

/// Feeds the window in reads whose sizes come from `sizes`, over and over; no sizes means one read.
fn feed(window: &[u8], sizes: &[u8], limits: &Limits, secure: bool, sketch: &mut Sketch) -> Outcome {
    let mut scan = HeadScan::default();
    let mut sizes = sizes.iter().cycle();
    let mut end = 0;
    loop {
        end = sizes.next().map_or(window.len(), |size| (end + usize::from(*size) % 32 + 1).min(window.len()));
        match advance(&mut scan, &window[..end], limits, secure, sketch)? {
            Some(range) => return Ok(Some((range, format!("{sketch:?}")))),
            None if end == window.len() => return Ok(None),
            None => {}
        }
    }
}

fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet))
}

fn is_value(octets: &[u8]) -> bool {
    let edges = [octets.first(), octets.last()];
    octets.iter().all(|octet| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f))
        && !edges.contains(&Some(&b' '))
        && !edges.contains(&Some(&b'\t'))
}

fn count(sketch: &Sketch, head: &[u8], name: &str) -> usize {
    sketch.headers.iter().filter(|pair| pair.name.of(head).eq_ignore_ascii_case(name.as_bytes())).count()
}

fn check_sound(window: &[u8], range: Range<usize>, limits: &Limits, sketch: &Sketch) {
    let head = &window[range.clone()];
    let before = &window[..range.start];
    assert_eq!(before, b"\r\n".repeat(before.len() / 2));
    assert!(before.len() / 2 <= EMPTY_LINES_MAX as usize);
    assert_eq!(sketch.head_len, head.len());
    assert_eq!(head.windows(4).position(|four| four == b"\r\n\r\n"), Some(head.len() - 4));
    for (at, octet) in head.iter().enumerate() {
        assert!(*octet != b'\n' || head[at - 1] == b'\r');
        assert!(*octet != b'\r' || head[at + 1] == b'\n');
    }
    assert!(is_token(sketch.method.of(head)));
    let target = sketch.target.of(head);
    assert!(!target.is_empty() && target.len() as u64 <= limits.target_max && target.iter().all(|octet| *octet > b' ' && *octet != 0x7f));
    assert!(matches!(sketch.http_version, 10 | 11));
    assert_eq!(sketch.headers.len(), head.split(|octet| *octet == b'\n').count() - 3);
    assert!(sketch.headers.len() as u64 <= limits.header_count);
    for Pair { name, value } in &sketch.headers {
        assert!(is_token(name.of(head)) && is_value(value.of(head)));
        assert!(u64::from(value.start + value.len - name.start) <= limits.header_line_max);
    }
    let hosts = count(sketch, head, "host");
    assert!(hosts == 1 || (hosts == 0 && sketch.http_version == 10));
    assert!(count(sketch, head, "content-type") <= 1);
    let framing = (count(sketch, head, "content-length"), count(sketch, head, "transfer-encoding"));
    assert!(match sketch.framing {
        Framing::None => framing == (0, 0),
        Framing::Length(length) => framing == (1, 0) && length <= limits.body_max,
        Framing::Chunked => framing == (0, 1) && sketch.http_version == 11,
    });
}

fn check_decoded(head: &[u8], sketch: &Sketch) {
    let whole = |span: Span| assert!((span.start + span.len) as usize <= head.len() + sketch.extra.len());
    let pairs = sketch.query_pairs.iter().chain(&sketch.cookies);
    pairs.flat_map(|pair| [pair.name, pair.value]).chain([sketch.path, sketch.query, sketch.scheme, sketch.authority]).for_each(|span| {
        whole(span);
        sketch.bytes(head, span);
    });
    assert!(matches!(sketch.bytes(head, sketch.path), [b'/' | b'*', ..]));
}

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, rest @ ..] = data else { return };
    let secure = mode & 1 > 0;
    let mut limits = Limits::default();
    if mode & 2 > 0 {
        limits = Limits { target_max: 24, headers_max: 96, header_line_max: 48, header_count: 4, body_max: 1000, ..limits };
    }
    let (sizes, window) = rest.split_at(usize::from(cuts % 8).min(rest.len()));
    let (mut sketch, mut other) = (Sketch::default(), Sketch::default());
    let whole = feed(window, &[], &limits, secure, &mut sketch);
    assert_eq!(whole, feed(window, &[0], &limits, secure, &mut other), "octet by octet");
    assert_eq!(whole, feed(window, sizes, &limits, secure, &mut other), "in pieces");
    if let Ok(Some((range, _))) = whole {
        check_sound(window, range.clone(), &limits, &sketch);
        let head = &window[range];
        if decode::finish(&mut sketch, head).is_ok() {
            check_decoded(head, &sketch);
        }
    }
});
