//! More than the host takes, and clients that do not wait: who is refused, when, and what the others notice.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Delivery, Server, blank_event, on_requests};
use crate::support::request_view::RequestView;
use crate::{Witness, everywhere, shapes, with_a_queue};
use ingest::ffi::observe::INGEST_STATS_OVERLOADED;
use ingest::request::ingest_event;
use ingest::status::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WISH: [(&str, &str); 3] = [("queue_delay_target", "20ms"), ("queue_delay_interval", "100ms"), ("queue_age", "1m")];
const DEADLINE: [(&str, &str); 2] = [("deadline_header", "Request-Timeout"), ("queue_age", "1m")];

fn sleep_ms(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// So many clients, each with a request in the queue, in this order.
fn waiting(server: &Server, count: usize) -> Vec<Client> {
    let queued = server.queue().depth();
    (0..count)
        .map(|number| {
            let mut client = server.connect();
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert!(eventually(|| server.queue().depth() == queued + number as i32 + 1));
            client
        })
        .collect()
}

fn asks(client: &mut Client, target: &str, fields: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
}

fn is_shed(client: &mut Client) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
    assert!(!answer.says_close(), "the connection is in step");
}

fn serve(server: &Server, events: &[ingest_event]) {
    for event in events {
        assert_eq!(server.text(event.token, b"served"), INGEST_OK);
    }
}

/// The client is served as if nothing had been.
fn goes_on(server: &Server, client: &mut Client) {
    asks(client, "/again", "");
    serve(server, &server.queue().take(1));
    assert_eq!(client.answer().text(), "served");
}

#[test]
fn a_queue_that_stands_refuses_the_oldest_and_never_the_last() {
    with_a_queue(&WISH, |server| {
        let mut clients = waiting(server, 6);
        sleep_ms(60);
        serve(server, &server.queue().take(1));
        assert_eq!(server.stats().limit_queue_delay, 0, "one that waited is a sign, no more");
        sleep_ms(150);
        let last = server.queue().take(1);
        assert_eq!(RequestView::of(&last[0]).expect("a request").target(), b"/5");
        let stats = server.stats();
        assert_eq!((stats.queues_standing, stats.queue_overloads), (1, 1), "{stats:?}");
        assert_eq!(stats.flags & INGEST_STATS_OVERLOADED, INGEST_STATS_OVERLOADED);
        serve(server, &last);
        assert_eq!(clients[0].answer().text(), "served");
        clients[1..5].iter_mut().for_each(is_shed);
        assert_eq!(clients[5].answer().text(), "served");
        let stats = server.stats();
        assert_eq!((stats.limit_queue_delay, stats.refused_503, stats.requests_refused, stats.limit_queue_age), (4, 4, 4, 0), "{stats:?}");
        assert_eq!(server.queue().poll(&mut [blank_event(); 4]), 0);
        assert_eq!((server.stats().queues_standing, server.stats().flags), (0, 0), "it was found empty");
        clients.iter_mut().for_each(|client| goes_on(server, client));
        assert_eq!(server.stats().requests_answered, 8);
    });
}

/// Whoever was served was served once, whoever was not has got 503 and goes on with the same connection.
#[test]
fn handler_threads_that_are_too_slow_serve_what_they_can() {
    for shape in shapes().into_iter().filter(|shape| shape.delivery == Delivery::Threads) {
        let _witness = Witness(shape);
        let served = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&served);
        let handler = on_requests(move |host, request| {
            sleep_ms(10);
            counted.fetch_add(1, Ordering::Relaxed);
            assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
        });
        let wish = [("queue_delay_target", "5ms"), ("queue_delay_interval", "30ms"), ("handler_threads", "2"), ("batch_max", "1")];
        let server = Server::serve(&shape.with(&wish), Delivery::Threads, handler);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let server = &server;
            let clients: Vec<_> = (0..12)
                .map(|number| {
                    scope.spawn(move || {
                        let mut client = server.connect();
                        let mut statuses = Vec::new();
                        for index in 0..40 {
                            let name = format!("/{number}/{index}");
                            let answer = client.get(&name);
                            assert!(!answer.says_close());
                            assert!(answer.status == 503 || answer.text() == name, "somebody else's answer");
                            statuses.push(answer.status);
                        }
                        statuses
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().expect("every request is answered")).collect()
        });
        let refused = statuses.iter().filter(|status| **status == 503).count() as u64;
        let stats = server.stats();
        assert_eq!(statuses.len(), 480);
        assert!(refused > 0, "{stats:?}");
        assert_eq!((stats.limit_queue_delay, stats.requests_answered), (refused, 480 - refused), "{stats:?}");
        assert_eq!(served.load(Ordering::Relaxed), 480 - refused);
        server.finish();
    }
}

