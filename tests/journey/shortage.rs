//! Near a bound nobody is forgotten: what waits for memory, or for the host, goes on when there is room, and others are served meanwhile.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::abi::{ingest_server_fd, ingest_server_turn};
use crate::support::host::{Delivery, Server, on_requests};
use ingest::status::INGEST_OK;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KIB: usize = 1024;
/// A second is what the matrix of faults allows others to wait; a shared machine may take the rest.
const SOON: Duration = Duration::from_secs(3);

/// An upload that a thread of its own sends as fast as it is taken.
fn upload(client: &mut Client, octets: usize) {
    client.send(format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {octets}\r\n\r\n"));
    let mut writer = client.writer();
    std::thread::spawn(move || {
        let _ = writer.write_all(&vec![b'x'; octets]);
    });
}

fn answering() -> crate::Handler {
    on_requests(|host, request| assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK))
}

#[test]
fn a_few_large_bodies_do_not_stop_the_others() {
    let server = Server::serve(&[("memory_max", "4MiB")], Delivery::Inline, answering());
    let (port, over) = (server.port(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(port);
                    // Half of a body, and another connection as soon as that is refused.
                    let _ = client.try_send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 2048 * KIB).as_bytes());
                    let mut writer = client.writer();
                    writer.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("above zero");
                    let _ = writer.write_all(&vec![b'x'; 1024 * KIB]);
                    client.set_patience(Duration::from_secs(1));
                    let _ = client.read_answer(false);
                }
            });
        }
        assert!(eventually(|| server.stats().limit_memory > 0), "they fill it");
        let (start, mut served, mut worst) = (Instant::now(), 0, Duration::ZERO);
        while start.elapsed() < Duration::from_secs(6) {
            let asked = Instant::now();
            assert_eq!(Client::connect(port).get("/").status, 200);
            worst = worst.max(asked.elapsed());
            served += 1;
        }
        over.store(true, Ordering::Relaxed);
        assert!(worst < SOON && served > 50, "{served} were served, the slowest after {worst:?}");
    });
    server.finish();
}

