//! What a host hears beside requests, when it asks for it: in which order, how often, and with which token.

use crate::support::host::abi::ingest_queue_poll;
use crate::support::host::{Delivery, Handler, Queue, Server, blank_event};
use crate::{shapes, with_a_queue};
use ingest::request::*;
use ingest::status::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const GET: &str = "GET /x HTTP/1.1\r\nHost: example.test\r\n\r\n";
const ALL: (&str, &str) = ("events", "all");

/// The next event of a queue.
fn next(queue: &Queue) -> ingest_event {
    let mut event = [blank_event()];
    assert_eq!(queue.wait(&mut event, 10_000), 1, "no event came");
    event[0]
}

fn next_kind(queue: &Queue) -> (u16, u32, u64) {
    let event = next(queue);
    (event.kind, event.reason, event.tag)
}

fn nothing_comes(queue: &Queue) {
    let mut event = [blank_event()];
    assert_eq!(queue.wait(&mut event, 50), 0, "{:?}", event[0]);
}

#[test]
fn a_client_that_asks_nothing_more_is_half_gone_and_one_that_resets_is_gone() {
    with_a_queue(&[ALL], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        assert_eq!(server.tag(token, 77), INGEST_OK);
        client.finish_sending();
        let event = next(&queue);
        assert_eq!((event.kind, event.reason), (INGEST_EVENT_GONE, INGEST_GONE_READ_CLOSED));
        assert_eq!((event.token, event.tag, event.request.is_null()), (token, 77, true));
        assert_eq!(server.alive(token), 1);
        // The client's socket closes with RST.
        drop(client);
        assert_eq!(next_kind(&queue), (INGEST_EVENT_GONE, INGEST_GONE_RESET, 77));
        assert_eq!(server.text(token, b"late"), INGEST_E_GONE);
        nothing_comes(&queue);
    });
}

#[test]
fn a_request_that_times_out_is_gone() {
    with_a_queue(&[ALL, ("response_timeout", "50ms")], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        assert_eq!(next_kind(&queue), (INGEST_EVENT_GONE, INGEST_GONE_RESET, 0));
        assert_eq!(client.answer().status, 504);
        assert_eq!(server.abandon(token), INGEST_E_GONE);
    });
}

#[test]
fn news_of_a_request_that_was_answered_meanwhile_is_dropped() {
    with_a_queue(&[("events", "gone")], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        client.finish_sending();
        let token = next(&queue).token;
        while server.alive(token) != 1 {
            std::thread::yield_now();
        }
        assert_eq!(server.text(token, b"done"), INGEST_OK);
        nothing_comes(&queue);
        assert_eq!(client.answer().text(), "done");
    });
}

#[test]
fn sent_and_released_come_once_and_in_this_order() {
    with_a_queue(&[ALL], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        for lent in [false, true] {
            client.send(GET);
            let token = next(&queue).token;
            assert_eq!(server.tag(token, 5), INGEST_OK);
            let body: &'static [u8] = &[b'x'; 100_000];
            assert_eq!(if lent { server.lend(token, body) } else { server.text(token, body) }, INGEST_OK);
            assert_eq!(client.answer().body, body);
            let event = next(&queue);
            assert_eq!((event.kind, event.token, event.tag), (INGEST_EVENT_SENT, token, 5));
            if lent {
                assert_eq!(next_kind(&queue), (INGEST_EVENT_RELEASED, 0, 5));
            }
            nothing_comes(&queue);
        }
        // Every slot is free again, and the next request gets a token of its own.
        client.send(GET);
        assert_eq!(server.text(next(&queue).token, b"x"), INGEST_OK);
        assert_eq!(next_kind(&queue).0, INGEST_EVENT_SENT);
    });
}

#[test]
fn lent_memory_comes_back_when_the_client_has_left_or_does_not_read() {
    with_a_queue(&[("events", "released"), ("write_timeout", "200ms")], |server| {
        let queue = server.queue();
        let body: &'static [u8] = Box::leak(vec![b'x'; 30_000_000].into_boxed_slice());
        // Does not read: the deadline for writing ends it.
        let mut client = server.connect();
        client.send(GET);
        assert_eq!(server.lend(next(&queue).token, body), INGEST_OK);
        assert_eq!(next_kind(&queue).0, INGEST_EVENT_RELEASED);
        // Leaves in between.
        let mut client = server.connect();
        client.send(GET);
        assert_eq!(server.lend(next(&queue).token, body), INGEST_OK);
        drop(client);
        assert_eq!(next_kind(&queue).0, INGEST_EVENT_RELEASED);
        // An answer that nobody waits for behind one that ends the connection.
        let mut client = server.connect();
        client.send(GET.repeat(2));
        let tokens = [next(&queue).token, next(&queue).token];
        assert_eq!(server.lend(tokens[1], body), INGEST_OK);
        assert_eq!(server.abandon(tokens[0]), INGEST_OK);
        assert_eq!(next(&queue).token, tokens[1]);
        nothing_comes(&queue);
    });
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send(GET);
        let token = next(&server.queue()).token;
        assert_eq!(server.lend(token, b"nobody would hear"), INGEST_E_ARGUMENT);
        assert_eq!(server.text(token, b"ok"), INGEST_OK);
    });
}