/// Nothing waits between an I/O thread and its callback.
#[test]
fn inline_has_no_queue_that_could_stand() {
    for shape in shapes().into_iter().filter(|shape| shape.delivery == Delivery::Inline) {
        let _witness = Witness(shape);
        let handler = on_requests(|host, request| {
            sleep_ms(10);
            assert_eq!(host.text(request.0.token, b"served"), INGEST_OK);
        });
        let options = shape.with(&[("queue_delay_target", "1ms"), ("queue_delay_interval", "1ms")]);
        let server = Server::serve(&options, Delivery::Inline, handler);
        let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| asks(client, "/", ""));
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "served"));
        assert_eq!((server.stats().limit_queue_delay, server.stats().queue_overloads), (0, 0));
        server.finish();
    }
}

#[test]
fn the_options_are_live() {
    with_a_queue(&[("queue_age", "1m")], |server| {
        let mut clients = waiting(server, 5);
        sleep_ms(50);
        serve(server, &server.queue().take(1));
        sleep_ms(50);
        server.set("queue_delay_interval", "10ms").expect("it is live");
        server.set("queue_delay_target", "10ms").expect("it is live");
        serve(server, &server.queue().take(1));
        sleep_ms(30);
        serve(server, &server.queue().take(1));
        let statuses: Vec<u16> = clients.iter_mut().map(|client| client.answer().status).collect();
        assert_eq!(statuses, [200, 200, 503, 503, 200]);
        assert_eq!(server.stats().queues_standing, 1);
        server.set("queue_delay_target", "off").expect("it is live");
        clients.iter_mut().for_each(|client| asks(client, "/", ""));
        assert!(eventually(|| server.queue().depth() == 5));
        sleep_ms(30);
        serve(server, &server.queue().take(5));
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
        assert_eq!((server.stats().queues_standing, server.stats().queue_overloads), (0, 1));
    });
    with_a_queue(&[("queue_age", "1m")], |server| {
        let mut client = server.connect();
        assert_eq!(deadline_told(server, &mut client, "Patience: 1000\r\n"), 0);
        assert_eq!(server.set("deadline_header", "no name").expect_err("it is none").status, INGEST_E_OPTION);
        server.set("deadline_header", "patience").expect("it is live");
        // A thread takes it on with its next tick.
        assert!(eventually(|| deadline_told(server, &mut client, "Patience: 1000\r\n") > 0));
        server.set("deadline_header", "").expect("it is live");
        assert!(eventually(|| deadline_told(server, &mut client, "Patience: 1000\r\n") == 0));
    });
}

/// What the host is told of the deadline of a request with these fields.
fn deadline_told(server: &Server, client: &mut Client, fields: &str) -> u64 {
    asks(client, "/", fields);
    let events = server.queue().take(1);
    let deadline_ns = RequestView::of(&events[0]).expect("a request").0.deadline_ns;
    serve(server, &events);
    assert_eq!(client.answer().text(), "served");
    deadline_ns
}

#[test]
fn a_deadline_that_passes_in_the_queue_is_503_and_the_connection_goes_on() {
    with_a_queue(&DEADLINE, |server| {
        let mut client = server.connect();
        asks(&mut client, "/hurried", "request-timeout: 200ms\r\n");
        is_shed(&mut client);
        assert_eq!(server.queue().poll(&mut [blank_event(); 4]), 0, "what was answered by the library is not delivered any more");
        let stats = server.stats();
        assert_eq!((stats.limit_deadline, stats.refused_503, stats.limit_queue_age, stats.requests_timed_out), (1, 1, 0, 0), "{stats:?}");
        goes_on(server, &mut client);
    });
}

/// Only the oldest of a connection is watched by its thread; the others are found by whoever takes them.
#[test]
fn a_consumer_skips_what_its_client_does_not_wait_for() {
    with_a_queue(&DEADLINE, |server| {
        let mut client = server.connect();
        asks(&mut client, "/patient", "");
        asks(&mut client, "/hurried", "Request-Timeout: 0.1\r\n");
        asks(&mut client, "/patient", "");
        assert!(eventually(|| server.queue().depth() == 3));
        sleep_ms(150);
        let events = server.queue().take(2);
        assert!(events.iter().all(|event| RequestView::of(event).expect("a request").target() == b"/patient"));
        serve(server, &events);
        assert_eq!(client.answer().text(), "served");
        is_shed(&mut client);
        assert_eq!(client.answer().text(), "served");
        assert_eq!((server.stats().limit_deadline, server.stats().limit_queue_delay), (1, 0));
    });
}

/// A token that is given back gets a new one, and keeps the time that its client waits.
#[test]
fn a_deadline_survives_the_way_back_to_the_queue() {
    with_a_queue(&DEADLINE, |server| {
        let mut client = server.connect();
        asks(&mut client, "/patient", "");
        asks(&mut client, "/hurried", "Request-Timeout: 0.3\r\n");
        let events = server.queue().take(2);
        assert_eq!(server.queue().give_back(&[events[1].token]), 1);
        sleep_ms(400);
        let mut batch = [blank_event(); 4];
        assert_eq!(server.queue().poll(&mut batch), 0, "it was delivered although nobody waits for it");
        serve(server, &events[..1]);
        assert_eq!(client.answer().text(), "served");
        is_shed(&mut client);
    });
}

