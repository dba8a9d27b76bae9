//! A server that the host drives: turns in the host's own loop, answers from other threads, deadlines through the descriptor, misuse refused.

use crate::support::host::{Host, Server, blank_event, on_requests};
use crate::support::request_view::RequestView;
use ingest::ffi::life::{ingest_server_fd, ingest_server_turn};
use ingest::status::*;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn descriptor(host: Host) -> i32 {
    // SAFETY: the server lives.
    unsafe { ingest_server_fd(host.0) }
}

fn turn(host: Host, timeout_ms: i32) -> i32 {
    // SAFETY: the server lives.
    unsafe { ingest_server_turn(host.0, timeout_ms) }
}

fn readable(fd: i32, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, good for the call.
    let count = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
    assert!(count >= 0, "poll failed");
    count == 1
}

fn driven(options: &[(&str, &str)]) -> Server {
    let mut server = Server::unstarted(options);
    server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
    server
}

/// The host's loop: sleeps on the descriptor alone, and takes turns of 0 ms, so that a wake-up that is not announced shows
/// as a test that hangs.
fn run_until(host: Host, done: &AtomicBool, mut between: impl FnMut(Host)) {
    let fd = descriptor(host);
    assert!(fd >= 0, "{fd}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "the descriptor did not become readable");
        readable(fd, 100);
        let waiting = turn(host, 0);
        assert!(waiting >= 0, "{waiting}");
        between(host);
    }
}

#[test]
fn a_callback_is_called_within_the_turn() {
    let mut server = driven(&[]);
    let here = std::thread::current().id();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    server.call_back(on_requests(move |host: Host, request: RequestView| {
        assert_eq!(std::thread::current().id(), here, "a server without threads called from another thread");
        // A turn within a turn, and everything that would wait for one.
        assert_eq!(turn(host, 0), INGEST_E_STATE);
        assert_eq!(descriptor(host), INGEST_E_STATE);
        counted.fetch_add(1, Ordering::Relaxed);
        assert_eq!(host.text(request.0.token, b"turned"), INGEST_OK);
    }));
    let (host, port, done) = (*server, server.port(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = crate::support::client::Client::connect(port);
            for _ in 0..200 {
                assert_eq!(client.get("/").text(), "turned");
            }
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
            for _ in 0..100 {
                assert_eq!(client.answer().text(), "turned");
            }
            done.store(true, Ordering::Relaxed);
        });
        run_until(host, &done, |_| ());
    });
    assert_eq!(calls.load(Ordering::Relaxed), 300);
}

#[test]
fn answers_of_other_threads_make_the_descriptor_readable() {
    let server = driven(&[("delivery", "queue")]);
    let (host, port, done) = (*server, server.port(), AtomicBool::new(false));
    let tokens = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = crate::support::client::Client::connect(port);
            for _ in 0..50 {
                assert_eq!(client.get("/").text(), "late");
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for token in tokens.lock().expect("no test thread panics with it").drain(..) {
                    // Long enough for the host to be asleep in its loop.
                    std::thread::sleep(Duration::from_millis(3));
                    assert_eq!(host.text(token, b"late"), INGEST_OK);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let waits = AtomicI32::new(0);
        run_until(host, &done, |host| {
            let mut batch = [blank_event(); 8];
            assert_eq!(host.queue().wait(&mut batch, 0), INGEST_E_STATE, "who sleeps in the queue cannot take turns");
            let count = host.queue().poll(&mut batch);
            waits.fetch_add(1, Ordering::Relaxed);
            let new = batch[..count as usize].iter().map(|event| event.token);
            tokens.lock().expect("no test thread panics with it").extend(new);
        });
        assert!(waits.load(Ordering::Relaxed) < 20_000, "the descriptor was readable without a reason");
    });
}

#[test]
fn deadlines_make_the_descriptor_readable() {
    let server = driven(&[("header_timeout", "300ms")]);
    let (host, done) = (*server, AtomicBool::new(false));
    let fd = descriptor(host);
    let mut client = server.connect();
    client.send("GET / HT");
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(client.answer().status, 408);
            done.store(true, Ordering::Relaxed);
        });
        let mut turns = 0;
        while !done.load(Ordering::Relaxed) {
            assert!(readable(fd, 5_000), "no turn was asked for when the deadline was due");
            assert!(turn(host, 0) >= 0);
            turns += 1;
            assert!(turns < 500, "the descriptor stays readable");
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(300), "the deadline came early");
}

#[test]
fn turns_and_threads_do_not_mix() {
    let server = driven(&[]);
    assert_eq!(turn(*server, 0), 0);
    assert_eq!(server.start().expect_err("a driven server").status, INGEST_E_STATE);
    assert_eq!(server.join(0), INGEST_E_STATE);

    let started = Server::queued(&[]);
    assert_eq!(turn(*started, 0), INGEST_E_STATE);
    assert_eq!(descriptor(*started), INGEST_E_STATE);

    for options in [&[("io_threads", "2")][..], &[("delivery", "threads")]] {
        assert_eq!(turn(*driven(options), 0), INGEST_E_STATE, "{options:?}");
    }
    for topology in ["shards", "shared", "acceptor", "dispatch", "cut"] {
        assert_eq!(turn(*driven(&[("topology", topology)]), 0), INGEST_E_STATE, "{topology}");
    }
}

#[test]
fn a_driven_server_drains_and_stops() {
    let server = driven(&[]);
    let fd = descriptor(*server);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut batch = [blank_event(); 2];
    while server.queue().poll(&mut batch) == 0 {
        assert!(turn(*server, 1_000) >= 0);
    }
    assert_eq!(server.stop(), INGEST_OK);
    assert!(readable(fd, 1_000), "a stop asks for a turn");
    assert!(turn(*server, 0) >= 0, "a request is still open");
    assert_eq!(server.text(batch[0].token, b"last"), INGEST_OK);
    let mut turns = 0;
    while turn(*server, 100) != INGEST_E_STOPPED {
        turns += 1;
        if turns == 1 {
            let answer = client.answer();
            assert_eq!((answer.text(), answer.says_close()), ("last".into(), true));
            client.finish_sending();
        }
        assert!(turns < 100, "the drain does not end");
    }
    assert_eq!(turn(*server, 0), INGEST_E_STOPPED);
    assert_eq!(server.queue().poll(&mut batch), INGEST_E_STOPPED);
    server.finish();
}
