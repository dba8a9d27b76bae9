//! Large answers, which are sealed in portions: that all of one is sent, whatever comes or is due between two portions.

use crate::support::host::{Delivery, Server, blank_event, on_requests};
use crate::support::request_view::octets;
use crate::support::secured;
use crate::support::{PATIENCE, eventually};
use ingest::status::INGEST_OK;
use std::io::ErrorKind;
use std::time::Duration;

static BODY: &[u8] = &[b'x'; 8 << 20];

#[test]
fn a_large_answer_that_closes_is_sent_whole() {
    let server = Server::serve(
        &secured::options(),
        Delivery::Inline,
        on_requests(|host, request| {
            host.text(request.0.token, BODY);
        }),
    );
    for request in ["GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
        for _ in 0..10 {
            let mut client = server.connect();
            client.send(request);
            assert_eq!(client.answer().body.len(), BODY.len(), "{request}");
            assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
        }
    }
}

const TWO: &str = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn what_is_lent_behind_a_large_answer_is_not_released_before_it_is_sent() {
    let options = [&secured::options()[..], &[("events", "released")]].concat();
    let server = Server::serve(&options, Delivery::Queue(0), on_requests(|_, _| ()));
    let queue = server.queue();
    let mut clients = Vec::new();
    // The kernel takes the first answer in some ticks, and not the second, as nobody reads. The second comes home between two of them.
    for pause in 0..20 {
        let mut client = server.connect();
        client.send(TWO);
        let events = queue.take(2);
        assert_eq!(server.text(events[0].token, &BODY[..1 << 20]), INGEST_OK);
        std::thread::sleep(Duration::from_micros(100 * pause));
        assert_eq!(server.lend(events[1].token, BODY), INGEST_OK);
        clients.push(client);
    }
    let mut events = [blank_event(); 16];
    assert_eq!(queue.wait(&mut events, 1000), 0, "the library still has to read what is lent");
    for client in &mut clients {
        assert_eq!((client.answer().body.len(), client.answer().body.len()), (1 << 20, BODY.len()));
    }
    let mut released = 0;
    while released < clients.len() {
        let count = queue.wait(&mut events, PATIENCE.as_millis() as i32);
        assert!(count > 0, "{released} were released, then {count}");
        released += count as usize;
    }
}

#[test]
fn an_abandoned_request_does_not_cut_the_answer_before_it() {
    for options in [secured::options().to_vec(), Vec::new()] {
        let server = Server::serve(&options, Delivery::Queue(0), on_requests(|_, _| ()));
        // Between two portions, and when the kernel has all of it and the client not yet.
        for pause in [1, 1, 1, 1, 1, 1, 1, 1, 300] {
            let mut client = server.connect();
            client.send(TWO);
            let events = server.queue().take(2);
            assert_eq!(server.text(events[0].token, &BODY[..1 << 20]), INGEST_OK);
            std::thread::sleep(Duration::from_millis(pause));
            assert_eq!(server.abandon(events[1].token), INGEST_OK);
            assert_eq!(client.answer().body.len(), 1 << 20);
            assert_eq!(client.read_to_end().expect("a polite end"), b"");
        }
    }
}

#[test]
fn a_deadline_that_passes_between_two_portions_is_told_behind_them() {
    let options = [&secured::options()[..], &[("response_timeout", "30ms")]].concat();
    let server = Server::serve(
        &options,
        Delivery::Inline,
        on_requests(|host, request| {
            if octets(&request.0.path) == b"/1" {
                host.text(request.0.token, &vec![b'x'; 64 << 20]);
            }
        }),
    );
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(TWO);
        assert_eq!(client.answer().body.len(), 64 << 20);
        assert_eq!(client.answer().status, 504);
        assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
    }
}

#[test]
fn an_answer_that_waits_behind_a_large_one_is_not_late() {
    let options = [&secured::options()[..], &[("response_timeout", "100ms")]].concat();
    let server = Server::serve(
        &options,
        Delivery::Inline,
        on_requests(|host, request| {
            let body = if octets(&request.0.path) == b"/1" { vec![b'x'; 64 << 20] } else { b"in time".to_vec() };
            host.text(request.0.token, &body);
        }),
    );
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(TWO);
        // Both are answered at once. The deadline passes while the kernel takes no more, and is looked at between two portions.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(client.answer().body.len(), 64 << 20);
        let second = client.answer();
        assert_eq!((second.status, second.text().as_str()), (200, "in time"));
        drop(client);
        assert!(eventually(|| server.stats().memory_bytes == 0), "{:?}", server.stats());
    }
    assert_eq!(server.stats().requests_timed_out, 0);
}

#[test]
fn a_stop_between_two_portions_is_a_reset_also_for_who_asks_nothing_more() {
    for _ in 0..10 {
        let server = Server::serve(
            &secured::options(),
            Delivery::Inline,
            on_requests(|host, request| {
                host.text(request.0.token, &vec![b'x'; 64 << 20]);
            }),
        );
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        client.finish_sending();
        let reader = std::thread::spawn(move || client.read_answer(false).expect_err("it was cut off"));
        std::thread::sleep(Duration::from_millis(120));
        server.finish();
        assert_eq!(reader.join().expect("it reads").kind(), ErrorKind::ConnectionReset);
    }
}
