//! Bodies with content-codings arrive decoded, whichever way the rope is cut: by length and in chunks, in any pieces, large ones in turns.

use crate::everywhere;
use crate::support::client::Client;
use crate::support::coders::{TOOLS, chunked, encode, pipe, post, records};
use crate::support::host::{Delivery, Handler, Server, on_requests};
use crate::support::{checksum, eventually};
use ingest::status::INGEST_OK;
use std::time::Duration;

/// Answers with length and checksum of the body, what it was and how long that was.
fn telling() -> Handler {
    on_requests(|host, request| {
        let body = request.body();
        assert_eq!(request.0.body_len, body.len() as u64);
        let decoded = String::from_utf8_lossy(request.decoded());
        let text = format!("{} {:016x} {decoded} {}", body.len(), checksum(body), request.0.encoded_len);
        assert_eq!(host.text(request.0.token, text.as_bytes()), INGEST_OK);
    })
}

fn told(body: &[u8], decoded: &str, encoded: usize) -> String {
    format!("{} {:016x} {decoded} {encoded}", body.len(), checksum(body))
}

/// As the field of the request names it.
fn named(coding: &str) -> String {
    coding.to_ascii_lowercase().replace("x-", "")
}

#[test]
fn every_coding_by_length_and_in_chunks() {
    let bodies = [b"short".to_vec(), records(64 << 10), records(3 << 20)];
    let coded: Vec<_> =
        TOOLS.iter().flat_map(|(name, command)| bodies.iter().map(move |body| (*name, body, pipe(command, body)))).collect();
    everywhere(&[], &telling(), |server| {
        let mut client = server.connect();
        for (name, body, coded) in &coded {
            let expected = told(body, &named(name), coded.len());
            client.send(post(name, coded));
            assert_eq!(client.answer().text(), expected, "{name} by length");
            client.send(chunked(name, coded, 9973));
            assert_eq!(client.answer().text(), expected, "{name} in chunks");
        }
        assert_eq!(client.get("/").text(), told(b"", "", 0));
        let stats = server.stats();
        assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "{} octets are still charged", stats.memory_bodies_bytes);
    });
}

#[test]
fn two_layers_and_none_and_off() {
    let body = records(70_000);
    let twice = encode("br", &encode("gzip", &body));
    everywhere(&[("decode_layers", "2")], &telling(), |server| {
        let mut client = server.connect();
        client.send(post("gzip, , br", &twice));
        assert_eq!(client.answer().text(), told(&body, "gzip, br", twice.len()));
        client.send(post("identity", &body));
        assert_eq!(client.answer().text(), told(&body, "", body.len()));
    });
    everywhere(&[("decode", "off")], &telling(), |server| {
        let mut client = server.connect();
        for coding in ["gzip, br", "no coding at all"] {
            client.send(post(coding, &twice));
            assert_eq!(client.answer().text(), told(&twice, "", twice.len()));
        }
    });
}

#[test]
fn a_coded_body_in_small_pieces_with_more_behind_it() {
    let body = records(300_000);
    for coding in ["gzip", "zstd", "br"] {
        let coded = encode(coding, &body);
        let expected = told(&body, coding, coded.len());
        everywhere(&[], &telling(), |server| {
            for wire in [post(coding, &coded), chunked(coding, &coded, 333)] {
                let mut client = server.connect();
                let wire = [&wire[..], b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
                for (index, piece) in wire.chunks(997).enumerate() {
                    client.send(piece);
                    if index % 16 == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                assert_eq!(client.answer().text(), expected);
                assert_eq!(client.answer().text(), told(b"", "", 0));
            }
        });
    }
}

#[test]
fn a_client_that_has_sent_all_may_close_its_side() {
    // Long enough to be decoded in turns after all of it, and FIN, are here.
    let body = records(6 << 20);
    let coded = encode("gzip", &body);
    let expected = told(&body, "gzip", coded.len());
    everywhere(&[], &telling(), |server| {
        let mut client = server.connect();
        client.send(post("gzip", &coded));
        client.finish_sending();
        assert_eq!(client.answer().text(), expected);
        let mut client = server.connect();
        client.send(&post("gzip", &coded)[..coded.len()]);
        client.finish_sending();
        assert!(client.is_closed(), "a body that was cut short is never delivered");
        assert!(eventually(|| server.stats().memory_bodies_bytes == 0));
    });
}

#[test]
fn what_is_unknown_is_refused_before_the_body_comes() {
    everywhere(&[], &telling(), |server| {
        for coding in ["compress", "gzip, gzip"] {
            let mut client = server.connect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Encoding: {coding}\r\nContent-Length: 9\r\n\r\n"
            ));
            let answer = client.read_any(false).expect("an answer").expect("an answer before the end");
            assert_eq!((answer.status, answer.header("Accept-Encoding")), (415, Some("gzip, deflate, br, zstd")));
        }
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Encoding: gzip\r\nContent-Length: 25\r\n\r\n");
        assert_eq!(client.read_any(false).expect("an answer").expect("an answer before the end").status, 100);
        client.send(encode("gzip", b"hello"));
        assert_eq!(client.answer().text(), told(b"hello", "gzip", 25));
    });
}

#[test]
fn long_decodings_take_turns_and_hold_nobody_up() {
    // 60 MiB in 600 KiB: each takes some sixty turns.
    let body: Vec<u8> = records(64 << 10).repeat(960);
    let coded = encode("gzip", &body);
    assert!(coded.len() * 95 > body.len() || coded.len() > 1 << 20, "{} octets are a bomb", coded.len());
    let expected = told(&body, "gzip", coded.len());
    let server = Server::serve(&[("decode_states_max", "2"), ("memory_max", "1GiB")], Delivery::Inline, telling());
    std::thread::scope(|scope| {
        let port = server.port();
        let long: Vec<_> = (0..6)
            .map(|_| {
                let (coded, expected) = (&coded, &expected);
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    client.set_patience(Duration::from_secs(60));
                    client.send(post("gzip", coded));
                    assert_eq!(&client.answer().text(), expected);
                })
            })
            .collect();
        let mut served = 0;
        while !long.iter().all(|thread| thread.is_finished()) {
            assert_eq!(Client::connect(port).get("/").status, 200);
            served += 1;
        }
        assert!(served > 20, "only {served} others were served while 360 MiB were decoded");
    });
    server.finish();
}
