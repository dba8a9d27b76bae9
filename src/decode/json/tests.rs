//! Tests of the JSON pass: what is well-formed, where it ceases to be, and what pointers lead to.
#![forbid(unsafe_code)]

use super::FaultKind::{NotUtf8, Syntax, TooDeep};
use super::pointer::{Trouble, find};
use super::{FaultKind, check, validate};
use crate::limits::{JSON_DEPTH_CEILING, Limits};

fn fault(text: &[u8]) -> Option<(usize, FaultKind)> {
    check(text, 128).err().map(|fault| (fault.at, fault.kind))
}

#[test]
fn well_formed_texts() {
    for text in [
        "0",
        "-0",
        "12",
        "-1.5e+10",
        "0.0E-0",
        "1e5",
        "true",
        "false",
        "null",
        "\"\"",
        " [ ] ",
        "{ }",
        "\t\r\n1\n",
        "[[],{},[[]]]",
        r#"{"a":1,"a":[1 , 2],"":{"b":null}}"#,
        r#""\"\\\/\b\f\n\r\t\u00e4\uD83D\uDE00\ud800""#,
        "\"\u{7f}\u{e4}\u{20ac}\u{1f600}\u{10ffff}\u{fffe}\"",
    ] {
        assert_eq!(fault(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn malformed_texts_and_where() {
    for (text, at) in [
        ("", 0),
        (" ", 1),
        ("[", 1),
        ("]", 0),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("{]", 1),
        ("{1:2}", 1),
        ("{\"a\"}", 4),
        ("{\"a\" 1}", 5),
        ("{\"a\":}", 5),
        ("{\"a\":1,}", 7),
        ("{\"a\":1]", 6),
        ("01", 1),
        ("-", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1.e5", 2),
        ("1e", 2),
        ("1e+", 3),
        ("0x1", 1),
        ("tru", 3),
        ("trUe", 2),
        ("True", 0),
        ("nul", 3),
        ("NaN", 0),
        ("nan", 1),
        ("\"", 1),
        ("\"\n\"", 1),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\"\\u12", 5),
        ("\"\\", 2),
        ("'a'", 0),
        ("1 1", 2),
        ("[]]", 2),
        ("{}{}", 2),
        ("/*a*/1", 0),
        ("\u{feff}1", 0),
        ("\u{a0}1", 0),
        ("1\0", 1),
    ] {
        assert_eq!(fault(text.as_bytes()), Some((at, Syntax)), "{text:?}");
    }
}

#[test]
fn strings_are_utf8() {
    let malformed: [&[u8]; 14] = [
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc3",
        b"\xc3\x28",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
        b"\xf0\x9f\x98",
    ];
    for octets in malformed {
        assert!(std::str::from_utf8(octets).is_err());
        for before in 0..20 {
            let text = [b"\"".as_slice(), &b"x".repeat(before), octets, b"\""].concat();
            assert_eq!(fault(&text), Some((before + 1, NotUtf8)), "{octets:?}");
        }
    }
    // Every character, against the standard library.
    for character in ('\u{20}'..=char::MAX).filter(|character| !matches!(character, '"' | '\\')).step_by(37) {
        let text = format!("\"x{character}y\"");
        assert_eq!(fault(text.as_bytes()), None, "{character:?}");
    }
    // Every pair of octets behind every number of others: the words' arithmetic must not miss or invent one.
    for first in 0..=255u8 {
        for second in [b'x', b'"', b'\\', 0, 0x1f, 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'[', b']'] {
            for before in 0..9 {
                let text = [&b"x".repeat(before)[..], &[first, second], &b"y".repeat(9 - before)].concat();
                let plain = |octet: &u8| matches!(octet, 0x20..0x80) && *octet != b'"' && *octet != b'\\';
                let expected = text.iter().position(|octet| !plain(octet));
                let quoted = [b"\"", &text[..expected.unwrap_or(text.len())], b"\""].concat();
                assert_eq!(fault(&quoted), None);
                if let Some(at) = expected.filter(|at| !matches!(text[*at], b'"' | b'\\' | 0x80..)) {
                    assert_eq!(fault(&[b"\"", &text[..], b"\""].concat()), Some((at + 1, Syntax)), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert_eq!(fault(&nested(128)), None);
    assert_eq!(fault(&nested(129)), Some((128, TooDeep)));
    let objects = |depth: usize| ["{\"a\":".repeat(depth), "1".to_owned(), "}".repeat(depth)].concat().into_bytes();
    assert_eq!(fault(&objects(128)), None);
    assert_eq!(fault(&objects(129)), Some((5 * 128, TooDeep)));
    // Side by side is not in each other.
    assert_eq!(fault(&[b"[".as_slice(), &b"[[]],".repeat(10_000), b"1]"].concat()), None);
    assert_eq!(check(&nested(JSON_DEPTH_CEILING + 1), usize::MAX).map_err(|fault| fault.kind), Err(TooDeep));
    // A bit that an array left behind is not taken for the next object's.
    assert_eq!(fault(b"[[[]],{\"a\":[{}]}]"), None);
    assert_eq!(fault(b"[{\"a\":[1}]"), Some((8, Syntax)));
}

#[test]
fn refusals_say_where() {
    let limits = Limits { json_depth: 2, json_max: 20, ..Limits::default() };
    let refused = |text: &str| validate(text.as_bytes(), &limits).map_err(|refusal| (refusal.status, refusal.offset()));
    assert_eq!(refused("[[1]]"), Ok(()));
    assert_eq!(refused("[[[1]]]"), Err((400, Some(2))));
    assert_eq!(refused("[1,]"), Err((400, Some(3))));
    assert_eq!(refused(""), Err((400, Some(0))));
    assert_eq!(refused(&" ".repeat(21)), Err((413, None)));
}

fn at<'a>(text: &'a str, pointer: &str) -> Result<Option<&'a str>, Trouble> {
    find(text.as_bytes(), pointer.as_bytes()).map(|found| found.map(|range| &text[range]))
}

/// The document and the pointers of RFC 6901 section 5.
#[test]
fn pointers_of_the_standard() {
    let text = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
    for (pointer, value) in [
        ("", text),
        ("/foo", r#"["bar", "baz"]"#),
        ("/foo/0", "\"bar\""),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ] {
        assert_eq!(at(text, pointer), Ok(Some(value)), "{pointer}");
    }
    for absent in [
        "/foo/2",
        "/foo/-",
        "/foo/00",
        "/foo/01",
        "/foo/+1",
        "/foo/1e0",
        "/foo/0/0",
        "/foo/",
        "/FOO",
        "//",
        "/fo",
        "/fooo",
        "/a",
        "/foo/4294967296",
    ] {
        assert_eq!(at(text, absent), Ok(None), "{absent}");
    }
    for malformed in ["a", "foo/0", "/~", "/~2", "/a~", "~0", " /foo"] {
        assert_eq!(at(text, malformed), Err(Trouble::Pointer), "{malformed}");
    }
}

#[test]
fn values_come_as_they_stand() {
    let text = " { \"a\" : [ 1e0 , { \"b\" :  \"\\u0041\"  } , [ ] , null ] } ";
    assert_eq!(at(text, ""), Ok(Some(text.trim())));
    assert_eq!(at(text, "/a/0"), Ok(Some("1e0")));
    assert_eq!(at(text, "/a/1"), Ok(Some("{ \"b\" :  \"\\u0041\"  }")));
    assert_eq!(at(text, "/a/1/b"), Ok(Some("\"\\u0041\"")));
    assert_eq!(at(text, "/a/2"), Ok(Some("[ ]")));
    assert_eq!(at(text, "/a/3"), Ok(Some("null")));
    assert_eq!(at(text, "/a/4"), Ok(None));
    let long = format!("[{}7]", "0,".repeat(123_456));
    assert_eq!(at(&long, "/123456"), Ok(Some("7")));
}

#[test]
fn names_are_compared_by_what_they_stand_for() {
    let text = r#"{"\u0061\/":1,"\ud83d\ude00":2,"\ud83d":3,"\ud83dx":4,"é":5,"\b\f\n\r\t\"\\":6,"\ud83d\u0041":7}"#;
    for (pointer, value) in [("/a~1", "1"), ("/\u{1f600}", "2"), ("/\u{e9}", "5"), ("/\u{8}\u{c}\n\r\t\"\\", "6")] {
        assert_eq!(at(text, pointer), Ok(Some(value)), "{pointer}");
    }
    // An unpaired surrogate is equal to nothing.
    for absent in ["/\u{fffd}", "/\u{fffd}x", "/\\ud83d", "/x"] {
        assert_eq!(at(text, absent), Ok(None), "{absent}");
    }
    assert_eq!(find(br#"{"\ud83d":3}"#, b"/\xff"), Err(Trouble::Pointer));
}

#[test]
fn the_last_of_a_name_counts() {
    assert_eq!(at(r#"{"a":1,"b":2,"a":3}"#, "/a"), Ok(Some("3")));
    assert_eq!(at(r#"{"a":{"b":1},"a":{"b":2}}"#, "/a/b"), Ok(Some("2")));
    assert_eq!(at(r#"{"a":{"b":1},"a":{"c":2}}"#, "/a/b"), Ok(None));
    assert_eq!(at(r#"{"a":{"b":1},"a":2}"#, "/a/b"), Ok(None));
    assert_eq!(at(r#"{"a":[1,2],"x":{"a":9},"a":[3]}"#, "/a/0"), Ok(Some("3")));
    assert_eq!(at(r#"{"a":[1,2],"a":[3]}"#, "/a/1"), Ok(None));
    // Members of other objects are other members.
    assert_eq!(at(r#"{"x":{"a":1},"a":{"a":2},"y":[{"a":3}]}"#, "/a/a"), Ok(Some("2")));
    assert_eq!(at(r#"[{"a":1},{"a":2}]"#, "/0/a"), Ok(Some("1")));
    assert_eq!(at(r#"{"0":1,"a":["0"]}"#, "/0"), Ok(Some("1")));
}

#[test]
fn malformed_texts_have_no_values() {
    for text in ["", "{\"a\":1", "{\"a\":1} x", "{\"a\":1,}", "{\"a\":1,\"b\":\"\x01\"}"] {
        assert!(matches!(at(text, "/a"), Err(Trouble::Text(_))), "{text}");
    }
    let deep = [b"[".repeat(JSON_DEPTH_CEILING), b"1".to_vec(), b"]".repeat(JSON_DEPTH_CEILING)].concat();
    let pointer = "/0".repeat(JSON_DEPTH_CEILING);
    assert_eq!(find(&deep, pointer.as_bytes()), Ok(Some(JSON_DEPTH_CEILING..JSON_DEPTH_CEILING + 1)));
    assert_eq!(find(&deep, format!("{pointer}/0").as_bytes()), Ok(None));
    assert!(matches!(find(&[b"[", &deep[..], b"]"].concat(), b""), Err(Trouble::Text(fault)) if fault.kind == TooDeep));
}
