//! Start, drain, stop and free, in order and out of order, with requests in flight and consumers asleep.

use crate::everywhere;
use crate::support::eventually;
use crate::support::host::abi::*;
use crate::support::host::{Delivery, Options, Server, blank_event, listen, on_requests};
use crate::with_a_queue;
use ingest::status::*;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn echo_target() -> crate::Handler {
    on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
    })
}

/// Whether a new connection gets no answer: refused, reset or closed.
fn takes_no_one(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return true };
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout above zero");
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut octet = [0u8];
    sent.is_err() || !matches!(stream.read(&mut octet), Ok(1))
}

/// After the end either code is true: the request is gone, and so is the server.
fn is_over(status: i32) {
    assert!(status == INGEST_E_GONE || status == INGEST_E_STOPPED, "{status}");
}

#[test]
fn a_drain_answers_what_is_in_flight_and_takes_no_one_new() {
    with_a_queue(&[], |server| {
        let mut idle = server.connect();
        idle.send("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        server.text(event.token, b"idle");
        assert_eq!(idle.answer().text(), "idle");
        let mut busy = server.connect();
        busy.send("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];

        assert_eq!(server.drain(8_000), INGEST_OK);
        assert!(idle.is_closed(), "an idle connection is closed at once");
        assert!(eventually(|| takes_no_one(server.port())));
        assert_eq!(server.join(0), INGEST_E_BUSY, "a request is still open");
        assert_eq!(server.text(event.token, b"still served"), INGEST_OK);
        let answer = busy.answer();
        assert_eq!(answer.text(), "still served");
        assert!(answer.says_close());
        assert!(busy.is_closed());
        drop((idle, busy));
        let start = Instant::now();
        assert_eq!(server.join(5_000), INGEST_OK);
        assert!(start.elapsed() < Duration::from_millis(1_500), "the drain ends when the last connection has");
        assert_eq!(server.queue().wait(&mut [blank_event(); 1], 1000), INGEST_E_STOPPED);
    });
}

#[test]
fn a_request_that_was_sent_before_the_drain_is_answered() {
    everywhere(&[], &echo_target(), |server| {
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/first").text(), "/first"));
        // These octets are with the server's kernel before the drain is asked for.
        clients.iter_mut().for_each(|client| client.send("GET /second HTTP/1.1\r\nHost: example.test\r\n\r\n"));
        assert_eq!(server.drain(10_000), INGEST_OK);
        for client in &mut clients {
            assert_eq!(client.answer().text(), "/second");
            assert!(client.is_closed());
        }
    });
}

/// Who was let in has nobody else to ask. The time for it is half a second; where the machine has not let this test run within
/// that, it is done again.
#[test]
fn a_drain_gives_who_has_just_connected_time_for_a_request() {
    for topology in ["inline", "shards", "acceptor"] {
        let served = (0..20).any(|_| {
            let threads = if topology == "inline" { "1" } else { "2" };
            let server = Server::serve(&[("topology", topology), ("io_threads", threads)], Delivery::Inline, echo_target());
            let began = Instant::now();
            let (mut client, mut silent) = (server.connect(), server.connect());
            assert!(eventually(|| server.stats().connections_open == 2));
            assert_eq!(server.drain(10_000), INGEST_OK);
            assert!(eventually(|| takes_no_one(server.port())));
            let answer = client.try_send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").and_then(|()| client.read_answer(false));
            let in_time = began.elapsed() < Duration::from_millis(400);
            assert!(silent.is_closed(), "who says nothing is not waited for any longer");
            let answer = match answer {
                Ok(Some(answer)) => answer,
                other if in_time => panic!("{topology}: a request that came with its connection got {other:?}"),
                _ => return false,
            };
            assert_eq!((answer.text().as_str(), answer.says_close()), ("/first", true));
            assert_eq!(server.join(5_000), INGEST_OK);
            true
        });
        assert!(served, "the machine is too busy for this test");
    }
}

#[test]
fn a_drain_ends_after_its_grace() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        let start = Instant::now();
        assert_eq!(server.drain(300), INGEST_OK);
        assert_eq!(server.join(5_000), INGEST_OK);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(1_400), "took {took:?}");
        is_over(server.text(event.token, b"too late"));
        let answer = client.read_answer(false);
        assert!(!matches!(answer, Ok(Some(answer)) if answer.status == 200));
    });
}

