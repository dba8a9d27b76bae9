//! Lives that end at a bad moment, twice, or before they began: H20, H21; and locks that a panic could poison: H23.

use crate::many;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::abi::*;
use crate::support::host::{Delivery, Server, blank_event, on_requests};
use ingest::status::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Stops twice and waits: within the second that limits.md allows, and some more for a busy machine.
fn stops(server: Server, while_what: &str) {
    let began = Instant::now();
    assert_eq!(server.stop(), INGEST_OK);
    assert_eq!(server.stop(), INGEST_OK);
    assert_eq!(server.join(9_000), INGEST_OK, "stopped while {while_what}");
    assert!(began.elapsed() < Duration::from_secs(5), "{while_what}: the stop took {:?}", began.elapsed());
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.queued), (0, 0), "{while_what}");
    server.finish();
}

fn greets() -> crate::support::host::Handler {
    on_requests(|host, request| {
        host.text(request.0.token, b"hello");
    })
}

#[test]
fn h20_a_stop_while_clients_connect() {
    let server = Server::serve(&[("topology", "shards"), ("io_threads", "2")], Delivery::Threads, greets());
    let (port, over) = (server.port(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = 0;
                    while !over.load(Ordering::Relaxed) {
                        made += usize::from(Client::connect_to(([127, 0, 0, 1], port).into()).is_ok());
                    }
                    made
                })
            })
            .collect();
        assert!(eventually(|| server.stats().connections_accepted > 100));
        stops(server, "clients connect");
        over.store(true, Ordering::Relaxed);
        assert!(crowd.into_iter().map(|one| one.join().expect("no panic")).sum::<usize>() > 100);
    });
}

