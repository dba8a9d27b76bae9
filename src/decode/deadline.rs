//! How long a client waits for its answer, as a field that the host names says it: a number of seconds or of milliseconds.
#![forbid(unsafe_code)]

use crate::parse::octets;

/// A longer wait bounds nothing: no request is kept so long.
const MOST_MS: u64 = 24 * 60 * 60 * 1000;
/// Digits before the point; what has more is no time that anybody means.
const DIGITS: usize = 12;
/// The longest name that `deadline_header` takes.
const NAME_BYTES: usize = 128;

/// The field that says it (`deadline_header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    name: Box<[u8]>,
    /// A number without a unit counts milliseconds, not seconds.
    is_ms: bool,
}

/// What a field value said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The client waits for so many milliseconds.
    Milliseconds(u64),
    /// It is no time that is understood, or there are several of them.
    Unread,
}

impl Header {
    /// `None` for what cannot be the name of a field.
    pub fn new(name: &str) -> Option<Header> {
        let name = name.to_ascii_lowercase().into_bytes();
        let is_name = !name.is_empty() && name.len() <= NAME_BYTES && octets::token_len(&name) == name.len();
        is_name.then(|| Header { is_ms: name.ends_with(b"-ms"), name: name.into() })
    }

    pub fn is_named(&self, name: &[u8]) -> bool {
        name.len() == self.name.len() && name.eq_ignore_ascii_case(&self.name)
    }

    /// `2`, `2.5`, `2.5s` or `250ms`. A bare number counts seconds, and milliseconds if the field's name ends with `-ms`. Zero is no time in
    /// which anything could be answered, so it is not believed, as anything else that is no time.
    pub fn read(&self, value: &[u8]) -> Wait {
        let digits = value.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (whole, rest) = value.split_at(digits);
        let (fraction, unit) = match rest {
            [b'.', rest @ ..] => rest.split_at(rest.iter().take_while(|octet| octet.is_ascii_digit()).count()),
            rest => (&[][..], rest),
        };
        let has_point = rest.len() > unit.len();
        if digits == 0 || digits > DIGITS || (has_point && fraction.is_empty()) {
            return Wait::Unread;
        }
        // Of the fraction six digits count, in a millionth of the unit; what is behind them is below a microsecond.
        let whole = number(whole, digits);
        let millionths = number(&fraction[..fraction.len().min(6)], 6);
        let ms = match unit {
            b"ms" => whole + u64::from(millionths > 0),
            b"s" => whole * 1000 + millionths.div_ceil(1000),
            b"" if self.is_ms => whole + u64::from(millionths > 0),
            b"" => whole * 1000 + millionths.div_ceil(1000),
            _ => return Wait::Unread,
        };
        if ms == 0 { Wait::Unread } else { Wait::Milliseconds(ms.min(MOST_MS)) }
    }
}

/// The value of some digits as if there were `places` of them.
fn number(digits: &[u8], places: usize) -> u64 {
    let value = digits.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    (digits.len()..places).fold(value, |value, _| value * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let header = Header::new("Request-Timeout").expect("a name");
        for (value, ms) in [
            ("1", 1000),
            ("30", 30_000),
            ("2.5", 2500),
            ("0.25", 250),
            ("0.0005", 1),
            ("00.1", 100),
            ("1.5s", 1500),
            ("7s", 7000),
            ("250ms", 250),
            ("0.5ms", 1),
            ("1.0000009", 1000),
            ("1.000001", 1001),
            ("999999999999", MOST_MS),
            ("99999999ms", MOST_MS),
        ] {
            assert_eq!(header.read(value.as_bytes()), Wait::Milliseconds(ms), "{value}");
        }
    }

    #[test]
    fn a_name_that_says_ms_means_it() {
        let header = Header::new("x-envoy-expected-rq-timeout-ms").expect("a name");
        for (value, ms) in [("15000", 15_000), ("1.5", 2), ("2s", 2000), ("20ms", 20)] {
            assert_eq!(header.read(value.as_bytes()), Wait::Milliseconds(ms), "{value}");
        }
    }

    #[test]
    fn nonsense_is_no_deadline() {
        let header = Header::new("Request-Timeout").expect("a name");
        for value in [
            "",
            "0",
            "0.0",
            "0ms",
            "0.0000001",
            "-1",
            "+1",
            "1.",
            ".5",
            "1.5.",
            "1 s",
            "1m",
            "1h",
            "1S",
            "1MS",
            "1e3",
            "0x10",
            "inf",
            "nan",
            "soon",
            "1,2",
            "1;2",
            "1000000000000",
            "99999999999999999999999999",
            "1.s",
            "\u{661}",
        ] {
            assert_eq!(header.read(value.as_bytes()), Wait::Unread, "{value:?}");
        }
    }

    #[test]
    fn names_are_tokens_in_any_case() {
        let header = Header::new("X-Request-Timeout").expect("a name");
        assert!(header.is_named(b"x-request-TIMEOUT") && !header.is_named(b"x-request-timeou") && !header.is_named(b"x_request-timeout"));
        for name in ["", "a b", "a:", "\u{e9}", "a\r\n", &"a".repeat(129)] {
            assert_eq!(Header::new(name), None, "{name:?}");
        }
    }
}
