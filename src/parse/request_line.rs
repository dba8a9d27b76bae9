//! The request line: method, request-target in one of its four forms, version (RFC 9112 section 3).
#![forbid(unsafe_code)]

use super::authority;
use super::known;
use super::octets::{self, SCHEME};
use super::refusal::Refusal;
use super::sketch::{Sketch, Span};
use crate::limits::Limits;
use crate::request::INGEST_METHOD_GET;

const MALFORMED: Refusal = Refusal::new(400, "malformed request line: send method, target and version with one space between");
const METHOD: Refusal = Refusal::new(400, "malformed method in the request line: send a token");
const VERSION: Refusal = Refusal::new(400, "malformed version in the request line: send HTTP/1.1");
const VERSION_MAJOR: Refusal = Refusal::new(505, "unsupported http version: send HTTP/1.1");
const TARGET_OCTETS: Refusal = Refusal::new(400, "control octet or space in the request target: percent-encode it");
const TARGET_FORM: Refusal = Refusal::new(400, "malformed request target: send a path that begins with a slash, or an absolute uri");
const TARGET_STAR: Refusal = Refusal::new(400, "asterisk target: it is for OPTIONS only");
const TARGET_HOST: Refusal = Refusal::new(400, "empty or malformed host in the request target: send host or host:port");
const TARGET_USER: Refusal = Refusal::new(400, "userinfo in the request target: send it in a field");
const CONNECT: Refusal = Refusal::new(501, "connect is not implemented: this is no proxy");
const MISDIRECTED: Refusal = Refusal::new(421, "https target on a plain connection: connect with tls");
pub const TOO_LONG: Refusal = Refusal::new(414, "request target too long: send a shorter one");

/// `SP HTTP/d.d` at the end of the line.
const VERSION_LEN: usize = 9;

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, len: (end - start) as u32 }
}

/// Length and number of the method at the start. Most requests begin with GET.
#[inline(always)]
fn method(octets: &[u8]) -> (usize, u16) {
    if octets.starts_with(b"GET ") {
        return (3, INGEST_METHOD_GET);
    }
    let len = octets::token_len(octets);
    (len, known::method_id(&octets[..len]))
}

/// Takes the line at the start of `octets` together with its end if it is such as nearly all are: a method, a path, HTTP/1.1.
/// The answer is its length. `None` means only that `parse` has to look at it.
#[inline(always)]
pub fn take(octets: &[u8], limits: &Limits, sketch: &mut Sketch) -> Option<usize> {
    let (method_end, method_id) = method(octets);
    let [b' ', rest @ ..] = &octets[method_end..] else { return None };
    let target_len = octets::target_len(rest);
    let is_usual = method_end > 0 && rest.first() == Some(&b'/') && rest[target_len..].starts_with(b" HTTP/1.1\r\n");
    if !is_usual || target_len as u64 > limits.target_max || &octets[..method_end] == b"CONNECT" {
        return None;
    }
    sketch.method = span(0, method_end);
    sketch.method_id = method_id;
    sketch.target = Span { start: method_end as u32 + 1, len: target_len as u32 };
    sketch.http_version = 11;
    Some(method_end + 1 + target_len + VERSION_LEN + 2)
}

/// Takes a line without its CRLF. One space each side of the target, none elsewhere: anything looser lets two readers split it differently.
/// An absolute-form target's scheme and authority are noted as they stand in the line.
pub fn parse(line: &[u8], limits: &Limits, secure: bool, sketch: &mut Sketch) -> Result<(), Refusal> {
    let (method_end, method_id) = method(line);
    if method_end == 0 {
        return Err(METHOD);
    }
    match line.get(method_end) {
        Some(b' ') => {}
        None => return Err(MALFORMED),
        Some(_) => return Err(METHOD),
    }
    let target_start = method_end + 1;
    if line.len() < target_start + VERSION_LEN {
        return Err(MALFORMED);
    }
    let target_end = line.len() - VERSION_LEN;
    let http_version = version(&line[target_end..])?;
    let target = &line[target_start..target_end];
    if target.is_empty() {
        return Err(MALFORMED);
    }
    if target.len() as u64 > limits.target_max {
        return Err(TOO_LONG);
    }
    if octets::target_len(target) < target.len() {
        return Err(TARGET_OCTETS);
    }
    sketch.method = span(0, method_end);
    sketch.method_id = method_id;
    sketch.target = span(target_start, target_end);
    sketch.http_version = http_version;
    let method = &line[..method_end];
    if method == b"CONNECT" {
        return Err(CONNECT);
    }
    match target[0] {
        b'/' => Ok(()),
        b'*' if target.len() == 1 => {
            if method == b"OPTIONS" {
                Ok(())
            } else {
                Err(TARGET_STAR)
            }
        }
        _ => absolute(target, target_start, secure, sketch),
    }
}

