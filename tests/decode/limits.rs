//! The options that bound a decoding: what is just within, and what is just over.

use crate::support::client::Client;
use crate::support::coders::records;
use crate::support::eventually;
use crate::support::host::{Delivery, Server, on_requests};
use crate::{Subject, outcome, post, serve, told};
use ingest::status::INGEST_OK;
use std::time::Duration;

#[test]
fn limits_decoded_max() {
    let server = serve(&[("decoded_max", "1MiB")]);
    let body = records((1 << 20) + 1);
    for name in ["gzip", "zlib", "raw", "br", "zstd", "nested"] {
        let subject = Subject::of(name);
        let within = &body[..1 << 20];
        assert_eq!(subject.try_on(&server, &subject.encode(within)), (200, told(within)), "{name}");
        let (status, text) = subject.try_on(&server, &subject.encode(&body));
        assert!(status == 413 && text.contains("larger than this server takes"), "{name}: {status} {text}");
    }
    server.finish();
}

#[test]
fn limits_decode_ratio() {
    // Records shrink to a fifth.
    let body = records(4 << 20);
    let subject = Subject::of("gzip");
    let coded = subject.encode(&body);
    for (ratio, status) in [("2", 413), ("10", 200)] {
        let server = serve(&[("decode_ratio", ratio)]);
        assert_eq!(subject.try_on(&server, &coded).0, status, "{ratio}");
        server.finish();
    }
    let server = serve(&[("decode_ratio", "unlimited")]);
    let zeros = vec![0; 16 << 20];
    for name in ["gzip", "br", "zstd"] {
        let subject = Subject::of(name);
        assert_eq!(subject.try_on(&server, &subject.encode(&zeros)), (200, told(&zeros)), "{name}");
    }
    server.finish();
}

#[test]
fn limits_decode_layers() {
    let body = records(3000);
    let coded = Subject::of("nested").encode(&body);
    let server = serve(&[("decode_layers", "1")]);
    assert_eq!(outcome(&server, &post("gzip, br", &coded)).0, 415);
    let coded = Subject::of("gzip").encode(&body);
    assert_eq!(outcome(&server, &post("identity, gzip, ", &coded)), (200, told(&body)));
    assert_eq!(outcome(&server, &post("gzip;q=1", &coded)).0, 400);
    server.finish();
    let server = serve(&[]);
    assert_eq!(outcome(&server, &post("gzip, br, zstd", &coded)).0, 415);
    server.finish();
}

#[test]
fn limits_change_while_the_server_runs() {
    let server = serve(&[]);
    let body = records(100_000);
    let subject = Subject::of("br");
    let coded = subject.encode(&body);
    assert_eq!(subject.try_on(&server, &coded).0, 200);
    assert!(server.set("decoded_max", "50000").is_ok());
    assert_eq!(subject.try_on(&server, &coded).0, 413);
    assert!(server.set("decode", "off").is_ok());
    assert_eq!(subject.try_on(&server, &coded), (200, told(&coded)));
    server.finish();
}

#[test]
fn a_window_that_memory_max_has_no_room_for_is_refused() {
    let body = records(6 << 20);
    let server = serve(&[("memory_max", "4MiB"), ("decoded_max", "1GiB")]);
    for name in ["br", "zstd", "gzip"] {
        let subject = Subject::of(name);
        let (status, text) = subject.try_on(&server, &subject.encode(&body));
        assert!([413, 503].contains(&status), "{name}: {status} {text}");
    }
    let small = records(100_000);
    for name in ["br", "zstd", "gzip"] {
        let subject = Subject::of(name);
        assert_eq!(subject.try_on(&server, &subject.encode(&small)), (200, told(&small)), "{name}");
    }
    server.finish();
}

/// Decoders are charged as soon as they are had, also for clients that send a head and nothing more.
#[test]
fn decoders_of_bodies_that_never_come_are_charged() {
    let server = serve(&[]);
    for (field, least) in [("gzip", 40 << 10), ("br", 2 << 10), ("gzip, deflate", 80 << 10)] {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: {field}\r\nContent-Length: 1000\r\n\r\n");
        let mut clients: Vec<Client> = std::iter::repeat_with(|| server.connect()).take(20).collect();
        clients.iter_mut().for_each(|client| client.send(&head));
        let charged = || server.stats().memory_bodies_bytes;
        assert!(eventually(|| charged() >= 20 * least), "{field}: only {} octets are charged", charged());
        drop(clients);
        assert!(eventually(|| charged() == 0));
    }
    server.finish();
}

/// While a body waits for its turn nothing of it is received, so that time is not its client's. A callback holds the thread up meanwhile.
#[test]
fn a_body_that_waited_for_its_turn_is_not_too_slow() {
    let answer = on_requests(|host, request| {
        match request.target() {
            b"/short" => std::thread::sleep(Duration::from_secs(1)),
            b"/long" => std::thread::sleep(Duration::from_secs(6)),
            _ => {}
        }
        assert_eq!(host.text(request.0.token, b"done"), INGEST_OK);
    });
    // Nobody is fast enough, so a body has the five seconds of grace.
    let server = Server::serve(&[("body_rate_min", "1TiB")], Delivery::Inline, answer);
    // It shrinks so much that the first receive, however short, brings more than is decoded in one turn.
    let text: Vec<u8> = records(256 << 10).chunks(500).flat_map(|piece| piece.repeat(16)).collect();
    let coded = post("gzip", &Subject::of("gzip").encode(&text));
    let (mut first, mut second, mut body) = (server.connect(), server.connect(), server.connect());
    first.send("GET /short HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    // Both are there when the callback returns: the body has its first turn, then the thread is held up again.
    let (most, rest) = coded.split_at(coded.len() - 100);
    body.send(most);
    second.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((first.answer().status, second.answer().status), (200, 200));
    std::thread::sleep(Duration::from_millis(500));
    let _ = body.try_send(rest);
    assert_eq!(body.answer().status, 200);
    server.finish();
}
