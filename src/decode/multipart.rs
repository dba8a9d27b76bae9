//! `multipart/form-data` (RFC 7578, RFC 2046 section 5.1): finds heads and contents of the parts in octets that come in pieces of any size.
//!
//! The outcome depends on the octets alone, not on how they were cut. Each octet is searched once, whatever it is: the delimiter has
//! one CR, its first octet, so what matched of it is forgotten or kept, but never looked at again.
#![forbid(unsafe_code)]

mod disposition;
pub mod part;
mod sorted;
mod whole;

#[cfg(test)]
mod tests;

pub use sorted::Sorter;
pub use whole::split;

use crate::limits::PART_HEAD_BYTES;
use crate::parse::refusal::Refusal;
use memchr::memmem;

const BOUNDARY_LINE: Refusal = Refusal::new(400, "malformed multipart body: send nothing but spaces behind a boundary on its line");
const HEAD_TOO_LARGE: Refusal = Refusal::new(400, "the head of a part is too large: send at most 8 KiB");
const UNFINISHED: Refusal = Refusal::new(400, "multipart body without its closing boundary: send all of it");

/// What was found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A part begins: its field lines, each with its CRLF, without the blank line. `part::read` knows what they mean.
    Head(&'a [u8]),
    /// Octets of the present part.
    Content(&'a [u8]),
    /// The present part has ended.
    End,
}

/// Where in a body the next octet lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary, where anything may stand and nothing means anything.
    Preamble,
    /// Right behind a boundary.
    Behind,
    /// Behind a boundary and one hyphen.
    Hyphen,
    /// In the whitespace that a boundary's line may end with (`transport-padding`); `last`: it was the closing boundary.
    Padding {
        last: bool,
    },
    /// Behind the CR that ends a boundary's line.
    Return {
        last: bool,
    },
    Head,
    Content,
    /// Behind the closing boundary, where anything may stand again.
    Epilogue,
}

/// See the file's first line. `next` until there is no more input, for each piece of input; `finish` at the body's end.
#[derive(Debug)]
pub struct Multipart {
    /// CRLF, two hyphens, the boundary.
    delimiter: Vec<u8>,
    finder: memmem::Finder<'static>,
    state: State,
    /// How many octets of the delimiter, or of the blank line at a head's end, were the last ones of what has been read.
    matched: usize,
    /// The head of the part that begins, as far as it is here.
    head: Vec<u8>,
    /// Octets read so far, and how many of them, some of them twice, were looked at to find boundaries.
    read: u64,
    looked_at: u64,
}

/// A head ends with the CRLF of its last line, or of the boundary's line, and that of the blank line.
const HEAD_END: &[u8] = b"\r\n\r\n";

impl Multipart {
    /// `boundary` is valid, as `media::of` says.
    pub fn new(boundary: &[u8]) -> Self {
        let delimiter = [b"\r\n--", boundary].concat();
        let finder = memmem::Finder::new(&delimiter).into_owned();
        // The first boundary may be the body's first line, so it is as if a CRLF had come before.
        Multipart { delimiter, finder, state: State::Preamble, matched: 2, head: Vec::new(), read: 0, looked_at: 0 }
    }

    /// Octets of the body that were read so far.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Octets that were looked at for boundaries: what the work is proportional to.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Reads on from `input[*at]` to the next thing that the caller has to know; `None` when there is no more input. Afterwards `*at` is
    /// where to go on, and `read` counts what lies before it.
    pub fn next<'a>(&'a mut self, input: &'a [u8], at: &mut usize) -> Result<Option<Found<'a>>, Refusal> {
        let began = *at;
        let found = self.advance(input, at);
        self.read += (*at - began) as u64;
        Ok(match found? {
            Step::Wait => None,
            Step::Head => {
                self.state = State::Content;
                // The blank line's CRLF is no field line's.
                let section = &self.head[..self.head.len() - 2];
                Some(Found::Head(section))
            }
            Step::Held(len) => Some(Found::Content(&self.delimiter[..len])),
            Step::Content(start, end) => Some(Found::Content(&input[start..end])),
            Step::End => Some(Found::End),
        })
    }

    /// The body has ended: an error unless its closing boundary was there.
    pub fn finish(&self) -> Result<(), Refusal> {
        match self.state {
            State::Epilogue | State::Padding { last: true } => Ok(()),
            _ => Err(UNFINISHED),
        }
    }

