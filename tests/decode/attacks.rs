//! Every coding against every attack: one test for each cell of the table in docs/decode.md.

use crate::support::coders::{chunked, pipe, records};
use crate::support::{Random, eventually};
use crate::{BR, SUBJECTS, Subject, outcome, serve, told};

/// Tests of an attack, one for each of these codings.
macro_rules! on_each {
    ($attack:ident: $($name:ident),*) => {
        $(#[test]
        fn $name() {
            super::$attack(crate::Subject::of(stringify!($name)));
        })*
    };
}

mod bomb {
    on_each!(is_a_bomb: gzip, zlib, raw, br, zstd, nested);
}
mod lie {
    on_each!(lies: gzip, zlib, raw, br, zstd, nested);
}
mod truncated {
    on_each!(is_truncated: gzip, zlib, raw, br, zstd, nested);
}
mod corrupted {
    on_each!(is_corrupted: gzip, zlib, raw, br, zstd, nested);
}
mod checksum {
    on_each!(has_a_wrong_checksum: gzip, zlib, zstd);
}
mod twice {
    on_each!(comes_twice: gzip, zlib, raw, br, zstd, nested);
}
mod trailing {
    on_each!(has_more_behind_it: gzip, zlib, raw, br, zstd, nested);
}
mod empty {
    on_each!(is_empty: gzip, zlib, raw, br, zstd, nested);
}
mod window {
    on_each!(has_a_large_window: br, zstd);
}
mod dictionary {
    on_each!(needs_a_dictionary: zlib, zstd);
}
mod pieces {
    on_each!(comes_in_pieces: gzip, zlib, raw, br, zstd, nested);
}

fn is_a_bomb(subject: Subject) {
    let server = serve(&[]);
    let coded = subject.encode(&vec![0; 16 << 20]);
    let (status, text) = subject.try_on(&server, &coded);
    assert_eq!(status, 413, "{text}");
    assert!(text.contains("far more than was sent"), "{text}");
    // Small ones are none: a mebibyte may be sent as a few octets.
    let small = vec![0; 1 << 20];
    assert_eq!(subject.try_on(&server, &subject.encode(&small)), (200, told(&small)));
    assert_eq!(server.stats().refused_413, 1);
    server.finish();
}

/// A ratio that is harmless at first, or would be in the end.
fn lies(subject: Subject) {
    let server = serve(&[]);
    let random = Random(7).bytes(128 << 10);
    let zeros = vec![0; 24 << 20];
    let coded = subject.encode(&[&random[..], &zeros].concat());
    let (status, text) = subject.try_on(&server, &coded);
    assert!(status == 413 && text.contains("far more than was sent"), "a harmless begin: {status} {text}");
    let coded = subject.encode(&[&zeros[..], &Random(8).bytes(512 << 10)].concat());
    let (status, text) = subject.try_on(&server, &coded);
    assert!(status == 413 && text.contains("far more than was sent"), "a harmless end: {status} {text}");
    server.finish();
}

fn is_truncated(subject: Subject) {
    let server = serve(&[]);
    let coded = subject.encode(&records(300));
    for end in 0..coded.len() {
        let (status, text) = subject.try_on(&server, &coded[..end]);
        assert_eq!(status, 400, "{end} of {} octets: {text}", coded.len());
    }
    assert_eq!(server.stats().requests_delivered, 0, "nothing is delivered in part");
    server.finish();
}

fn is_corrupted(subject: Subject) {
    let server = serve(&[]);
    let body = records(300);
    let coded = subject.encode(&body);
    let mut refused = 0;
    for place in 0..coded.len() {
        for mask in [0xFF, 0x10] {
            let mut coded = coded.clone();
            coded[place] ^= mask;
            match subject.try_on(&server, &coded) {
                (400 | 413, _) => refused += 1,
                // What has no checksum may be another body, and what does not matter may be changed.
                (200, text) => assert!(!subject.is_checked || text == told(&body), "octet {place}: {text}"),
                (status, text) => panic!("octet {place}: {status} {text}"),
            }
        }
    }
    assert!(refused > coded.len() / 2, "{refused} of {} changes were noticed", 2 * coded.len());
    server.finish();
}

fn has_a_wrong_checksum(subject: Subject) {
    let server = serve(&[]);
    let coded = subject.encode(&records(3000));
    // The CRC and the length of gzip, Adler-32 of zlib, XXH64 of zstd: each at the very end.
    let sums = if subject.name == "gzip" { 8 } else { 4 };
    for place in coded.len() - sums..coded.len() {
        let mut coded = coded.clone();
        coded[place] ^= 1;
        let (status, text) = subject.try_on(&server, &coded);
        assert_eq!(status, 400, "{text}");
    }
    assert_eq!(server.stats().requests_delivered, 0);
    server.finish();
}

