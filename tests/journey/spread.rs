//! How connections come to threads: from one socket that all accept from, or from a thread that only accepts.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::hold::holding;
use crate::support::host::{Delivery, Server};
use ingest::status::INGEST_E_OPTION;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ACCEPTOR: (&str, &str) = ("topology", "acceptor");
const SHARED: (&str, &str) = ("topology", "shared");

/// Clients by the thread that serves them. They ask twice: who has got a connection keeps it.
fn by_thread(clients: impl Iterator<Item = Client>) -> BTreeMap<String, Vec<Client>> {
    let mut threads: BTreeMap<String, Vec<Client>> = BTreeMap::new();
    for mut client in clients {
        let thread = client.get("/who").text();
        assert_eq!(client.get("/who").text(), thread, "a connection has changed its thread");
        threads.entry(thread).or_default().push(client);
    }
    threads
}

fn counts(threads: &BTreeMap<String, Vec<Client>>) -> Vec<usize> {
    threads.values().map(Vec::len).collect()
}

#[test]
fn an_acceptor_gives_each_thread_its_share() {
    let (_hold, handler) = holding();
    let server = Server::serve(&[ACCEPTOR, ("io_threads", "4"), ("spin", "off")], Delivery::Inline, handler);
    let threads = by_thread((0..80).map(|_| server.connect()));
    let counts = counts(&threads);
    assert_eq!(counts.len(), 4, "a thread has none: {counts:?}");
    // Drawn blindly, four times twenty lie further apart than this more often than not.
    assert!(counts.iter().all(|count| (17..=23).contains(count)), "{counts:?}");
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.connections_open), (80, 80));
    // Whoever asks twice before the next one comes leaves the other threads asleep.
    assert!(stats.wakeups_sent > 0, "nobody slept, or nobody was counted");
    drop(threads);
    assert!(eventually(|| server.stats().connections_open == 0));
    server.finish();
}

#[test]
fn who_has_lost_its_connections_is_given_the_next_ones() {
    let (_hold, handler) = holding();
    let server = Server::serve(&[ACCEPTOR, ("io_threads", "2")], Delivery::Inline, handler);
    let mut threads = by_thread((0..20).map(|_| server.connect()));
    // Of two both are looked at each time.
    assert_eq!(counts(&threads), [10, 10]);
    let (left, clients) = threads.pop_first().expect("two threads");
    drop(clients);
    assert!(eventually(|| server.stats().connections_open == 10));
    let next = by_thread((0..10).map(|_| server.connect()));
    assert_eq!(next.keys().collect::<Vec<_>>(), [&left], "{:?}", counts(&next));
    drop((threads, next));
    server.finish();
}

#[test]
fn a_thread_that_stands_still_is_given_few() {
    let (hold, handler) = holding();
    let server = Server::serve(&[ACCEPTOR, ("io_threads", "2")], Delivery::Inline, handler);
    let mut held = server.connect();
    held.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    hold.has_begun();
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        // Time for who is free to let it in, before the next one comes.
        let start = Instant::now();
        while !client.has_input() && start.elapsed() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        clients.push(client);
    }
    // By the number of connections alone each would have been given thirty.
    let served = || clients.iter().filter(|client| client.has_input()).count();
    assert!(eventually(|| served() >= 42), "{} of 60 are served while a thread stands still", served());
    assert!(!held.has_input());
    hold.release();
    for client in clients.iter_mut().chain([&mut held]) {
        assert_eq!(client.answer().status, 200);
    }
    server.finish();
}

#[test]
fn every_thread_accepts_from_the_shared_socket() {
    let (hold, handler) = holding();
    let server = Server::serve(&[SHARED, ("io_threads", "4")], Delivery::Inline, handler);
    // Who is held accepts nothing, so the next one is another's. With a socket for each, one of them would wait behind it.
    let mut held: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = server.connect();
            client.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
            hold.has_begun();
            client
        })
        .collect();
    let free = by_thread((0..20).map(|_| server.connect()));
    assert_eq!(counts(&free), [20], "one thread is left");
    let mut threads: Vec<String> = free.keys().cloned().collect();
    held.iter().for_each(|_| hold.release());
    threads.extend(held.iter_mut().map(|client| client.answer().text()));
    threads.sort();
    threads.dedup();
    assert_eq!(threads.len(), 4, "{threads:?}");
    assert_eq!(server.stats().connections_accepted, 23);
    drop((held, free));
    server.finish();
}

/// There is room on the way to each thread for as many as may come, and no more.
#[test]
fn an_acceptor_cannot_take_more_than_it_began_with() {
    let server = Server::queued(&[ACCEPTOR, ("io_threads", "2"), ("max_connections", "8")]);
    assert_eq!(server.set("max_connections", "9").expect_err("above").status, INGEST_E_OPTION);
    server.set("max_connections", "2").expect("it is live");
    let (_first, _second) = (server.connect(), server.connect());
    assert!(eventually(|| server.stats().limit_max_connections == 1));
    let _third = server.connect();
    assert!(!eventually_within(Duration::from_millis(100), || server.stats().connections_accepted > 2), "a third one was accepted");
    server.set("max_connections", "8").expect("as many as at first");
    assert!(eventually(|| server.stats().connections_accepted == 3));
    server.finish();
}

/// Whether the answer becomes yes in so short a time; for what must not happen.
fn eventually_within(time: Duration, mut question: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if question() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}
