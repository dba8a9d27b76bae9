//! Which content-codings a body has: the Content-Encoding list (RFC 9110 section 8.4), read once and judged before the body is.
#![forbid(unsafe_code)]

use crate::limits::{CODINGS_MAX, Limits};
use crate::parse::octets::{is_token, trim};
use crate::parse::refusal::Refusal;
use crate::parse::sketch::{Framing, Sketch};

const UNKNOWN: Refusal = Refusal::new(415, "unknown content coding: send gzip, deflate, br, zstd or none").listing_codings();
const LAYERS: Refusal = Refusal::new(415, "too many content codings on one body: send fewer").listing_codings();
const MALFORMED: Refusal = Refusal::new(400, "malformed content-encoding: send the names of codings with commas between");

/// A coding that can be undone. `x-gzip` is `gzip` (RFC 9110 section 8.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

/// The codings of one body in the order in which they were applied; few enough to be copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    list: [Option<Coding>; CODINGS_MAX],
}

impl Codings {
    /// Of one or two codings, the first applied first. More than there can be are left out.
    pub fn of(codings: &[Coding]) -> Self {
        let mut list = [None; CODINGS_MAX];
        for (place, coding) in list.iter_mut().zip(codings) {
            *place = Some(*coding);
        }
        Codings { list }
    }

    pub fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }

    /// In the order in which they are undone: the last that was applied comes first.
    pub fn outermost_first(&self) -> impl Iterator<Item = Coding> {
        self.list.iter().rev().flatten().copied()
    }

    /// As a Content-Encoding field would list them, `x-gzip` as `gzip`; empty when there are none.
    pub fn names(&self) -> &'static str {
        const BOTH: [[&str; 4]; 4] = [
            ["gzip, gzip", "gzip, deflate", "gzip, br", "gzip, zstd"],
            ["deflate, gzip", "deflate, deflate", "deflate, br", "deflate, zstd"],
            ["br, gzip", "br, deflate", "br, br", "br, zstd"],
            ["zstd, gzip", "zstd, deflate", "zstd, br", "zstd, zstd"],
        ];
        match self.list {
            [None, _] => "",
            [Some(coding), None] => ["gzip", "deflate", "br", "zstd"][coding as usize],
            [Some(first), Some(second)] => BOTH[first as usize][second as usize],
        }
    }

    /// Reads one list. Empty elements are none (RFC 9110 section 5.6.1.2), and `identity` changes nothing.
    fn read(&mut self, value: &[u8], layers: u64) -> Result<(), Refusal> {
        for element in value.split(|octet| *octet == b',').map(trim) {
            if element.is_empty() || element.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if !is_token(element) {
                return Err(MALFORMED);
            }
            let coding = match element {
                name if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => Coding::Gzip,
                name if name.eq_ignore_ascii_case(b"deflate") => Coding::Deflate,
                name if name.eq_ignore_ascii_case(b"br") => Coding::Br,
                name if name.eq_ignore_ascii_case(b"zstd") => Coding::Zstd,
                _ => return Err(UNKNOWN),
            };
            let count = self.list.iter().flatten().count();
            if count as u64 >= layers || count == CODINGS_MAX {
                return Err(LAYERS);
            }
            self.list[count] = Some(coding);
        }
        Ok(())
    }
}

/// The codings of the body that follows this head, several field lines being one list. What is not known, or is too much, is refused
/// here: before a client that waits for `100 Continue` sends its body. Without a body there is nothing that could be coded.
pub fn read(sketch: &Sketch, head: &[u8], limits: &Limits) -> Result<Codings, Refusal> {
    let mut codings = Codings::default();
    if !limits.decode || sketch.framing == Framing::None {
        return Ok(codings);
    }
    for index in &sketch.coding_lines {
        let value = sketch.headers[*index as usize].value.of(head);
        codings.read(value, limits.decode_layers)?;
    }
    Ok(codings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, layers: u64) -> Result<&'static str, u16> {
        let mut codings = Codings::default();
        codings.read(value.as_bytes(), layers).map_err(|refusal| refusal.status)?;
        Ok(codings.names())
    }

    #[test]
    fn lists() {
        for (value, names) in [
            ("", ""),
            (", ,", ""),
            ("identity", ""),
            ("gzip", "gzip"),
            ("X-GZip", "gzip"),
            ("\t,Deflate ,", "deflate"),
            ("identity, br", "br"),
            ("zstd", "zstd"),
        ] {
            assert_eq!(read(value, 1), Ok(names), "{value:?}");
        }
        assert_eq!(read("gzip, br", 2), Ok("gzip, br"));
        for value in ["compress", "gzip2", "x-deflate", "dcb", "dcz", "chunked", "*"] {
            assert_eq!(read(value, 2), Err(415), "{value:?}");
        }
        assert_eq!((read("gzip, br", 1), read("gzip, br, zstd", 2)), (Err(415), Err(415)));
        for value in ["gzip;q=1", "gz ip", "\"gzip\"", "gzip br"] {
            assert_eq!(read(value, 2), Err(400), "{value:?}");
        }
    }

    #[test]
    fn the_last_that_was_applied_is_undone_first() {
        let codings = Codings::of(&[Coding::Gzip, Coding::Br]);
        assert!(codings.outermost_first().eq([Coding::Br, Coding::Gzip]));
        assert!(Codings::of(&[Coding::Zstd]).outermost_first().eq([Coding::Zstd]));
    }
}
