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
