//! The chunked transfer coding (RFC 9112 section 7.1): one state machine that compacts the data in place and keeps the trailer section.
#![forbid(unsafe_code)]

use super::framing;
use super::known;
use super::octets::{self, QUOTED, TOKEN, VALUE};
use super::refusal::Refusal;
use super::sketch::{Pair, Span};
use crate::limits::{CHUNK_OVERHEAD_BASE, CHUNK_SIZE_DIGITS, Limits};

const SIZE: Refusal = Refusal::new(400, "malformed chunk size: send hexadecimal digits and crlf");
const SIZE_DIGITS: Refusal = Refusal::new(400, "chunk size has too many digits: send at most 16");
const EXTENSION: Refusal = Refusal::new(400, "malformed chunk extension: send ;name or ;name=value");
const EXTENSIONS: Refusal = Refusal::new(400, "chunk extensions too large: leave them out");
const BARE_LF: Refusal = Refusal::new(400, "bare lf in chunk framing: end lines with crlf");
const BARE_CR: Refusal = Refusal::new(400, "bare cr in chunk framing: end lines with crlf");
const DATA_END: Refusal = Refusal::new(400, "chunk data not followed by crlf: send as much data as the chunk size says");
const OVERHEAD: Refusal = Refusal::new(400, "more chunk framing than data: send larger chunks");
const TOO_LARGE: Refusal = Refusal::new(413, "body larger than this server takes: send less");
const NO_MEMORY: Refusal = Refusal::new(503, "no memory for the trailer section, try again later");
/// Trailer sections grow by this, and only if there is room.
const TRAILER_STEP_BYTES: usize = 512;
const TRAILERS: Refusal = Refusal::new(431, "trailer section too large: send less");
const TRAILER_COUNT: Refusal = Refusal::new(431, "too many trailer fields: send fewer");
const TRAILER_NAME: Refusal =
    Refusal::new(400, "malformed trailer line: send name, colon and value, with no space before the colon and no line fold");
const TRAILER_VALUE: Refusal = Refusal::new(400, "control octet in a trailer value: leave it out");
const TRAILER_FORBIDDEN: Refusal = Refusal::new(400, "framing or routing field in the trailer section: send it as a header");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first digit of a chunk size.
    #[default]
    SizeFirst,
    Size,
    /// BWS that only a semicolon may follow.
    ExtensionSpace,
    ExtensionNameStart,
    ExtensionName,
    /// BWS that an equals sign or a semicolon may follow.
    ExtensionNameSpace,
    ExtensionValueStart,
    ExtensionValue,
    Quoted,
    QuotedPair,
    QuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerLine,
    TrailerLf,
    FinalLf,
    Done,
}

/// Where one chunked body stands. It decides octet by octet, so that no split of the stream can change its answer.
#[derive(Debug, Default)]
pub struct Chunked {
    /// The size being read, then the data octets of this chunk that are still to come.
    remaining: u64,
    /// Data octets announced so far, this chunk included.
    total: u64,
    /// Framing octets outside the trailer section.
    overhead: u64,
    extensions: u64,
    trailers: Option<Box<Trailers>>,
    digits: u8,
    state: State,
}

const _: () = assert!(size_of::<Chunked>() < 64);

/// The trailer section as received, line ends included, and where its fields lie in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trailers {
    pub bytes: Vec<u8>,
    pub pairs: Vec<Pair>,
}

/// What one call did: `bytes[..kept]` is data now, `consumed` octets of input were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub consumed: usize,
    pub kept: usize,
    /// The last chunk and the trailer section have ended; what follows at `bytes[consumed..]` is untouched and not ours.
    pub complete: bool,
}

