//! Tests of multipart bodies: what is a boundary and what is not, heads, names, limits, every split of the octets, and linear work.
#![forbid(unsafe_code)]

use super::super::rules::{Rules, Utf8};
use super::{Found, Multipart, split};
use crate::limits::Limits;
use crate::memory::contents::{Contents, Piece};

/// Name, file name, extended file name, content type, content.
type Read = (String, Option<String>, Option<String>, Option<String>, String);

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn read_with(body: &[u8], boundary: &str, limits: &Limits) -> Result<Vec<Read>, u16> {
    let mut contents = Contents::default();
    split(body, boundary.as_bytes(), limits, &mut contents).map_err(|refusal| refusal.status)?;
    let octets = |piece: Piece| text(contents.bytes(body, piece));
    let part = |part: &crate::memory::contents::Part| {
        let optional = |piece: Option<Piece>| piece.map(octets);
        (octets(part.name), optional(part.filename), optional(part.filename_extended), optional(part.content_type), octets(part.content))
    };
    Ok(contents.parts.iter().map(part).collect())
}

fn read(body: &str) -> Result<Vec<Read>, u16> {
    read_with(body.as_bytes(), "b", &Limits::default())
}

fn field(name: &str, content: &str) -> Read {
    (name.to_owned(), None, None, None, content.to_owned())
}

/// A body of one part with these parameters.
fn named(parameters: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {parameters}\r\n\r\nx\r\n--b--\r\n")
}

/// Head and content of each part, and how many octets were looked at.
type InPieces = (Vec<(String, Vec<u8>)>, u64);

/// What a reader in pieces makes of a body: the heads, and the contents.
fn pieces(body: &[u8], boundary: &str, cuts: &[usize]) -> Result<InPieces, u16> {
    let mut parser = Multipart::new(boundary.as_bytes());
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let mut open = false;
    let mut start = 0;
    for end in cuts.iter().copied().chain([body.len()]) {
        let input = &body[start..end];
        let mut at = 0;
        while let Some(found) = parser.next(input, &mut at).map_err(|refusal| refusal.status)? {
            match found {
                Found::Head(head) => {
                    assert!(!std::mem::replace(&mut open, true));
                    parts.push((text(head), Vec::new()));
                }
                Found::Content(octets) => {
                    assert!(open && !octets.is_empty());
                    parts.last_mut().expect("a head came first").1.extend_from_slice(octets);
                }
                Found::End => assert!(std::mem::replace(&mut open, false)),
            }
        }
        assert_eq!((at, parser.read()), (input.len(), end as u64));
        start = end;
    }
    parser.finish().map_err(|refusal| refusal.status)?;
    assert!(!open);
    Ok((parts, parser.looked_at()))
}

const TRICKY: &str = "preamble\r\n--bb \r\n--b\t \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\r\n\r\n-\r\n--\r\n--\u{e4}\r\n-b\n--b--\r\n\r\n--b\r\n\
     Content-Disposition: form-data; name=\"f\"; filename=\"\u{e4}\"\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\nX:\r\nContent-Disposition: form-data; name=e\r\n\
     \r\n--\r\n--b--  \r\n\r\n--b\r\nepilogue";

#[test]
fn parts_are_found() {
    assert_eq!(read(&named("name=\"a\"")), Ok(vec![field("a", "x")]));
    // In the preamble anything may stand, but a boundary is a boundary.
    assert_eq!(read(TRICKY), Err(400));
    let tricky = TRICKY.replace("--bb \r\n", "--cc \r\n");
    let expected = vec![
        field("a", "\r\r\n\r\n-\r\n--\r\n--\u{e4}\r\n-b\n--b--\r\n"),
        ("f".to_owned(), Some("\u{e4}".to_owned()), None, Some("text/plain".to_owned()), String::new()),
        field("e", "--"),
    ];
    assert_eq!(read(&tricky), Ok(expected));
    // No part at all, which is what an empty FormData is sent as; with and without a line's end.
    assert_eq!(read("--b--\r\n"), Ok(vec![]));
    assert_eq!(read("--b--"), Ok(vec![]));
    // A boundary may end in what ends a body, or look like the beginning of one.
    let body = "----\r\nContent-Disposition: form-data; name=a\r\n\r\n--\r\n---\r\n------\r\n";
    assert_eq!(read_with(body.as_bytes(), "--", &Limits::default()), Ok(vec![field("a", "--\r\n---")]));
    let body = "----\r\nContent-Disposition: form-data; name=a\r\n\r\n--\r\n--\r\n------\r\n";
    assert_eq!(read_with(body.as_bytes(), "--", &Limits::default()), Ok(vec![field("a", "--\r\n--")]));
}

