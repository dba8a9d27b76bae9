//! The codings gzip (RFC 1952) and deflate (RFC 1950, and RFC 1951 without its wrapping) around one inflater.
#![forbid(unsafe_code)]

use super::{CORRUPT, DICTIONARY, NO_MEMORY, Pushed, TRAILING};
use crate::parse::refusal::Refusal;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use std::fmt;

/// What one inflater holds: its window of 32 KiB, and the tables beside it.
const INFLATER_BYTES: usize = 48 * 1024;
/// The bits of a gzip header's flags that RFC 1952 section 2.3.1 knows; others must be zero.
const TEXT_FLAG: u8 = 1;
const CHECK_FLAG: u8 = 2;
const EXTRA_FLAG: u8 = 4;
const NAME_FLAG: u8 = 8;
const COMMENT_FLAG: u8 = 16;
const KNOWN_FLAGS: u8 = TEXT_FLAG | CHECK_FLAG | EXTRA_FLAG | NAME_FLAG | COMMENT_FLAG;

/// Where in its stream a decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many octets of the two that tell what `deflate` is.
    Telling(u8),
    /// The ten octets that every gzip header begins with.
    Fixed(u8),
    /// The length of the extra field, then the extra field.
    ExtraLength(u8),
    Extra,
    Name,
    Comment,
    /// The check of the header.
    HeaderCheck(u8),
    Data,
    /// CRC and length of what was inflated.
    Trailer(u8),
    /// A member ended here, and another may follow.
    Ended,
}

/// An inflater and what is around it. It is used again for other bodies.
pub struct Inflater {
    inflate: Decompress,
    at: At,
    gzip: bool,
    flags: u8,
    /// The octets of a length or a check, the first in the lowest place.
    number: u64,
    /// Octets of the extra field that are still to come.
    left: u16,
    header: Crc,
    data: Crc,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").field("gzip", &self.gzip).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Inflater {
    pub fn new() -> Self {
        Inflater {
            inflate: Decompress::new(false),
            at: At::Ended,
            gzip: false,
            flags: 0,
            number: 0,
            left: 0,
            header: Crc::new(),
            data: Crc::new(),
        }
    }

    /// Begins with another body.
    pub fn begin(&mut self, gzip: bool) {
        self.gzip = gzip;
        if gzip {
            self.begin_member()
        } else {
            self.at = At::Telling(0)
        }
        self.number = 0;
    }

    fn begin_member(&mut self) {
        self.inflate.reset(false);
        (self.at, self.flags, self.number) = (At::Fixed(0), 0, 0);
        self.header.reset();
        self.data.reset();
    }

    pub fn held(&self) -> usize {
        INFLATER_BYTES
    }

    /// The stream may end here.
    pub fn is_at_end(&self) -> bool {
        self.at == At::Ended
    }

