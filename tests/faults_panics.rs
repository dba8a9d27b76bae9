//! A panic at every step of the library, row H22 of the fault matrix: what it costs, and what it does not. Built with the feature `fail-points`.

mod support;

use ingest::ffi::observe::INGEST_STATS_UNHEALTHY;
use ingest::request::{INGEST_EVENT_FAULT, INGEST_EVENT_RELEASED, INGEST_EVENT_REQUEST};
use ingest::status::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::client::Client;
use support::eventually;
use support::host::{Delivery, Handler, Server};
use support::request_view::RequestView;
use support::secured;

/// What the client of the request that met the panic sees.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cost {
    /// Its connection ends without an answer.
    Connection,
    /// The server answers 503 in the host's place.
    Answer,
    /// Nothing.
    Nothing,
}

/// What is sent so that the step is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Get,
    /// A body that comes after its head, into a buffer of its own.
    Late,
    /// A body with a content-coding that is not whole.
    Coded,
    /// Half a head, until its deadline.
    Half,
}

const STEPS: [(&str, Sent, Cost); 18] = [
    ("accept", Sent::Get, Cost::Connection),
    ("read", Sent::Get, Cost::Connection),
    ("handshake", Sent::Get, Cost::Connection),
    ("decrypt", Sent::Get, Cost::Connection),
    ("parse", Sent::Get, Cost::Connection),
    ("decode", Sent::Get, Cost::Connection),
    ("body", Sent::Late, Cost::Connection),
    ("handoff", Sent::Get, Cost::Connection),
    ("deliver", Sent::Get, Cost::Nothing),
    ("handler", Sent::Get, Cost::Answer),
    ("respond", Sent::Get, Cost::Connection),
    ("encode", Sent::Get, Cost::Connection),
    ("seal", Sent::Get, Cost::Connection),
    ("send", Sent::Get, Cost::Connection),
    ("expire", Sent::Half, Cost::Connection),
    ("far", Sent::Get, Cost::Connection),
    ("shake", Sent::Get, Cost::Connection),
    ("inflate", Sent::Coded, Cost::Connection),
];

/// With TLS, and handshakes on a thread of their own.
const QUARANTINE: &str = "quarantine";
/// Bodies with content-codings are decoded by threads of their own.
const WORKSHOP: &str = "workshop";

/// Fail points belong to the process, so one test at a time sets them.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn arm(step: &str, action: &str) {
    fail::cfg(step, action).expect("the action can be read");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is there").count()
}

/// Answers with the length of the body, and counts faults.
fn host(faults: &Arc<AtomicU64>) -> Handler {
    let faults = Arc::clone(faults);
    Arc::new(move |host, event| match event.kind {
        INGEST_EVENT_FAULT => drop(faults.fetch_add(1, Ordering::Relaxed)),
        INGEST_EVENT_REQUEST => {
            let length = RequestView::of(event).expect("a request").body().len();
            let status = host.text(event.token, length.to_string().as_bytes());
            assert!(status == INGEST_OK || status == INGEST_E_GONE, "{status}");
        }
        kind => panic!("an event of kind {kind}"),
    })
}

fn serve(delivery: Delivery, topology: &str, secure: bool, faults: &Arc<AtomicU64>) -> Server {
    let mut options = vec![("topology", topology), ("events", "fault"), ("header_timeout", "300ms"), ("handler_threads", "2")];
    if topology == QUARANTINE {
        options[0].1 = "shards";
        options.push(("handshake_threads", "1"));
    }
    if topology == WORKSHOP {
        options[0].1 = "shards";
        options.extend([("decode_threads", "1"), ("decode_offload_bytes", "1")]);
    }
    if secure {
        options.extend(secured::options());
    }
    Server::serve(&options, delivery, host(faults))
}

