//! Multipart bodies in files: the same parts as in memory, whatever the split, each readable where it is said to lie.

use super::support::Random;
use super::support::coders::encode;
use super::support::host::{Delivery, Server};
use super::view::{Contents, Seen, watching};
use super::{IN_MEMORY, SPOOL, ask, chunked, is_clean, post};

const KIND: &str = "Content-Type: multipart/form-data; boundary=b\r\n";

fn part(head: &str, content: &[u8]) -> Vec<u8> {
    [format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), content, b"\r\n"].concat()
}

/// Small and large parts, contents that look like boundaries, names that have to be decoded.
fn body() -> Vec<u8> {
    let file = Random(21).bytes(150_000);
    let mut body = b"preamble\r\n".to_vec();
    for part in [
        part("name=\"text\"", b"va\r\nlue"),
        part("name=\"file\"; filename=\"a%22b.bin\"; filename*=UTF-8''%C3%A4\r\nContent-Type: image/png\r\nX-More: 1", &file),
        part("name=\"empty\"; filename=\"\"", b""),
        part("name=\"file\"; filename=\"2\"", &b"\r\n--".repeat(3_000)),
        part("name=\"n\\\"\"", b"\r\n\r\n--a\r\n"),
        part("name=\"last\"", &file[..70_000]),
    ] {
        body.extend_from_slice(&part);
    }
    body.extend_from_slice(b"--b--\r\nepilogue");
    body
}

fn same(found: &Contents, wanted: &Contents, how: &str) {
    assert!(found.body == wanted.body, "{how}: another body");
    let (found, wanted) = (found.parts.as_ref().expect("parts"), wanted.parts.as_ref().expect("parts"));
    assert_eq!(found.len(), wanted.len(), "{how}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.name, wanted.name, "{how}");
        assert_eq!(
            (&found.filename, &found.filename_extended, &found.content_type),
            (&wanted.filename, &wanted.filename_extended, &wanted.content_type)
        );
        assert_eq!(found.headers, wanted.headers, "{how}");
        assert!(found.body == wanted.body, "{how}: {} octets, not {}", found.body.len(), wanted.body.len());
    }
}

fn buffered(wire: &[u8]) -> Contents {
    let seen = Seen::default();
    let server = Server::serve(&[], Delivery::Queue(1), watching(&seen));
    assert_eq!(ask(&mut server.connect(), wire).status, 200);
    server.finish();
    seen.take()
}

#[test]
fn the_parts_are_the_same_as_in_memory() {
    let body = body();
    let wanted = buffered(&post(KIND, &body));
    for place in [SPOOL.to_vec(), IN_MEMORY.to_vec(), [&SPOOL[..], &[("topology", "cut")]].concat()] {
        let seen = Seen::default();
        let server = Server::serve(&place, Delivery::Queue(1), watching(&seen));
        let mut client = server.connect();
        let gzip = encode("gzip", &body);
        let coded = format!("{KIND}Content-Encoding: gzip\r\n");
        for (how, wire) in [
            ("whole", post(KIND, &body)),
            ("chunked", chunked(KIND, &body, 3_001)),
            ("gzip", post(&coded, &gzip)),
            ("both", chunked(&coded, &gzip, 777)),
        ] {
            for pieces in [1, 7, 50] {
                for piece in wire.chunks(wire.len().div_ceil(pieces)) {
                    client.send(piece);
                }
                assert_eq!(client.answer().status, 200, "{how}");
                let found = seen.take();
                assert!(found.is_spooled);
                same(&found, &wanted, how);
                // First come while all that are kept have at most body_buffer_max octets.
                let kept: Vec<bool> = found.parts.iter().flatten().map(|part| part.is_in_memory).collect();
                assert_eq!(kept, [true, false, true, true, true, false], "{how}");
                assert_eq!((found.first_part("text").as_deref(), found.first_part("file")), (Some(&b"va\r\nlue"[..]), None));
            }
        }
        drop(client);
        assert!(is_clean(&server));
        server.finish();
    }
}

#[test]
fn every_split_gives_the_same_parts() {
    let body = [part("name=a; filename=\"%22\"", b"\r\n--\r\n--"), part("name=b", b"\r\r\n--c"), b"--b--\r\n".to_vec()].concat();
    let wanted = buffered(&post(KIND, &body));
    let seen = Seen::default();
    let server = Server::serve(&[&SPOOL[..], &[("body_buffer_max", "7")]].concat(), Delivery::Inline, watching(&seen));
    let mut client = server.connect();
    for wire in [post(KIND, &body), chunked(KIND, &body, 10)] {
        for cut in 1..wire.len() {
            client.send(&wire[..cut]);
            client.send(&wire[cut..]);
            assert_eq!(client.answer().status, 200, "cut at {cut}");
            let found = seen.take();
            same(&found, &wanted, "cut");
            assert_eq!(found.parts.iter().flatten().map(|part| part.is_in_memory).collect::<Vec<_>>(), [false, true], "7 octets at most");
        }
    }
    server.finish();
}

#[test]
fn what_is_refused_in_memory_is_refused_in_a_file() {
    let good = [part("name=a", &[b'x'; 100_000]), b"--b--\r\n".to_vec()].concat();
    let many = [part("name=a", &[b'x'; 400]).repeat(257), b"--b--\r\n".to_vec()].concat();
    let bodies: [(&str, &[u8], u16); 8] = [
        (KIND, &good, 200),
        (KIND, &good[..good.len() - 7], 400),
        (KIND, &many, 413),
        (KIND, &[&part("name=a; name=b", b"x")[..], &good].concat(), 400),
        (KIND, &[&part("filename=b", b"x")[..], &good].concat(), 400),
        (KIND, &[&good[..good.len() - 7], b"--bX\r\n--b--\r\n"].concat(), 400),
        (KIND, &[&part(&format!("name=a\r\nX: {}", "x".repeat(9_000)), b"x")[..], &good].concat(), 400),
        ("Content-Type: multipart/form-data\r\n", &good, 400),
    ];
    for options in [&[][..], &SPOOL, &[SPOOL[0], SPOOL[1], ("decode.utf8", "refuse")]] {
        let seen = Seen::default();
        let server = Server::serve(options, Delivery::Queue(1), watching(&seen));
        for (index, (kind, body, status)) in bodies.iter().enumerate() {
            for wire in [post(kind, body), chunked(kind, body, 10_000)] {
                let answer = ask(&mut server.connect(), wire);
                assert_eq!(answer.status, *status, "{index}: {}", answer.text());
                assert_eq!(seen.is_empty(), *status != 200, "{index}");
                if *status == 200 {
                    seen.take();
                }
            }
        }
        assert!(is_clean(&server), "{:?}", server.stats());
        server.finish();
    }
}

#[test]
fn a_body_that_is_not_to_be_taken_apart_is_not() {
    let body = body();
    let seen = Seen::default();
    let server = Server::serve(&[&SPOOL[..], &[("decode.form", "off")]].concat(), Delivery::Queue(1), watching(&seen));
    assert_eq!(ask(&mut server.connect(), post(KIND, &body)).status, 200);
    let found = seen.take();
    assert!(found.parts.is_none() && found.is_spooled && found.body == body);
    server.finish();
    // Left coded, it is not what its type says.
    let server = Server::serve(&[&SPOOL[..], &[("decode", "off")]].concat(), Delivery::Queue(1), watching(&seen));
    assert_eq!(ask(&mut server.connect(), post(&format!("{KIND}Content-Encoding: gzip\r\n"), &body)).status, 200);
    assert!(seen.take().parts.is_none());
    server.finish();
}