#[test]
fn every_split_gives_the_same() {
    for body in [
        TRICKY.replace("--bb \r\n", "--cc \r\n").as_bytes(),
        TRICKY.as_bytes(),
        named("name=a").as_bytes(),
        b"--b--",
        b"--b\r\n\r\n--b",
        b"",
    ] {
        let whole = pieces(body, "b", &[]).map(|(parts, _)| parts);
        for first in 0..=body.len() {
            assert_eq!(pieces(body, "b", &[first]).map(|(parts, _)| parts), whole, "cut at {first}");
            for second in (first..=body.len()).step_by(3) {
                assert_eq!(pieces(body, "b", &[first, second]).map(|(parts, _)| parts), whole, "cut at {first} and {second}");
            }
        }
        for size in 1..8 {
            let cuts: Vec<usize> = (0..body.len()).step_by(size).collect();
            assert_eq!(pieces(body, "b", &cuts).map(|(parts, _)| parts), whole, "in pieces of {size}");
        }
    }
}

#[test]
fn what_is_broken_is_refused() {
    let good = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n";
    assert!(read(good).is_ok());
    for len in 0..good.len() - 2 {
        // Without the line's end behind it the closing boundary is one, but not with half of it.
        assert_eq!(read(&good[..len]), Err(400), "{:?}", &good[..len]);
    }
    for (old, new) in [
        ("--b\r\nC", "--b\nC"),
        ("--b\r\nC", "--bb\r\nC"),
        ("--b\r\nC", "--b-\r\nC"),
        ("--b\r\nC", "--b \rC"),
        ("--b--\r", "--b--c\r"),
        ("--b--\r", "--b -- \r"),
        ("a\r\n\r\n", "a\n\n"),
        ("a\r\n\r\n", "a\r\n\n"),
        ("a\r\n\r\n", "a\r\n"),
        ("Content-Disposition: form-data; name=a\r\n", ""),
        ("Content-Disposition", "Content-Type"),
        ("Disposition:", "Disposition :"),
        ("Disposition:", "Disposition"),
        ("form-data", "attachment"),
        ("; name=a", ""),
        ("; name=a", "; !!!invalid!!!"),
        ("; name=a", ";\r\n name=a"),
        ("; name=a", "; name=a; name=a"),
        ("; name=a", "; name=a; filename=b; FileName=b"),
        ("; name=a", "; name=a\0"),
        ("; name=a", "; name=\"a"),
        ("a\r\n\r\n", "a\r\nContent-Disposition: form-data; name=b\r\n\r\n"),
        ("a\r\n\r\n", "a\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n"),
        ("a\r\n\r\n", "a\r\n: x\r\n\r\n"),
        ("a\r\n\r\n", "a\r\nX: a\rb\r\n\r\n"),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good);
        assert_eq!(read(&bad), Err(400), "{bad:?}");
    }
    assert_eq!(read(&good.replace("--b", "--c")), Err(400));
    assert_eq!(read("--b"), Err(400));
    assert_eq!(read("--b-"), Err(400));
}

