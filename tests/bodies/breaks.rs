//! Bodies that are cut short, malformed, too large or too slow: they end in GONE, never in an end of the body.

use super::support::coders;
use super::support::eventually;
use super::support::host::{Delivery, Server};
use super::taking::{End, Seen, taking};
use super::{STREAM, head};

const SHAPES: [&[(&str, &str)]; 2] = [&[], &[("topology", "cut"), ("io_threads", "2")]];

/// Sends a beginning that will never be whole; the status of the answer, none if the client is to go away.
fn breaks(options: &[(&str, &str)], wire: &[u8], status: Option<u16>) {
    for shape in SHAPES {
        for delivery in [Delivery::Queue(1), Delivery::Inline] {
            let seen = Seen::default();
            let all = [&[STREAM, ("decode_ratio", "1000")], options, shape].concat();
            let server = Server::serve(&all, delivery, taking(&seen));
            let end_of_head = wire.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a head") + 4;
            let mut client = server.connect();
            client.send(&wire[..end_of_head]);
            assert!(eventually(|| seen.all().len() == 1), "the head alone is delivered");
            client.send(&wire[end_of_head..]);
            match status {
                Some(status) => assert_eq!(client.answer().status, status),
                None => client.finish_sending(),
            }
            assert!(eventually(|| seen.ends().len() == 1), "the host hears of it");
            assert_eq!(seen.ends(), [End::Cut]);
            drop(client);
            assert!(eventually(|| server.stats().memory_bytes == 0 && server.stats().in_flight == 0));
            server.finish();
        }
    }
}

#[test]
fn a_body_that_breaks_with_its_head_is_never_whole() {
    // All at once the request may be over before the host has taken it: then it hears nothing of it.
    for delivery in [Delivery::Queue(1), Delivery::Inline] {
        let seen = Seen::default();
        let server = Server::serve(&[STREAM], delivery, taking(&seen));
        for _ in 0..50 {
            let mut client = server.connect();
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
            assert_eq!(client.answer().status, 400);
            assert!(client.is_closed());
        }
        assert!(eventually(|| server.stats().in_flight == 0 && seen.ends().len() == seen.all().len()));
        assert!(seen.ends().iter().all(|end| *end == End::Cut));
        server.finish();
    }
}

#[test]
fn n03_a_body_that_ends_early_is_never_whole() {
    breaks(&[], &[head(200_000).as_bytes(), &[b'x'; 100_000]].concat(), None);
    breaks(&[], b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhel", None);
}

#[test]
fn a_body_that_is_malformed_is_cut() {
    breaks(&[], b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", Some(400));
}

#[test]
fn a_body_that_is_too_large_is_cut() {
    let wire = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffff\r\n";
    breaks(&[("body_max", "1000")], wire, Some(413));
}

#[test]
fn a_coded_body_that_is_corrupt_or_a_bomb_is_cut() {
    let coded = |body: &[u8]| {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let mut wrong = coders::encode("gzip", &[b'x'; 100_000]);
    let sum = wrong.len() - 6;
    wrong[sum] ^= 1;
    breaks(&[], &coded(&wrong), Some(400));
    breaks(&[("decoded_max", "50000")], &coded(&coders::encode("gzip", &[b'x'; 100_000])), Some(413));
}

#[test]
fn a_body_that_is_too_slow_is_cut() {
    breaks(&[("body_timeout", "200ms")], &[head(200_000).as_bytes(), &[b'x'; 1000]].concat(), Some(408));
}

#[test]
fn a_stop_cuts_bodies() {
    for delivery in [Delivery::Queue(1), Delivery::Threads, Delivery::Inline] {
        let seen = Seen::default();
        let server = Server::serve(&[STREAM], delivery, taking(&seen));
        let mut client = server.connect();
        client.send([head(200_000).as_bytes(), &[b'x'; 1000]].concat());
        assert!(eventually(|| seen.all().iter().any(|body| body.octets.len() == 1000)));
        assert_eq!(server.stop(), 0);
        assert!(eventually(|| seen.ends() == [End::Cut]));
        server.finish();
    }
}

#[test]
fn a_drain_waits_for_a_body() {
    let seen = Seen::default();
    let server = Server::serve(&[STREAM], Delivery::Queue(1), taking(&seen));
    let mut client = server.connect();
    client.send([head(200_000).as_bytes(), &[b'x'; 1000]].concat());
    assert!(eventually(|| seen.all().len() == 1));
    assert_eq!(server.drain(10_000), 0);
    client.send([b'x'; 199_000]);
    let answer = client.answer();
    assert!(answer.status == 200 && answer.says_close());
    assert_eq!(seen.ends(), [End::Whole]);
    server.finish();
}
