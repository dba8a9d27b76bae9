//! Proves that a streamed body reaches the host whole and in order, or is said to be cut short, and that credit bounds what is held of it.

mod support;

#[path = "bodies/bounds.rs"]
mod bounds;
#[path = "bodies/breaks.rs"]
mod breaks;
#[path = "bodies/credit.rs"]
mod credit;
#[path = "bodies/early.rs"]
mod early;
#[path = "bodies/taking.rs"]
mod taking;

use support::client::Client;
use support::host::{Delivery, Server};
use support::posts;
use support::{Random, coders, eventually};
use taking::{End, Seen, taking, told};

const STREAM: (&str, &str) = ("body", "stream");

fn head(length: usize) -> String {
    format!("POST /f HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    posts::chunked("", body, size)
}

fn in_pieces(client: &mut Client, wire: &[u8], pieces: usize) {
    wire.chunks(wire.len().div_ceil(pieces)).for_each(|piece| client.send(piece));
}

/// Sends bodies of every framing, in one piece and in many, with requests behind them, and looks at what the host says of them.
fn send_all(server: &Server, seen: &Seen) {
    let body = Random(7).bytes(300_000);
    let text = "every octet counts. ".repeat(40_000);
    let plain = [head(body.len()).as_bytes(), &body].concat();
    let coded = coders::encode("gzip", text.as_bytes());
    let coded_head = format!("POST /z HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", coded.len());
    let coded = [coded_head.as_bytes(), &coded].concat();
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = server.connect();
    for pieces in [1, 7] {
        for (wire, content) in
            [(&plain, body.as_slice()), (&chunked(&body, 65_536), &body), (&chunked(&body, 1000), &body), (&coded, text.as_bytes())]
        {
            // A request behind it, in the same octets.
            in_pieces(&mut client, &[wire, &get[..]].concat(), pieces);
            assert_eq!(client.answer().text(), told(content, "streamed"));
            assert_eq!(client.answer().text(), told(b"", "whole"));
        }
        let small = &body[..60_000];
        in_pieces(&mut client, &[head(small.len()).as_bytes(), small].concat(), pieces);
        assert_eq!(client.answer().text(), told(small, "whole"), "what is small comes whole");
    }
    drop(client);
    let bodies = seen.all();
    assert_eq!(bodies.len(), 8);
    for body in &bodies {
        assert_eq!(body.end, Some(End::Whole));
        let announced = match body.target.as_slice() {
            b"/f" => 300_000,
            b"/z" => (coded.len() - coded_head.len()) as u64,
            _ => 0,
        };
        assert_eq!(body.announced, announced);
        assert_eq!(body.trailers, if body.target == b"/c" { b"Checksum: none\r\n".as_slice() } else { b"" });
    }
    assert!(eventually(|| server.stats().memory_bytes == 0), "{} octets are still charged", server.stats().memory_bytes);
}

fn over(delivery: Delivery, options: &[(&str, &str)]) {
    let seen = Seen::default();
    let options = [&[STREAM], options].concat();
    let server = Server::serve(&options, delivery, taking(&seen));
    send_all(&server, &seen);
    server.finish();
}

#[test]
fn bodies_stream_in_every_delivery() {
    for delivery in [Delivery::Queue(1), Delivery::Queue(3), Delivery::Threads, Delivery::Inline] {
        over(delivery, &[]);
    }
}

#[test]
fn bodies_stream_in_every_topology() {
    for topology in ["shards", "shared", "acceptor", "dispatch", "cut", "cut-each"] {
        over(Delivery::Queue(2), &[("topology", topology), ("io_threads", "2")]);
        over(Delivery::Inline, &[("topology", topology), ("io_threads", "2")]);
    }
}

#[test]
fn bodies_stream_over_tls() {
    for options in [&[][..], &[("topology", "cut"), ("io_threads", "2")], &[("handshake_threads", "1"), ("body_window", "16KiB")]] {
        let options = [options, &support::secured::options()].concat();
        over(Delivery::Queue(2), &options);
        over(Delivery::Inline, &options);
    }
}

#[test]
fn bodies_stream_through_a_narrow_window() {
    for delivery in [Delivery::Queue(1), Delivery::Threads, Delivery::Inline] {
        over(delivery, &[("body_window", "16KiB")]);
        over(delivery, &[("body_window", "16KiB"), ("topology", "cut"), ("io_threads", "2")]);
    }
}

#[test]
fn a_body_is_the_same_for_every_split() {
    let seen = Seen::default();
    let server = Server::serve(&[STREAM, ("body_buffer_max", "0")], Delivery::Queue(1), taking(&seen));
    let mut client = server.connect();
    for wire in [chunked(b"octets", 4), [head(6).as_bytes(), b"octets"].concat()] {
        for at in 1..wire.len() {
            client.send(&wire[..at]);
            client.send(&wire[at..]);
            assert_eq!(client.answer().text(), told(b"octets", "streamed"), "split at {at}");
        }
        for octet in &wire {
            client.send([*octet]);
        }
        assert_eq!(client.answer().text(), told(b"octets", "streamed"));
    }
    server.finish();
}

#[test]
fn the_client_is_told_to_continue() {
    let seen = Seen::default();
    let server = Server::serve(&[STREAM], Delivery::Queue(1), taking(&seen));
    let mut client = server.connect();
    let body = Random(3).bytes(100_000);
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.read_any(false).expect("it can be read").expect("an answer").status, 100);
    assert!(eventually(|| seen.all().len() == 1), "the request is delivered before its body");
    client.send(&body);
    assert_eq!(client.answer().text(), told(&body, "streamed"));
    server.finish();
}