#[test]
fn the_second_stop_stops_now() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        assert_eq!(server.stop(), INGEST_OK);
        assert_eq!(server.join(100), INGEST_E_BUSY, "the first stop drains");
        let start = Instant::now();
        assert_eq!(server.stop(), INGEST_OK);
        assert_eq!(server.join(5_000), INGEST_OK);
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
        is_over(server.text(event.token, b"too late"));
        assert_eq!(server.stop(), INGEST_OK, "a third stop does nothing");
    });
}

#[test]
fn calls_out_of_order_are_errors_of_state() {
    let mut server = Server::unstarted(&[("delivery", "queue")]);
    assert_eq!(server.join(0), INGEST_E_STATE, "not started");
    server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
    server.start().expect("the server starts");
    assert_eq!(server.start().expect_err("started twice").status, INGEST_E_STATE);
    assert_eq!(listen(server.host, "http://127.0.0.1:0").expect_err("listening after the start").status, INGEST_E_STATE);
    // SAFETY: the server lives.
    let status = unsafe { ingest_server_on_events(server.host.0, None, std::ptr::null_mut()) };
    assert_eq!(status, INGEST_E_STATE);
    server.finish();
}

#[test]
fn stop_before_start() {
    let mut server = Server::unstarted(&[("delivery", "queue")]);
    server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
    let status = server.stop();
    assert!(status == INGEST_OK || status == INGEST_E_STATE, "{status}");
    let status = server.drain(0);
    assert!(status == INGEST_OK || status == INGEST_E_STATE, "{status}");
    server.finish();
}

#[test]
fn free_without_start_and_without_listeners() {
    Server::unstarted(&[]).finish();
    let mut server = Server::unstarted(&[]);
    server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
    let port = server.port();
    server.finish();
    assert!(takes_no_one(port), "free closes the listeners");
}

#[test]
fn null_is_an_argument_error() {
    // SAFETY: NULL is what these calls have to take.
    unsafe {
        let none: *mut ingest_server = std::ptr::null_mut();
        assert_eq!(ingest_server_free(none), INGEST_OK);
        assert_eq!(ingest_server_stop(none), INGEST_E_ARGUMENT);
        assert_eq!(ingest_server_join(none, 0), INGEST_E_ARGUMENT);
        assert_eq!(ingest_server_drain(none, 0), INGEST_E_ARGUMENT);
        assert_eq!(ingest_server_start(none, std::ptr::null_mut()), INGEST_E_ARGUMENT);
        assert_eq!(ingest_server_port(none, 0), INGEST_E_ARGUMENT);
        assert_eq!(ingest_server_stats(none, std::ptr::null_mut()), INGEST_E_ARGUMENT);
        assert!(ingest_server_queue_of_nothing().is_null());
    }
}

unsafe fn ingest_server_queue_of_nothing() -> *mut crate::support::host::abi::ingest_queue {
    // SAFETY: NULL is what this call has to take.
    unsafe { crate::support::host::abi::ingest_server_queue(std::ptr::null_mut(), 0) }
}

#[test]
fn waiting_consumers_learn_that_the_server_stopped() {
    with_a_queue(&[], |server| {
        let queue = server.queue();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(move || queue.wait(&mut [blank_event(); 4], -1))).collect();
            std::thread::sleep(Duration::from_millis(50));
            server.stop();
            for consumer in waiting {
                assert_eq!(consumer.join().expect("no panic"), INGEST_E_STOPPED);
            }
        });
        assert!(eventually(|| queue.poll(&mut [blank_event(); 4]) == INGEST_E_STOPPED));
        assert_eq!(queue.wait(&mut [blank_event(); 4], -1), INGEST_E_STOPPED);
    });
}

