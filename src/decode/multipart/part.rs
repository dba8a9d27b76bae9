//! The head of one part: its field lines, held to the same grammar as those of a request, and what Content-Disposition and Content-Type say.
#![forbid(unsafe_code)]

use super::disposition::{self, Place};
use crate::limits::{Limits, PART_FIELDS_MAX};
use crate::memory::contents::{Contents, Field, Part, Piece};
use crate::parse::octets;
use crate::parse::refusal::Refusal;

const LINE: Refusal = Refusal::new(400, "malformed field line of a part: send name, colon, value without control characters, crlf");
const TOO_MANY: Refusal = Refusal::new(400, "too many field lines of a part: send at most 32");
const NO_DISPOSITION: Refusal = Refusal::new(400, "a part without content-disposition: send it with form-data and a name");
const REPEATED: Refusal = Refusal::new(400, "repeated content-disposition or content-type of a part: send it once");

/// Reads the field lines of a part, each with its CRLF, which begin at the body's octet `start`. Pieces point into the body, and what had
/// to be decoded is added to `contents`; its content is for the caller to fill in.
pub fn read(head: &[u8], start: usize, body: &[u8], limits: &Limits, contents: &mut Contents) -> Result<Part, Refusal> {
    let first = contents.fields.len();
    let (mut disposition, mut content_type) = (None, None);
    let mut at = 0;
    while at < head.len() {
        let line_len = memchr::memmem::find(&head[at..], b"\r\n").ok_or(LINE)?;
        let line = &head[at..at + line_len];
        let (name, value) = tokenise(line).ok_or(LINE)?;
        if contents.fields.len() - first == PART_FIELDS_MAX {
            return Err(TOO_MANY);
        }
        let value_at = at + (value.as_ptr().addr() - line.as_ptr().addr());
        let place = Piece { start: start + value_at, len: value.len() };
        contents.push_field(Field { name: Piece { start: start + at, len: name.len() }, value: place })?;
        let known = match name.len() {
            12 if octets::is_named(name, b"content-type") => content_type.replace(place).is_some(),
            19 if octets::is_named(name, b"content-disposition") => disposition.replace(Place { value, start: place.start }).is_some(),
            _ => false,
        };
        if known {
            return Err(REPEATED);
        }
        at += line_len + 2;
    }
    let found = disposition::read(disposition.ok_or(NO_DISPOSITION)?, body, limits, contents)?;
    Ok(Part {
        name: found.name,
        filename: found.filename,
        filename_extended: found.filename_extended,
        content_type,
        fields: first..contents.fields.len(),
        content: Piece::default(),
        kept: None,
    })
}

/// Name and value of a field line. No space before the colon, no folding, no control characters: as in the head of a request.
fn tokenise(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], octets::trim(&line[colon + 1..]));
    (octets::is_token(name) && (value.is_empty() || octets::all(value, octets::VALUE))).then_some((name, value))
}
