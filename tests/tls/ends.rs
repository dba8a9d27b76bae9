//! How sessions end: politely, cut off, too late, or with something that is no TLS.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Delivery, Server, on_requests};
use crate::support::secured::{self, Secured};
use crate::{serve, telling};
use ingest::status::INGEST_OK;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
    stream
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn n15_plain_http_on_a_tls_port_gets_a_400_that_says_so() {
    let server = serve(&[]);
    for request in [GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"] {
        let mut stream = raw(&server);
        stream.write_all(request.as_bytes()).expect("the server reads");
        let text = String::from_utf8(read_all(&mut stream)).expect("plain text");
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connect with https"), "{text}");
    }
    assert_eq!((server.stats().refused_400, server.stats().handshakes), (3, 0));
}

#[test]
fn n15_tls_on_a_plain_port_gets_a_400() {
    let server = Server::serve(&[], Delivery::Inline, telling());
    let mut stream = raw(&server);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello, and a line end\r\n").expect("the server reads");
    assert!(read_all(&mut stream).starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn n19_garbage_gets_an_alert_and_is_counted() {
    let server = serve(&[]);
    for (count, garbage) in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"\x00\x01\x02\x03\x04\x05\x06", b"\x17\x03\x03\x00\x05hello"].iter().enumerate()
    {
        let mut stream = raw(&server);
        stream.write_all(garbage).expect("the server reads");
        let alert = read_all(&mut stream);
        assert_eq!((alert.first(), alert.len()), (Some(&21), 7), "{alert:?}");
        assert!(eventually(|| server.stats().handshake_failures == count as u64 + 1));
    }
    // Garbage after the handshake, too.
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    client.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let error = client.read_answer(false).expect_err("the session is broken");
    assert!(error.to_string().contains("alert"), "{error}");
    assert_eq!((server.stats().handshake_failures, server.stats().requests_delivered), (3, 1));
}

#[test]
fn a_handshake_has_to_be_done_in_time() {
    let server = serve(&[("tls.handshake_timeout", "300ms"), ("header_timeout", "1m"), ("linger_timeout", "100ms")]);
    let start = Instant::now();
    let mut silent = raw(&server);
    let mut slow = raw(&server);
    // The begin of a hello, then an octet now and then: that shows no progress.
    slow.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").expect("the server reads");
    let dripper = std::thread::spawn(move || {
        while slow.write_all(b"x").is_ok() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(read_all(&mut silent), b"");
    dripper.join().expect("it is closed");
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(10));
    assert!(eventually(|| server.stats().limit_handshake == 2));
    assert_eq!(server.stats().handshake_failures, 1, "nobody has begun on the silent one");
}

#[test]
fn a_record_that_is_dripped_keeps_no_connection_alive() {
    let server = serve(&[("keepalive_timeout", "300ms"), ("linger_timeout", "100ms")]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    // The header of a record of 16 KiB, then an octet now and then.
    client.send_raw(b"\x17\x03\x03\x40\x00");
    let mut stream = client.writer().stream;
    let start = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "it is kept alive");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.stats().limit_keepalive_timeout, 1);
}

#[test]
fn n04_a_body_that_is_cut_off_without_close_notify_is_never_delivered() {
    let delivered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&delivered);
    let handler = on_requests(move |host, request| {
        count.fetch_add(1, Ordering::Relaxed);
        host.text(request.0.token, format!("{}", request.body().len()).as_bytes());
    });
    let server = Server::serve(&secured::options(), Delivery::Inline, handler);
    for part in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ] {
        for polite in [false, true] {
            let mut client = server.connect();
            client.send(part);
            let handle = client.writer();
            if polite {
                client.finish_sending();
            } else {
                handle.stream.shutdown(Shutdown::Write).expect("it is open");
            }
            assert!(client.is_closed(), "{part}");
        }
    }
    assert_eq!(delivered.load(Ordering::Relaxed), 0);
    // A request that is complete by its own framing does not need the end of the session.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfull");
    client.writer().stream.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(client.answer().text(), "4");
    assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
}

/// More than what one connection may send in a tick, so that some of it is not sealed yet when the host has said all.
#[test]
fn n04_a_large_last_answer_is_whole_before_close_notify() {
    let server = Server::serve(
        &secured::options(),
        Delivery::Inline,
        on_requests(|host, request| {
            let _ = host.bytes(request.0.token, 200, "application/octet-stream", &vec![b'x'; 5 << 20]);
        }),
    );
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"] {
        for polite in [false, true] {
            let mut client = server.connect();
            client.send(request);
            if polite {
                client.finish_sending();
            }
            assert_eq!(client.answer().body.len(), 5 << 20, "{request}");
            assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
        }
    }
}

