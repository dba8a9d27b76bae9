//! A chunked body in any pieces: what compaction makes of it must be what a simple reference decoder makes of the whole.
#![no_main]

use ingest::limits::Limits;
use ingest::parse::Refusal;
use ingest::parse::chunked::{Chunked, Trailers};
use libfuzzer_sys::fuzz_target;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Data, how many octets the body took, and its trailer fields.
type Body = (Vec<u8>, usize, Fields);

/// Compacts the stream in pieces whose sizes come from `sizes`, over and over; no sizes means one piece. `None`: not complete.
fn compact(stream: &[u8], sizes: &[u8], limits: &Limits) -> Result<Option<Body>, Refusal> {
    let mut chunked = Chunked::default();
    let mut sizes = sizes.iter().cycle();
    let (mut data, mut start) = (Vec::new(), 0);
    while start < stream.len() {
        let end = sizes.next().map_or(stream.len(), |size| (start + usize::from(*size) % 16 + 1).min(stream.len()));
        let mut piece = stream[start..end].to_vec();
        let done = chunked.compact(&mut piece, limits)?;
        data.extend_from_slice(&piece[..done.kept]);
        assert_eq!(piece[done.consumed..], stream[start + done.consumed..end]);
        if done.complete {
            return Ok(Some((data, start + done.consumed, fields(&chunked.take_trailers()))));
        }
        assert_eq!(done.consumed, piece.len());
        start = end;
    }
    Ok(None)
}

fn fields(trailers: &Trailers) -> Fields {
    trailers.pairs.iter().map(|pair| (pair.name.of(&trailers.bytes).to_vec(), pair.value.of(&trailers.bytes).to_vec())).collect()
}

/// Splits off a line that ends with CRLF and has neither CR nor LF inside.
fn line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = &rest[..end];
    (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some((line, &rest[end + 2..]))
}

fn is_tchar(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

fn is_text(octet: &u8) -> bool {
    *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f)
}

fn skip_space(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', after @ ..] = rest {
        rest = after;
    }
    rest
}

fn token(rest: &[u8]) -> Option<&[u8]> {
    let len = rest.iter().take_while(|octet| is_tchar(octet)).count();
    (len > 0).then(|| &rest[len..])
}

/// Takes a quoted string whose first quote is gone.
fn quoted(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', octet, after @ ..] if is_text(octet) => rest = after,
            [octet, after @ ..] if is_text(octet) && *octet != b'\\' => rest = after,
            _ => return None,
        }
    }
}

fn extensions(mut rest: &[u8]) -> Option<()> {
    while !rest.is_empty() {
        let [b';', after @ ..] = skip_space(rest) else { return None };
        rest = token(skip_space(after))?;
        if let [b'=', after @ ..] = skip_space(rest) {
            rest = match skip_space(after) {
                [b'"', inside @ ..] => quoted(inside)?,
                value => token(value)?,
            };
        }
    }
    Some(())
}

const FORBIDDEN: [&str; 9] =
    ["content-length", "transfer-encoding", "host", "te", "trailer", "upgrade", "connection", "content-range", "content-encoding"];

/// RFC 9112 section 7.1 read from the whole stream at once. `None`: refused or not complete.
fn reference(stream: &[u8]) -> Option<Body> {
    let (mut data, mut rest, mut trailers) = (Vec::new(), stream, Fields::new());
    loop {
        let (head, after) = line(rest)?;
        let digits = head.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&head[..digits]).ok()?, 16).ok()? as usize;
        extensions(&head[digits..])?;
        rest = after;
        if size == 0 {
            break;
        }
        data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let (field, after) = line(rest)?;
        rest = after;
        if field.is_empty() {
            return Some((data, stream.len() - rest.len(), trailers));
        }
        let [b':', value @ ..] = token(field)? else { return None };
        let name = &field[..field.len() - value.len() - 1];
        if !value.iter().all(is_text) || FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes())) {
            return None;
        }
        let mut value = skip_space(value);
        while let [before @ .., b' ' | b'\t'] = value {
            value = before;
        }
        trailers.push((name.to_vec(), value.to_vec()));
    }
}

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, rest @ ..] = data else { return };
    let bounded = mode & 1 > 0;
    let mut limits = Limits { chunk_ext_max: 1 << 20, trailers_max: 1 << 20, trailer_count: 1 << 20, ..Limits::default() };
    if bounded {
        limits = Limits { body_max: 20, chunk_ext_max: 10, trailers_max: 30, trailer_count: 3, ..limits };
    }
    let (sizes, stream) = rest.split_at(usize::from(cuts % 8).min(rest.len()));
    let whole = compact(stream, &[], &limits);
    assert_eq!(whole, compact(stream, &[0], &limits), "octet by octet");
    assert_eq!(whole, compact(stream, sizes, &limits), "in pieces");
    let expected = reference(stream);
    match whole {
        Ok(body) => assert_eq!(body, expected),
        Err(refusal) if bounded || refusal.text.starts_with("more chunk framing") || refusal.text.contains("digits: ") => {
            assert!(refusal.status >= 400)
        }
        Err(refusal) => assert_eq!(None, expected, "{refusal:?}"),
    }
});
