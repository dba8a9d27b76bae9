//! Tests of `finish`: what is decoded, what is left alone, what is only pointed at.
#![forbid(unsafe_code)]

use super::rules::{Rules, Utf8};
use super::{finish, judge};
use crate::limits::Limits;
use crate::parse::sketch::{Pair, Sketch};
use crate::parse::{advance, head::HeadScan};
use crate::request::*;

const PATH_FLAGS: u32 =
    INGEST_REQUEST_PATH_HAS_ENCODED_SLASH | INGEST_REQUEST_PATH_HAS_ENCODED_NUL | INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE;

fn decode(target: &str, cookies: &[&str]) -> (Sketch, Vec<u8>, u16) {
    let method = if target == "*" { "OPTIONS" } else { "GET" };
    let lines: String = cookies.iter().map(|line| format!("Cookie: {line}\r\n")).collect();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let mut sketch = Sketch::default();
    let limits = Limits { target_max: 20_000, ..Limits::default() };
    assert_eq!(advance(&mut HeadScan::default(), &head, &limits, false, &mut sketch), Ok(Some(0..head.len())));
    let status = finish(&mut sketch, &head).map_or_else(|refusal| refusal.status, |()| 200);
    (sketch, head, status)
}

fn path(target: &str) -> (Vec<u8>, u32) {
    let (sketch, head, _) = decode(target, &[]);
    (sketch.bytes(&head, sketch.path).to_vec(), sketch.flags & PATH_FLAGS)
}

fn texts(sketch: &Sketch, head: &[u8], pairs: &[Pair]) -> Vec<(String, String)> {
    let text = |span| String::from_utf8_lossy(sketch.bytes(head, span)).into_owned();
    pairs.iter().map(|pair| (text(pair.name), text(pair.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn paths_are_decoded_once() {
    assert_eq!(path("/a/../b//c;d+e"), (b"/a/../b//c;d+e".to_vec(), 0));
    assert_eq!(path("/%41%2541?%42"), (b"/A%41".to_vec(), 0));
    assert_eq!(path("/a%2Fb"), (b"/a/b".to_vec(), INGEST_REQUEST_PATH_HAS_ENCODED_SLASH));
    assert_eq!(path("/a%00"), (b"/a\0".to_vec(), INGEST_REQUEST_PATH_HAS_ENCODED_NUL));
    for malformed in ["/%", "/%4", "/%4g", "/%%"] {
        assert_eq!(path(malformed), (malformed.as_bytes().to_vec(), INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE));
    }
    assert_eq!(path("/%%41%2f").0, b"/%A/");
    assert_eq!(path("/\u{e4}%ff").0, b"/\xc3\xa4\xff");
    assert_eq!(path("/%2e%2E/").0, b"/../");
}

#[test]
fn every_form_has_a_path() {
    assert_eq!(path("*").0, b"*");
    assert_eq!(path("http://b").0, b"/");
    assert_eq!(path("http://b?c=d").0, b"/");
    assert_eq!(path("HTTP://b/c%20d?e").0, b"/c d");
    let (sketch, head, _) = decode("http://b?c=d?e", &[]);
    assert_eq!((sketch.has_query, sketch.query.of(&head)), (true, &b"c=d?e"[..]));
    assert_eq!(sketch.bytes(&head, sketch.scheme), b"http");
}

#[test]
fn query_pairs() {
    let query = |target: &str| {
        let (sketch, head, _) = decode(target, &[]);
        (sketch.has_query, texts(&sketch, &head, &sketch.query_pairs))
    };
    assert_eq!(query("/a"), (false, pairs(&[])));
    assert_eq!(query("/a?"), (true, pairs(&[])));
    assert_eq!(query("/?&&a&=&b=&=c&d=e=f&"), (true, pairs(&[("a", ""), ("", ""), ("b", ""), ("", "c"), ("d", "e=f")])));
    assert_eq!(query("/?a+b=%63+%2B&%26=%3d%"), (true, pairs(&[("a b", "c +"), ("&", "=%")])));
}

#[test]
fn what_needs_no_decoding_is_not_copied() {
    let (sketch, head, _) = decode("/a/b?c=d&e", &["f=g"]);
    assert!(sketch.extra.is_empty());
    assert_eq!(texts(&sketch, &head, &sketch.query_pairs), pairs(&[("c", "d"), ("e", "")]));
}

#[test]
fn cookies_of_several_lines() {
    let (sketch, head, _) = decode("/", &["a=b; c=\"d;e\"", "", " ;\tf = g= ;h;=i;j=\"k\";l=\""]);
    let expected = [("a", "b"), ("c", "\"d"), ("e\"", ""), ("f", "g="), ("h", ""), ("", "i"), ("j", "k"), ("l", "\"")];
    assert_eq!(texts(&sketch, &head, &sketch.cookies), pairs(&expected));
}

#[test]
fn pairs_are_bounded() {
    let (sketch, _, status) = decode(&format!("/?{}", "a&".repeat(1000)), &[]);
    assert_eq!((sketch.query_pairs.len(), status), (1000, 200));
    assert_eq!(decode(&format!("/?{}", "a&".repeat(1001)), &[]).2, 400);
    assert_eq!(decode("/", &[&"a;".repeat(1000)]).2, 200);
    assert_eq!(decode("/", &[&"a;".repeat(500), &"a;".repeat(501)]).2, 400);
}

#[test]
fn targets_are_held_to_what_the_host_wants() {
    let judged = |target: &str, rules: Rules| {
        let (mut sketch, head, _) = decode(target, &[]);
        assert!(rules.judge_targets());
        judge(&mut sketch, &head, &rules).map_err(|refusal| refusal.status)?;
        let pairs =
            sketch.query_pairs.iter().map(|pair| (sketch.bytes(&head, pair.name).to_vec(), sketch.bytes(&head, pair.value).to_vec()));
        Ok::<_, u16>((sketch.bytes(&head, sketch.path).to_vec(), pairs.collect::<Vec<_>>()))
    };
    let strict = Rules { strict_escapes: true, ..Rules::default() };
    for malformed in ["/%", "/a%4?b", "/?%", "/?a=%g0", "/?a=%41&%2"] {
        assert_eq!(judged(malformed, strict), Err(400), "{malformed}");
    }
    assert_eq!(judged("/%41?%42=%43", strict), Ok((b"/A".to_vec(), vec![(b"B".to_vec(), b"C".to_vec())])));
    let replace = Rules { utf8: Utf8::Replace, ..Rules::default() };
    let expected = vec![("\u{fffd}".into(), "\u{e4}".into()), (b"x".to_vec(), "\u{fffd}y".into())];
    assert_eq!(judged("/%ff?%C3=%c3%a4&x=%e2%82y", replace), Ok((b"/\xff".to_vec(), expected)), "a path is left alone");
    let refuse = Rules { utf8: Utf8::Refuse, ..Rules::default() };
    assert_eq!(judged("/%c3%a4?%c3%a4", refuse).map(|(path, _)| path), Ok("/\u{e4}".into()));
    for other in ["/%ff", "/?%ff", "/?a=%c3", "/\u{e4}?%c3=\u{e4}"] {
        assert_eq!(judged(other, refuse), Err(400), "{other}");
    }
    assert!(!Rules::default().judge_targets());
}
