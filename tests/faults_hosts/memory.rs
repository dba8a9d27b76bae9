//! Hosts that keep what they were given, and processes that get no more memory: H11, H26.

use crate::program;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Server, blank_event};
use ingest::status::*;
use std::time::Duration;

const ASK: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const KIB: usize = 1024;

fn post(length: usize) -> Vec<u8> {
    let mut request = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.resize(request.len() + length, b'b');
    request
}

#[test]
fn h11_at_in_flight_max_requests_age_until_the_host_gives_some_back() {
    let server = Server::queued(&[("in_flight_max", "4"), ("response_timeout", "300ms"), ("queue_age", "300ms")]);
    let before = server.stats().memory_bytes;
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(ASK));
    let held = server.queue().take(4);
    for client in &mut clients {
        assert_eq!(client.answer().status, 504);
        assert!(client.is_closed());
    }
    assert_eq!(server.stats().in_flight, 4, "they are the host's until it says otherwise");
    // Everybody else is told so, and nothing is delivered.
    for _ in 0..2 {
        let mut client = server.connect();
        client.send(ASK);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
    assert_eq!(server.queue().poll(&mut [blank_event(); 1]), 0, "more is delivered than the host may hold");
    assert!(server.stats().memory_bytes > before, "what is held is not accounted for");
    for event in &held {
        assert_eq!(server.text(event.token, b"at last"), INGEST_E_GONE);
    }
    assert!(eventually(|| server.stats().in_flight == 0 && server.stats().memory_bytes == before), "what came back is not free");
    let mut client = server.connect();
    client.send(ASK);
    let event = server.queue().take(1)[0];
    assert_eq!(server.text(event.token, b"served"), INGEST_OK);
    assert_eq!(client.answer().text(), "served");
    server.finish();
}

#[test]
fn h11_at_memory_max_bodies_are_refused_until_the_host_gives_some_back() {
    let server = Server::queued(&[("memory_max", "1MiB"), ("body_timeout", "2s"), ("queue_age", "60s")]);
    let before = server.stats().memory_bytes;
    let mut clients = Vec::new();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(post(300 * KIB));
        held.push(server.queue().take(1)[0].token);
        clients.push(client);
    }
    let mut refused = server.connect();
    // The server may stop reading, or answer before it has all of it.
    let mut writer = refused.writer();
    let sender = std::thread::spawn(move || drop(std::io::Write::write_all(&mut writer, &post(300 * KIB))));
    let status = refused.answer().status;
    assert!(status == 503 || status == 408, "{status}");
    assert!(server.stats().memory_bytes <= 1 << 20, "the bound is broken");
    drop(refused);
    sender.join().expect("no panic");
    for (client, token) in clients.iter_mut().zip(held) {
        assert_eq!(server.text(token, b"given back"), INGEST_OK);
        assert_eq!(client.answer().text(), "given back");
    }
    drop(clients);
    assert!(eventually(|| server.stats().memory_bytes <= before), "{} octets stay accounted", server.stats().memory_bytes);
    let mut client = server.connect();
    client.send(post(300 * KIB));
    let event = server.queue().take(1)[0];
    assert_eq!(server.text(event.token, b"served"), INGEST_OK);
    assert_eq!(client.answer().text(), "served");
    server.finish();
}

/// Bodies of 16 MiB from more clients than the process has memory for: some get 503 or lose their connection, none takes the process down.
#[test]
fn h26_a_process_without_memory_refuses_and_goes_on() {
    let server = program::start(&["--more-memory=48", "delivery=inline", "memory_max=1GiB"]);
    let port = server.port();
    for _ in 0..2 {
        let outcomes: Vec<Option<u16>> = std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..12).map(|_| scope.spawn(move || offer(port, 15 << 20))).collect();
            crowd.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert!(outcomes.iter().all(|status| matches!(status, None | Some(200 | 408 | 503))), "{outcomes:?}");
        assert!(outcomes.contains(&Some(503)), "there was memory for everything: {outcomes:?}");
        assert_eq!(Client::connect(port).get("/hello").text(), "hello", "the process lives");
    }
    // With the others gone there is room for one again.
    assert!(eventually(|| offer(port, 15 << 20) == Some(200)));
    let ended = {
        server.signal(libc::SIGTERM);
        server.finish()
    };
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
}

/// Sends a body as slowly as the server takes it; what it is answered, if it is.
fn offer(port: u16, length: usize) -> Option<u16> {
    let mut client = Client::connect(port);
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || {
        let request = post(length);
        for piece in request.chunks(256 * KIB) {
            // All of them are under way at once.
            std::thread::sleep(Duration::from_millis(4));
            if std::io::Write::write_all(&mut writer, piece).is_err() {
                return;
            }
        }
    });
    let answer = client.read_answer(false).ok().flatten();
    drop(client);
    sender.join().expect("no panic");
    answer.map(|answer| answer.status)
}