    /// Takes octets, and appends at most `most` to what is decoded.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>, most: usize) -> Result<Pushed, Refusal> {
        let mut used = 0;
        loop {
            if self.at == At::Data {
                let (count, is_full) = self.inflate(&input[used..], output, most)?;
                used += count;
                if self.at == At::Data {
                    return Ok(Pushed { used, has_more: is_full });
                }
            }
            let Some(&octet) = input.get(used) else { return Ok(Pushed { used, has_more: false }) };
            match self.at {
                At::Ended if !self.gzip => return Err(TRAILING),
                At::Ended if octet != 0x1F => return Err(TRAILING),
                At::Ended => {
                    // Several members are one stream (RFC 1952 section 2.2). One a call, so that a heap of empty ones is no stretch of work.
                    if used > 0 {
                        return Ok(Pushed { used, has_more: false });
                    }
                    self.begin_member();
                }
                _ => {
                    self.frame(octet)?;
                    used += 1;
                }
            }
        }
    }

    /// How many octets of the input were used, and whether there was no room for all that they give.
    fn inflate(&mut self, input: &[u8], output: &mut Vec<u8>, most: usize) -> Result<(usize, bool), Refusal> {
        let (before_in, before_out) = (self.inflate.total_in(), output.len());
        let spare = output.capacity() - before_out;
        let status = if spare <= most {
            self.inflate.decompress_vec(input, output, FlushDecompress::None)
        } else {
            output.resize(before_out + most, 0);
            let made_before = self.inflate.total_out();
            let status = self.inflate.decompress(input, &mut output[before_out..], FlushDecompress::None);
            let made = usize::try_from(self.inflate.total_out() - made_before).unwrap_or(0);
            output.truncate(before_out + made);
            status
        };
        let status = match status {
            Ok(status) => status,
            Err(error) if error.needs_dictionary().is_some() => return Err(DICTIONARY),
            Err(_) => return Err(CORRUPT),
        };
        if self.gzip {
            self.data.update(&output[before_out..]);
        }
        if status == Status::StreamEnd {
            self.at = if self.gzip { At::Trailer(0) } else { At::Ended };
        }
        let used = usize::try_from(self.inflate.total_in() - before_in).map_err(|_| NO_MEMORY)?;
        Ok((used, output.len() - before_out == spare.min(most)))
    }

    /// One octet around the data.
    fn frame(&mut self, octet: u8) -> Result<(), Refusal> {
        match self.at {
            At::Telling(0) => {
                (self.number, self.at) = (u64::from(octet), At::Telling(1));
            }
            At::Telling(_) => self.tell(self.number as u8, octet)?,
            At::Trailer(count) => {
                self.number |= u64::from(octet) << (8 * u32::from(count));
                self.at = At::Trailer(count + 1);
                if count == 7 {
                    let expected = u64::from(self.data.amount()) << 32 | u64::from(self.data.sum());
                    if self.number != expected {
                        return Err(CORRUPT);
                    }
                    self.at = At::Ended;
                }
            }
            At::HeaderCheck(count) => {
                self.number |= u64::from(octet) << (8 * u32::from(count));
                self.at = At::HeaderCheck(1);
                if count == 1 {
                    if self.number != u64::from(self.header.sum() & 0xFFFF) {
                        return Err(CORRUPT);
                    }
                    self.begin_data();
                }
            }
            _ => {
                self.header.update(&[octet]);
                self.header(octet)?;
            }
        }
        Ok(())
    }

    /// RFC 1950 begins with a method of 8 and a multiple of 31. In a raw stream these octets would be a stored block with bits set
    /// that encoders leave clear. Clients send both under the one name (RFC 9110 section 8.4.1.2).
    fn tell(&mut self, first: u8, second: u8) -> Result<(), Refusal> {
        let is_wrapped = first & 0x0F == 8 && first >> 4 <= 7 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0;
        self.inflate.reset(is_wrapped);
        self.at = At::Data;
        // Neither octet gives any output.
        let mut nothing = Vec::new();
        let used = self.inflate(&[first, second], &mut nothing, 0)?;
        debug_assert!(used.0 == 2 && nothing.is_empty());
        Ok(())
    }

    fn header(&mut self, octet: u8) -> Result<(), Refusal> {
        self.at = match self.at {
            At::Fixed(count) => {
                let is_wrong = match count {
                    0 => octet != 0x1F,
                    1 => octet != 0x8B,
                    2 => octet != 8,
                    3 => octet & !KNOWN_FLAGS != 0,
                    _ => false,
                };
                if is_wrong {
                    return Err(CORRUPT);
                }
                if count == 3 {
                    self.flags = octet;
                }
                if count < 9 {
                    At::Fixed(count + 1)
                } else {
                    return self.after(EXTRA_FLAG);
                }
            }
            At::ExtraLength(0) => {
                self.left = u16::from(octet);
                At::ExtraLength(1)
            }
            At::ExtraLength(_) => {
                self.left |= u16::from(octet) << 8;
                if self.left == 0 {
                    return self.after(NAME_FLAG);
                }
                At::Extra
            }
            At::Extra => {
                self.left -= 1;
                if self.left == 0 {
                    return self.after(NAME_FLAG);
                }
                At::Extra
            }
            At::Name if octet == 0 => return self.after(COMMENT_FLAG),
            At::Comment if octet == 0 => return self.after(CHECK_FLAG),
            at => at,
        };
        Ok(())
    }

    /// The next part of the header that is there, from this one on.
    fn after(&mut self, flag: u8) -> Result<(), Refusal> {
        let from = [EXTRA_FLAG, NAME_FLAG, COMMENT_FLAG, CHECK_FLAG].into_iter().skip_while(|part| *part != flag);
        self.number = 0;
        match from.into_iter().find(|part| self.flags & part != 0) {
            Some(EXTRA_FLAG) => self.at = At::ExtraLength(0),
            Some(NAME_FLAG) => self.at = At::Name,
            Some(COMMENT_FLAG) => self.at = At::Comment,
            Some(_) => self.at = At::HeaderCheck(0),
            None => self.begin_data(),
        }
        Ok(())
    }

    fn begin_data(&mut self) {
        (self.at, self.number) = (At::Data, 0);
    }
}