#[test]
fn names_as_clients_write_them() {
    let names = |parameters: &str| read(&named(parameters)).map(|mut parts| parts.remove(0));
    let name = |parameters: &str| names(parameters).map(|part| part.0);
    let filename = |value: &str| names(&format!("name=a; filename={value}")).map(|part| part.1.expect("it was sent"));
    assert_eq!(name("name=a").as_deref(), Ok("a"));
    assert_eq!(name("filename=x;NAME=\"a;b\"").as_deref(), Ok("a;b"));
    assert_eq!(name("name=\"\"").as_deref(), Ok(""));
    assert_eq!(name("name=\"\u{e4}\"").as_deref(), Ok("\u{e4}"));
    // Browsers and curl write a quote and line ends so, and nothing else.
    assert_eq!(name("name=\"a%22b%0D%0Ac%20%0d%\"").as_deref(), Ok("a\"b\r\nc%20%0d%"));
    assert_eq!(name("name=a%22b").as_deref(), Ok("a%22b"));
    assert_eq!(filename("\"\"").as_deref(), Ok(""));
    assert_eq!(filename(r#""file\"name.txt""#).as_deref(), Ok("file\"name.txt"));
    assert_eq!(filename(r#""C:\dir\\x\y""#).as_deref(), Ok(r"C:\dir\x\y"));
    assert_eq!(filename("\"../../etc/passwd\"").as_deref(), Ok("../../etc/passwd"));
    assert_eq!(filename("a b.txt").as_deref(), Ok("a b.txt"));
}

#[test]
fn extended_file_names() {
    let extended = |value: &str| read(&named(&format!("name=a; filename*={value}"))).map(|mut parts| parts.remove(0).2);
    assert_eq!(extended("UTF-8''%E6%96%87%e6%a1%a3.pdf"), Ok(Some("\u{6587}\u{6863}.pdf".to_owned())));
    assert_eq!(extended("utf-8'en'a%20b'c"), Ok(Some("a b'c".to_owned())));
    assert_eq!(extended("iso-8859-1''%e4%F6\u{41}"), Ok(Some("\u{e4}\u{f6}A".to_owned())));
    for useless in ["x", "utf-8'x", "utf-8''%ff", "utf-8''%4", "koi8-r''a", "''a"] {
        assert_eq!(extended(useless), Ok(None), "{useless}");
    }
    let both = read(&named("name=a; filename=\"old\"; filename*=utf-8''new")).unwrap().remove(0);
    assert_eq!((both.1.as_deref(), both.2.as_deref()), (Some("old"), Some("new")));
}

#[test]
fn names_that_are_not_utf8() {
    let body = b"--b\r\nContent-Disposition: form-data; name=\"\xff\"; filename=\"\xe4\"\r\n\r\n\xff\r\n--b--\r\n";
    let with = |utf8| {
        let limits = Limits { rules: Rules { utf8, ..Rules::default() }, ..Limits::default() };
        let mut contents = Contents::default();
        split(body, b"b", &limits, &mut contents).map_err(|refusal| refusal.status)?;
        let octets = |piece| contents.bytes(body, piece).to_vec();
        let part = &contents.parts[0];
        Ok((octets(part.name), part.filename.map(octets), octets(part.content)))
    };
    assert_eq!(with(Utf8::Keep), Ok((b"\xff".to_vec(), Some(b"\xe4".to_vec()), b"\xff".to_vec())));
    assert_eq!(with(Utf8::Replace), Ok(("\u{fffd}".into(), Some("\u{fffd}".into()), b"\xff".to_vec())));
    assert_eq!(with(Utf8::Refuse), Err(400));
}

#[test]
fn parts_and_heads_are_bounded() {
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n";
    let limits = Limits::default();
    assert_eq!(read(&format!("{}--b--", part.repeat(256))).map(|parts| parts.len()), Ok(256));
    assert_eq!(read(&format!("{}--b--", part.repeat(257))), Err(413));
    assert_eq!(read(&format!("{}--b--", part.repeat(100_000))), Err(413));
    assert_eq!(read_with(format!("{}--b--", part.repeat(3)).as_bytes(), "b", &Limits { parts_max: 2, ..limits }), Err(413));
    let padded = |len: usize| part.replace("\r\n\r\n\r\n", &format!("\r\nX: {}\r\n\r\n\r\n", "x".repeat(len))) + "--b--";
    let room = 8192 - "Content-Disposition: form-data; name=a\r\nX: \r\n\r\n".len();
    assert_eq!(read(&padded(room)).map(|parts| parts.len()), Ok(1));
    assert_eq!(read(&padded(room + 1)), Err(400));
    let lines = |count: usize| part.replace("\r\n\r\n\r\n", &format!("\r\n{}\r\n\r\n", "X:\r\n".repeat(count))) + "--b--";
    assert_eq!(read(&lines(31)).map(|parts| parts.len()), Ok(1));
    assert_eq!(read(&lines(32)), Err(400));
    // A head that never ends is refused where its bound is, not when the body has come.
    let mut parser = Multipart::new(b"b");
    let endless = format!("--b\r\n{}", "x".repeat(8193));
    assert!(parser.next(endless.as_bytes(), &mut 0).is_err());
}

/// The body of row N17: a mebibyte of what every boundary begins with. It is the work that is counted, not the time.
#[test]
fn n17_finding_boundaries_is_linear() {
    let head = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n";
    let boundary = "-".repeat(69) + "b";
    for filler in ["\r\n--", "\r", "\r\n", "-", "\r\n----------", &format!("\r\n--{}", "-".repeat(69))] {
        let content = filler.repeat((1 << 20) / filler.len());
        let body = format!("{}{content}\r\n--{boundary}--\r\n", head.replacen("--b", &format!("--{boundary}"), 1));
        for size in [body.len(), 65_536, 1000, 73, 72, 71, 7, 4, 1] {
            let cuts: Vec<usize> = (0..body.len()).step_by(size).collect();
            let (parts, looked_at) = pieces(body.as_bytes(), &boundary, &cuts).unwrap();
            assert!(parts.len() == 1 && parts[0].1 == content.as_bytes());
            assert!(looked_at <= 3 * body.len() as u64, "{looked_at} octets looked at for {} of {filler:?} by {size}", body.len());
        }
    }
}
