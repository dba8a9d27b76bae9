//! Form bodies: `application/x-www-form-urlencoded` as the WHATWG URL standard (section 5.1) reads it, with a bound on the fields.
#![forbid(unsafe_code)]

use super::charset::{self, Bounds};
use super::rules::{self, Charset, Utf8};
use super::target;
use crate::limits::Limits;
use crate::memory::contents::{Contents, Field, Kind, Piece};
use crate::parse::refusal::Refusal;
use encoding_rs::Encoding;

const TOO_MANY: Refusal = Refusal::new(413, "too many fields in the form: send fewer, or what is no form as application/octet-stream");
const MALFORMED: Refusal = Refusal::new(400, "malformed percent-escape in the form: send two hexadecimal digits behind each percent sign");

/// Fills `contents.fields`, converted from `encoding` if there is one. Nothing is looked up and nothing hashed, so names that collide cost what others cost.
pub fn split(body: &[u8], encoding: Option<&'static Encoding>, limits: &Limits, contents: &mut Contents) -> Result<(), Refusal> {
    contents.clear(body.len());
    contents.kind = Kind::Form;
    contents.charset = encoding;
    let mut start = 0;
    while start < body.len() {
        let rest = &body[start..];
        let len = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        if len > 0 {
            if contents.fields.len() as u64 >= limits.form_fields {
                return Err(TOO_MANY);
            }
            let segment = &rest[..len];
            let name_len = memchr::memchr(b'=', segment).unwrap_or(len);
            // Without an equals sign the value is empty and lies at the segment's end.
            let value_at = (name_len + 1).min(len);
            let name = decode(body, Piece { start, len: name_len }, limits, contents)?;
            let value = decode(body, Piece { start: start + value_at, len: len - value_at }, limits, contents)?;
            contents.push_field(Field { name, value })?;
        }
        start += len + 1;
        // A body may be nothing else, and a search for each costs ten times as much.
        start += body.get(start..).map_or(0, |rest| rest.iter().take_while(|octet| **octet == b'&').count());
    }
    Ok(())
}

/// The decoded piece: itself when there is nothing to decode. A malformed escape stays as it is, unless the host wants it refused.
fn decode(body: &[u8], piece: Piece, limits: &Limits, contents: &mut Contents) -> Result<Piece, Refusal> {
    let octets = &body[piece.start..piece.start + piece.len];
    let begin = contents.extra.len();
    let mut decoded = piece;
    if let Some(first) = memchr::memchr2(b'%', b'+', octets) {
        contents.reserve_extra(octets.len())?;
        if !target::unescape(octets, first, &mut contents.extra) && limits.rules.strict_escapes {
            return Err(MALFORMED);
        }
        decoded = contents.added(begin);
    }
    match contents.charset {
        Some(encoding) => converted(body, piece.start, decoded, encoding, limits, contents),
        None => rules::judged(contents, body, decoded, limits.rules.utf8),
    }
}

