//! Answers that are given before the body has come, and requests that are given up: the connection never gets out of step.

use super::support::eventually;
use super::support::host::{Delivery, Handler, Server};
use super::{STREAM, head};
use ingest::request::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Answers, or abandons, when the head is there, whatever comes.
fn hasty(abandons: bool) -> Handler {
    Arc::new(move |host, event| {
        if event.kind == INGEST_EVENT_REQUEST {
            if abandons {
                host.abandon(event.token)
            } else {
                host.text(event.token, b"early")
            };
        } else if event.kind == INGEST_EVENT_GONE {
            host.abandon(event.token);
        }
    })
}

#[test]
fn much_that_is_unread_closes_the_connection() {
    for delivery in [Delivery::Queue(1), Delivery::Inline] {
        let server = Server::serve(&[STREAM], delivery, hasty(false));
        let mut client = server.connect();
        client.send(head(1_000_000));
        let answer = client.answer();
        assert!(answer.text() == "early" && answer.says_close());
        drop(client);
        assert!(eventually(|| server.stats().memory_bytes == 0 && server.stats().connections_open == 0));
        server.finish();
    }
}

#[test]
fn little_that_is_unread_is_read_and_dropped() {
    for delivery in [Delivery::Queue(1), Delivery::Inline] {
        for shape in [&[][..], &[("topology", "cut"), ("io_threads", "2")]] {
            let server = Server::serve(&[&[STREAM, ("body_buffer_max", "0")], shape].concat(), delivery, hasty(false));
            let mut client = server.connect();
            for _ in 0..3 {
                client.send(head(50_000));
                let answer = client.answer();
                assert!(answer.text() == "early" && !answer.says_close());
                // What looks like a request is the body; the real one behind it is answered.
                client.send(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000).split_at(50_000).0);
            }
            assert_eq!(client.get("/next").text(), "early");
            assert!(client.is_silent(std::time::Duration::from_millis(50)), "no more answers than requests");
            assert!(eventually(|| server.stats().memory_bytes == 0), "{}", server.stats().memory_bytes);
            server.finish();
        }
    }
}

#[test]
fn a_body_whose_request_is_abandoned_is_not_read_on() {
    for delivery in [Delivery::Queue(1), Delivery::Inline] {
        let server = Server::serve(&[STREAM], delivery, hasty(true));
        let mut client = server.connect();
        client.send([head(1_000_000).as_bytes(), &[b'x'; 1000]].concat());
        assert!(client.is_closed());
        assert!(eventually(|| server.stats().memory_bytes == 0 && server.stats().connections_open == 0));
        server.finish();
    }
}

#[test]
fn whoever_is_done_with_a_request_hears_nothing_of_it_in_a_later_batch() {
    let ended = Arc::new(Mutex::new(HashSet::new()));
    let late = Arc::new(AtomicUsize::new(0));
    let handler: Handler = {
        let (ended, late) = (Arc::clone(&ended), Arc::clone(&late));
        Arc::new(move |host, event| {
            let mut ended = ended.lock().expect("nobody panics with it");
            late.fetch_add(usize::from(ended.contains(&event.token)), Ordering::Relaxed);
            if event.kind == INGEST_EVENT_BODY && ended.insert(event.token) {
                host.abandon(event.token);
            }
        })
    };
    for delivery in [Delivery::Threads, Delivery::Inline] {
        let server = Server::serve(&[STREAM, ("batch_max", "1"), ("body_buffer_max", "0")], delivery, Arc::clone(&handler));
        for _ in 0..20 {
            // A piece and the end of the body come in the same tick, and are a batch each.
            let mut client = server.connect();
            client.send([head(6).as_bytes(), b"octets"].concat());
            assert!(client.is_closed());
        }
        server.finish();
    }
    assert_eq!((ended.lock().expect("nobody panics with it").len(), late.load(Ordering::Relaxed)), (40, 0));
}
