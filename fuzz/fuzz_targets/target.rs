//! Request-targets and cookies: path, query pairs and cookies must be what simple reference decoders make of them.
#![no_main]

use ingest::decode;
use ingest::limits::{Limits, PAIRS_MAX};
use ingest::parse::advance;
use ingest::parse::head::HeadScan;
use ingest::parse::sketch::{Pair, Sketch};
use ingest::request::{
    INGEST_REQUEST_PATH_HAS_ENCODED_NUL, INGEST_REQUEST_PATH_HAS_ENCODED_SLASH, INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE,
};
use libfuzzer_sys::fuzz_target;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The decoded octets, and the flags of what decoding met.
fn unescape(text: &[u8], plus: bool) -> (Vec<u8>, u32) {
    let (mut decoded, mut flags, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (text[at], value) {
            (b'%', Some(value)) => {
                decoded.push(value);
                flags |= if value == b'/' { INGEST_REQUEST_PATH_HAS_ENCODED_SLASH } else { 0 };
                flags |= if value == 0 { INGEST_REQUEST_PATH_HAS_ENCODED_NUL } else { 0 };
                at += 2;
            }
            (b'%', None) => {
                decoded.push(b'%');
                flags |= INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE;
            }
            (b'+', _) if plus => decoded.push(b' '),
            (octet, _) => decoded.push(octet),
        }
        at += 1;
    }
    (decoded, flags)
}

fn cut(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    text.iter().position(|octet| *octet == mark).map_or((text, &[]), |at| (&text[..at], &text[at + 1..]))
}

fn query_pairs(query: &[u8]) -> Pairs {
    let segments = query.split(|octet| *octet == b'&').filter(|segment| !segment.is_empty());
    segments.map(|segment| cut(segment, b'=')).map(|(name, value)| (unescape(name, true).0, unescape(value, true).0)).collect()
}

fn cookie_pairs(line: &[u8]) -> Pairs {
    let trim = |text: &[u8]| {
        let kept = |octet: &u8| *octet != b' ' && *octet != b'\t';
        let start = text.iter().position(kept).unwrap_or(text.len());
        let end = text.iter().rposition(kept).map_or(start, |last| last + 1);
        text[start..end].to_vec()
    };
    let pieces = line.split(|octet| *octet == b';').map(trim).filter(|piece| !piece.is_empty());
    let pair = |piece: Vec<u8>| {
        let (name, value) = cut(&piece, b'=');
        let mut value = trim(value);
        if value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"") {
            value = value[1..value.len() - 1].to_vec();
        }
        (trim(name), value)
    };
    pieces.map(pair).collect()
}

fn found(sketch: &Sketch, head: &[u8], pairs: &[Pair]) -> Pairs {
    pairs.iter().map(|pair| (sketch.bytes(head, pair.name).to_vec(), sketch.bytes(head, pair.value).to_vec())).collect()
}

fuzz_target!(|data: &[u8]| {
    let (target, cookies) = cut(data, b'\n');
    let head = [b"OPTIONS ", target, b" HTTP/1.1\r\nHost: a\r\nCookie: ", cookies, b"\r\n\r\n"].concat();
    let mut sketch = Sketch::default();
    let Ok(Some(range)) = advance(&mut HeadScan::default(), &head, &Limits::default(), true, &mut sketch) else { return };
    if range != (0..head.len()) || sketch.headers.len() != 2 {
        return;
    }
    let mut rest = target;
    if !matches!(target, [b'/', ..] | b"*") {
        let at = target.windows(3).position(|three| three == b"://").expect("only an absolute-form target begins otherwise");
        assert_eq!(sketch.bytes(&head, sketch.scheme), target[..at].to_ascii_lowercase());
        let authority = sketch.bytes(&head, sketch.authority);
        assert!(!authority.is_empty() && !authority.iter().any(|octet| b"/?#@\\".contains(octet)));
        rest = target[at + 3..].strip_prefix(authority).expect("the authority follows the scheme");
        assert!(matches!(rest, [] | [b'/' | b'?', ..]));
    }
    let (path, query) = cut(rest, b'?');
    let (expected_path, expected_flags) = if path.is_empty() { (b"/".to_vec(), 0) } else { unescape(path, false) };
    let (expected_query, expected_cookies) = (query_pairs(query), cookie_pairs(cookies));
    if decode::finish(&mut sketch, &head).is_err() {
        assert!(expected_query.len() > PAIRS_MAX || expected_cookies.len() > PAIRS_MAX);
        return;
    }
    assert_eq!(sketch.bytes(&head, sketch.path), expected_path);
    let all = INGEST_REQUEST_PATH_HAS_ENCODED_NUL | INGEST_REQUEST_PATH_HAS_ENCODED_SLASH | INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE;
    assert_eq!(sketch.flags & all, expected_flags);
    assert_eq!((sketch.has_query, sketch.bytes(&head, sketch.query)), (rest.contains(&b'?'), query));
    assert_eq!(found(&sketch, &head, &sketch.query_pairs), expected_query);
    assert_eq!(found(&sketch, &head, &sketch.cookies), expected_cookies);
});