impl Chunked {
    /// Moves the data to the front of `bytes`, over the framing. Call it once for every piece of the stream, in order.
    pub fn compact(&mut self, bytes: &mut [u8], limits: &Limits) -> Result<Compacted, Refusal> {
        let mut consumed = 0;
        let mut kept = 0;
        while consumed < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let there = bytes.len() - consumed;
                let run = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(there);
                bytes.copy_within(consumed..consumed + run, kept);
                consumed += run;
                kept += run;
                self.remaining -= run as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[consumed], limits)?;
                consumed += 1;
            }
        }
        Ok(Compacted { consumed, kept, complete: self.state == State::Done })
    }

    /// The trailer fields, empty when there were none. They are whole once `compact` said `complete`.
    pub fn take_trailers(&mut self) -> Trailers {
        self.trailers.take().map(|trailers| *trailers).unwrap_or_default()
    }

    /// The last chunk and the trailer section have ended.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Trailer fields have come.
    pub fn has_trailers(&self) -> bool {
        self.trailers.as_ref().is_some_and(|trailers| !trailers.pairs.is_empty())
    }

    /// Takes one octet that is not data.
    fn step(&mut self, octet: u8, limits: &Limits) -> Result<State, Refusal> {
        match self.state {
            State::TrailerStart | State::TrailerLine | State::TrailerLf | State::FinalLf => return self.step_trailer(octet, limits),
            State::SizeFirst | State::Size => {}
            State::Data | State::DataCr | State::DataLf | State::SizeLf | State::Done => {}
            _ if octet != b'\r' => self.count_extension(limits)?,
            _ => {}
        }
        self.overhead += 1;
        match (self.state, octet) {
            (State::SizeFirst | State::Size, _) => self.step_size(octet, limits),
            (State::SizeLf, b'\n') => self.end_size_line(),
            (State::SizeLf, _) => Err(BARE_CR),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.digits = 0;
                Ok(State::SizeFirst)
            }
            (State::DataCr | State::DataLf, _) => Err(DATA_END),
            (_, b'\n') => Err(BARE_LF),
            (state, _) => step_extension(state, octet),
        }
    }

    /// `chunk-size = 1*HEXDIG`: no sign, no prefix, no separator; the number of digits bounds the arithmetic.
    fn step_size(&mut self, octet: u8, limits: &Limits) -> Result<State, Refusal> {
        if let Some(digit) = octets::hex_value(octet) {
            if u32::from(self.digits) == CHUNK_SIZE_DIGITS {
                return Err(SIZE_DIGITS);
            }
            self.digits += 1;
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        let next = match octet {
            b'\n' => return Err(BARE_LF),
            _ if self.digits == 0 => return Err(SIZE),
            b'\r' => State::SizeLf,
            b';' => State::ExtensionNameStart,
            b' ' | b'\t' => State::ExtensionSpace,
            _ => return Err(SIZE),
        };
        if next != State::SizeLf {
            self.count_extension(limits)?;
        }
        // A size beyond 63 bits is refused whatever the limit says, so the sum of two can never wrap.
        let largest = limits.body_max.min(i64::MAX as u64);
        if self.remaining > largest.saturating_sub(self.total) {
            return Err(TOO_LARGE);
        }
        self.total += self.remaining;
        Ok(next)
    }

    fn count_extension(&mut self, limits: &Limits) -> Result<(), Refusal> {
        self.extensions += 1;
        if self.extensions > limits.chunk_ext_max { Err(EXTENSIONS) } else { Ok(()) }
    }

    /// The framing of a body may cost a fixed amount and once its data, else one-octet chunks make us read many times what we deliver.
    fn end_size_line(&mut self) -> Result<State, Refusal> {
        if self.overhead > CHUNK_OVERHEAD_BASE.saturating_add(self.total) {
            return Err(OVERHEAD);
        }
        Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
    }

    fn step_trailer(&mut self, octet: u8, limits: &Limits) -> Result<State, Refusal> {
        match (self.state, octet) {
            (State::TrailerStart, b'\r') => return Ok(State::FinalLf),
            (State::FinalLf, b'\n') => return Ok(State::Done),
            (State::TrailerStart | State::TrailerLine, b'\n') => return Err(BARE_LF),
            (State::TrailerLf, b'\n') | (State::TrailerStart | State::TrailerLine, _) => {}
            _ => return Err(BARE_CR),
        }
        let trailers = self.trailers.get_or_insert_default();
        if trailers.bytes.len() == trailers.bytes.capacity() && trailers.bytes.try_reserve(TRAILER_STEP_BYTES).is_err() {
            return Err(NO_MEMORY);
        }
        trailers.bytes.push(octet);
        if trailers.bytes.len() as u64 > limits.trailers_max {
            return Err(TRAILERS);
        }
        match octet {
            b'\r' => Ok(State::TrailerLf),
            b'\n' => trailers.end_line(limits).map(|()| State::TrailerStart),
            _ => Ok(State::TrailerLine),
        }
    }
}

/// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 section 7.1.1), after the size and up to its CR.
fn step_extension(state: State, octet: u8) -> Result<State, Refusal> {
    let space = matches!(octet, b' ' | b'\t');
    let token = octets::is(octet, TOKEN);
    let next = match (state, octet) {
        (State::ExtensionName | State::ExtensionValue | State::QuotedEnd, b'\r') => State::SizeLf,
        (State::ExtensionSpace | State::ExtensionName | State::ExtensionNameSpace, b';') => State::ExtensionNameStart,
        (State::ExtensionValue | State::QuotedEnd, b';') => State::ExtensionNameStart,
        (State::ExtensionName | State::ExtensionNameSpace, b'=') => State::ExtensionValueStart,
        (State::ExtensionValueStart, b'"') => State::Quoted,
        (State::Quoted, b'"') => State::QuotedEnd,
        (State::Quoted, b'\\') => State::QuotedPair,
        (State::Quoted, _) if octets::is(octet, QUOTED) => State::Quoted,
        (State::QuotedPair, _) if octets::is(octet, VALUE) => State::Quoted,
        (State::ExtensionNameStart | State::ExtensionName, _) if token => State::ExtensionName,
        (State::ExtensionValueStart | State::ExtensionValue, _) if token => State::ExtensionValue,
        (State::ExtensionSpace | State::ExtensionNameStart | State::ExtensionNameSpace | State::ExtensionValueStart, _) if space => state,
        (State::ExtensionName, _) if space => State::ExtensionNameSpace,
        (State::ExtensionValue | State::QuotedEnd, _) if space => State::ExtensionSpace,
        _ => return Err(EXTENSION),
    };
    Ok(next)
}

impl Trailers {
    /// Judges the line that has just ended, as strictly as a header line.
    fn end_line(&mut self, limits: &Limits) -> Result<(), Refusal> {
        if self.pairs.len() as u64 >= limits.trailer_count {
            return Err(TRAILER_COUNT);
        }
        let start = self.pairs.last().map_or(0, |last| line_after(&self.bytes, last.value));
        let line = &self.bytes[start..self.bytes.len() - 2];
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { return Err(TRAILER_NAME) };
        let (name, value) = (&line[..colon], octets::trim(&line[colon + 1..]));
        if !octets::is_token(name) {
            return Err(TRAILER_NAME);
        }
        if !octets::all(value, VALUE) {
            return Err(TRAILER_VALUE);
        }
        if framing::is_framing_field(name) || known::is_forbidden_in_trailers(name) {
            return Err(TRAILER_FORBIDDEN);
        }
        let place = |piece: &[u8]| Span { start: (piece.as_ptr().addr() - self.bytes.as_ptr().addr()) as u32, len: piece.len() as u32 };
        let pair = Pair { name: place(name), value: place(value) };
        self.pairs.push(pair);
        Ok(())
    }
}

/// Where the line after a value begins: only whitespace and a CRLF lie between.
fn line_after(bytes: &[u8], value: Span) -> usize {
    let end = (value.start + value.len) as usize;
    bytes[end..].iter().position(|octet| *octet == b'\n').map_or(bytes.len(), |at| end + at + 1)
}
