//! Callbacks that do not return, panic, call the library, or take their time over the log: H01, H04, H06, H19.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::abi::*;
use crate::support::host::{Delivery, Host, Server, blank_event, on_requests};
use ingest::status::*;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

#[test]
fn h01_a_callback_that_never_returns_costs_its_request_a_504() {
    for delivery in [Delivery::Threads, Delivery::Queue(2)] {
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Mutex::new(stuck);
        let server = Server::serve(
            &[("response_timeout", "400ms"), ("handler_threads", "2")],
            delivery,
            on_requests(move |host, request| {
                if request.target() == b"/stuck" {
                    // For ever, as far as the client can see; the end of the test lets it go.
                    let _ = stuck.lock().expect("one thread only").recv();
                    assert_eq!(host.text(request.0.token, b"at last"), INGEST_E_GONE);
                } else {
                    host.text(request.0.token, b"others");
                }
            }),
        );
        // Declared last, so that a test that fails lets the callback go before it waits for it.
        let release = release;
        let (mut one, mut other) = (server.connect(), server.connect());
        one.send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
        // What stands behind it in the same batch is stuck with it (batch_max=1 is for hosts that fear that), so it has to be alone.
        assert!(eventually(|| server.stats().in_flight == 1));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            assert_eq!(other.get("/").text(), "others", "{delivery:?}");
        }
        let answer = one.answer();
        assert_eq!((answer.status, answer.says_close()), (504, true), "{delivery:?}");
        assert!(one.is_closed());
        let stats = server.stats();
        assert_eq!((stats.requests_timed_out, stats.in_flight), (1, 1), "the host still holds it");
        assert_eq!(other.get("/").text(), "others");
        drop(release);
        assert!(eventually(|| server.stats().in_flight == 0), "what the callback gave back in the end is not free");
        server.finish();
    }
}

/// What the shim of a host in Rust has to do, since no panic may leave the callback.
unsafe extern "C" fn shim(_: *mut c_void, server: *mut ingest_server, events: *const ingest::request::ingest_event, count: usize) {
    // SAFETY: the library passes `count` events.
    for event in unsafe { std::slice::from_raw_parts(events, count) } {
        let answered = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("a handler's panic")));
        if answered.is_err() {
            assert_eq!(Host(server).bytes(event.token, 500, "text/plain", b"the handler panicked"), INGEST_OK);
        }
    }
}

#[test]
fn h04_a_panic_of_a_rust_host_is_caught_in_its_own_shim() {
    for delivery in ["threads", "inline"] {
        let mut server = Server::unstarted(&[("delivery", delivery)]);
        // SAFETY: the server lives, and the callback needs no word of ours.
        assert_eq!(unsafe { ingest_server_on_events(server.host.0, Some(shim), std::ptr::null_mut()) }, INGEST_OK);
        server.listen("http://127.0.0.1:0").expect("loopback");
        server.start().expect("the server starts");
        let mut client = server.connect();
        for _ in 0..20 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (500, "the handler panicked"), "{delivery}");
            assert!(!answer.says_close(), "an answer like any other");
        }
        assert_eq!(server.stats().panics, 0, "it was no fault of the library");
        server.finish();
    }
}

/// Everything a callback may do while it runs, and the two things that it may not.
fn call_everything(host: Host, token: u64, served: &AtomicUsize) {
    let inner = Server::serve(
        &[],
        Delivery::Inline,
        on_requests(|host, request| {
            host.text(request.0.token, b"inner");
        }),
    );
    assert_eq!(inner.connect().get("/").text(), "inner", "a server started by a callback");
    inner.finish();
    assert_eq!(host.join(0), INGEST_E_STATE, "a library thread cannot wait for itself");
    // SAFETY: the server lives; that it goes on to live is what is asked here.
    assert_eq!(unsafe { ingest_server_free(host.0) }, INGEST_E_STATE, "nor free the floor that it stands on");
    let polled = host.queue().poll(&mut [blank_event(); 1]);
    assert!(polled == 0 || polled == INGEST_E_STOPPED, "{polled}");
    assert!(host.stats().in_flight >= 1);
    assert_eq!(host.alive(token), 2);
    assert_eq!(host.text(token, b"outer"), INGEST_OK);
    assert_eq!(host.text(token, b"twice"), INGEST_E_GONE);
    if served.fetch_add(1, Ordering::Relaxed) == 4 {
        assert_eq!(host.stop(), INGEST_OK, "a stop is asked for, and does not wait");
    }
}