/// An answer that the host does not end must not look as if it had: with a body that only the end delimits, close_notify would say so.
#[test]
fn n04_an_answer_that_is_given_up_ends_without_close_notify() {
    let server = Server::serve(&secured::options(), Delivery::Queue(0), telling());
    for (request, length) in [("GET / HTTP/1.0\r\n\r\n", -1), (GET, -1), (GET, 1_000_000)] {
        let mut client = server.connect();
        client.send(request);
        let token = server.queue().take(1)[0].token;
        assert_eq!(server.begin(token, 200, &[], length), INGEST_OK);
        assert_eq!(server.write(token, &[b'x'; 1000]), 1000);
        assert_eq!(server.abandon(token), INGEST_OK);
        let error = client.read_to_end().expect_err("it was cut off");
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
    }
}

#[test]
fn h20_a_stop_while_clients_shake_hands() {
    for grace_ms in [0, 300] {
        let server = serve(&[("tls.handshake_timeout", "1h"), ("header_timeout", "1h")]);
        let mut clients: Vec<TcpStream> = (0..50).map(|_| raw(&server)).collect();
        clients.iter_mut().for_each(|client| client.write_all(b"\x16\x03\x01\x02\x00\x01").expect("the server reads"));
        assert!(eventually(|| server.stats().connections_open == 50));
        server.drain(grace_ms);
        // A second beyond the grace is what is promised; the machine may be busy.
        assert_eq!(server.join(crate::support::PATIENCE.as_millis() as i32), INGEST_OK);
        for client in &mut clients {
            assert!(read_all(client).first().is_none_or(|first| *first == 21), "an alert, or nothing");
        }
    }
}

#[test]
fn close_notify_is_said_whenever_the_server_closes() {
    let server = serve(&[("keepalive_timeout", "200ms"), ("body_max", "100")]);
    let asks = [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        (GET, "200"),
        ("nonsense\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "413"),
    ];
    for (request, status) in asks {
        let mut client = server.connect();
        client.send(request);
        let text = String::from_utf8(client.read_to_end().expect("it ends with close_notify")).expect("text");
        assert!(text[9..].starts_with(status), "{request}: {text}");
    }
}

#[test]
fn a_client_that_says_close_notify_still_gets_its_answers() {
    let server = Server::serve(&secured::options(), Delivery::Queue(0), telling());
    let mut client = server.connect();
    client.send(GET.repeat(3));
    client.finish_sending();
    let events = server.queue().take(3);
    assert!(eventually(|| server.alive(events[0].token) == 1), "the host hears that nothing more comes");
    for event in &events {
        server.text(event.token, b"late");
    }
    for _ in 0..3 {
        assert_eq!(client.answer().text(), "late");
    }
    assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
}

#[test]
fn many_connections_are_served_at_once() {
    let count = if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { 1000 } else { 200 };
    let server = serve(&[]);
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| client.send(GET));
        for client in &mut clients {
            assert!(client.answer().text().starts_with("https 304 [localhost]"));
        }
    }
    assert_eq!((server.stats().handshakes, server.stats().handshake_failures), (count, 0));
    // An idle session holds no octets.
    assert_eq!((server.stats().memory_bytes, server.stats().connections_idle), (0, count));
}

#[test]
fn a_drain_says_close_notify_to_who_is_idle() {
    let server = serve(&[]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(server.drain(5_000), 0);
    assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
}

#[test]
fn a_client_that_leaves_in_its_handshake_is_counted() {
    let server = serve(&[]);
    for _ in 0..3 {
        let mut stream = raw(&server);
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").expect("the server reads");
    }
    assert!(eventually(|| server.stats().handshake_failures == 3 && server.stats().connections_open == 0));
    let stream = raw(&server);
    Secured::connect(&stream).expect("others are served");
}

/// The octets that say this, to be sent in parts.
fn sealed(client: &Client, text: &str) -> Vec<u8> {
    let mut sealed = Vec::new();
    client.tls().expect("it speaks tls").with(|session| {
        session.writer().write_all(text.as_bytes()).expect("there is room");
        session.write_tls(&mut sealed).expect("memory takes all");
    });
    sealed
}

#[test]
fn a_drain_waits_for_the_rest_of_a_record_as_for_the_rest_of_a_head() {
    let server = serve(&[]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    let record = sealed(&client, GET);
    let received = server.stats().bytes_received;
    client.send_raw(&record[..20]);
    assert!(eventually(|| server.stats().bytes_received == received + 20));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.drain(10_000), 0);
    std::thread::sleep(Duration::from_millis(100));
    client.send_raw(&record[20..]);
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
}

#[test]
fn the_time_of_a_handshake_is_not_taken_off_that_of_the_first_head() {
    let server = serve(&[("header_timeout", "1s")]);
    let stream = raw(&server);
    std::thread::sleep(Duration::from_millis(1200));
    let tls = Secured::connect(&stream).expect("the handshake has time");
    std::thread::sleep(Duration::from_millis(100));
    let mut stream = stream;
    tls.write_all(&mut stream, GET.as_bytes()).expect("the server reads");
    let mut answer = [0; 12];
    tls.read(&mut stream, &mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
