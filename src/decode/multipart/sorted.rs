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

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    /// Head, name, file names, type, content and whether that was kept, of each part.
    type Seen = Vec<(Vec<Vec<u8>>, Vec<u8>, bool)>;

    fn seen(contents: &Contents, in_memory: &[u8], body: &[u8]) -> Seen {
        let octets = |piece: Piece| contents.bytes(in_memory, piece).to_vec();
        let part = |part: &Part| {
            let mut texts = vec![octets(part.name)];
            texts.extend([part.filename, part.filename_extended, part.content_type].map(|piece| piece.map_or(b"none".to_vec(), octets)));
            texts.extend(contents.fields[part.fields.clone()].iter().flat_map(|field| [octets(field.name), octets(field.value)]));
            let content = &body[part.content.start..part.content.start + part.content.len];
            assert!(part.kept.is_none_or(|kept| contents.bytes(in_memory, kept) == content), "what was kept is what lies there");
            (texts, content.to_vec(), part.kept.is_some())
        };
        contents.parts.iter().map(part).collect()
    }

    fn sorted(body: &[u8], room: usize, mut next: impl FnMut() -> usize) -> Result<Seen, u16> {
        let (limits, mut sorter, mut at) = (Limits::default(), Sorter::new(b"b", room), 0);
        while at < body.len() {
            let end = body.len().min(at + next());
            sorter.feed(&body[at..end], &limits).map_err(|refusal| refusal.status)?;
            at = end;
        }
        sorter.finish().map(|contents| seen(&contents, &[], body)).map_err(|refusal| refusal.status)
    }

    fn whole(body: &[u8], room: usize) -> Result<Seen, u16> {
        let mut contents = Contents::default();
        split(body, b"b", &Limits::default(), &mut contents).map_err(|refusal| refusal.status)?;
        let mut left = room;
        for part in &mut contents.parts {
            part.kept = Some(part.content).filter(|content| content.len <= left);
            left -= part.kept.map_or(0, |kept| kept.len);
        }
        Ok(seen(&contents, body, body))
    }

    const BODY: &[u8] = b"pre\r\n--b \r\nContent-Disposition: form-data; name=\"a%22\"; filename*=utf-8''%e4\r\nX:  y \r\n\r\n\r\n--\r\n\r\n--b\r\n\
        content-disposition: form-data; name=b; filename=\"\\\\\"; filename*=iso-8859-1''%e4\r\nContent-Type: t/p\r\n\r\n\r\n--b\r\n\
        Content-Disposition: form-data; name=c\r\n\r\n0123456789\r\r\n--b\r\nContent-Disposition: form-data; name=d\r\n\r\n--a\r\n--b--\r\nepilogue";

    #[test]
    fn every_split_gives_what_the_whole_gives() {
        for room in [0, 3, 6, 7, 100] {
            let wanted = whole(BODY, room);
            assert_eq!(wanted.as_ref().map(Vec::len), Ok(4));
            for first in 1..BODY.len() {
                let mut sizes = [first].into_iter();
                assert_eq!(sorted(BODY, room, || sizes.next().unwrap_or(usize::MAX / 2)), wanted, "cut at {first}");
            }
            for size in 1..40 {
                assert_eq!(sorted(BODY, room, || size), wanted, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_changed_is_changed_in_the_same_way() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut body = BODY.to_vec();
            for _ in 0..=random(3) {
                let (at, from) = (random(body.len()), random(body.len()));
                let piece = body[from..body.len().min(from + 1 + random(12))].to_vec();
                let end = body.len().min(at + random(12));
                body.splice(at..end, piece);
            }
            let room = random(30);
            let wanted = whole(&body, room);
            refused += usize::from(wanted.is_err());
            let most = 1 + random(50);
            assert_eq!(sorted(&body, room, || 1 + random(most)), wanted, "{}", String::from_utf8_lossy(&body));
        }
        assert!((2_000..18_000).contains(&refused), "{refused} of 20000 were refused");
    }

    #[test]
    fn memory_does_not_grow_with_contents() {
        let mut sorter = Sorter::new(b"b", 1000);
        let limits = Limits::default();
        assert!(sorter.feed(b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n", &limits).is_ok());
        for _ in 0..1000 {
            assert!(sorter.feed(&[b'x'; 10_000], &limits).is_ok());
            assert!(sorter.held() < 4_000, "{}", sorter.held());
        }
        assert!(sorter.feed(b"\r\n--b--", &limits).is_ok());
        assert_eq!(sorter.finish().map(|contents| contents.parts[0].content.len), Ok(10_000_000));
    }
}