/// `SP HTTP/1.x`. A higher minor version is read as 1.1, which RFC 9110 section 2.5 asks for.
fn version(tail: &[u8]) -> Result<u16, Refusal> {
    match tail {
        b" HTTP/1.1" => Ok(11),
        b" HTTP/1.0" => Ok(10),
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(11),
        [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(VERSION_MAJOR),
        [b' ', b'H', b'T', b'T', b'P', b'/', ..] => Err(VERSION),
        _ => Err(MALFORMED),
    }
}

/// `scheme "://" authority path-abempty ["?" query]`. A colon without the slashes is authority-form, which only CONNECT has.
fn absolute(target: &[u8], target_start: usize, secure: bool, sketch: &mut Sketch) -> Result<(), Refusal> {
    let scheme_end = target.iter().position(|octet| !octets::is(*octet, SCHEME)).unwrap_or(target.len());
    if !target[0].is_ascii_alphabetic() || !target[scheme_end..].starts_with(b"://") {
        return Err(TARGET_FORM);
    }
    let start = scheme_end + 3;
    let rest = &target[start..];
    let authority = &rest[..rest.iter().position(|octet| matches!(octet, b'/' | b'?')).unwrap_or(rest.len())];
    if authority.contains(&b'@') {
        return Err(TARGET_USER);
    }
    if !authority::is_valid(authority) {
        return Err(TARGET_HOST);
    }
    let scheme = &target[..scheme_end];
    if scheme.eq_ignore_ascii_case(b"https") && !secure {
        return Err(MISDIRECTED);
    }
    sketch.scheme = span(target_start, target_start + scheme_end);
    sketch.authority = span(target_start + start, target_start + start + authority.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(line: &str) -> u16 {
        let limits = Limits { target_max: 40, ..Limits::default() };
        parse(line.as_bytes(), &limits, false, &mut Sketch::default()).map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn every_form_and_version() {
        for good in [
            "GET / HTTP/1.1",
            "GET / HTTP/1.9",
            "M-SEARCH /a?b|c\"d\\e#f{} HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "GET http://a.b:80 HTTP/1.1",
            "GET coap+tcp://[::1]?q HTTP/1.1",
            "GET //a HTTP/1.1",
        ] {
            assert_eq!(status(good), 200, "{good:?}");
        }
    }

    #[test]
    fn every_refusal() {
        for (line, expected) in [
            ("", 400),
            ("GET", 400),
            ("GET ", 400),
            ("GET /", 400),
            ("GET HTTP/1.1", 400),
            ("GET  HTTP/1.1", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET\t/ HTTP/1.1", 400),
            ("GET /a b HTTP/1.1", 400),
            ("GET /\x7f HTTP/1.1", 400),
            ("GE(T / HTTP/1.1", 400),
            ("GET / http/1.1", 400),
            ("GET / HTTP/1.10", 400),
            ("GET / HTTP/1,1", 400),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("GET * HTTP/1.1", 400),
            ("GET a HTTP/1.1", 400),
            ("GET a:80 HTTP/1.1", 400),
            ("GET http:/a HTTP/1.1", 400),
            ("GET http://?q HTTP/1.1", 400),
            ("GET http://u@a/ HTTP/1.1", 400),
            ("GET http://a#b HTTP/1.1", 400),
            ("GET 1http://a HTTP/1.1", 400),
            ("GET HTTPS://a HTTP/1.1", 421),
            ("CONNECT a:80 HTTP/1.1", 501),
            ("GET /01234567890123456789012345678901234567890 HTTP/1.1", 414),
        ] {
            assert_eq!(status(line), expected, "{line:?}");
        }
    }

    #[test]
    fn https_is_welcome_over_tls_and_pieces_lie_where_they_should() {
        let line = b"GET https://a:1/b HTTP/1.1";
        let mut parsed = Sketch::default();
        parse(line, &Limits::default(), true, &mut parsed).unwrap();
        assert_eq!((parsed.method.of(line), parsed.target.of(line)), (&b"GET"[..], &b"https://a:1/b"[..]));
        assert_eq!((parsed.scheme.of(line), parsed.authority.of(line)), (&b"https"[..], &b"a:1"[..]));
    }
}
