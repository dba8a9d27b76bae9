//! The inside of a JSON string: where it ends, and the text that it stands for.
#![forbid(unsafe_code)]

use super::{Fault, FaultKind};
use crate::parse::octets;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES << 7;

/// Where the quote stands that ends the string whose inside begins at `at`: everything before it was checked.
pub fn end(text: &[u8], mut at: usize) -> Result<usize, Fault> {
    loop {
        at += plain_len(&text[at..]);
        match text.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at += escape_len(text, at)?,
            Some(0x80..) => match sequence_len(&text[at..]) {
                0 => return Err(Fault { at, kind: FaultKind::NotUtf8 }),
                len => at += len,
            },
            // A control character, or the text is over.
            Some(_) | None => return Err(Fault { at, kind: FaultKind::Syntax }),
        }
    }
}

/// How many octets at the start are ASCII and mean themselves; eight at a time.
#[inline]
fn plain_len(octets: &[u8]) -> usize {
    let below = |word: u64, floor: u8| word.wrapping_sub(ONES * u64::from(floor)) & !word;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut rest = octets;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The lowest marked octet is marked rightly; those above it may be so because of a carry.
        let marks = (below(word, b' ') | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | word) & TOPS;
        if marks != 0 {
            return octets.len() - rest.len() + marks.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let is_plain = |octet: &u8| matches!(octet, b' '..0x80) && *octet != b'"' && *octet != b'\\';
    octets.len() - rest.len() + rest.iter().position(|octet| !is_plain(octet)).unwrap_or(rest.len())
}

/// The length of the escape at `at`, where a backslash stands (RFC 8259 section 7).
fn escape_len(text: &[u8], at: usize) -> Result<usize, Fault> {
    let syntax = |at| Fault { at, kind: FaultKind::Syntax };
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => {
            let digits = text[at + 2..].iter().take(4).take_while(|octet| octet.is_ascii_hexdigit()).count();
            if digits == 4 { Ok(6) } else { Err(syntax(at + 2 + digits)) }
        }
        _ => Err(syntax(at + 1)),
    }
}

/// The length of the UTF-8 sequence at the start, which begins above ASCII; 0 if it is none (RFC 3629 section 4).
fn sequence_len(octets: &[u8]) -> usize {
    let follows = |at: usize| matches!(octets.get(at), Some(0x80..=0xbf));
    let second = |low: u8, high: u8| octets.get(1).is_some_and(|octet| (low..=high).contains(octet));
    match octets[0] {
        0xc2..=0xdf if follows(1) => 2,
        0xe0 if second(0xa0, 0xbf) && follows(2) => 3,
        // Surrogates are no characters.
        0xed if second(0x80, 0x9f) && follows(2) => 3,
        0xe1..=0xec | 0xee | 0xef if follows(1) && follows(2) => 3,
        0xf0 if second(0x90, 0xbf) && follows(2) && follows(3) => 4,
        0xf1..=0xf3 if follows(1) && follows(2) && follows(3) => 4,
        0xf4 if second(0x80, 0x8f) && follows(2) && follows(3) => 4,
        _ => 0,
    }
}

/// The octets that the inside of a string stands for, one after the other; the inside was checked. An unpaired surrogate stands for no
/// text: it gives an octet that UTF-8 does not have, so that nothing is equal to it.
#[derive(Clone, Debug)]
pub struct Unescaped<'a> {
    rest: &'a [u8],
    /// Octets of a character beyond the first, in reverse.
    waiting: [u8; 3],
    count: usize,
}

const NO_TEXT: u8 = 0xff;

pub fn unescaped(inside: &[u8]) -> Unescaped<'_> {
    Unescaped { rest: inside, waiting: [0; 3], count: 0 }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.count > 0 {
            self.count -= 1;
            return Some(self.waiting[self.count]);
        }
        let (escaped, after) = match self.rest {
            [] => return None,
            [b'\\', escaped, after @ ..] => (*escaped, after),
            [octet, after @ ..] => {
                self.rest = after;
                return Some(*octet);
            }
        };
        self.rest = after;
        Some(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return Some(self.character()),
            itself => itself,
        })
    }
}

impl Unescaped<'_> {
    /// The first octet of the character whose four digits come next; the others wait.
    fn character(&mut self) -> u8 {
        let Some(mut number) = self.take_unit() else { return NO_TEXT };
        if let (0xd800..0xdc00, [b'\\', b'u', low @ ..]) = (number, self.rest) {
            let mut ahead = Unescaped { rest: low, waiting: [0; 3], count: 0 };
            if let Some(unit @ 0xdc00..0xe000) = ahead.take_unit() {
                number = 0x10000 + ((number - 0xd800) << 10) + (unit - 0xdc00);
                self.rest = ahead.rest;
            }
        }
        let Some(character) = char::from_u32(number) else { return NO_TEXT };
        let mut room = [0; 4];
        let octets = character.encode_utf8(&mut room).as_bytes();
        for octet in octets[1..].iter().rev() {
            self.waiting[self.count] = *octet;
            self.count += 1;
        }
        octets[0]
    }

    fn take_unit(&mut self) -> Option<u32> {
        let (digits, after) = self.rest.split_first_chunk::<4>()?;
        self.rest = after;
        digits.iter().try_fold(0, |number, digit| Some(number << 4 | u32::from(octets::hex_value(*digit)?)))
    }
}