#[test]
fn room_that_was_made_in_the_same_tick_is_noticed() {
    let handler = on_requests(|host, request| {
        if request.0.body_len == 0 {
            // Everything below arrives while this thread is away.
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK);
    });
    let server = Server::serve(&[("memory_max", "1MiB")], Delivery::Inline, handler);
    let (mut first, mut large) = (server.connect(), server.connect());
    large.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 880 * KIB));
    large.send(vec![b'x'; 600 * KIB]);
    assert!(eventually(|| server.stats().memory_bytes >= 600 << 10));
    let mut small: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    for client in &mut small {
        client.send([&b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"[..], &[b'x'; 60_000]].concat());
    }
    large.send(vec![b'x'; 200 * KIB]);
    small.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    large.send(vec![b'x'; 80 * KIB]);
    assert_eq!(large.answer().status, 200);
    assert_eq!(server.connect().get("/").status, 200, "receives go on");
    server.finish();
}

#[test]
fn a_thread_that_falls_asleep_hears_that_memory_came_back() {
    // Looking for work for a while makes the moment between the tick and the sleep long.
    let options = [("topology", "acceptor"), ("io_threads", "2"), ("memory_max", "1MiB"), ("queue_age", "1m"), ("spin", "1000us")];
    let server = Server::queued(&options);
    for round in 0..30 {
        let (mut first, mut second) = (server.connect(), server.connect());
        upload(&mut first, 850 * KIB);
        let held = server.queue().take(1)[0];
        let before = server.stats().limit_memory;
        upload(&mut second, 300 * KIB);
        assert!(eventually(|| server.stats().limit_memory > before));
        let start = Instant::now();
        assert_eq!(server.text(held.token, b"kept"), INGEST_OK);
        let event = server.queue().take(1)[0];
        assert!(start.elapsed() < SOON, "round {round}: {:?} although there was room", start.elapsed());
        assert_eq!(server.text(event.token, b"in turn"), INGEST_OK);
        assert_eq!((first.answer().text(), second.answer().text()), ("kept".to_owned(), "in turn".to_owned()));
    }
    server.finish();
}

#[test]
fn partial_heads_are_bounded_while_memory_is_short() {
    let server = Server::queued(&[("memory_max", "1MiB"), ("queue_age", "1m"), ("header_timeout", "1m")]);
    let mut first = server.connect();
    upload(&mut first, 880 * KIB);
    let held = server.queue().take(1)[0];
    let mut clients: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send([&b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "[..], &[b'x'; 15_000], b"\r\nX-B: ", &[b'x'; 15_000]].concat());
    }
    // Until those that wait are shed, and beyond.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        let stats = server.stats();
        assert!(stats.memory_bytes <= (1024 + 256) << 10, "{} octets are held within 1 MiB", stats.memory_bytes);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.stats().refused_503 > 0);
    assert_eq!(server.text(held.token, b"kept"), INGEST_OK);
    assert_eq!(first.answer().text(), "kept");
    server.finish();
}

#[test]
fn what_is_read_ahead_is_counted_as_long_as_it_is_held() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send([&b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nX-A: "[..], &[b'x'; 15_000]].concat());
    let event = server.queue().take(1)[0];
    assert!(eventually(|| server.stats().memory_read_ahead_bytes > 15_000));
    assert_eq!(server.text(event.token, b"one"), INGEST_OK);
    assert_eq!(client.answer().text(), "one");
    assert!(eventually(|| server.stats().connections_in_head == 1));
    assert!(server.stats().memory_read_ahead_bytes > 15_000, "{:?}", server.stats());
    client.send("\r\n\r\n");
    let event = server.queue().take(1)[0];
    assert!(eventually(|| server.stats().memory_read_ahead_bytes == 0));
    assert_eq!(server.text(event.token, b"two"), INGEST_OK);
    server.finish();
}

#[test]
fn a_head_may_be_larger_than_the_read_ahead() {
    let server = Server::serve(&[("headers_max", "256KiB")], Delivery::Inline, answering());
    let fields: String = (0..20).map(|number| format!("X-{number}: {}\r\n", "y".repeat(10_000))).collect();
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    assert_eq!(client.answer().status, 200);
    let mut over = server.connect();
    over.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}{fields}"));
    assert_eq!(over.answer().status, 431);
    server.finish();
}

#[test]
fn what_a_driving_host_may_hold_again_makes_the_descriptor_readable() {
    let mut server = Server::unstarted(&[("in_flight_max", "1"), ("queue_age", "1m")]);
    server.listen("http://127.0.0.1:0").expect("a port of the kernel's");
    server.call_back(answering());
    // SAFETY: the server lives.
    let descriptor = unsafe { ingest_server_fd(server.host.0) };
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3));
    let start = Instant::now();
    while server.stats().requests_answered < 3 {
        let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, good for the call; the server lives.
        unsafe {
            assert!(libc::poll(&mut poll, 1, 3000) == 1, "{} of 3 after {:?}", server.stats().requests_answered, start.elapsed());
            ingest_server_turn(server.host.0, 0);
        }
    }
    (0..3).for_each(|_| assert_eq!(client.answer().text(), "ok"));
}

#[test]
fn requests_behind_a_callback_that_had_its_fill_are_not_forgotten() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, count) = (Arc::clone(&seen), AtomicUsize::new(0));
    let handler = on_requests(move |_, request| {
        count.fetch_add(1, Ordering::Relaxed);
        noted.lock().expect("no panic").push((String::from_utf8_lossy(request.path()).into_owned(), request.0.token));
    });
    let server = Server::serve(&[("in_flight_max", "2"), ("queue_age", "1m")], Delivery::Inline, handler);
    let token = |path: &str| seen.lock().expect("no panic").iter().find(|(seen, _)| seen == path).map(|(_, token)| *token);
    let (mut first, mut second, mut third) = (server.connect(), server.connect(), server.connect());
    first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    third.send("GET /safe HTTP/1.1\r\nHost: x\r\n\r\nPOST /unsafe HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    assert!(eventually(|| token("/first").is_some() && token("/safe").is_some()));
    second.send("GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(200));
    let both = [token("/first"), token("/safe")].map(|token| (token.expect("seen above"), 200, &b"ok"[..]));
    assert_eq!(server.respond_many(&both).0, 2);
    assert!(eventually(|| token("/second").is_some() && token("/unsafe").is_some()), "{:?}", seen.lock());
    server.finish();
}
