//! Bodies of every size arrive whole and in order, by Content-Length and chunked; a body that is cut short is never delivered.

use crate::support::host::{Handler, on_requests};
use crate::support::{Random, checksum, eventually};
use crate::{everywhere, with_a_queue};
use ingest::status::*;
use std::time::Duration;

const SIZES: [usize; 7] = [0, 1, 4096, 4097, 64 << 10, 1 << 20, 8 << 20];
/// Chunk sizes that fit no buffer's size.
const ODD_CHUNKS: [usize; 7] = [1, 4095, 7, 65_537, 4096, 16_385, 333];

/// Answers a POST with length and checksum of its body, everything else with its target.
pub fn measuring() -> Handler {
    on_requests(|host, request| {
        let token = request.0.token;
        assert_eq!(request.0.body_len, request.body().len() as u64);
        let answer = match request.method() {
            b"POST" => summary(request.body()),
            _ => String::from_utf8_lossy(request.target()).into_owned(),
        };
        assert_eq!(host.text(token, answer.as_bytes()), INGEST_OK);
    })
}

fn summary(body: &[u8]) -> String {
    format!("{} {:016x}", body.len(), checksum(body))
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut wire = b"POST /c HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = body;
    for size in ODD_CHUNKS.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        wire.extend_from_slice(format!("{:x};part=\"odd\"\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
        // Extensions are bounded over the whole body, so only the first chunks of a large one carry one.
        if wire.len() > 100_000 {
            break;
        }
    }
    for chunk in rest.chunks(99_991) {
        wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

#[test]
fn bodies_of_all_sizes_by_content_length() {
    everywhere(&[], &measuring(), |server| {
        let mut client = server.connect();
        for (seed, size) in SIZES.into_iter().enumerate() {
            let body = Random(seed as u64 + 1).bytes(size);
            client.send(format!("POST /l HTTP/1.1\r\nHost: example.test\r\nContent-Length: {size}\r\n\r\n"));
            client.send(&body);
            assert_eq!(client.answer().text(), summary(&body));
        }
        assert_eq!(client.get("/after").text(), "/after");
    });
}

#[test]
fn bodies_of_all_sizes_chunked() {
    everywhere(&[], &measuring(), |server| {
        let mut client = server.connect();
        for (seed, size) in SIZES.into_iter().enumerate() {
            let body = Random(seed as u64 + 77).bytes(size);
            client.send(chunked(&body));
            assert_eq!(client.answer().text(), summary(&body));
        }
        assert_eq!(client.get("/after").text(), "/after");
    });
}

#[test]
fn a_body_in_small_pieces() {
    everywhere(&[], &measuring(), |server| {
        let body = Random(5).bytes(20_000);
        for wire in [chunked(&body), [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n", &body[..]].concat()] {
            let mut client = server.connect();
            for (index, piece) in wire.chunks(997).enumerate() {
                client.send(piece);
                if index % 4 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            assert_eq!(client.answer().text(), summary(&body));
        }
    });
}

#[test]
fn large_bodies_on_many_connections_at_once() {
    everywhere(&[], &measuring(), |server| {
        std::thread::scope(|scope| {
            for seed in 1..=4 {
                scope.spawn(move || {
                    let body = Random(seed).bytes(1 << 20);
                    let mut client = server.connect();
                    for _ in 0..2 {
                        client.send(format!("POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
                        client.send(&body);
                        assert_eq!(client.answer().text(), summary(&body));
                    }
                });
            }
        });
        let back = eventually(|| server.stats().memory_bytes < 4 << 20);
        assert!(back, "{} octets are still charged after all bodies were answered", server.stats().memory_bytes);
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    let body = Random(99).bytes(3 << 20);
    let expected = body.clone();
    let handler = on_requests(move |host, request| {
        assert_eq!(host.bytes(request.0.token, 200, "application/octet-stream", &body), INGEST_OK);
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
            std::thread::sleep(Duration::from_millis(20));
            assert!(client.answer().body == expected, "the body differs");
        }
    });
}

#[test]
fn half_close_after_the_request() {
    everywhere(&[], &measuring(), |server| {
        for _ in 0..50 {
            let mut client = server.connect();
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
            client.finish_sending();
            assert_eq!(client.answer().text(), summary(b"abc"));
            assert!(client.is_closed());
        }
    });
}

#[test]
fn half_close_while_the_host_thinks() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        client.finish_sending();
        let event = server.queue().take(1)[0];
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(server.text(event.token, b"late but there"), INGEST_OK);
        assert_eq!(client.answer().text(), "late but there");
        assert!(client.is_closed());
    });
}

#[test]
fn a_body_that_is_cut_short_is_not_delivered() {
    everywhere(&[], &measuring(), |server| {
        let cut = [
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nonly",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ];
        for wire in cut {
            let mut client = server.connect();
            client.send(wire);
            client.finish_sending();
            let answer = client.read_answer(false).expect("the server closes in order");
            assert!(answer.as_ref().is_none_or(|answer| answer.status == 400 || answer.status == 408), "{answer:?}");
        }
        assert_eq!(server.stats().requests_delivered, 0);
        assert_eq!(server.connect().get("/next").text(), "/next");
    });
}

#[test]
fn a_reset_in_mid_body_harms_nobody() {
    everywhere(&[], &measuring(), |server| {
        for _ in 0..20 {
            let mut client = server.connect();
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly");
        }
        assert_eq!(server.connect().get("/next").text(), "/next");
        assert!(eventually(|| server.stats().connections_open == 0), "{} connections are left", server.stats().connections_open);
        assert_eq!(server.stats().requests_delivered, 1);
    });
}

#[test]
fn continue_is_sent_once_and_only_when_the_body_waits() {
    everywhere(&[], &measuring(), |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
            let interim = client.read_any(false).expect("an answer").expect("an interim answer");
            assert_eq!(interim.status, 100);
            assert_eq!(interim.count("content-length"), 0);
            client.send("hel");
            client.send("lo");
            let answer = client.read_any(false).expect("an answer").expect("the final answer");
            assert_eq!((answer.status, answer.text()), (200, summary(b"hello")));
        }
        client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.read_any(false).expect("an answer").expect("the final answer").status, 200);
    });
}

#[test]
fn continue_waits_for_earlier_answers() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send(
            "GET /first HTTP/1.1\r\nHost: x\r\n\r\nPOST /second HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        );
        let first = server.queue().take(1)[0];
        assert!(client.is_silent(Duration::from_millis(50)), "an interim answer overtook an answer");
        assert_eq!(server.text(first.token, b"first"), INGEST_OK);
        let answer = client.read_any(false).expect("an answer").expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "first".to_string()));
        assert_eq!(client.read_any(false).expect("an answer").expect("an answer").status, 100);
        client.send("ok");
        let second = server.queue().take(1)[0];
        assert_eq!(server.text(second.token, b"second"), INGEST_OK);
        assert_eq!(client.answer().text(), "second");
    });
}
