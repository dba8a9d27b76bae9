//! A multipart body that is not kept in memory, as tables of its parts: where each lies in the body, its head, and its octets if they are few.
#![forbid(unsafe_code)]

use super::whole::TOO_MANY;
use super::{Found, Multipart, part};
use crate::limits::Limits;
use crate::memory::contents::{Contents, Field, Kind, Part, Piece};
use crate::parse::refusal::Refusal;

/// See the file's first line. `feed` for each piece of the body, whatever its size; `finish` at its end.
#[derive(Debug)]
pub struct Sorter {
    parser: Multipart,
    /// Nothing of the body is in memory, so every piece lies among what was added; `content` alone is a place in the body.
    contents: Contents,
    /// Octets of the body so far.
    read: usize,
    /// What may be kept of contents, less what is.
    room: usize,
}

impl Sorter {
    /// `boundary` is valid, as `media::of` says. Contents are kept, first come, while all that are kept have at most `room` octets.
    pub fn new(boundary: &[u8], room: usize) -> Self {
        let contents = Contents { kind: Kind::Multipart, ..Contents::default() };
        Sorter { parser: Multipart::new(boundary), contents, read: 0, room }
    }

    pub fn feed(&mut self, octets: &[u8], limits: &Limits) -> Result<(), Refusal> {
        let Sorter { parser, contents, read, room } = self;
        let mut at = 0;
        while let Some(found) = parser.next(octets, &mut at)? {
            match found {
                Found::Head(head) => {
                    if contents.parts.len() as u64 >= limits.parts_max {
                        return Err(TOO_MANY);
                    }
                    let start = contents.extra.len();
                    contents.reserve_extra(head.len())?;
                    contents.extra.extend_from_slice(head);
                    let mut part = part::read(head, start, &[], limits, contents)?;
                    part.content = Piece { start: *read + at, len: 0 };
                    part.kept = Some(Piece { start: contents.extra.len(), len: 0 });
                    contents.push_part(part)?;
                }
                Found::Content(octets) => keep(contents, octets, *room)?,
                Found::End => *room -= contents.parts.last().and_then(|part| part.kept).map_or(0, |kept| kept.len),
            }
        }
        *read += octets.len();
        Ok(())
    }

    /// The body has ended.
    pub fn finish(self) -> Result<Contents, Refusal> {
        self.parser.finish()?;
        Ok(self.contents)
    }

    /// Octets of memory that the tables hold.
    pub fn held(&self) -> usize {
        let Contents { fields, parts, extra, .. } = &self.contents;
        extra.capacity() + fields.capacity() * size_of::<Field>() + parts.capacity() * size_of::<Part>()
    }
}

/// Adds octets to the last part. One that becomes too long to be kept is forgotten: what is kept depends on lengths alone.
fn keep(contents: &mut Contents, octets: &[u8], room: usize) -> Result<(), Refusal> {
    let Some(part) = contents.parts.last_mut() else { return Ok(()) };
    part.content.len += octets.len();
    let Some(kept) = &mut part.kept else { return Ok(()) };
    if part.content.len > room {
        contents.extra.truncate(kept.start);
        part.kept = None;
        return Ok(());
    }
    kept.len = part.content.len;
    contents.reserve_extra(octets.len())?;
    contents.extra.extend_from_slice(octets);
    Ok(())
}
