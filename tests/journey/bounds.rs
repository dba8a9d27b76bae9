//! What bounds a server as a whole: its memory, what the host may hold, options that change while it runs, and the figures that show it.

use crate::support::client::Client;
use crate::support::host::{Delivery, Server, on_requests};
use crate::support::{PATIENCE, eventually};
use crate::{Witness, shapes, with_a_queue};
use ingest::status::*;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn upload(client: &mut Client, octets: usize) {
    client.send(format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {octets}\r\n\r\n"));
    // Not all of it will be read at once.
    let mut writer = client.writer();
    std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut writer, &vec![b'x'; octets]);
    });
}

/// A request of `octets` that the host holds.
fn held(server: &Server, client: &mut Client, octets: usize) -> u64 {
    upload(client, octets);
    server.queue().take(1)[0].token
}

#[test]
fn at_memory_max_reading_stops_and_goes_on_when_there_is_room() {
    with_a_queue(&[("memory_max", "4MiB")], |server| {
        let mut first = server.connect();
        let token = held(server, &mut first, 3400 << 10);
        let mut waiting: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        waiting.iter_mut().for_each(|client| upload(client, 300 << 10));
        assert!(eventually(|| server.stats().limit_memory > 0), "{:?}", server.stats());
        let read = server.stats().bytes_received;
        std::thread::sleep(Duration::from_millis(200));
        let stats = server.stats();
        assert!(stats.memory_bytes <= 4 * MIB, "{} octets are held", stats.memory_bytes);
        assert!(stats.bytes_received - read < 256 << 10, "it read on");
        assert_eq!(server.text(token, b"kept"), INGEST_OK);
        assert_eq!(first.answer().text(), "kept");
        for _ in 0..3 {
            let event = server.queue().take(1)[0];
            assert_eq!(server.text(event.token, b"in the end"), INGEST_OK);
        }
        waiting.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "in the end"));
        assert!(eventually(|| server.stats().memory_bytes == 0), "{:?}", server.stats());
    });
}

#[test]
fn what_waits_too_long_for_memory_is_503_until_the_host_gives_some_back() {
    // Five seconds of waiting each, so not everywhere.
    for options in [[("topology", "inline"), ("io_threads", "1")], [("topology", "shards"), ("io_threads", "2")]] {
        let server = Server::queued(&[options[0], options[1], ("memory_max", "4MiB"), ("queue_age", "1m")]);
        let mut first = server.connect();
        let token = held(&server, &mut first, 3400 << 10);
        let start = Instant::now();
        let mut waiting: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        // More than is received at a stretch: 300 KiB may be whole before anybody looks, and there is room for so much.
        waiting.iter_mut().for_each(|client| upload(client, 600 << 10));
        for client in &mut waiting {
            // What one thread turns away makes room, if not enough, for those of the other: for them the five seconds begin again.
            client.set_patience(3 * PATIENCE);
            let answer = client.answer();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
            assert!(answer.says_close());
            assert!(start.elapsed() > Duration::from_millis(4500), "after {:?}", start.elapsed());
        }
        // There is still too little, for whoever comes now.
        let mut late = server.connect();
        late.set_patience(3 * PATIENCE);
        upload(&mut late, 600 << 10);
        assert_eq!(late.answer().status, 503);
        assert!(server.stats().refused_503 >= 4 && server.stats().refused_408 == 0, "{:?}", server.stats());
        assert_eq!(server.text(token, b"kept"), INGEST_OK);
        assert_eq!(first.answer().text(), "kept");
        assert!(eventually(|| server.stats().memory_bytes == 0), "{:?}", server.stats());
        let mut next = server.connect();
        let token = held(&server, &mut next, 300 << 10);
        assert_eq!(server.text(token, b"room again"), INGEST_OK);
        assert_eq!(next.answer().text(), "room again");
        server.finish();
    }
}

#[test]
fn memory_is_the_server_s_not_a_thread_s() {
    let server = Server::queued(&[("topology", "shards"), ("io_threads", "4"), ("memory_max", "4MiB")]);
    let mut client = server.connect();
    let token = held(&server, &mut client, 3 << 20);
    let stats = server.stats();
    assert!(stats.memory_requests_bytes >= 3 * MIB && stats.memory_max_bytes == 4 * MIB, "{stats:?}");
    assert_eq!(server.text(token, b"one thread read it all"), INGEST_OK);
    assert_eq!(client.answer().text(), "one thread read it all");
    server.finish();
}

#[test]
fn a_body_that_can_never_have_room_is_413() {
    with_a_queue(&[("memory_max", "1MiB")], |server| {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 900 << 10));
        assert_eq!(client.answer().status, 413);
    });
}

#[test]
fn a_callback_that_holds_its_fill_sheds_the_rest_by_age() {
    for shape in shapes().into_iter().filter(|shape| shape.delivery == Delivery::Inline) {
        let _witness = Witness(shape);
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&tokens);
        let handler = on_requests(move |_, request| taken.lock().expect("no panic").push(request.0.token));
        let options = shape.with(&[("in_flight_max", "2"), ("queue_age", "300ms"), ("response_timeout", "1m")]);
        let server = Server::serve(&options, Delivery::Inline, handler);
        let mut held: Vec<Client> = (0..2).map(|_| server.connect()).collect();
        for (count, client) in held.iter_mut().enumerate() {
            client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(eventually(|| tokens.lock().expect("no panic").len() == count + 1));
        }
        let mut late = server.connect();
        late.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = late.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(tokens.lock().expect("no panic").len(), 2, "a third request was delivered");
        let stats = server.stats();
        assert_eq!((stats.limit_queue_age, stats.refused_503, stats.in_flight), (1, 1, 2), "{stats:?}");
        for (client, token) in held.iter_mut().zip(tokens.lock().expect("no panic").drain(..)) {
            assert_eq!(server.text(token, b"served"), INGEST_OK);
            assert_eq!(client.answer().text(), "served");
        }
        held[0].send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(eventually(|| tokens.lock().expect("no panic").len() == 1), "it recovers");
        assert!(eventually(|| server.stats().memory_requests_bytes < 4096), "{:?}", server.stats());
        server.finish();
    }
}

