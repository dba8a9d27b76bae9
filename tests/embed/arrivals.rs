//! Clients that arrive while a server ends, or has no descriptor for them: each is served or closed, and nothing of them is left.

use crate::alone;
use crate::guest::{descriptors, set_soft_limit, soft_limit, threads};
use crate::support::client::Client;
use crate::support::hold::holding;
use crate::support::host::abi::{ingest_log_record, ingest_server_log_next};
use crate::support::host::{Delivery, Host, Server};
use crate::support::{PATIENCE, eventually};
use ingest::status::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A thousand clients in four threads; when a third of them has come, the server is told to end.
fn a_crowd_at_the_end(topology: &str, end: impl Fn(&Host)) {
    let (_hold, handler) = holding();
    let server = Server::serve(&[("topology", topology), ("io_threads", "3")], Delivery::Inline, handler);
    let port = server.port();
    let (came, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    came.fetch_add(1, Ordering::Relaxed);
                    // Refused, reset or closed once the server has ended; never left waiting.
                    let Ok(mut client) = Client::connect_to(([127, 0, 0, 1], port).into()) else { continue };
                    let _ = client.try_send(REQUEST.as_bytes());
                    match client.read_answer(false) {
                        Ok(answer) => answered.fetch_add(usize::from(answer.is_some()), Ordering::Relaxed),
                        Err(error) => {
                            let waited = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                            assert!(!waited, "{topology}: a client got no answer and was not closed");
                            0
                        }
                    };
                }
            });
        }
        assert!(eventually(|| came.load(Ordering::Relaxed) > 330));
        let start = Instant::now();
        end(&server);
        assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
        assert!(start.elapsed() < Duration::from_secs(5), "{topology}: it took {:?}", start.elapsed());
    });
    assert!(answered.load(Ordering::Relaxed) >= 300, "{topology}: {answered:?} were answered before the end");
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.panics, stats.memory_bytes), (0, 0, 0), "{topology}");
    server.finish();
}

#[test]
fn a_thousand_that_come_while_a_server_ends_leave_nothing_behind() {
    alone("arrivals::a_thousand_that_come_while_a_server_ends_leave_nothing_behind", || {
        let before = (descriptors(), threads());
        for topology in ["shared", "acceptor"] {
            a_crowd_at_the_end(topology, |server| assert_eq!(server.drain(5_000), INGEST_OK));
            a_crowd_at_the_end(topology, |server| {
                server.stop();
                server.stop();
            });
        }
        assert!(eventually(|| (descriptors(), threads()) == before), "from {before:?} to {:?} and {:?}", descriptors(), threads());
    });
}

/// Has the one serving thread stand still, sends it clients which ask at once, tells the server to end, and lets the thread go on.
fn with_newcomers_under_way(end: impl Fn(&Host)) -> Vec<Client> {
    const CLIENTS: usize = 50;
    let (hold, handler) = holding();
    let server = Server::serve(&[("topology", "acceptor"), ("io_threads", "1")], Delivery::Inline, handler);
    let mut held = server.connect();
    held.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    hold.has_begun();
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            client.send(REQUEST);
            client
        })
        .collect();
    assert!(eventually(|| server.stats().connections_accepted == 1 + CLIENTS as u64));
    assert_eq!(server.stats().connections_open, 1, "nobody is let in while the thread stands still");
    let before = threads().len();
    end(&server);
    assert!(eventually(|| threads().len() == before - 1), "the thread that accepts has nothing more to do");
    hold.release();
    assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.memory_bytes, stats.panics), (0, 0, 0));
    server.finish();
    clients
}

#[test]
fn a_stop_closes_whom_it_finds_under_way() {
    alone("arrivals::a_stop_closes_whom_it_finds_under_way", || {
        let before = (descriptors(), threads());
        let mut clients = with_newcomers_under_way(|server| {
            server.stop();
            server.stop();
        });
        assert!(clients.iter_mut().all(|client| client.is_closed()), "somebody was answered, or forgotten");
        drop(clients);
        assert!(eventually(|| (descriptors(), threads()) == before), "from {before:?} to {:?} and {:?}", descriptors(), threads());
    });
}

#[test]
fn a_drain_serves_whom_it_finds_under_way() {
    alone("arrivals::a_drain_serves_whom_it_finds_under_way", || {
        let before = (descriptors(), threads());
        let mut clients = with_newcomers_under_way(|server| assert_eq!(server.drain(5_000), INGEST_OK));
        for client in &mut clients {
            let answer = client.answer();
            assert!(answer.status == 200 && answer.says_close());
            assert!(client.is_closed());
        }
        drop(clients);
        assert!(eventually(|| (descriptors(), threads()) == before), "from {before:?} to {:?} and {:?}", descriptors(), threads());
    });
}

/// Lines of the log so far that hold this.
fn said(server: &Server, what: &str) -> usize {
    let mut count = 0;
    loop {
        // SAFETY: every field is an integer or a pointer, for which zero is a value.
        let mut record: ingest_log_record = unsafe { std::mem::zeroed() };
        record.size = std::mem::size_of::<ingest_log_record>() as u32;
        let mut text = [0u8; 512];
        // SAFETY: the server lives, the record has the size it says and the buffer the length that is said.
        if unsafe { ingest_server_log_next(server.host.0, &mut record, text.as_mut_ptr().cast(), text.len()) } != INGEST_OK {
            return count;
        }
        count += usize::from(String::from_utf8_lossy(&text).contains(what));
    }
}

#[test]
fn who_finds_no_descriptor_waits_in_the_backlog() {
    alone("arrivals::who_finds_no_descriptor_waits_in_the_backlog", || {
        for topology in ["shared", "acceptor"] {
            let (_hold, handler) = holding();
            let server = Server::serve(&[("topology", topology), ("io_threads", "2")], Delivery::Inline, handler);
            let mut first = server.connect();
            assert_eq!(first.get("/").status, 200);
            let limit = soft_limit();
            set_soft_limit(64);
            let mut fill = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                fill.push(file);
            }
            // The client takes the last one.
            fill.pop();
            let mut second = server.connect();
            second.send(REQUEST);
            assert!(second.is_silent(Duration::from_millis(250)), "{topology}: served without a descriptor");
            assert_eq!(first.get("/").status, 200, "{topology}: who is connected notices nothing");
            drop(fill);
            assert_eq!(second.answer().status, 200, "{topology}");
            set_soft_limit(limit);
            assert_eq!(said(&server, "cannot accept on listener 0"), 1, "{topology}: one line is enough");
            drop((first, second));
            server.finish();
        }
    });
}
