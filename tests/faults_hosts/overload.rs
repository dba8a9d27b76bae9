//! Hosts that are too slow, or stop asking for a while: H12.

use crate::many;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Server, blank_event};
use crate::support::request_view::RequestView;
use ingest::status::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

/// What a client was answered to each of its requests, in order, until its connection ended.
fn ask(port: u16, number: usize, each: usize, finished: &AtomicUsize) -> Vec<(String, u16)> {
    let mut answers = Vec::new();
    let mut client = Client::connect(port);
    for index in 0..each {
        let name = format!("/{number}/{index}");
        client.send(format!("GET {name} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = client.answer();
        if answer.status == 200 {
            assert_eq!(answer.text(), name, "somebody else's answer");
        }
        answers.push((name, answer.status));
        if answer.says_close() {
            assert!(client.is_closed());
            client = Client::connect(port);
        }
    }
    finished.fetch_add(1, Ordering::Relaxed);
    answers
}

/// A host that polls for a while, sleeps with what it took for longer than `queue_age`, and polls on: each request is answered once, by the host or with 503, and
/// what the host got is what clients saw.
#[test]
fn h12_a_poller_that_stops_for_a_while_loses_and_doubles_nothing() {
    let each = many(400, 60);
    let server = Server::queued(&[("queue_max", "4"), ("queue_age", "200ms"), ("response_timeout", "30s")]);
    let (port, finished) = (server.port(), AtomicUsize::new(0));
    let mut delivered: BTreeMap<String, usize> = BTreeMap::new();
    let answers: Vec<(String, u16)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let finished = &finished;
                    move || ask(port, number, each, finished)
                })
            })
            .collect();
        let mut batch = [blank_event(); 8];
        let (mut taken, mut pauses) = (0, 0);
        while finished.load(Ordering::Relaxed) < CLIENTS {
            let got = server.queue().wait(&mut batch, 50);
            assert!(got >= 0, "{got}");
            taken += got;
            if taken > 60 * (pauses + 1) {
                // With what it took in its hands: that is the host's, and does not age in the queue any more.
                pauses += 1;
                std::thread::sleep(Duration::from_millis(450));
            }
            for event in &batch[..got as usize] {
                let view = RequestView::of(event).expect("a request");
                let name = String::from_utf8(view.target().to_vec()).expect("ASCII");
                *delivered.entry(name.clone()).or_insert(0) += 1;
                assert_eq!(server.text(event.token, name.as_bytes()), INGEST_OK);
            }
        }
        assert!(pauses >= 2);
        clients.into_iter().flat_map(|client| client.join().expect("the client ends")).collect()
    });
    assert_eq!(answers.len(), CLIENTS * each);
    assert!(delivered.values().all(|times| *times == 1), "delivered twice");
    for (name, status) in &answers {
        assert_eq!(*status, if delivered.contains_key(name) { 200 } else { 503 }, "{name}");
    }
    let (served, refused) = (delivered.len() as u64, (answers.len() - delivered.len()) as u64);
    assert!(refused > 0 && served > 100, "{served} were served, {refused} were refused");
    assert!(eventually(|| server.stats().in_flight == 0 && server.stats().queued == 0));
    assert_eq!(server.stats().requests_answered, served);
    server.finish();
}

/// When polling begins again, so does service: at once, not after a time-out.
#[test]
fn h12_service_is_back_as_soon_as_somebody_polls() {
    let server = Server::queued(&[("queue_max", "2"), ("queue_age", "200ms")]);
    let mut crowd: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send("GET /early HTTP/1.1\r\nHost: x\r\n\r\n"));
    for client in &mut crowd {
        assert_eq!(client.answer().status, 503, "nobody polls");
    }
    let (port, over) = (server.port(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = [blank_event(); 8];
            while !over.load(Ordering::Relaxed) {
                let got = server.queue().wait(&mut batch, 20);
                batch[..usize::try_from(got).unwrap_or(0)]
                    .iter()
                    .for_each(|event| assert_eq!(server.text(event.token, b"late"), INGEST_OK));
            }
        });
        let began = Instant::now();
        assert_eq!(Client::connect(port).get("/late").text(), "late");
        // The matrix says 100 ms; a busy machine may take longer, but not as long as the deadline of a request.
        assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
        over.store(true, Ordering::Relaxed);
    });
    server.finish();
}

