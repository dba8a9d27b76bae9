//! How the body is delimited: the only file that knows Transfer-Encoding and Content-Length (RFC 9112 section 6).
#![forbid(unsafe_code)]

use super::octets;
use super::refusal::Refusal;
use super::sketch::Framing;
use crate::limits::Limits;

const BOTH: Refusal = Refusal::new(400, "both transfer-encoding and content-length: send one of them");
const OLD: Refusal = Refusal::new(400, "transfer-encoding in an http/1.0 request: send content-length");
const CODING_UNKNOWN: Refusal = Refusal::new(501, "unknown transfer coding: send chunked alone");
const CODING: Refusal = Refusal::new(400, "malformed or repeated transfer coding: send chunked alone");
const LENGTH_REPEATED: Refusal = Refusal::new(400, "repeated content-length: send it once");
const LENGTH: Refusal = Refusal::new(400, "malformed content-length: send decimal digits only");
const TOO_LARGE: Refusal = Refusal::new(413, "body larger than this server takes: send less");

/// Lengths end here: signed 64-bit arithmetic of any host can hold them (RFC 9110 section 8.6 warns of the overflow).
const LENGTH_MAX: u64 = i64::MAX as u64;

/// What the framing fields of one head said, gathered line by line and judged once at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announced {
    length_lines: u32,
    length: u64,
    length_malformed: bool,
    coding_lines: u32,
    chunked_alone: bool,
    coding_unknown: bool,
    coding_malformed: bool,
}

/// Whether the name, a token, is one of the two framing fields; a trailer section may not bring them either.
#[inline]
pub fn is_framing_field(name: &[u8]) -> bool {
    octets::is_named(name, b"content-length") || octets::is_named(name, b"transfer-encoding")
}

impl Announced {
    /// Takes note of a field line if it is about framing; says whether it was.
    #[inline]
    pub fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !is_framing_field(name) {
            return false;
        }
        if name.len() == b"content-length".len() {
            self.note_length(value);
        } else {
            self.note_coding(value);
        }
        true
    }

    fn note_length(&mut self, value: &[u8]) {
        self.length_lines += 1;
        self.length_malformed |= value.is_empty();
        self.length = 0;
        for octet in value {
            let digit = octet.wrapping_sub(b'0');
            self.length_malformed |= digit > 9;
            // Saturating, so that no number of digits can wrap around into a small length.
            self.length = self.length.saturating_mul(10).saturating_add(u64::from(digit));
        }
    }

    fn note_coding(&mut self, value: &[u8]) {
        self.coding_lines += 1;
        self.chunked_alone = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked_alone {
            return;
        }
        for element in value.split(|octet| *octet == b',') {
            let element = octets::trim(element);
            if !octets::is_token(element) {
                self.coding_malformed = true;
            } else if !element.eq_ignore_ascii_case(b"chunked") && !element.eq_ignore_ascii_case(b"identity") {
                self.coding_unknown = true;
            }
        }
    }

    /// RFC 9112 section 6.3 with every choice taken on the strict side.
    pub fn decide(&self, http_version: u16, limits: &Limits) -> Result<Framing, Refusal> {
        if self.coding_lines == 0 && self.length_lines == 0 {
            return Ok(Framing::None);
        }
        if self.coding_lines > 0 {
            return self.decide_coding(http_version);
        }
        if self.length_lines > 1 {
            return Err(LENGTH_REPEATED);
        }
        if self.length_malformed {
            return Err(LENGTH);
        }
        if self.length > LENGTH_MAX || self.length > limits.body_max {
            return Err(TOO_LARGE);
        }
        Ok(Framing::Length(self.length))
    }

    fn decide_coding(&self, http_version: u16) -> Result<Framing, Refusal> {
        if self.length_lines > 0 {
            return Err(BOTH);
        }
        if http_version < 11 {
            return Err(OLD);
        }
        if self.coding_lines == 1 && self.chunked_alone {
            return Ok(Framing::Chunked);
        }
        if self.coding_unknown && !self.coding_malformed {
            return Err(CODING_UNKNOWN);
        }
        Err(CODING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(lines: &[(&str, &str)], version: u16) -> Result<Framing, u16> {
        let mut announced = Announced::default();
        for (name, value) in lines {
            assert!(announced.note(name.as_bytes(), value.as_bytes()));
        }
        announced.decide(version, &Limits::default()).map_err(|refusal| refusal.status)
    }

    #[test]
    fn lengths() {
        let length = |value| decide(&[("Content-Length", value)], 11);
        assert_eq!(decide(&[], 11), Ok(Framing::None));
        assert_eq!(length("0"), Ok(Framing::Length(0)));
        assert_eq!(length("010"), Ok(Framing::Length(10)));
        for bad in ["", "+1", "-1", "1 ", "0x1", "1,1", "1 1", "1_0", "\u{b2}"] {
            assert_eq!(length(bad), Err(400), "{bad:?}");
        }
        for huge in ["16777217", "9223372036854775808", "18446744073709551616", "340282366920938463463374607431768211457"] {
            assert_eq!(length(huge), Err(413), "{huge:?}");
        }
        assert_eq!(decide(&[("Content-Length", "1"), ("content-length", "1")], 11), Err(400));
    }

    #[test]
    fn codings() {
        let coding = |value| decide(&[("Transfer-Encoding", value)], 11);
        assert_eq!(coding("chunked"), Ok(Framing::Chunked));
        assert_eq!(coding("Chunked"), Ok(Framing::Chunked));
        for bad in
            ["", ",chunked", "chunked,", "chunked, chunked", "identity", "chunked;a=b", "\u{b}chunked", "\"chunked\"", "chunked gzip"]
        {
            assert_eq!(coding(bad), Err(400), "{bad:?}");
        }
        for unknown in ["gzip, chunked", "xchunked", "chunked, gzip", "deflate"] {
            assert_eq!(coding(unknown), Err(501), "{unknown:?}");
        }
        assert_eq!(decide(&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], 11), Err(400));
        assert_eq!(decide(&[("Transfer-Encoding", "chunked"), ("Content-Length", "1")], 11), Err(400));
        assert_eq!(decide(&[("Transfer-Encoding", "chunked")], 10), Err(400));
    }
}
