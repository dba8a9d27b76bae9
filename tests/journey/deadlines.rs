//! Deadlines and overload: who is slow is cut off with the status that says why, and nobody else notices.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Delivery, Host, Server, on_requests};
use crate::{everywhere, with_a_queue};
use ingest::status::*;
use std::time::{Duration, Instant};

fn echo_target() -> crate::Handler {
    on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
    })
}

/// A deadline of 300 ms is over after at least that, and well before this.
const SOON: Duration = Duration::from_secs(3);

/// Waits for a refusal with this status and the close after it.
fn is_refused(client: &mut Client, status: u16, since: Instant) {
    let answer = client.answer();
    assert_eq!(answer.status, status);
    assert!(answer.says_close());
    assert!(client.is_closed());
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(250) && took < SOON, "took {took:?}");
}

#[test]
fn a_head_that_does_not_come_is_408() {
    everywhere(&[("header_timeout", "300ms")], &echo_target(), |server| {
        let start = Instant::now();
        let mut slow = server.connect();
        slow.send("GET / HTTP/1.1\r\nHost: x");
        assert_eq!(server.connect().get("/other").text(), "/other");
        is_refused(&mut slow, 408, start);
        assert!(eventually(|| server.stats().connections_open == 0));
    });
}

#[test]
fn dripping_does_not_extend_the_deadline_of_a_head() {
    everywhere(&[("header_timeout", "400ms")], &echo_target(), |server| {
        let start = Instant::now();
        let mut slow = server.connect();
        let dripped = b"GET /".iter().chain(std::iter::repeat(&b'a'));
        for octet in dripped {
            if slow.has_input() || slow.try_send(&[*octet]).is_err() || start.elapsed() > SOON {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        is_refused(&mut slow, 408, start);
    });
}

#[test]
fn a_connection_that_never_sends_is_closed() {
    everywhere(&[("header_timeout", "300ms")], &echo_target(), |server| {
        let start = Instant::now();
        let mut silent = server.connect();
        let answer = silent.read_answer(false).expect("the server closes in order");
        assert!(answer.is_none_or(|answer| answer.status == 408));
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(250) && took < SOON, "took {took:?}");
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    everywhere(&[("keepalive_timeout", "300ms")], &echo_target(), |server| {
        let mut client = server.connect();
        assert_eq!(client.get("/1").text(), "/1");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(client.get("/2").text(), "/2");
        let start = Instant::now();
        assert!(client.is_closed());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(200) && took < SOON, "took {took:?}");
    });
}

#[test]
fn a_body_that_does_not_come_is_408() {
    everywhere(&[("body_timeout", "300ms")], &echo_target(), |server| {
        for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n5\r\nha", "Content-Length: 100000\r\n\r\nhalf"] {
            let start = Instant::now();
            let mut slow = server.connect();
            slow.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}"));
            is_refused(&mut slow, 408, start);
        }
        assert_eq!(server.stats().requests_delivered, 0);
    });
}

#[test]
fn a_host_that_does_not_answer_is_504() {
    with_a_queue(&[("response_timeout", "300ms")], |server| {
        let start = Instant::now();
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        is_refused(&mut client, 504, start);
        assert_eq!(server.stats().requests_timed_out, 1);
        assert_eq!(server.stats().in_flight, 1, "the host still holds its memory");
        let request = crate::support::request_view::RequestView::of(&event).expect("a request");
        assert_eq!(request.target(), b"/", "and may read it");
        assert_eq!(server.text(event.token, b"too late"), INGEST_E_GONE);
        assert!(eventually(|| server.stats().in_flight == 0), "that call gave the memory back");
        assert_eq!(server.text(event.token, b"even later"), INGEST_E_GONE);
    });
}

#[test]
fn a_deadline_of_one_request_spares_the_others() {
    with_a_queue(&[("response_timeout", "300ms")], |server| {
        let mut forgotten = server.connect();
        forgotten.send("GET /forgotten HTTP/1.1\r\nHost: x\r\n\r\n");
        server.queue().take(1);
        let mut client = server.connect();
        for _ in 0..20 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let event = server.queue().take(1)[0];
            std::thread::sleep(Duration::from_millis(25));
            assert_eq!(server.text(event.token, b"in time"), INGEST_OK);
            assert_eq!(client.answer().text(), "in time");
        }
        assert_eq!(forgotten.answer().status, 504);
    });
}

#[test]
fn what_waits_too_long_in_a_queue_is_503() {
    with_a_queue(&[("queue_age", "300ms")], |server| {
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for client in &mut clients {
            let answer = client.answer();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        }
        let mut batch = [crate::support::host::blank_event(); 16];
        assert_eq!(server.queue().poll(&mut batch), 0, "what was answered by the library is not delivered any more");
        recovers(server);
    });
}

#[test]
fn a_full_queue_ages_into_503_and_recovers() {
    with_a_queue(&[("queue_max", "2"), ("queue_age", "300ms")], |server| {
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        assert!(eventually(|| server.queue().depth() == 2), "{} in the queue", server.queue().depth());
        for client in &mut clients {
            let answer = client.answer();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        }
        recovers(server);
    });
}

