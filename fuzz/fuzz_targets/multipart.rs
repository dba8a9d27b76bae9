//! A multipart body in any pieces: heads and contents must be what a simple reference reader makes of the whole.
#![no_main]

use ingest::memory::contents::Contents;
use ingest::decode::multipart::{Found, Multipart, Sorter, split};
use ingest::limits::{Limits, PART_HEAD_BYTES};
use libfuzzer_sys::fuzz_target;

/// Head and content of each part; `None` for a body that is refused.
type Parts = Option<Vec<(Vec<u8>, Vec<u8>)>>;

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

/// What follows the whitespace that a boundary's line may end with.
fn padded(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count()..]
}

fn reference(body: &[u8], boundary: &[u8]) -> Parts {
    let delimiter = [b"\r\n--", boundary].concat();
    let body = [b"\r\n", body].concat();
    let mut parts = Vec::new();
    let mut rest = &body[find(&body, &delimiter)? + delimiter.len()..];
    loop {
        if let Some(behind) = rest.strip_prefix(b"--") {
            let end = padded(behind);
            return (end.is_empty() || end.starts_with(b"\r\n")).then_some(parts);
        }
        let line = padded(rest);
        if !line.starts_with(b"\r\n") {
            return None;
        }
        let blank = find(line, b"\r\n\r\n")?;
        let head = &line[2..blank.max(0) + 2];
        if head.len() + 2 > PART_HEAD_BYTES {
            return None;
        }
        let content = &line[blank + 4..];
        let end = find(content, &delimiter)?;
        parts.push((head.to_vec(), content[..end].to_vec()));
        rest = &content[end + delimiter.len()..];
    }
}

/// Reads in pieces whose sizes come from `sizes`, over and over; no sizes means one piece.
fn read(body: &[u8], boundary: &[u8], sizes: &[u8]) -> Parts {
    let mut parser = Multipart::new(boundary);
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let (mut start, mut sizes) = (0, sizes.iter().cycle());
    while start < body.len() {
        let end = sizes.next().map_or(body.len(), |size| (start + usize::from(*size) % 16 + 1).min(body.len()));
        let mut at = 0;
        while let Some(found) = parser.next(&body[start..end], &mut at).ok()? {
            match found {
                Found::Head(head) => parts.push((head.to_vec(), Vec::new())),
                Found::Content(octets) => parts.last_mut().expect("a head comes first").1.extend_from_slice(octets),
                Found::End => {}
            }
        }
        assert_eq!(at, end - start);
        start = end;
    }
    assert!(parser.looked_at() <= 3 * body.len() as u64 + 8);
    parser.finish().ok()?;
    Some(parts)
}

/// What is made of a body that is not kept, in the same pieces: name, head and place of each part; `None` for one that is refused.
fn sort(body: &[u8], boundary: &[u8], sizes: &[u8]) -> Option<Contents> {
    let (mut sorter, limits) = (Sorter::new(boundary, 64), Limits::default());
    let (mut start, mut sizes) = (0, sizes.iter().cycle());
    while start < body.len() {
        let end = sizes.next().map_or(body.len(), |size| (start + usize::from(*size) % 16 + 1).min(body.len()));
        sorter.feed(&body[start..end], &limits).ok()?;
        start = end;
    }
    sorter.finish().ok()
}

fuzz_target!(|data: &[u8]| {
    let [boundary_len, sizes_len, rest @ ..] = data else { return };
    let is_boundary = |octet: &u8| octet.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(octet);
    let boundary_len = usize::from(*boundary_len) % 8 + 1;
    let sizes_len = usize::from(*sizes_len) % 4;
    if rest.len() < boundary_len + sizes_len || !rest[..boundary_len].iter().all(is_boundary) {
        return;
    }
    let (boundary, rest) = rest.split_at(boundary_len);
    let (sizes, body) = rest.split_at(sizes_len);
    let expected = reference(body, boundary);
    assert_eq!(read(body, boundary, &[]), expected);
    assert_eq!(read(body, boundary, sizes), expected);
    let mut contents = Contents::default();
    let is_good = split(body, boundary, &Limits::default(), &mut contents).is_ok();
    let sorted = sort(body, boundary, sizes);
    assert_eq!(sorted.is_some(), is_good, "the whole and the pieces disagree");
    if let Some(sorted) = &sorted {
        assert_eq!(sorted.parts.len(), contents.parts.len());
        for (part, whole) in sorted.parts.iter().zip(&contents.parts) {
            assert_eq!(part.content, whole.content);
            assert_eq!(sorted.bytes(&[], part.name), contents.bytes(body, whole.name));
            assert_eq!(part.fields, whole.fields);
            let content = contents.bytes(body, whole.content);
            assert!(part.kept.is_none_or(|kept| sorted.bytes(&[], kept) == content));
        }
    }
    if is_good {
        let expected = expected.expect("what is split is well-formed");
        assert_eq!(contents.parts.len(), expected.len());
        for (part, (head, content)) in contents.parts.iter().zip(&expected) {
            assert_eq!(contents.bytes(body, part.content), content);
            for field in &contents.fields[part.fields.clone()] {
                assert!(find(head, contents.bytes(body, field.name)).is_some());
            }
        }
    }
});