#[test]
fn h20_a_stop_while_requests_are_read() {
    let server = Server::serve(&[], Delivery::Threads, greets());
    let mut half: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for (index, client) in half.iter_mut().enumerate() {
        let part: &[u8] = if index % 2 == 0 { b"GET / HT" } else { b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome" };
        client.send(part);
    }
    assert!(eventually(|| server.stats().bytes_received >= 500));
    stops(server, "requests are read");
    assert!(half.iter_mut().all(|client| client.read_to_end().map_or(true, |rest| rest.is_empty())), "half a request was answered");
}

#[test]
fn h20_a_stop_with_a_thousand_requests_in_flight() {
    let count = many(1_000, 300);
    let server = Server::queued(&[("events", "gone"), ("queue_max", "4096")]);
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    let held = server.queue().take(count / 2);
    assert!(eventually(|| server.queue().depth() as usize == count - count / 2));
    let (queue, host) = (server.queue(), server.host);
    let began = Instant::now();
    server.stop();
    server.stop();
    assert_eq!(server.join(9_000), INGEST_OK);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    // What is held ends when the host says so, and only once; what was not delivered yet never comes.
    let mut gone = 0;
    let mut batch = [blank_event(); 64];
    loop {
        let got = queue.poll(&mut batch);
        if got == INGEST_E_STOPPED {
            break;
        }
        assert!(got > 0, "{got}");
        assert!(batch[..got as usize].iter().all(|event| event.kind == ingest::request::INGEST_EVENT_GONE), "delivered after the stop");
        gone += got as usize;
    }
    assert_eq!(gone, held.len(), "each request that was held is gone once");
    for event in &held {
        assert!([INGEST_E_GONE, INGEST_E_STOPPED].contains(&host.text(event.token, b"late")));
    }
    assert_eq!(server.stats().in_flight, 0);
    assert!(clients.iter_mut().all(Client::is_closed));
    server.finish();
}

#[test]
fn h20_a_stop_while_a_callback_runs_and_consumers_sleep() {
    let (release, stuck) = mpsc::channel::<()>();
    let (entered, is_in) = mpsc::channel();
    let stuck = std::sync::Mutex::new(stuck);
    let server = Server::serve(
        &[("handler_threads", "3")],
        Delivery::Threads,
        on_requests(move |host, request| {
            entered.send(()).expect("the test waits");
            let _ = stuck.lock().expect("one thread only").recv();
            let late = host.text(request.0.token, b"late");
            assert!(late == INGEST_E_GONE || late == INGEST_E_STOPPED, "{late}");
        }),
    );
    // Declared last, so that a test that fails lets the callback go before it waits for it.
    let release = release;
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    is_in.recv_timeout(Duration::from_secs(10)).expect("the callback is called");
    server.stop();
    server.stop();
    assert!(client.is_closed(), "the connection ends although the callback does not");
    assert_eq!(server.join(300), INGEST_E_BUSY, "a callback is waited for");
    drop(release);
    assert_eq!(server.join(9_000), INGEST_OK);
    server.finish();

    let server = Server::queued(&[]);
    let queue = server.queue();
    std::thread::scope(|scope| {
        let asleep: Vec<_> = (0..4).map(|_| scope.spawn(move || queue.wait(&mut [blank_event(); 4], -1))).collect();
        std::thread::sleep(Duration::from_millis(30));
        server.stop();
        server.stop();
        assert!(asleep.into_iter().all(|one| one.join().expect("no panic") == INGEST_E_STOPPED));
    });
    server.finish();
}

#[test]
fn h21_calls_at_the_wrong_time_are_errors() {
    for _ in 0..many(200, 20) {
        let mut server = Server::unstarted(&[("delivery", "queue")]);
        assert_eq!(server.stop(), INGEST_OK, "before the start it is noted");
        assert_eq!(server.join(0), INGEST_E_STATE);
        server.finish();

        server = Server::unstarted(&[("delivery", "queue")]);
        assert_eq!(server.start().expect_err("no listener").status, INGEST_E_STATE);
        server.listen("http://127.0.0.1:0").expect("loopback");
        server.start().expect("the server starts");
        assert_eq!(server.start().expect_err("twice").status, INGEST_E_STATE);
        let (queue, polls) = (server.queue(), Arc::new(AtomicBool::new(false)));
        let began = Arc::clone(&polls);
        let polling = std::thread::spawn(move || {
            loop {
                began.store(true, Ordering::Relaxed);
                match queue.wait(&mut [blank_event(); 4], -1) {
                    INGEST_E_STOPPED => return,
                    status => assert_eq!(status, 0, "nothing was asked"),
                }
            }
        });
        assert!(eventually(|| polls.load(Ordering::Relaxed)));
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..3 {
            assert_eq!(server.stop(), INGEST_OK);
        }
        // Frees while the other thread waits or polls: it is let out first.
        assert_eq!(server.free_at_once(), INGEST_OK);
        polling.join().expect("the consumer hears of the end");
    }
    // SAFETY: NULL is what it has to take, as often as anyone likes.
    assert_eq!(unsafe { (ingest_server_free(std::ptr::null_mut()), ingest_server_free(std::ptr::null_mut())) }, (INGEST_OK, INGEST_OK));
}

fn sources(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src can be read").flatten() {
        let path = entry.path();
        if path.is_dir() { sources(&path, files) } else { files.push(path) }
    }
}

/// A lock of the standard library stays locked for ever after a panic inside it. The library has none.
#[test]
fn h23_no_lock_of_the_library_can_be_poisoned() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut guarded = 0;
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        // Loom's models bring their own (memory/sync.rs), which no shipped build has.
        let shipped = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        for line in shipped {
            let std_lock =
                line.contains("std::sync") && ["Mutex", "RwLock", "Condvar", "Once,", "Once}"].iter().any(|name| line.contains(name));
            assert!(!std_lock, "{}: {line}: take parking_lot's", path.display());
            guarded += usize::from(line.contains("parking_lot::"));
        }
    }
    assert!(guarded >= 3, "the locks of the library are not found");
}
