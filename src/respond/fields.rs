//! Checks and flattens the host's answer: after this, response splitting is impossible and framing is ours alone.
#![forbid(unsafe_code)]

use crate::limits::RESPONSE_FIELDS_BYTES;
use crate::memory::reply::Reply;
use crate::parse::octets;

/// What a field line has beside name and value: colon, space and line end.
const LINE_OCTETS: usize = 4;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Status,
    FieldName,
    FieldValue,
}

/// A final status code (RFC 9110 section 15). Interim ones are no answers.
pub fn check_status(status: u16) -> Result<(), Fault> {
    if (200..=599).contains(&status) { Ok(()) } else { Err(Fault::Status) }
}

/// A name must be a token, a value free of control characters but HTAB (RFC 9110 sections 5.1 and 5.5): no CR, LF or NUL.
pub fn check_field(name: &[u8], value: &[u8]) -> Result<(), Fault> {
    if !octets::is_token(name) {
        return Err(Fault::FieldName);
    }
    if is_value(value) { Ok(()) } else { Err(Fault::FieldValue) }
}

/// Whether every one of these can be sent, and all of them together. What is too large is not even looked at.
pub fn are_sendable<'a>(mut lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let mut left = RESPONSE_FIELDS_BYTES;
    lines.all(|(name, value)| {
        let Some(rest) = left.checked_sub(name.len().saturating_add(value.len()).saturating_add(LINE_OCTETS)) else { return false };
        left = rest;
        check_field(name, value).is_ok()
    })
}

/// Whether a value can stand in a field line as it is. One that is too large is not looked at.
pub fn is_value(value: &[u8]) -> bool {
    value.len() <= RESPONSE_FIELDS_BYTES && octets::all(value, octets::VALUE)
}

/// Appends the field lines, but for those that are the library's to write.
pub fn flatten_all<'a>(reply: &mut Reply, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in lines {
        flatten(reply, name, value);
    }
}

/// Appends one field line, unless it is about framing or the connection, which are the library's to write (RFC 9110
/// section 7.6.1, RFC 9112 section 6).
pub fn flatten(reply: &mut Reply, name: &[u8], value: &[u8]) {
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"date") => reply.has_date = true,
        10 if name.eq_ignore_ascii_case(b"connection") => {
            reply.close |= value.split(|&octet| octet == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            return;
        }
        10 if name.eq_ignore_ascii_case(b"keep-alive") => return,
        14 if name.eq_ignore_ascii_case(b"content-length") => return,
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return,
        _ => {}
    }
    let block = &mut reply.block;
    block.reserve(name.len() + value.len() + 4);
    block.extend_from_slice(name);
    block.extend_from_slice(b": ");
    block.extend_from_slice(value);
    block.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_split_a_response() {
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\rb", b"a\0b", b"\x7f"] {
            assert_eq!(check_field(b"x", value), Err(Fault::FieldValue));
        }
        for name in [&b""[..], b"a b", b"a:", b"a\r\n", b"a\0", b"\xff"] {
            assert_eq!(check_field(name, b"v"), Err(Fault::FieldName));
        }
        assert_eq!(check_field(b"X-Name", b"tab\there \xff"), Ok(()));
        assert!([0, 99, 100, 199, 600, 1000].iter().all(|&status| check_status(status).is_err()));
    }

    #[test]
    fn bounds_what_all_fields_hold_together() {
        let value = vec![b'a'; RESPONSE_FIELDS_BYTES - 1 - LINE_OCTETS];
        assert!(are_sendable([(&b"x"[..], &value[..])].into_iter()));
        assert!(!are_sendable([(&b"xy"[..], &value[..])].into_iter()));
        assert!(!are_sendable([(&b"x"[..], &value[1..]), (b"y", b"")].into_iter()));
    }

    #[test]
    fn keeps_framing_to_itself() {
        let mut reply = Reply::default();
        for (name, value) in [("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Connection", "x, Close"), ("A", "b")] {
            flatten(&mut reply, name.as_bytes(), value.as_bytes());
        }
        assert_eq!(reply.block, b"A: b\r\n");
        assert!(reply.close);
    }
}