#[test]
fn h06_a_callback_may_call_the_library() {
    for delivery in [Delivery::Threads, Delivery::Inline] {
        let served = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&served);
        let server = Server::serve(
            &[("handler_threads", "1")],
            delivery,
            on_requests(move |host, request| call_everything(host, request.0.token, &counted)),
        );
        let mut client = server.connect();
        for _ in 0..5 {
            assert_eq!(client.get("/").text(), "outer", "{delivery:?}");
        }
        assert!(client.is_closed(), "the drain that the callback asked for closes the connection");
        assert_eq!(server.join(10_000), INGEST_OK);
        server.finish();
    }
}

/// What the log's callback is given to work with.
struct Slow {
    inside: AtomicUsize,
    records: AtomicUsize,
    go: AtomicBool,
}

unsafe extern "C" fn slow_log(userdata: *mut c_void, server: *mut ingest_server, record: *const ingest_log_record) {
    // SAFETY: userdata is the test's `Slow`, which outlives the server.
    let slow = unsafe { &*userdata.cast::<Slow>() };
    assert!(slow.inside.fetch_add(1, Ordering::Relaxed) < 4, "it calls itself without end");
    slow.records.fetch_add(1, Ordering::Relaxed);
    let host = Host(server);
    // Back into the library, from within it.
    host.stats();
    assert_eq!(host.alive(1), 0);
    let mut next =
        ingest_log_record { size: size_of::<ingest_log_record>() as u32, level: 0, at_ns: 0, text: ingest::request::ingest_slice::NONE };
    // SAFETY: the server lives, the record has the size it says, and no text is asked for.
    let taken = unsafe { ingest_server_log_next(server, &mut next, std::ptr::null_mut(), 0) };
    assert_eq!(taken, INGEST_OK, "the record that is told now stands in the ring");
    // SAFETY: the library passes a record that lives until we return.
    if unsafe { (*record).level } == INGEST_LOG_WARN {
        let began = Instant::now();
        while !slow.go.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(8) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    slow.inside.fetch_sub(1, Ordering::Relaxed);
}

/// The thread that has something to say waits for the host, and no other; what nobody reads is bounded (tests/log.rs counts it).
#[test]
fn h19_a_log_callback_that_is_slow_and_calls_back_holds_up_its_own_thread_only() {
    let slow = Box::new(Slow { inside: AtomicUsize::new(0), records: AtomicUsize::new(0), go: AtomicBool::new(false) });
    let mut server = Server::unstarted(&[("topology", "shards"), ("io_threads", "2"), ("max_connections", "6"), ("delivery", "inline")]);
    server.call_back(on_requests(|host, request| {
        host.text(request.0.token, b"served");
    }));
    let userdata: *mut c_void = (&raw const *slow).cast_mut().cast();
    // SAFETY: the server lives, and `slow` outlives it.
    assert_eq!(unsafe { ingest_server_on_log(server.host.0, Some(slow_log), userdata) }, INGEST_OK);
    server.listen("http://127.0.0.1:0").expect("loopback");
    server.start().expect("the server starts");
    // The sixth connection makes its thread say that there are no more; it stays in the callback.
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "served"));
    clients.push(server.connect());
    assert!(eventually(|| slow.inside.load(Ordering::Relaxed) == 1), "nothing was logged at max_connections");
    let served = clients
        .iter_mut()
        .filter_map(|client| {
            client.set_patience(Duration::from_millis(300));
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client.read_answer(false).ok().flatten()
        })
        .count();
    assert!(served < 6, "nobody was held up, so the callback was not on an I/O thread");
    let stats = server.stats();
    assert!(stats.connections_open >= 5, "the library does not answer while the log is slow");
    slow.go.store(true, Ordering::Relaxed);
    assert!(eventually(|| slow.inside.load(Ordering::Relaxed) == 0));
    assert!(slow.records.load(Ordering::Relaxed) >= 3);
    clients.clear();
    assert!(eventually(|| server.stats().connections_open == 0));
    assert_eq!(server.connect().get("/").text(), "served");
    server.finish();
}
