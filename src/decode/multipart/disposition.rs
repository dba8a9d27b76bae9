//! Content-Disposition of a part (RFC 7578 section 4.2): `form-data` with the field's name, and a file's name in the ways that clients write it.
#![forbid(unsafe_code)]

use super::super::parameters::{self, Parameter};
use super::super::{rules, target};
use crate::limits::Limits;
use crate::memory::contents::{Contents, Piece};
use crate::parse::refusal::Refusal;

const NOT_FORM_DATA: Refusal = Refusal::new(400, "malformed content-disposition of a part: send form-data; name=\"...\"");
const REPEATED: Refusal = Refusal::new(400, "repeated name or filename of a part: send each once");
const NO_NAME: Refusal = Refusal::new(400, "a part without a name: send content-disposition with name=\"...\"");

/// What the field says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disposition {
    pub name: Piece,
    pub filename: Option<Piece>,
    pub filename_extended: Option<Piece>,
}

/// Where the field's value lies in the body, so that pieces of it can be pointed at.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub value: &'a [u8],
    pub start: usize,
}

/// Reads the field's value. What was decoded is appended to `contents.extra`; `body` may be as much of the body as there is.
pub fn read(place: Place<'_>, body: &[u8], limits: &Limits, contents: &mut Contents) -> Result<Disposition, Refusal> {
    let (kind, parameters) = parameters::split(place.value);
    if !kind.eq_ignore_ascii_case(b"form-data") {
        return Err(NOT_FORM_DATA);
    }
    let (mut name, mut filename, mut extended) = (None, None, None);
    for parameter in parameters {
        let parameter = parameter.map_err(|()| NOT_FORM_DATA)?;
        let slot = match parameter.name.len() {
            4 if parameter.name.eq_ignore_ascii_case(b"name") => &mut name,
            8 if parameter.name.eq_ignore_ascii_case(b"filename") => &mut filename,
            9 if parameter.name.eq_ignore_ascii_case(b"filename*") => &mut extended,
            _ => continue,
        };
        if slot.replace(parameter).is_some() {
            return Err(REPEATED);
        }
    }
    let mut judged = |parameter| {
        let piece = text(place, parameter, contents)?;
        rules::judged(contents, body, piece, limits.rules.utf8)
    };
    let name = judged(name.ok_or(NO_NAME)?)?;
    let filename = filename.map(judged).transpose()?;
    let filename_extended = match extended {
        Some(parameter) => extended_text(parameter.value, contents)?,
        None => None,
    };
    Ok(Disposition { name, filename, filename_extended })
}

/// A parameter's text. In a quoted one `\"` and `\\` stand for the second octet, as RFC 2045 and curl say, and `%22`, `%0D` and `%0A` for a
/// quote, CR and LF, as the HTML standard has browsers write them. All else stays, percent signs and other backslashes too.
fn text(place: Place<'_>, parameter: Parameter<'_>, contents: &mut Contents) -> Result<Piece, Refusal> {
    let value = parameter.value;
    let start = place.start + (value.as_ptr().addr() - place.value.as_ptr().addr());
    if !parameter.quoted || memchr::memchr2(b'\\', b'%', value).is_none() {
        return Ok(Piece { start, len: value.len() });
    }
    contents.reserve_extra(value.len())?;
    let begin = contents.extra.len();
    let mut rest = value;
    while let [octet, after @ ..] = rest {
        let (octet, taken) = match (octet, after) {
            (b'\\', [escaped @ (b'"' | b'\\'), ..]) => (*escaped, 2),
            (b'%', [b'2', b'2', ..]) => (b'"', 3),
            (b'%', [b'0', b'D', ..]) => (b'\r', 3),
            (b'%', [b'0', b'A', ..]) => (b'\n', 3),
            _ => (*octet, 1),
        };
        contents.extra.push(octet);
        rest = &rest[taken..];
    }
    Ok(contents.added(begin))
}

/// `ext-value` of RFC 8187 section 3.2.1, in UTF-8: `UTF-8'en'a%20b`. RFC 7578 section 4.2 says not to send it, and some do. What is
/// malformed, or in another charset than UTF-8 and ISO-8859-1, is as if it had not been sent; the field itself shows it.
fn extended_text(value: &[u8], contents: &mut Contents) -> Result<Option<Piece>, Refusal> {
    let mut pieces = value.splitn(3, |octet| *octet == b'\'');
    let (Some(charset), Some(_language), Some(text)) = (pieces.next(), pieces.next(), pieces.next()) else { return Ok(None) };
    let is_utf8 = charset.eq_ignore_ascii_case(b"utf-8");
    if !is_utf8 && !charset.eq_ignore_ascii_case(b"iso-8859-1") {
        return Ok(None);
    }
    // An octet of ISO-8859-1 takes two in UTF-8 at most.
    contents.reserve_extra(2 * text.len())?;
    let begin = contents.extra.len();
    let mut rest = text;
    while let [octet, after @ ..] = rest {
        rest = after;
        let octet = match (octet, target::escaped(after)) {
            (b'%', Some(value)) => {
                rest = &after[2..];
                value
            }
            (b'%', None) => return Ok(None),
            _ => *octet,
        };
        match is_utf8 || octet.is_ascii() {
            true => contents.extra.push(octet),
            false => contents.extra.extend_from_slice(&[0xc0 | octet >> 6, 0x80 | octet & 0x3f]),
        }
    }
    let is_text = std::str::from_utf8(&contents.extra[begin..]).is_ok();
    Ok(is_text.then(|| contents.added(begin)))
}