/// The piece, which came at an octet of the body, in UTF-8. What its escapes stood for is forgotten when it is another text.
fn converted(
    body: &[u8],
    came_at: usize,
    piece: Piece,
    encoding: &'static Encoding,
    limits: &Limits,
    contents: &mut Contents,
) -> Result<Piece, Refusal> {
    let octets = contents.bytes(body, piece);
    // An empty piece may lie behind the last octet of the body, where what was added to it begins: nothing of that is its own.
    if octets.is_empty() || charset::is_the_same(encoding, octets) {
        return Ok(piece);
    }
    let is_strict = limits.rules.charset == Charset::Strict || limits.rules.utf8 == Utf8::Refuse;
    let begin = piece.start.checked_sub(contents.body_len).unwrap_or(contents.extra.len());
    let most = charset::most(limits, body.len()).saturating_sub(begin);
    let mut text = std::mem::take(&mut contents.text);
    text.clear();
    let outcome = charset::convert(encoding, contents.bytes(body, piece), is_strict, Bounds { most, room: most }, &mut text);
    contents.text = text;
    outcome.map_err(|refusal| refusal.offset().map_or(refusal, |_| refusal.at(came_at)))?;
    contents.extra.truncate(begin);
    contents.reserve_extra(contents.text.len())?;
    contents.extra.extend_from_slice(contents.text.as_bytes());
    Ok(contents.added(begin))
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn fields_with(body: &[u8], limits: &Limits) -> Result<Pairs, u16> {
        let mut contents = Contents::default();
        split(body, None, limits, &mut contents).map_err(|refusal| refusal.status)?;
        assert_eq!(contents.kind, Kind::Form);
        let octets = |piece| contents.bytes(body, piece).to_vec();
        Ok(contents.fields.iter().map(|field| (octets(field.name), octets(field.value))).collect())
    }

    fn fields(body: &str) -> Vec<(String, String)> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let found = fields_with(body.as_bytes(), &Limits::default()).expect("it is within the limits");
        found.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// Of an encoding in which no octet is surely the same; found by the fuzz target `charset`.
    #[test]
    fn an_empty_value_at_the_end_takes_nothing_from_its_name() {
        for (body, value) in [("name", ""), ("a=b&name=", ""), ("a%20+b&name=%1B$B$%22", "\u{3042}")] {
            let (limits, mut contents) = (Limits::default(), Contents::default());
            split(body.as_bytes(), Some(encoding_rs::ISO_2022_JP), &limits, &mut contents).expect("it is well formed");
            let last = contents.fields.last().expect("a field");
            let text = |piece| String::from_utf8_lossy(contents.bytes(body.as_bytes(), piece)).into_owned();
            assert_eq!((text(last.name), text(last.value)), ("name".to_owned(), value.to_owned()), "{body}");
        }
    }

    #[test]
    fn fields_are_split_and_decoded_once() {
        assert_eq!(fields(""), pairs(&[]));
        assert_eq!(fields("&&a&=&b=&=c&d=e=f&"), pairs(&[("a", ""), ("", ""), ("b", ""), ("", "c"), ("d", "e=f")]));
        assert_eq!(fields("a+b=%63+%2B&%26=%3d%&%2541=%"), pairs(&[("a b", "c +"), ("&", "=%"), ("%41", "%")]));
        assert_eq!(fields("n\u{e4}me=%C3%A4;b\r\n"), pairs(&[("n\u{e4}me", "\u{e4};b\r\n")]));
        // The same name twice is two fields, in the order received.
        assert_eq!(fields("a=1&a=2"), pairs(&[("a", "1"), ("a", "2")]));
    }

    #[test]
    fn what_needs_no_decoding_is_not_copied() {
        let mut contents = Contents::default();
        split(b"a=b&c=%41", None, &Limits::default(), &mut contents).unwrap();
        assert_eq!(contents.extra, b"A");
    }

    #[test]
    fn fields_are_bounded() {
        let limits = Limits::default();
        assert_eq!(fields_with(&b"a&".repeat(1000), &limits).map(|fields| fields.len()), Ok(1000));
        assert_eq!(fields_with(&b"a&".repeat(1001), &limits), Err(413));
        // A million fields cost what a thousand cost: the rest is not looked at, and no table grows for it.
        let mut contents = Contents::default();
        assert_eq!(split(&b"a&".repeat(1_000_000), None, &limits, &mut contents).map_err(|refusal| refusal.status), Err(413));
        assert!(contents.fields.capacity() <= 2048);
        // Empty pieces are no fields.
        assert_eq!(fields_with(&b"&".repeat(1_000_000), &limits), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_utf8_is_kept_replaced_or_refused() {
        let body = b"a=%FF&\xc3=b+%E2%82&c=%F0%9F%98%80";
        let with = |utf8| {
            let limits = Limits { rules: Rules { utf8, ..Rules::default() }, ..Limits::default() };
            fields_with(body, &limits)
        };
        let kept = with(Utf8::Keep).unwrap();
        assert_eq!(kept[0], (b"a".to_vec(), b"\xff".to_vec()));
        assert_eq!(kept[1], (b"\xc3".to_vec(), b"b \xe2\x82".to_vec()));
        let replaced = with(Utf8::Replace).unwrap();
        assert_eq!(replaced[0].1, "\u{fffd}".as_bytes());
        assert_eq!(replaced[1], ("\u{fffd}".into(), "b \u{fffd}".into()));
        assert_eq!(replaced[2].1, "\u{1f600}".as_bytes());
        assert_eq!(with(Utf8::Refuse), Err(400));
    }

    #[test]
    fn malformed_escapes_are_refused_on_request() {
        let limits = Limits { rules: Rules { strict_escapes: true, ..Rules::default() }, ..Limits::default() };
        for body in ["%", "a=%4", "a=%4g", "%%20=b", "a=b&c=%"] {
            assert_eq!(fields_with(body.as_bytes(), &limits), Err(400), "{body}");
            assert!(fields_with(body.as_bytes(), &Limits::default()).is_ok(), "{body}");
        }
        assert_eq!(fields_with(b"a=%41+%2b", &limits), Ok(vec![(b"a".to_vec(), b"A +".to_vec())]));
    }
}
