//! Credit: what the host has of a body is bounded by it, and what it says wrongly changes nothing.

use super::support::host::{Queue, Server, abi::*, blank_event};
use super::support::request_view::octets;
use super::support::{PATIENCE, eventually};
use super::taking::credit;
use super::{STREAM, head};
use ingest::request::*;
use ingest::status::*;
use std::io::Write;
use std::net::TcpStream;

/// Waits for the next event.
fn next(queue: Queue) -> ingest_event {
    let mut event = [blank_event()];
    assert_eq!(queue.wait(&mut event, PATIENCE.as_millis() as i32), 1);
    event[0]
}

/// Takes pieces until none come for a while.
fn take_pieces(queue: Queue) -> usize {
    let mut taken = 0;
    loop {
        let mut event = [blank_event()];
        if queue.wait(&mut event, 200) != 1 {
            return taken;
        }
        assert_eq!(event[0].kind, INGEST_EVENT_BODY);
        taken += event[0].data.len;
    }
}

#[test]
fn without_credit_reading_stops_and_goes_on_with_it() {
    let server = Server::queued(&[STREAM]);
    let length = 8 << 20;
    let port = server.port();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it connects");
        stream.write_all(head(length).as_bytes()).expect("the head is taken");
        stream.write_all(&vec![b'x'; length]).expect("the body is taken in the end");
        stream
    });
    let queue = server.queue();
    let token = next(queue).token;
    let mut taken = take_pieces(queue);
    assert!((256 << 10..512 << 10).contains(&taken), "{taken} octets came without credit");
    assert!(server.stats().memory_bytes as usize >= taken, "what is not credited is charged");
    assert_eq!(credit(server.host, token, taken + 1), INGEST_E_ARGUMENT);
    assert_eq!(credit(server.host, token, 1000), INGEST_OK, "a part of a piece");
    let mut held = taken - 1000;
    while taken < length {
        assert_eq!(credit(server.host, token, held), INGEST_OK);
        held = take_piece(queue);
        taken += held;
        assert!(held <= 512 << 10);
    }
    assert_eq!(next(queue).kind, INGEST_EVENT_BODY_END);
    assert_eq!(server.host.text(token, b"done"), INGEST_OK);
    assert_eq!(credit(server.host, token, 1), INGEST_E_GONE);
    client.join().expect("it was sent");
    assert!(eventually(|| server.stats().memory_bytes == 0));
    server.finish();
}

/// One piece: what comes behind the last one is not taken with it.
fn take_piece(queue: Queue) -> usize {
    let event = next(queue);
    assert_eq!(event.kind, INGEST_EVENT_BODY, "the body goes on");
    event.data.len
}

#[test]
fn a_host_that_gives_no_credit_runs_out_of_its_own_time() {
    let server = Server::queued(&[STREAM, ("body_timeout", "100ms"), ("response_timeout", "1s"), ("body_window", "16KiB")]);
    let mut client = server.connect();
    client.send([head(200_000).as_bytes(), &[b'x'; 100_000]].concat());
    let queue = server.queue();
    let token = next(queue).token;
    let mut octets_seen = 0;
    loop {
        let event = next(queue);
        if event.kind == INGEST_EVENT_GONE {
            assert_eq!((event.token, event.reason), (token, INGEST_GONE_RESET));
            break;
        }
        // They stay readable after the end, until the request is given back.
        octets_seen += octets(&event.data).iter().filter(|octet| **octet == b'x').count();
    }
    assert!(octets_seen >= 16 << 10);
    assert_eq!(client.answer().status, 504, "the client is not blamed");
    assert_eq!(credit(server.host, token, 1), INGEST_E_GONE);
    assert_eq!(server.host.abandon(token), INGEST_E_GONE);
    assert!(eventually(|| server.stats().memory_bytes == 0));
    server.finish();
}

#[test]
fn credit_is_for_streamed_bodies_alone() {
    let server = Server::queued(&[STREAM]);
    let mut client = server.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let token = next(server.queue()).token;
    for octets in [0, 1] {
        assert_eq!(credit(server.host, token, octets), INGEST_E_ARGUMENT);
    }
    assert_eq!(credit(server.host, 1, 1), INGEST_E_GONE);
    assert_eq!(server.host.text(token, b""), INGEST_OK);
    assert_eq!(client.answer().status, 200);
    server.finish();
}

#[test]
fn a_request_that_was_not_begun_can_be_returned_with_its_body() {
    let server = Server::queued(&[STREAM]);
    let mut client = server.connect();
    client.send(head(100_000));
    let queue = server.queue();
    let first = next(queue).token;
    assert_eq!(queue.give_back(&[first]), 1);
    assert_eq!(credit(server.host, first, 0), INGEST_E_GONE);
    let second = next(queue).token;
    assert_ne!(first, second);
    client.send([b'x'; 100_000]);
    let mut taken = 0;
    loop {
        let event = next(queue);
        assert_eq!(event.token, second);
        match event.kind {
            INGEST_EVENT_BODY => taken += event.data.len,
            kind => {
                assert_eq!(kind, INGEST_EVENT_BODY_END);
                break;
            }
        }
    }
    assert_eq!(taken, 100_000);
    // With octets in its hands the host has begun it, and also when it has given all of them back.
    assert_eq!(queue.give_back(&[second]), 0);
    let charged = server.stats().memory_bytes;
    assert_eq!(credit(server.host, second, taken), INGEST_OK);
    assert!(eventually(|| server.stats().memory_bytes + 100_000 <= charged), "what was credited is charged no more");
    assert_eq!(queue.give_back(&[second]), 0);
    assert_eq!(server.host.text(second, b"ok"), INGEST_OK);
    assert_eq!(client.answer().text(), "ok");
    server.finish();
}

#[test]
fn a_request_that_is_gone_can_be_returned_with_its_body() {
    let server = Server::queued(&[STREAM]);
    let queue = server.queue();
    for taken in [false, true] {
        let mut client = server.connect();
        client.send(head(100_000));
        let token = next(queue).token;
        if taken {
            client.send([b'x'; 1000]);
            assert_eq!(next(queue).kind, INGEST_EVENT_BODY);
        }
        client.finish_sending();
        assert_eq!(next(queue).kind, INGEST_EVENT_GONE);
        assert_eq!(queue.give_back(&[token]), 0, "nobody waits for it any more");
        // What was begun is left as it is: the host may be reading its octets.
        assert_eq!(server.host.abandon(token), INGEST_E_GONE);
        assert!(eventually(|| server.stats().in_flight == 0 && server.stats().memory_bytes == 0), "returned, taken: {taken}");
    }
    server.finish();
}

#[test]
fn packed_blocks_have_no_place_for_streamed_bodies() {
    let server = Server::queued(&[STREAM]);
    let mut block = vec![0u64; 512];
    // SAFETY: the queue lives, and the block has as many octets as is said.
    let got = unsafe { ingest_queue_poll_packed(server.queue().0, block.as_mut_ptr().cast(), block.len() * 8) };
    assert_eq!(i64::from(got), i64::from(INGEST_E_STATE));
    server.finish();
}
