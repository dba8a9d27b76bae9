//! The methods and the field names that the core knows by itself; everything else is the host's business.
#![forbid(unsafe_code)]

use super::octets::is_named;
use crate::request::{
    INGEST_METHOD_DELETE, INGEST_METHOD_GET, INGEST_METHOD_HEAD, INGEST_METHOD_OPTIONS, INGEST_METHOD_OTHER, INGEST_METHOD_PATCH,
    INGEST_METHOD_POST, INGEST_METHOD_PUT, INGEST_METHOD_TRACE,
};

/// The number of a method; methods are case-sensitive (RFC 9110 section 9.1).
pub fn method_id(method: &[u8]) -> u16 {
    match method {
        b"GET" => INGEST_METHOD_GET,
        b"HEAD" => INGEST_METHOD_HEAD,
        b"POST" => INGEST_METHOD_POST,
        b"PUT" => INGEST_METHOD_PUT,
        b"DELETE" => INGEST_METHOD_DELETE,
        b"OPTIONS" => INGEST_METHOD_OPTIONS,
        b"TRACE" => INGEST_METHOD_TRACE,
        b"PATCH" => INGEST_METHOD_PATCH,
        _ => INGEST_METHOD_OTHER,
    }
}

/// Safe methods may be pipelined beside each other (RFC 9110 section 9.2.1, RFC 9112 section 9.3.2).
pub fn is_safe(method_id: u16) -> bool {
    matches!(method_id, INGEST_METHOD_GET | INGEST_METHOD_HEAD | INGEST_METHOD_OPTIONS | INGEST_METHOD_TRACE)
}

/// A field that means something to the core. The framing fields are not here: `framing.rs` alone knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Other,
    Host,
    Connection,
    ContentEncoding,
    ContentType,
    Cookie,
    Expect,
}

/// Whether a field may be one of those, or a framing field, by the length of its name alone: most are done with that.
#[inline]
pub fn may_matter(name: &[u8]) -> bool {
    const LENGTHS: u32 = 1 << 4 | 1 << 6 | 1 << 10 | 1 << 12 | 1 << 14 | 1 << 16 | 1 << 17;
    name.len() < 32 && LENGTHS >> name.len() & 1 > 0
}

/// Knows a token. Looks at the length first, so that most names cost no comparison.
#[inline]
pub fn field(name: &[u8]) -> Field {
    match name.len() {
        4 if is_named(name, b"host") => Field::Host,
        6 if is_named(name, b"cookie") => Field::Cookie,
        6 if is_named(name, b"expect") => Field::Expect,
        10 if is_named(name, b"connection") => Field::Connection,
        12 if is_named(name, b"content-type") => Field::ContentType,
        16 if is_named(name, b"content-encoding") => Field::ContentEncoding,
        _ => Field::Other,
    }
}

/// Fields that must be known before the content, so a trailer section may not bring them (RFC 9110 section 6.5.1):
/// they route the message, manage the connection, or say how the content is to be read by step five.
/// The framing fields come on top, from `framing.rs`. Others, such as Content-Type, are delivered apart from the headers and harm nobody.
pub fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case(b"te"),
        4 => name.eq_ignore_ascii_case(b"host"),
        7 => name.eq_ignore_ascii_case(b"trailer") || name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection"),
        13 => name.eq_ignore_ascii_case(b"content-range"),
        16 => name.eq_ignore_ascii_case(b"content-encoding"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_and_names_are_not() {
        assert_eq!(method_id(b"GET"), INGEST_METHOD_GET);
        assert_eq!(method_id(b"get"), INGEST_METHOD_OTHER);
        assert_eq!(field(b"HoSt"), Field::Host);
        assert_eq!(field(b"hose"), Field::Other);
        for name in ["host", "cookie", "expect", "connection", "content-type", "content-encoding", "content-length", "transfer-encoding"] {
            assert!(may_matter(name.as_bytes()), "{name}");
        }
        assert!(!may_matter(b"te") && !may_matter(&[b'a'; 36]));
        assert!(is_safe(INGEST_METHOD_TRACE) && !is_safe(INGEST_METHOD_POST) && !is_safe(INGEST_METHOD_OTHER));
        assert!(is_forbidden_in_trailers(b"HOST") && !is_forbidden_in_trailers(b"Content-Type"));
    }
}