    fn advance(&mut self, input: &[u8], at: &mut usize) -> Result<Step, Refusal> {
        while let Some(octet) = input.get(*at) {
            match (self.state, octet) {
                (State::Epilogue, _) => *at = input.len(),
                (State::Preamble, _) => {
                    self.search(input, at);
                }
                (State::Content, _) => match self.search(input, at) {
                    Step::Wait => {}
                    step => return Ok(step),
                },
                (State::Head, _) => {
                    if self.read_head(&input[*at..], at)? {
                        self.matched = 0;
                        return Ok(Step::Head);
                    }
                }
                (State::Behind, b'-') => self.pass(State::Hyphen, at),
                (State::Hyphen, b'-') => self.pass(State::Padding { last: true }, at),
                (State::Behind, b' ' | b'\t') => self.pass(State::Padding { last: false }, at),
                (State::Padding { .. }, b' ' | b'\t') => *at += 1,
                (State::Behind, b'\r') => self.pass(State::Return { last: false }, at),
                (State::Padding { last }, b'\r') => self.pass(State::Return { last }, at),
                (State::Return { last: true }, b'\n') => self.pass(State::Epilogue, at),
                (State::Return { last: false }, b'\n') => {
                    self.pass(State::Head, at);
                    self.head.clear();
                    self.matched = 2;
                }
                // RFC 2046 takes a longer line for a boundary, most readers take it for content: no two of them would agree on the parts.
                (State::Behind | State::Hyphen | State::Padding { .. } | State::Return { .. }, _) => return Err(BOUNDARY_LINE),
            }
        }
        Ok(Step::Wait)
    }

    fn pass(&mut self, state: State, at: &mut usize) {
        self.state = state;
        *at += 1;
    }

    /// Looks for the next delimiter. Of what is before it, the octets that were held back come first.
    fn search(&mut self, input: &[u8], at: &mut usize) -> Step {
        if self.matched == self.delimiter.len() {
            return self.delimited();
        }
        let rest = &input[*at..];
        if self.matched > 0 {
            let wanted = &self.delimiter[self.matched..];
            let common = wanted.iter().zip(rest).take_while(|(wanted, octet)| wanted == octet).count();
            self.looked_at += common as u64 + 1;
            if common < wanted.len() && common < rest.len() {
                let held = std::mem::take(&mut self.matched);
                return Step::Held(held);
            }
            self.matched += common;
            *at += common;
            return if self.matched == self.delimiter.len() { self.delimited() } else { Step::Wait };
        }
        let start = *at;
        let (end, matched) = match self.finder.find(rest) {
            Some(place) => (start + place, self.delimiter.len()),
            None => {
                let kept = self.prefix_at_end(rest);
                (input.len() - kept, kept)
            }
        };
        self.matched = matched;
        *at = end + matched;
        self.looked_at += (*at - start) as u64;
        match end > start {
            true => Step::Content(start, end),
            false if matched == self.delimiter.len() => self.delimited(),
            false => Step::Wait,
        }
    }

    fn delimited(&mut self) -> Step {
        let step = if self.state == State::Content { Step::End } else { Step::Wait };
        self.matched = 0;
        self.state = State::Behind;
        step
    }

    /// How many of the last octets may be the beginning of a delimiter. It has one CR, so only what follows the last one can be.
    fn prefix_at_end(&self, rest: &[u8]) -> usize {
        let tail = &rest[rest.len().saturating_sub(self.delimiter.len() - 1)..];
        match memchr::memrchr(b'\r', tail) {
            Some(place) if self.delimiter.starts_with(&tail[place..]) => tail.len() - place,
            _ => 0,
        }
    }

    /// Gathers the head of a part; true when it is whole.
    fn read_head(&mut self, rest: &[u8], at: &mut usize) -> Result<bool, Refusal> {
        let mut len = 0;
        for octet in rest {
            len += 1;
            self.matched = match *octet == HEAD_END[self.matched] {
                true => self.matched + 1,
                false => usize::from(*octet == b'\r'),
            };
            if self.matched == HEAD_END.len() || self.head.len() + len > PART_HEAD_BYTES {
                break;
            }
        }
        if self.head.len() + len > PART_HEAD_BYTES {
            return Err(HEAD_TOO_LARGE);
        }
        self.head.extend_from_slice(&rest[..len]);
        *at += len;
        Ok(self.matched == HEAD_END.len())
    }
}

/// As `Found`, but without borrowing.
enum Step {
    Wait,
    Head,
    /// Octets that were held back because they could have begun a delimiter.
    Held(usize),
    Content(usize, usize),
    End,
}
