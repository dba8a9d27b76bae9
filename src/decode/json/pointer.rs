//! JSON pointers (RFC 6901): the value that one leads to, as it stands in the text, found in the pass that checks the text.
#![forbid(unsafe_code)]

use super::strings;
use super::{Fault, Watch, walk};
use crate::limits::JSON_DEPTH_CEILING;
use std::ops::Range;

/// Why nothing can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The pointer is no UTF-8, is not empty and does not begin with a slash, or has a tilde without 0 or 1 behind it.
    Pointer,
    Text(Fault),
}

/// Where the value lies that `pointer` leads to; `None` if it leads nowhere. Of members with the same name the last one counts, as for
/// most readers (RFC 8259 section 4), so the whole text is passed, and checked, in any case. Linear in text and pointer together.
pub fn find(text: &[u8], pointer: &[u8]) -> Result<Option<Range<usize>>, Trouble> {
    let is_escaped = |after: &[u8]| matches!(after, [b'0' | b'1', ..]);
    let tildes_are_fine = memchr::memchr_iter(b'~', pointer).all(|at| is_escaped(&pointer[at + 1..]));
    let is_text = u32::try_from(pointer.len()).is_ok() && std::str::from_utf8(pointer).is_ok();
    if !tildes_are_fine || !is_text || !matches!(pointer, [] | [b'/', ..]) {
        return Err(Trouble::Pointer);
    }
    let mut finder = Finder {
        pointer,
        ends: [0; LEVELS],
        counts: [0; LEVELS],
        entered: 0,
        is_named: false,
        may_enter: false,
        index: None,
        open_at: None,
        found: None,
    };
    walk(text, JSON_DEPTH_CEILING, &mut finder).map_err(Trouble::Text)?;
    Ok(finder.found)
}

const LEVELS: usize = JSON_DEPTH_CEILING + 1;
/// In `counts`: an object, whose members have names.
const OBJECT: u32 = u32::MAX;

/// Follows the pointer through the text. The n-th token of the pointer chooses a value within n brackets, so depth and tokens count alike.
struct Finder<'a> {
    pointer: &'a [u8],
    /// `ends[n]`: where the n-th token ends; zero while nobody wanted to know.
    ends: [u32; LEVELS],
    /// `counts[n]`: how many elements of the entered array at depth n have begun; or `OBJECT`.
    counts: [u32; LEVELS],
    /// How many brackets were entered that the pointer leads through. Values within more than these are none of our business.
    entered: usize,
    /// The name of the member that comes next is the token.
    is_named: bool,
    /// The value that has just begun is on the way, and not yet its end.
    may_enter: bool,
    /// The token of the innermost bracket entered, as an index.
    index: Option<u32>,
    /// Where the value that the whole pointer leads to began, until it has ended.
    open_at: Option<usize>,
    found: Option<Range<usize>>,
}

impl Watch for Finder<'_> {
    #[inline]
    fn begins(&mut self, at: usize, depth: usize) {
        self.may_enter = false;
        if depth != self.entered {
            return;
        }
        let is_on_the_way = match self.counts[depth] {
            _ if depth == 0 => true,
            OBJECT => self.is_named,
            count => {
                self.counts[depth] = (count + 1).min(OBJECT - 1);
                self.index == Some(count)
            }
        };
        if is_on_the_way {
            match self.ends[depth] as usize == self.pointer.len() {
                true => self.open_at = Some(at),
                false => self.may_enter = true,
            }
        }
    }

    #[inline]
    fn ends(&mut self, at: usize, depth: usize) {
        if depth < self.entered {
            self.entered = depth;
            self.index = self.index_at(depth);
        } else if depth == self.entered {
            self.found = self.open_at.take().map(|start| start..at).or(self.found.take());
        }
    }

    #[inline]
    fn name(&mut self, name: &[u8], depth: usize) {
        if depth == self.entered {
            self.is_named = Iterator::eq(strings::unescaped(name), unescaped(self.token(depth)));
            if self.is_named {
                // What an earlier member of this name led to does not count any more.
                self.found = None;
            }
        }
    }

    #[inline]
    fn opened(&mut self, is_object: bool, depth: usize) {
        if !std::mem::take(&mut self.may_enter) {
            return;
        }
        self.entered = depth;
        self.counts[depth] = if is_object { OBJECT } else { 0 };
        if self.ends[depth] == 0 {
            // Once for each token, so that entering again and again costs nothing.
            let start = self.ends[depth - 1] as usize + 1;
            let len = memchr::memchr(b'/', &self.pointer[start..]).unwrap_or(self.pointer.len() - start);
            self.ends[depth] = (start + len) as u32;
        }
        self.index = self.index_at(depth);
    }
}

impl Finder<'_> {
    /// The n-th token, without its slash.
    fn token(&self, n: usize) -> &[u8] {
        if n == 0 { &[] } else { &self.pointer[self.ends[n - 1] as usize + 1..self.ends[n] as usize] }
    }

    /// The n-th token as an index: digits without zeros in front (RFC 6901 section 4). `-` is the element behind the last, which is not there.
    fn index_at(&self, n: usize) -> Option<u32> {
        match self.token(n) {
            [b'0'] => Some(0),
            [b'1'..=b'9', ..] if self.token(n).len() <= 10 => {
                let digits = std::str::from_utf8(self.token(n)).ok()?;
                digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
            }
            _ => None,
        }
    }
}

/// The octets that a token stands for: `~1` is a slash, `~0` a tilde (RFC 6901 section 4). The escapes were checked.
fn unescaped(token: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = token.iter();
    std::iter::from_fn(move || match rest.next()? {
        b'~' if rest.next() == Some(&b'1') => Some(b'/'),
        octet => Some(*octet),
    })
}