fn comes_twice(subject: Subject) {
    let server = serve(&[]);
    let body = records(5000);
    let coded = subject.encode(&body);
    let (status, text) = subject.try_on(&server, &[&coded[..], &coded].concat());
    // Members of gzip and frames of zstd are one stream; the others have an end.
    let several = ["gzip", "zstd"].contains(&subject.name);
    if several {
        assert_eq!((status, text), (200, told(&[&body[..], &body].concat())));
        // All of them count together.
        let bomb = subject.encode(&vec![0; 1 << 20]).repeat(3);
        assert_eq!(subject.try_on(&server, &bomb).0, 413);
    } else {
        assert_eq!(status, 400, "{text}");
    }
    if subject.name == "nested" {
        let inner = Subject::of("gzip").encode(&body);
        let coded = pipe(BR, &[&inner[..], &inner].concat());
        assert_eq!(subject.try_on(&server, &coded), (200, told(&[&body[..], &body].concat())));
    }
    server.finish();
}

fn has_more_behind_it(subject: Subject) {
    let server = serve(&[]);
    let coded = subject.encode(&records(5000));
    for more in [&b"x"[..], b"\0", b"\x1f", b"\0\0\0\0\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"] {
        let (status, text) = subject.try_on(&server, &[&coded[..], more].concat());
        assert_eq!(status, 400, "{more:?}: {text}");
    }
    if subject.name == "nested" {
        let inner = [&Subject::of("gzip").encode(&records(5000))[..], b"x"].concat();
        assert_eq!(subject.try_on(&server, &pipe(BR, &inner)).0, 400);
    }
    assert_eq!(server.stats().requests_delivered, 0);
    server.finish();
}

/// No octets are no coded body, though there are bodies that decode to none.
fn is_empty(subject: Subject) {
    let server = serve(&[]);
    assert_eq!(subject.try_on(&server, b"").0, 400);
    assert_eq!(outcome(&server, &chunked(subject.field, b"", 1)).0, 400);
    assert_eq!(server.stats().requests_delivered, 0);
    assert_eq!(subject.try_on(&server, &subject.encode(b"")), (200, told(b"")));
    let bare = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: {}\r\n\r\n", subject.field);
    assert_eq!(outcome(&server, bare.as_bytes()), (200, told(b"")), "without framing there is no body");
    server.finish();
}

fn has_a_large_window(subject: Subject) {
    let server = serve(&[]);
    let body = records(100_000);
    let (most, over): (&[&str], &[&str]) = match subject.name {
        "br" => (&["brotli", "-c", "-w", "24"], &["brotli", "-c", "--large_window=25"]),
        _ => (&["zstd", "-q", "-c", "--long=23"], &["zstd", "-q", "-c", "--long=24"]),
    };
    assert_eq!(subject.try_on(&server, &pipe(most, &body)), (200, told(&body)));
    let (status, text) = subject.try_on(&server, &pipe(over, &body));
    assert!(status == 400 && text.contains("window"), "{status} {text}");
    server.finish();
}

fn needs_a_dictionary(subject: Subject) {
    let server = serve(&[]);
    let body = records(3000);
    let coded = match subject.name {
        "zlib" => pipe(
            &[
                "python3",
                "-c",
                "import sys,zlib; d=sys.stdin.buffer.read(); c=zlib.compressobj(zdict=d[:999]); sys.stdout.buffer.write(c.compress(d)+c.flush())",
            ],
            &body,
        ),
        _ => {
            // As an encoder that has dictionary 7 writes it: a window of 1 KiB, the dictionary, one empty block.
            vec![0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x00, 0x07, 0x01, 0x00, 0x00]
        }
    };
    let (status, text) = subject.try_on(&server, &coded);
    assert!(status == 400 && text.contains("dictionary"), "{status} {text}");
    server.finish();
}

fn comes_in_pieces(subject: Subject) {
    let server = serve(&[]);
    let body = records(3000);
    let coded = subject.encode(&body);
    for size in [1, 2, 3, 100] {
        assert_eq!(outcome(&server, &chunked(subject.field, &coded, size)), (200, told(&body)), "chunks of {size}");
    }
    for wire in [crate::post(subject.field, &coded), chunked(subject.field, &coded, 5)] {
        let mut client = server.connect();
        for octet in &wire {
            client.send([*octet]);
        }
        assert_eq!(client.answer().text(), told(&body));
    }
    server.finish();
}

#[test]
fn n16_whatever_is_wrong_with_a_coded_body_it_is_refused_and_others_are_served() {
    let server = serve(&[]);
    let mut other = server.connect();
    for subject in SUBJECTS {
        let coded = subject.encode(&records(2000));
        let bomb = subject.encode(&vec![0; 16 << 20]);
        assert_eq!(subject.try_on(&server, &bomb).0, 413, "{subject:?}");
        assert_eq!(subject.try_on(&server, &coded[..coded.len() - 1]).0, 400, "{subject:?}");
        assert_eq!(subject.try_on(&server, &[&coded[..], b"x"].concat()).0, 400, "{subject:?}");
        assert_eq!(subject.try_on(&server, b"").0, 400, "{subject:?}");
        assert_eq!(other.get("/").text(), told(b""));
    }
    assert_eq!(outcome(&server, &crate::post("compress", b"x")).0, 415);
    assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "everything is given back");
    assert_eq!(server.stats().panics, 0);
    server.finish();
}