#[test]
fn a_full_queue_loses_nothing_when_it_is_polled_in_time() {
    with_a_queue(&[("queue_max", "2")], |server| {
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        assert!(eventually(|| server.queue().depth() == 2));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(server.queue().depth(), 2, "queue_max is 2");
        for _ in 0..20 {
            let event = server.queue().take(1)[0];
            assert_eq!(server.text(event.token, b"served"), INGEST_OK);
        }
        for client in &mut clients {
            assert_eq!([client.answer().text(), client.answer().text()], ["served", "served"]);
        }
    });
}

#[test]
fn no_more_is_delivered_than_the_host_may_hold() {
    with_a_queue(&[("in_flight_max", "2"), ("queue_age", "300ms")], |server| {
        let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
        for client in &mut held {
            client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        let events = server.queue().take(2);
        let mut late = server.connect();
        late.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut batch = [crate::support::host::blank_event(); 4];
        assert_eq!(server.queue().wait(&mut batch, 100), 0, "a third request was delivered");
        assert_eq!(late.answer().status, 503);
        for event in events {
            assert_eq!(server.text(event.token, b"served"), INGEST_OK);
        }
        for client in &mut held {
            assert_eq!(client.answer().text(), "served");
        }
        recovers(server);
    });
}

/// The server takes requests again once the host does.
fn recovers(server: &Server) {
    let mut client = server.connect();
    client.send("GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    let event = server.queue().take(1)[0];
    assert_eq!(server.text(event.token, b"again"), INGEST_OK);
    assert_eq!(client.answer().text(), "again");
}

#[test]
fn at_max_connections_others_wait_in_the_backlog() {
    let server = Server::serve(&[("max_connections", "2")], Delivery::Inline, echo_target());
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.get("/1").text(), "/1");
    assert_eq!(second.get("/2").text(), "/2");
    let mut third = server.connect();
    third.send("GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(third.is_silent(Duration::from_millis(100)), "a third connection was served");
    drop(first);
    assert_eq!(third.answer().text(), "/3");
    assert_eq!(second.get("/4").text(), "/4");
    server.finish();
}

/// Room is made in the very tick, or on another thread at the very moment, in which a thread has stopped accepting.
#[test]
fn room_under_the_cap_is_noticed_at_once() {
    for options in [
        [("topology", "inline"), ("io_threads", "1")],
        [("topology", "shared"), ("io_threads", "2")],
        [("topology", "acceptor"), ("io_threads", "2")],
    ] {
        let all = [&options[..], &[("max_connections", "1"), ("spin", "off")]].concat();
        let server = Server::serve(&all, Delivery::Inline, echo_target());
        for round in 0..50 {
            let start = Instant::now();
            let mut client = server.connect();
            assert_eq!(client.get("/").text(), "/");
            drop(client);
            assert!(start.elapsed() < Duration::from_secs(2), "{options:?}, round {round}: {:?}", start.elapsed());
        }
        server.finish();
    }
}

#[test]
fn a_slow_reader_harms_nobody() {
    let handler = on_requests(|host: Host, request| {
        let size = if request.target() == b"/big" { 4 << 20 } else { 5 };
        assert_eq!(host.text(request.0.token, &vec![b'x'; size]), INGEST_OK);
    });
    everywhere(&[("write_timeout", "400ms")], &handler, |server| {
        let mut slow = server.connect();
        for _ in 0..8 {
            slow.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for _ in 0..20 {
            assert_eq!(server.connect().get("/small").body.len(), 5);
        }
        assert!(eventually(|| server.stats().connections_open == 0), "who never reads is closed after write_timeout");
    });
}

/// One octet now and then keeps the idle deadline away; the least rate ends it after its grace of five seconds.
#[test]
fn a_body_that_drips_is_408() {
    let server = Server::queued(&[("body_timeout", "30s"), ("body_rate_min", "1000")]);
    let start = Instant::now();
    let mut slow = server.connect();
    slow.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    while !slow.has_input() && start.elapsed() < Duration::from_secs(9) {
        if slow.try_send(b"x").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_secs(5) && elapsed < Duration::from_secs(8), "cut off after {elapsed:?}");
    assert_eq!(slow.answer().status, 408);
    assert_eq!(server.stats().requests_delivered, 0);
    server.finish();
}

#[test]
fn an_answer_that_is_read_too_slowly_is_cut_off() {
    let server = Server::queued(&[("write_timeout", "30s"), ("write_rate_min", "100MiB")]);
    let mut slow = server.connect();
    slow.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let event = server.queue().take(1)[0];
    let start = Instant::now();
    assert_eq!(server.text(event.token, &vec![b'x'; 32 << 20]), INGEST_OK);
    assert!(eventually(|| server.stats().connections_open == 0), "the reader that does not read is still there");
    assert!(start.elapsed() > Duration::from_secs(5), "cut off before the grace was over");
    server.finish();
}