/// What comes of one client that runs into the step.
fn meet(port: u16, sent: Sent) -> Option<u16> {
    // With TLS a handshake comes first, which may be what meets it.
    let mut client = Client::connect_to(([127, 0, 0, 1], port).into()).ok()?;
    let parts: &[&str] = match sent {
        Sent::Get => &["GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
        Sent::Late => &["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "body"],
        Sent::Coded => &["POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f", "xxx"],
        Sent::Half => &["GET / HT"],
    };
    for (index, part) in parts.iter().enumerate() {
        std::thread::sleep(Duration::from_millis(20 * index as u64));
        if client.try_send(part.as_bytes()).is_err() {
            return None;
        }
    }
    client.read_answer(false).ok().flatten().map(|answer| answer.status)
}

/// Everything that one connection had is back, and the one that was there before is still there.
fn is_back(server: &Server, base: usize, what: &str) {
    let now = || {
        let stats = server.stats();
        (stats.connections_open, stats.in_flight, stats.queued, stats.memory_bytes, descriptors())
    };
    assert!(eventually(|| now() == (1, 0, 0, 0, base)), "{what}: open, in flight, queued, octets, descriptors: {:?}, {base} before", now());
}

/// Which steps a shape has.
fn has(step: &str, delivery: Delivery, topology: &str, secure: bool) -> bool {
    match step {
        // A thread for handshakes has a point of its own.
        "handshake" => secure && topology != QUARANTINE,
        "seal" => secure,
        // A body has no place of its own to be received into: it comes as records do.
        "body" if secure => false,
        "decrypt" if secure => true,
        "handler" => delivery == Delivery::Threads,
        "far" => matches!(topology, "cut" | "dispatch"),
        "shake" => topology == QUARANTINE,
        "inflate" => topology == WORKSHOP,
        // Octets that cross a cut are decrypted beyond it, or here before it: one of the two has the point.
        "decrypt" => topology != "cut",
        _ => true,
    }
}

fn panic_at_each_step(delivery: Delivery, topology: &str, secure: bool) {
    let _alone = alone();
    for (step, sent, cost) in STEPS.into_iter().filter(|(step, _, _)| has(step, delivery, topology, secure)) {
        let what = format!("{step}, {delivery:?}, {topology}, tls {secure}");
        let faults = Arc::new(AtomicU64::new(0));
        let server = serve(delivery, topology, secure, &faults);
        for round in 1..=3 {
            // Not kept over the rounds: half a second without a request is too long for it here.
            let mut witness = server.connect();
            assert_eq!(witness.get("/").text(), "0", "{what}");
            assert!(eventually(|| server.stats().connections_open == 1 && server.stats().in_flight == 0), "{what}");
            // An idle connection holds nothing; consumers make what they sleep on when they lie down for the first time.
            assert!(eventually(|| server.stats().memory_bytes == 0), "{what}");
            std::thread::sleep(Duration::from_millis(30));
            let base = descriptors();
            arm(step, "1*panic");
            let met = meet(server.port(), sent);
            fail::remove(step);
            match cost {
                Cost::Connection => assert_eq!(met, None, "{what}"),
                Cost::Answer => assert_eq!(met, Some(503), "{what}"),
                Cost::Nothing => assert_eq!(met, Some(200), "{what}"),
            }
            assert_eq!(witness.get("/").text(), "0", "{what}: the others go on");
            assert!(eventually(|| server.stats().panics == round), "{what}: {} panics were counted", server.stats().panics);
            assert!(eventually(|| faults.load(Ordering::Relaxed) == round), "{what}: the host heard of {faults:?} faults");
            is_back(&server, base, &what);
            // The same thread serves the next.
            assert_eq!(server.connect().get("/").text(), "0", "{what}");
            drop(witness);
            assert!(eventually(|| server.stats().connections_open == 0), "{what}");
        }
        assert_eq!(server.stats().flags & INGEST_STATS_UNHEALTHY, 0, "three faults are not many");
        server.finish();
    }
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_with_delivery_inline() {
    panic_at_each_step(Delivery::Inline, "inline", false);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_with_delivery_threads() {
    panic_at_each_step(Delivery::Threads, "inline", false);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_with_delivery_queue() {
    panic_at_each_step(Delivery::Queue(2), "inline", false);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_beyond_a_cut() {
    panic_at_each_step(Delivery::Threads, "cut", false);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_with_tls() {
    let everywhere =
        [(Delivery::Inline, "inline"), (Delivery::Threads, "inline"), (Delivery::Queue(2), "cut"), (Delivery::Queue(2), "dispatch")];
    for (delivery, topology) in everywhere {
        panic_at_each_step(delivery, topology, true);
    }
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_behind_an_acceptor() {
    panic_at_each_step(Delivery::Threads, "acceptor", false);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_in_a_handshake_of_its_own_thread() {
    panic_at_each_step(Delivery::Inline, QUARANTINE, true);
}

#[test]
fn h22_a_panic_at_each_step_costs_one_connection_whose_body_other_threads_decode() {
    panic_at_each_step(Delivery::Inline, WORKSHOP, false);
}

/// Answers that come home in one batch, of which the first meets a panic: the others are sent.
#[test]
fn h22_a_panic_over_one_answer_spares_those_that_came_with_it() {
    let _alone = alone();
    for step in ["respond", "encode"] {
        let server = Server::queued(&[]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let tokens: Vec<u64> = server.queue().take(20).iter().map(|event| event.token).collect();
        arm(step, "1*panic");
        assert_eq!(server.respond_all(&tokens, 200).0, 20);
        let answered = clients.iter_mut().filter_map(|client| client.read_answer(false).ok().flatten()).count();
        fail::remove(step);
        assert_eq!(answered, 19, "{step}: {answered} of 20 were answered");
        assert!(eventually(|| server.stats().in_flight == 0 && server.stats().connections_open == 19), "{step}");
        server.finish();
    }
}

/// An answer that has come home and waits behind another request's, when its connection is lost: its memory is the library's again, and
/// what was lent the host's.
#[test]
fn h22_a_panic_frees_what_is_answered_and_waits_for_its_turn() {
    let _alone = alone();
    let server = Server::queued(&[("events", "released")]);
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    let tokens: Vec<u64> = server.queue().take(2).iter().map(|event| event.token).collect();
    assert_eq!(server.lend(tokens[1], b"lent"), INGEST_OK);
    assert!(eventually(|| server.stats().in_flight == 1), "it does not come home");
    arm("read", "1*panic");
    client.send("G");
    assert!(eventually(|| server.stats().panics == 1));
    fail::remove("read");
    let released = server.queue().take(1);
    assert_eq!((released[0].kind, released[0].token), (INGEST_EVENT_RELEASED, tokens[1]));
    assert_eq!(server.text(tokens[0], b"late"), INGEST_E_GONE);
    assert!(eventually(|| server.stats().memory_bytes == 0), "{} octets are still charged", server.stats().memory_bytes);
    server.finish();
}

/// A hundred within a minute: the figures say so, and the log, and the server goes on all the same.
#[test]
fn h22_after_a_hundred_panics_the_server_says_that_it_is_unhealthy() {
    let _alone = alone();
    let faults = Arc::new(AtomicU64::new(0));
    let server = serve(Delivery::Inline, "inline", false, &faults);
    for count in 1..=100 {
        assert_eq!(server.stats().flags & INGEST_STATS_UNHEALTHY, 0, "after {} panics", count - 1);
        arm("parse", "1*panic");
        assert_eq!(meet(server.port(), Sent::Get), None);
        assert!(eventually(|| server.stats().panics == count));
    }
    fail::remove("parse");
    assert!(eventually(|| server.stats().flags & INGEST_STATS_UNHEALTHY != 0), "the figures do not say it");
    assert_eq!(server.connect().get("/").text(), "0");
    assert_eq!(server.stats().memory_bytes, 0);
    server.finish();
}

/// A panic of ours in a call of the host ends at the fence, and does not keep the server from ending.
#[test]
fn h22_a_panic_in_a_call_of_the_host_is_a_status() {
    let _alone = alone();
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(eventually(|| server.queue().depth() == 1));
    arm("poll", "1*panic");
    assert_eq!(server.queue().poll(&mut [support::host::blank_event(); 1]), INGEST_E_PANIC);
    let token = server.queue().take(1)[0].token;
    arm("answer", "1*panic");
    assert_eq!(server.text(token, b"not yet"), INGEST_E_PANIC);
    assert_eq!(server.text(token, b"now"), INGEST_OK);
    assert_eq!(client.answer().text(), "now");
    fail::remove("poll");
    fail::remove("answer");
    // It waits for everybody who is inside a queue; the one who panicked is not.
    server.finish();
}