#[test]
fn live_options_are_gone_by_from_then_on() {
    with_a_queue(&[("queue_age", "1m")], |server| {
        let mut idle = server.connect();
        idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        assert_eq!(server.text(event.token, b"before"), INGEST_OK);
        assert_eq!(idle.answer().text(), "before");
        server.set("keepalive_timeout", "50ms").expect("it is live");
        assert!(idle.is_closed(), "what waits already ends by the new value");
        assert_eq!(server.stats().limit_keepalive_timeout, 1);

        server.set("body_max", "10").expect("it is live");
        let mut large = server.connect();
        large.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
        assert_eq!(large.answer().status, 413);

        server.set("in_flight_max", "1").expect("it is live");
        let mut two = [server.connect(), server.connect()];
        two.iter_mut().for_each(|client| client.send("GET /two HTTP/1.1\r\nHost: x\r\n\r\n"));
        let first = server.queue().take(1)[0];
        assert!(eventually(|| server.queue().depth() == 1));
        let mut batch = [crate::support::host::blank_event(); 4];
        assert_eq!(server.queue().wait(&mut batch, 50), 0, "a second request was delivered");
        server.set("in_flight_max", "2").expect("it is live");
        let second = server.queue().take(1)[0];
        for event in [first, second] {
            assert_eq!(server.text(event.token, b"both"), INGEST_OK);
        }
        two.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "both"));
        assert_eq!(server.stats().in_flight_max, 2);

        let refused = server.set("io_threads", "2").expect_err("it is not live");
        assert!(refused.status == INGEST_E_OPTION && refused.text.contains("ingest_server_new"), "{refused:?}");
        let refused = server.set("headers_max", "300").expect_err("header_line_max is above it");
        assert!(refused.status == INGEST_E_OPTION && refused.text.contains("header_line_max"), "{refused:?}");
        server.set("headers_max", "64KiB").expect("the refused one has changed nothing");
    });
}

#[test]
fn the_cap_on_connections_is_live() {
    with_a_queue(&[("max_connections", "8")], |server| {
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        assert!(eventually(|| server.stats().connections_open == 4));
        server.set("max_connections", "4").expect("it is live");
        // On a thread of its own, since with TLS it already waits for the handshake.
        let port = server.port();
        let waits = std::thread::spawn(move || Client::connect(port).get("/").text());
        let mut batch = [crate::support::host::blank_event(); 4];
        // A thread notices at its next accept at the latest.
        let accepted = server.queue().wait(&mut batch, 200);
        assert!(accepted <= 1 && server.stats().connections_max == 4);
        clients.clear();
        server.set("max_connections", "8").expect("it is live");
        let event = if accepted == 1 { batch[0] } else { server.queue().take(1)[0] };
        assert_eq!(server.text(event.token, b"let in"), INGEST_OK);
        assert_eq!(waits.join().expect("it is let in"), "let in");
    });
}

#[test]
fn the_figures_tell_what_connections_are_about() {
    with_a_queue(&[], |server| {
        let mut idle = server.connect();
        let mut head = server.connect();
        head.send("GET / HTTP/1.1\r\nHo");
        let mut body = server.connect();
        body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345");
        let mut asks = server.connect();
        asks.send("GET /ask HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        let states = |stats: &ingest::ffi::observe::ingest_stats| {
            let idle_and_head = (stats.connections_idle, stats.connections_in_head);
            (idle_and_head, stats.connections_in_body, stats.connections_in_exchange, stats.connections_open)
        };
        assert!(eventually(|| states(&server.stats()) == ((1, 1), 1, 1, 4)), "{:?}", server.stats());
        let stats = server.stats();
        assert_eq!((stats.memory_bodies_bytes, stats.memory_read_ahead_bytes), (5, 18), "{stats:?}");
        assert!(stats.memory_requests_bytes > 0 && stats.in_flight == 1);
        assert_eq!(server.text(event.token, b"told"), INGEST_OK);
        assert_eq!(asks.answer().text(), "told");
        assert!(eventually(|| states(&server.stats()) == ((2, 1), 1, 0, 4)), "{:?}", server.stats());
        for (client, octets) in [(&mut idle, "bad\r\n\r\n"), (&mut head, "st : x\r\n\r\n")] {
            client.send(octets);
            assert_eq!(client.answer().status, 400);
        }
        let stats = server.stats();
        assert_eq!((stats.refused_400, stats.requests_refused, stats.requests_answered), (2, 2, 1), "{stats:?}");
        assert!(stats.receives >= 5 && stats.sends >= 3 && stats.batches_delivered >= 1);
        drop((idle, head, body, asks));
        assert!(eventually(|| states(&server.stats()) == ((0, 0), 0, 0, 0)), "{:?}", server.stats());
        assert_eq!(server.stats().memory_bytes, 0);
    });
}

#[test]
fn the_age_of_the_oldest_request_in_a_queue_is_shown() {
    with_a_queue(&[], |server| {
        assert_eq!(server.stats().queue_oldest_ns, 0);
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(eventually(|| server.stats().queued == 1));
        std::thread::sleep(Duration::from_millis(30));
        assert!(server.stats().queue_oldest_ns >= 30_000_000);
        let event = server.queue().take(1)[0];
        assert_eq!(server.stats().queue_oldest_ns, 0);
        assert_eq!(server.text(event.token, b""), INGEST_OK);
    });
}