#[test]
fn a_busy_stream_becomes_writable_once() {
    with_a_queue(&[("events", "writable")], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        assert_eq!((server.begin(token, 200, &[], -1), server.tag(token, 9)), (INGEST_OK, INGEST_OK));
        let octets = [b'x'; 65_536];
        let mut written = 0;
        for round in 0..3 {
            // Busy for good: the kernel's buffers are full.
            let limit = Instant::now() + Duration::from_secs(20);
            let mut quiet = 0;
            while quiet < 2 {
                assert!(Instant::now() < limit);
                match server.write(token, &octets) {
                    INGEST_E_BUSY => {
                        let mut event = [blank_event()];
                        let found = queue.wait(&mut event, 100);
                        quiet = if found == 0 { quiet + 1 } else { 0 };
                    }
                    count => written += usize::try_from(count).expect("octets are taken"),
                }
            }
            assert_eq!(server.write(token, b"y"), INGEST_E_BUSY);
            let heard = Arc::new(AtomicBool::new(false));
            let reader = std::thread::spawn({
                let (mut stream, heard) = (client.writer(), Arc::clone(&heard));
                move || {
                    let mut room = vec![0; 65_536];
                    while !heard.load(Ordering::Relaxed) {
                        std::io::Read::read(&mut stream, &mut room).expect("octets");
                    }
                }
            });
            let event = next(&queue);
            assert_eq!((event.kind, event.token, event.tag), (INGEST_EVENT_WRITABLE, token, 9), "round {round}");
            // More, in case the reader waits for some.
            heard.store(true, Ordering::Relaxed);
            written += usize::try_from(server.write(token, &octets)).expect("there is room");
            reader.join().expect("the reader reads");
        }
        assert!(written > 0);
        assert_eq!(server.abandon(token), INGEST_OK);
    });
}

#[test]
fn draining_and_stopped_come_once_and_stopped_last() {
    with_a_queue(&[ALL], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        assert_eq!(server.drain(300), INGEST_OK);
        assert_eq!(next_kind(&queue), (INGEST_EVENT_DRAINING, 0, 0));
        // The end comes by the deadline, since the request is never answered.
        assert_eq!(next_kind(&queue), (INGEST_EVENT_GONE, INGEST_GONE_RESET, 0));
        assert_eq!(next_kind(&queue).0, INGEST_EVENT_STOPPED);
        let mut event = [blank_event()];
        assert_eq!((queue.wait(&mut event, -1), queue.poll(&mut event)), (INGEST_E_STOPPED, INGEST_E_STOPPED));
        assert_eq!(server.text(token, b"late"), INGEST_E_GONE);
    });
}

#[test]
fn every_delivery_brings_them() {
    for shape in shapes() {
        let seen: Arc<Mutex<Vec<(u16, u64)>>> = Arc::default();
        let note = Arc::clone(&seen);
        let handler: Handler = Arc::new(move |host, event| {
            note.lock().expect("a list").push((event.kind, event.token));
            if event.kind == INGEST_EVENT_REQUEST {
                host.text(event.token, b"ok");
            }
        });
        let options = shape.with(&[ALL]);
        let server = Server::serve(&options, shape.delivery, handler);
        let mut client = server.connect();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "ok");
        }
        drop(client);
        assert_eq!((server.drain(10_000), server.join(10_000)), (INGEST_OK, INGEST_OK));
        // Ends the consumers, so that what comes last is seen too.
        server.finish();
        let seen = seen.lock().expect("a list");
        let count = |kind: u16| seen.iter().filter(|(seen, _)| *seen == kind).count();
        assert_eq!((count(INGEST_EVENT_REQUEST), count(INGEST_EVENT_SENT)), (20, 20), "{shape:?}");
        assert_eq!((count(INGEST_EVENT_DRAINING), count(INGEST_EVENT_STOPPED)), (1, 1), "{shape:?}");
        assert_eq!(seen.iter().filter(|(kind, _)| *kind == INGEST_EVENT_STOPPED).count(), 1);
        for (at, (kind, token)) in seen.iter().enumerate() {
            if *kind == INGEST_EVENT_SENT {
                let asked = seen.iter().position(|event| *event == (INGEST_EVENT_REQUEST, *token));
                // With several consumers two may note in another order than they were told.
                assert!(asked.is_some_and(|asked| asked < at || matches!(shape.delivery, Delivery::Queue(4) | Delivery::Threads)));
            }
        }
    }
}

