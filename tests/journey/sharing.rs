//! Several consumers: requests given back, several queues, even shares, work that flows around a consumer that sleeps.

use crate::support::host::{Delivery, Host, Queue, Server, blank_event, on_requests};
use crate::support::request_view::RequestView;
use ingest::ffi::queue::ingest_server_queue;
use ingest::status::{INGEST_E_GONE, INGEST_OK};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

fn ask(server: &Server, count: usize) -> Vec<crate::support::client::Client> {
    let clients: Vec<_> = (0..count)
        .map(|index| {
            let mut client = server.connect();
            client.send(format!("GET /{index} HTTP/1.1\r\nHost: x\r\n\r\n"));
            // One after the other, so that the order in the queue is known.
            while (server.queue().depth() as usize) < index + 1 {
                std::thread::yield_now();
            }
            client
        })
        .collect();
    clients
}

fn target(event: &ingest::request::ingest_event) -> String {
    String::from_utf8_lossy(RequestView::of(event).expect("a request").target()).into_owned()
}

#[test]
fn what_is_given_back_is_delivered_again_first_and_in_order() {
    let server = Server::queued(&[]);
    let mut clients = ask(&server, 6);
    let taken = server.queue().take(4);
    let tokens: Vec<_> = taken.iter().map(|event| event.token).collect();
    assert_eq!(server.queue().give_back(&tokens[1..]), 3);
    for &token in &tokens[1..] {
        assert_eq!(server.alive(token), 0, "the old token of a request that was given back");
        assert_eq!(server.text(token, b"late"), INGEST_E_GONE);
    }
    assert_eq!(server.queue().give_back(&tokens[1..]), 0, "given back twice");
    let again = server.queue().take(5);
    let targets: Vec<_> = again.iter().map(target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4", "/5"]);
    for event in taken[..1].iter().chain(&again) {
        assert_eq!(server.text(event.token, target(event).as_bytes()), INGEST_OK);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().text(), format!("/{index}"));
    }
    assert_eq!(server.stats().in_flight, 0);
    server.finish();
}

#[test]
fn a_request_whose_client_left_can_be_given_back() {
    let server = Server::queued(&[]);
    let client = ask(&server, 1);
    let event = server.queue().take(1)[0];
    drop(client);
    while server.alive(event.token) == 2 {
        std::thread::yield_now();
    }
    let back = server.queue().give_back(&[event.token]);
    assert!(back == 0 || back == 1);
    assert_eq!(server.text(event.token, b"late"), INGEST_E_GONE);
    server.finish();
}

#[test]
fn a_client_that_asks_nothing_more_still_gets_its_answer() {
    let server = Server::queued(&[]);
    let mut client = ask(&server, 1).remove(0);
    let event = server.queue().take(1)[0];
    assert_eq!(server.alive(event.token), 2);
    client.finish_sending();
    while server.alive(event.token) != 1 {
        std::thread::yield_now();
    }
    assert_eq!(server.text(event.token, b"still"), INGEST_OK);
    assert_eq!(client.answer().text(), "still");
    server.finish();
}

/// The host's consumers of every queue, until the server stops.
fn consume(host: Host, queue: Queue, served: &AtomicUsize) {
    let mut batch = [blank_event(); 64];
    loop {
        let count = queue.wait(&mut batch, -1);
        if count < 0 {
            return;
        }
        for event in &batch[..count as usize] {
            assert_eq!(host.text(event.token, b"ok"), INGEST_OK);
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn several_queues_share_the_work() {
    let shapes = [
        [("topology", "inline"), ("io_threads", "1")],
        [("topology", "shards"), ("io_threads", "2")],
        [("topology", "cut"), ("io_threads", "2")],
    ];
    for shape in shapes {
        let mut options = vec![("queues", "3")];
        options.extend(shape);
        let server = Server::serve(&options, Delivery::Queue(0), on_requests(|_, _| ()));
        let served: [AtomicUsize; 3] = Default::default();
        let host: Host = *server;
        std::thread::scope(|scope| {
            for (index, served) in served.iter().enumerate() {
                // SAFETY: the server lives until the consumers have ended.
                let queue = Queue(unsafe { ingest_server_queue(host.0, index as u32) });
                assert!(!queue.0.is_null());
                scope.spawn(move || consume(host, queue, served));
            }
            let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
            for _ in 0..100 {
                for client in &mut clients {
                    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                }
                for client in &mut clients {
                    assert_eq!(client.answer().text(), "ok");
                }
            }
            drop(clients);
            server.stop();
        });
        let served = served.map(|served| served.into_inner());
        assert_eq!(served.iter().sum::<usize>(), 800);
        assert!(served.iter().all(|&count| count > 100), "a queue stays empty: {served:?}");
        server.finish();
    }
}

#[test]
fn work_flows_around_a_consumer_that_sleeps() {
    for delivery in [Delivery::Threads, Delivery::Queue(4)] {
        let by: &'static Mutex<HashMap<ThreadId, usize>> = Box::leak(Box::default());
        let stuck: &'static AtomicBool = Box::leak(Box::default());
        let handler = on_requests(move |host: Host, request: RequestView| {
            if request.target() == b"/sleep" {
                stuck.store(true, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1_500));
            }
            *by.lock().expect("no handler panics with it").entry(std::thread::current().id()).or_default() += 1;
            assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK);
        });
        let server = Server::serve(&[("handler_threads", "4")], delivery, handler);
        let mut sleeper = server.connect();
        sleeper.send("GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n");
        while !stuck.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let began = std::time::Instant::now();
        let mut client = server.connect();
        for _ in 0..200 {
            assert_eq!(client.get("/quick").text(), "ok");
        }
        assert!(began.elapsed() < Duration::from_millis(1_400), "everybody waited for the one that sleeps");
        assert_eq!(sleeper.answer().text(), "ok");
        drop((client, sleeper));
        server.finish();
    }
}

#[test]
fn an_answer_wakes_a_sleeping_thread_and_is_counted() {
    let server = Server::queued(&[]);
    let mut client = ask(&server, 1).remove(0);
    let event = server.queue().take(1)[0];
    // Long past what the thread may look for work before it sleeps.
    std::thread::sleep(Duration::from_millis(50));
    let before = server.stats().wakeups_sent;
    assert_eq!(server.text(event.token, b"up"), INGEST_OK);
    assert_eq!(client.answer().text(), "up");
    assert_eq!(server.stats().wakeups_sent, before + 1);
    server.finish();
}