#[test]
fn a_deadline_that_passes_with_the_host_is_504() {
    with_a_queue(&DEADLINE, |server| {
        let mut client = server.connect();
        asks(&mut client, "/hurried", "Request-Timeout: 0.3\r\n");
        let event = server.queue().take(1)[0];
        let request = RequestView::of(&event).expect("a request").0;
        assert!(request.deadline_ns > 0 && request.deadline_ns % 1_000_000 == 0);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (504, None), "{}", answer.text());
        assert!(answer.says_close() && client.is_closed());
        assert_eq!(server.text(event.token, b"too late"), INGEST_E_GONE);
        let stats = server.stats();
        assert_eq!((stats.limit_deadline, stats.requests_timed_out, stats.refused_503), (1, 1, 0), "{stats:?}");
    });
}

/// `response_timeout` is shortened by what clients say, never lengthened.
#[test]
fn a_client_cannot_ask_for_more_time_than_there_is() {
    with_a_queue(&[DEADLINE[0], ("response_timeout", "200ms")], |server| {
        let mut client = server.connect();
        asks(&mut client, "/", "Request-Timeout: 3600\r\n");
        server.queue().take(1);
        assert_eq!(client.answer().status, 504);
        assert_eq!((server.stats().requests_timed_out, server.stats().limit_deadline), (1, 0));
    });
}

#[test]
fn a_time_that_is_none_is_ignored_and_counted() {
    with_a_queue(&DEADLINE, |server| {
        let mut client = server.connect();
        for fields in
            ["Request-Timeout: soon\r\n", "Request-Timeout: 0\r\n", "Request-Timeout: 1\r\nrequest-timeout: 1\r\n", "Request-Timeout:\r\n"]
        {
            assert_eq!(deadline_told(server, &mut client, fields), 0, "{fields}");
        }
        assert!(deadline_told(server, &mut client, "Request-Timeout: 60\r\n") > 0);
        assert_eq!(deadline_told(server, &mut client, "X-Request-Timeout: soon\r\n"), 0);
        assert!(eventually(|| server.stats().deadlines_unread == 4), "{:?}", server.stats());
        assert_eq!(server.stats().limit_deadline, 0);
    });
}

/// Its body took longer than its client waits: nobody is bothered with it, whoever takes requests.
#[test]
fn a_request_that_comes_too_late_is_not_delivered() {
    let handler = on_requests(|host, request| {
        let _ = host.text(request.0.token, b"served");
    });
    everywhere(&DEADLINE, &handler, |server| {
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nRequest-Timeout: 100ms\r\nContent-Length: 4\r\n\r\nbo");
        sleep_ms(200);
        client.send("dy");
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert!(eventually(|| server.stats().limit_deadline == 1), "{:?}", server.stats());
        assert_eq!((server.stats().requests_delivered, server.stats().refused_503), (0, 1));
        let mut client = server.connect();
        asks(&mut client, "/", "Request-Timeout: 60\r\n");
        assert_eq!(client.answer().text(), "served");
    });
}

#[test]
fn a_client_that_left_is_skipped_and_counted() {
    with_a_queue(&WISH[2..], |server| {
        let mut clients = waiting(server, 3);
        drop(clients.remove(1));
        assert!(eventually(|| server.stats().requests_left == 1), "{:?}", server.stats());
        let events = server.queue().take(2);
        let targets: Vec<&[u8]> = events.iter().map(|event| RequestView::of(event).expect("a request").target()).collect();
        assert_eq!(targets, [b"/0", b"/2"]);
        // One that leaves while the host has its request is told of otherwise.
        drop(clients.remove(1));
        assert!(eventually(|| server.stats().connections_open == 1));
        serve(server, &events[..1]);
        assert_eq!(clients[0].answer().text(), "served");
        assert_eq!(server.text(events[1].token, b"nobody hears it"), INGEST_E_GONE);
        assert_eq!(server.stats().requests_left, 1);
    });
}

/// Whoever has stopped to send is still owed an answer, but is the first to go when there is too much to do.
#[test]
fn who_has_stopped_to_send_is_refused_first() {
    with_a_queue(&[("queue_delay_target", "500ms"), ("queue_delay_interval", "50ms"), WISH[2]], |server| {
        let mut clients = waiting(server, 3);
        clients[1].finish_sending();
        sleep_ms(600);
        serve(server, &server.queue().take(1));
        sleep_ms(100);
        // Longer than the target and, unless the machine stood still, not twice as long.
        serve(server, &server.queue().take(1));
        assert_eq!(clients[0].answer().text(), "served");
        assert_eq!(clients[1].answer().status, 503);
        assert_eq!(clients[2].answer().text(), "served");
        assert_eq!(server.stats().limit_queue_delay, 1);
    });
}
