//! Framing fields in any mix: the decision must be the one that a short reference makes from the list of fields.
#![no_main]

use ingest::limits::Limits;
use ingest::parse::advance;
use ingest::parse::head::HeadScan;
use ingest::parse::sketch::{Framing, Sketch};
use libfuzzer_sys::fuzz_target;

/// Accepted are no framing field at all, one Content-Length, or in HTTP/1.1 one Transfer-Encoding that says chunked.
fn reference(lines: &[(bool, &[u8])], http_version: u16, limits: &Limits) -> Option<Framing> {
    match lines {
        [] => Some(Framing::None),
        [(false, digits)] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let significant = digits.iter().skip_while(|octet| **octet == b'0').copied().collect::<Vec<_>>();
            if significant.len() > 20 {
                return None;
            }
            let length = significant.iter().fold(0u128, |value, octet| value * 10 + u128::from(octet - b'0'));
            (length <= u128::from(limits.body_max)).then_some(Framing::Length(length as u64))
        }
        [(true, coding)] if http_version == 11 && coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    let http_version = if mode & 1 > 0 { 10 } else { 11 };
    let limits = Limits { body_max: if mode & 2 > 0 { i64::MAX as u64 } else { 1000 }, ..Limits::default() };
    let mut head = if http_version == 10 { b"POST / HTTP/1.0\r\nHost: a\r\n".to_vec() } else { b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec() };
    let mut lines = Vec::new();
    for line in rest.split(|octet| *octet == b'\n').take(8) {
        let [kind, value @ ..] = line else { continue };
        // A value that is no field value is the head target's business.
        if value.iter().any(|octet| *octet != b'\t' && (*octet < b' ' || *octet == 0x7f)) {
            return;
        }
        let coding = kind & 1 > 0;
        head.extend_from_slice(match (coding, kind & 2 > 0) {
            (false, false) => b"Content-Length:",
            (false, true) => b"content-lengtH: ",
            (true, false) => b"Transfer-Encoding:",
            (true, true) => b"tRANSFER-ENCODING:\t",
        });
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\nOther: 1\r\n");
        lines.push((coding, trimmed(value)));
    }
    head.extend_from_slice(b"\r\n");
    if head.len() as u64 > limits.header_line_max {
        return;
    }
    let mut sketch = Sketch::default();
    let decided = advance(&mut HeadScan::default(), &head, &limits, false, &mut sketch);
    match reference(&lines, http_version, &limits) {
        Some(framing) => {
            assert_eq!(decided, Ok(Some(0..head.len())));
            assert_eq!(sketch.framing, framing);
        }
        None => assert!(matches!(decided, Err(refusal) if matches!(refusal.status, 400 | 413 | 501)), "{decided:?}"),
    }
});
