//! A multipart body that is here whole, as tables of its parts.
#![forbid(unsafe_code)]

use super::{Found, Multipart, part};
use crate::limits::Limits;
use crate::memory::contents::{Contents, Kind, Piece};
use crate::parse::refusal::Refusal;

pub(super) const TOO_MANY: Refusal = Refusal::new(413, "too many parts in the form: send fewer");

/// Fills `contents.parts`, and `contents.fields` with their heads. Contents stay where they are and are only pointed at.
pub fn split(body: &[u8], boundary: &[u8], limits: &Limits, contents: &mut Contents) -> Result<(), Refusal> {
    contents.clear(body.len());
    contents.kind = Kind::Multipart;
    let mut parser = Multipart::new(boundary);
    let mut at = 0;
    while let Some(found) = parser.next(body, &mut at)? {
        match found {
            Found::Head(head) => {
                if contents.parts.len() as u64 >= limits.parts_max {
                    return Err(TOO_MANY);
                }
                // The head and its blank line end here.
                let mut part = part::read(head, at - 2 - head.len(), body, limits, contents)?;
                part.content = Piece { start: at, len: 0 };
                contents.push_part(part)?;
            }
            Found::Content(octets) => {
                if let Some(part) = contents.parts.last_mut() {
                    part.content.len += octets.len();
                }
            }
            Found::End => {}
        }
    }
    parser.finish()
}