#[test]
fn news_waits_for_the_consumer_that_is_busy_with_the_request() {
    with_a_queue(&[("events", "gone")], |server| {
        let (host, queue) = (server.host, server.queue());
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        client.finish_sending();
        while host.alive(token) != 1 {
            std::thread::yield_now();
        }
        // Another consumer asks meanwhile, and hears nothing: neither of the two may work on one request.
        let other = std::thread::spawn(move || {
            let mut event = [blank_event()];
            (queue.wait(&mut event, 100), queue.poll(&mut event))
        });
        assert_eq!(other.join().expect("it waits"), (0, 0));
        assert_eq!(next_kind(&queue), (INGEST_EVENT_GONE, INGEST_GONE_READ_CLOSED, 0));
        assert_eq!(host.text(token, b"x"), INGEST_OK);
        // One that has ended is not waited for.
        client = server.connect();
        client.send(GET);
        let taken = std::thread::spawn(move || next(&queue).token).join().expect("it takes one");
        client.finish_sending();
        assert_eq!(next(&queue).token, taken);
        assert_eq!(host.text(taken, b"x"), INGEST_OK);
    });
}

#[test]
fn the_descriptor_is_readable_while_there_is_news() {
    with_a_queue(&[("events", "gone")], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        client.send(GET);
        let token = next(&queue).token;
        let mut event = [blank_event()];
        assert_eq!(queue.poll(&mut event), 0);
        assert!(!is_readable(queue.fd()));
        drop(client);
        let limit = Instant::now() + Duration::from_secs(10);
        while !is_readable(queue.fd()) {
            assert!(Instant::now() < limit, "news does not make the descriptor readable");
        }
        // SAFETY: the queue lives, and there is room for one event.
        while unsafe { ingest_queue_poll(queue.0, event.as_mut_ptr(), 1) } > 0 {
            assert_eq!((event[0].kind, event[0].token), (INGEST_EVENT_GONE, token));
        }
        assert!(!is_readable(queue.fd()));
        assert_eq!(server.abandon(token), INGEST_E_GONE);
    });
}

fn is_readable(fd: i32) -> bool {
    let mut look = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&mut look, 1, 0) == 1 }
}

#[test]
fn sent_comes_though_the_end_brings_no_octets() {
    with_a_queue(&[("events", "sent")], |server| {
        let queue = server.queue();
        let mut client = server.connect();
        for method in ["GET", "HEAD"] {
            client.send(GET.replace("GET", method));
            let token = next(&queue).token;
            assert_eq!((server.begin(token, 200, &[], 5), server.write(token, b"12345")), (INGEST_OK, 5));
            let answer = if method == "GET" { client.answer() } else { client.answer_to_head() };
            assert_eq!(answer.status, 200);
            // All of it is with the client already.
            nothing_comes(&queue);
            assert_eq!(server.end(token, &[]), INGEST_OK);
            let event = next(&queue);
            assert_eq!((event.kind, event.token), (INGEST_EVENT_SENT, token));
        }
    });
}

#[test]
fn a_callback_hears_news_though_it_may_take_no_more_requests() {
    let written = Arc::new(Mutex::new(Vec::<u64>::new()));
    let (note, may_end) = (Arc::clone(&written), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&may_end);
    let handler: Handler = Arc::new(move |host, event| {
        let octets = [b'x'; 65_536];
        if event.kind == INGEST_EVENT_REQUEST {
            assert_eq!(host.begin(event.token, 200, &[], -1), INGEST_OK);
            note.lock().expect("a list").push(event.token);
        }
        if event.kind == INGEST_EVENT_WRITABLE && told.load(Ordering::Relaxed) {
            assert_eq!(host.end(event.token, &[]), INGEST_OK);
            return;
        }
        // Until it is busy, and again should the kernel make its buffers larger.
        while host.write(event.token, &octets) > 0 {}
    });
    let options = [("topology", "inline"), ("io_threads", "1"), ("events", "writable"), ("in_flight_max", "1")];
    let server = Server::serve(&options, Delivery::Inline, handler);
    // One stream that nobody reads is all that the host may hold; another request waits behind it.
    let mut first = server.connect();
    first.send(GET);
    let mut second = server.connect();
    second.send(GET);
    let limit = Instant::now() + Duration::from_secs(10);
    while written.lock().expect("a list").is_empty() {
        assert!(Instant::now() < limit, "the first request was not delivered");
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(written.lock().expect("a list").len(), 1, "more is delivered than in_flight_max says");
    may_end.store(true, Ordering::Relaxed);
    assert!(!first.answer().body.is_empty());
    assert!(!second.answer().body.is_empty(), "the second request was not delivered");
    server.finish();
}