#[test]
fn free_wakes_who_waits_before_it_frees() {
    for _ in 0..20 {
        let server = Server::queued(&[]);
        let queue = server.queue();
        let waiting = std::thread::spawn(move || queue.wait(&mut [blank_event(); 4], -1));
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(server.free_at_once(), INGEST_OK);
        assert_eq!(waiting.join().expect("no panic"), INGEST_E_STOPPED);
    }
}

#[test]
fn a_wake_ends_one_wait() {
    with_a_queue(&[], |server| {
        let queue = server.queue();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || queue.wait(&mut [blank_event(); 4], 30_000));
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(queue.wake(), INGEST_OK);
            assert_eq!(waiting.join().expect("no panic"), 0);
        });
        assert!(start.elapsed() < Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(queue.wait(&mut [blank_event(); 4], 60), 0);
        assert!(start.elapsed() >= Duration::from_millis(50), "a wait without a wake lasts until its timeout");
    });
}

#[test]
fn a_stopped_server_still_frees_what_the_host_holds() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    let event = server.queue().take(1)[0];
    server.stop();
    server.stop();
    assert_eq!(server.join(5_000), INGEST_OK);
    let request = crate::support::request_view::RequestView::of(&event).expect("a request");
    assert_eq!(request.target(), b"/held", "the right to read ends only by the host");
    is_over(server.text(event.token, b"late"));
    server.finish();
}

#[test]
fn stop_from_the_callback() {
    for delivery in [Delivery::Inline, Delivery::Threads].into_iter().filter(|delivery| delivery.is_built()) {
        let handler = on_requests(|host, request| {
            assert_eq!(host.stop(), INGEST_OK);
            assert_eq!(host.join(0), INGEST_E_STATE, "a library thread cannot wait for itself");
            assert_eq!(host.text(request.0.token, b"last words"), INGEST_OK);
        });
        let server = Server::serve(&[], delivery, handler);
        let mut client = server.connect();
        assert_eq!(client.get("/").text(), "last words");
        assert!(client.is_closed());
        assert_eq!(server.join(5_000), INGEST_OK);
        server.finish();
    }
}

#[test]
fn two_servers_side_by_side() {
    let one = Server::serve(&[], Delivery::Inline, echo_target());
    let other = Server::serve(&[("topology", "shards"), ("io_threads", "2")], Delivery::Queue(2), echo_target());
    assert_eq!(one.connect().get("/one").text(), "/one");
    assert_eq!(other.connect().get("/other").text(), "/other");
    one.finish();
    assert_eq!(other.connect().get("/still").text(), "/still");
    other.finish();
}

#[test]
fn options_are_checked_and_copied() {
    let options = Options::new(&[("header_timeout", "1s"), ("body_max", "64KiB")]);
    for (name, value) in [("no_such_option", "1"), ("header_timeout", "soon"), ("body_max", "-1"), ("topology", "ring"), ("io_threads", "")]
    {
        let refused = options.set(name, value).expect_err(name);
        assert_eq!(refused.status, INGEST_E_OPTION, "{name}={value}");
        assert!(refused.text.contains(name), "{:?} does not name {name}", refused.text);
    }
    // SAFETY: the options live for the call.
    let server = unsafe { ingest_server_new(options.0) };
    assert!(!server.is_null());
    drop(options);
    // SAFETY: made above, freed once.
    assert_eq!(unsafe { ingest_server_free(server) }, INGEST_OK);
}

/// Only the last of several owed answers ends the connection, and the server ends with its last connection.
#[test]
fn a_drain_answers_everything_in_the_pipeline() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
        let events = server.queue().take(5);
        assert_eq!(server.drain(8_000), INGEST_OK);
        for event in &events {
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(server.text(event.token, b"owed"), INGEST_OK);
        }
        for left in (0..5).rev() {
            let answer = client.answer();
            assert_eq!((answer.text().as_str(), answer.says_close()), ("owed", left == 0));
        }
        drop(client);
        let start = Instant::now();
        assert_eq!(server.join(5_000), INGEST_OK);
        assert!(start.elapsed() < Duration::from_millis(500), "the drain goes on after the last connection has left");
    });
}