/// So many clients whose requests stand in the queue, in this order.
fn waiting(server: &Server, count: usize, fields: &str) -> Vec<Client> {
    (1..=count)
        .map(|number| {
            let mut client = server.connect();
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
            assert!(eventually(|| server.queue().depth() as usize == number));
            client
        })
        .collect()
}

/// Has the queue stand: two are taken, an interval apart, and have waited for long.
fn stands(options: &[(&str, &str)]) -> (Server, Vec<Client>) {
    let server =
        Server::queued(&[&[("queue_delay_target", "20ms"), ("queue_delay_interval", "100ms"), ("queue_age", "1m")], options].concat());
    let clients = waiting(&server, 6, "");
    std::thread::sleep(Duration::from_millis(60));
    let first = server.queue().take(1);
    assert_eq!(server.text(first[0].token, b"served"), INGEST_OK);
    std::thread::sleep(Duration::from_millis(150));
    (server, clients)
}

/// What has waited too long in a queue that stands is refused, oldest first, but for the last; their connections go on.
#[test]
fn limits_queue_delay_target() {
    let (server, mut clients) = stands(&[]);
    let last = server.queue().take(1);
    assert_eq!(RequestView::of(&last[0]).expect("a request").target(), b"/6", "the others had waited too long");
    assert_eq!(server.text(last[0].token, b"served"), INGEST_OK);
    for (index, client) in clients.iter_mut().enumerate() {
        let answer = client.answer();
        assert_eq!(answer.status, if index % 5 == 0 { 200 } else { 503 }, "{index}");
        assert!(!answer.says_close());
    }
    assert_eq!((server.stats().limit_queue_delay, server.stats().queue_overloads), (4, 1));
    server.finish();
}

/// A client's own deadline shortens both: 503 in the queue, 504 with the host.
#[test]
fn limits_deadline_header() {
    let server = Server::queued(&[("deadline_header", "Request-Timeout"), ("queue_age", "1m")]);
    let mut clients = waiting(&server, 1, "Request-Timeout: 0.2\r\n");
    let answer = clients[0].answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(server.queue().poll(&mut [blank_event(); 2]), 0);
    clients[0].send("GET /taken HTTP/1.1\r\nHost: x\r\nRequest-Timeout: 300ms\r\n\r\n");
    let taken = server.queue().take(1);
    assert_eq!(clients[0].answer().status, 504);
    assert_eq!(server.text(taken[0].token, b"late"), INGEST_E_GONE);
    assert_eq!(server.stats().limit_deadline, 2);
    server.finish();
}

/// Requests that are being refused while everything stops end once, like all others, and who polls hears of the end.
#[test]
fn h20_a_stop_while_a_queue_stands() {
    let (server, mut clients) = stands(&[]);
    let held = server.queue().take(1);
    let began = Instant::now();
    server.stop();
    server.stop();
    assert_eq!(server.join(9_000), INGEST_OK);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    let mut batch = [blank_event(); 8];
    assert_eq!(server.queue().poll(&mut batch), INGEST_E_STOPPED, "delivered after the stop");
    assert!([INGEST_E_GONE, INGEST_E_STOPPED].contains(&server.text(held[0].token, b"late")));
    assert!(eventually(|| server.stats().in_flight == 0 && server.stats().queued == 0));
    for client in &mut clients {
        // An answer, a refusal, or the end, each of them whole; never two of them.
        let rest = client.read_to_end().unwrap_or_default();
        assert!(rest.windows(9).filter(|octets| octets == b"HTTP/1.1 ").count() <= 1, "{}", String::from_utf8_lossy(&rest));
    }
    server.finish();
}
