//! A full queue: reading stops, the client is pushed back by TCP, and everything is served once someone polls again.

use crate::support::host::{Server, blank_event};
use ingest::status::INGEST_OK;
use std::io::Write;
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
const EACH: usize = 2_000;

#[test]
fn a_full_queue_stops_reading_and_loses_nothing() {
    let server = Server::queued(&[("queue_max", "4"), ("queue_age", "60s")]);
    let port = server.port();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || ask(port, client))).collect();
        let sent = CLIENTS * EACH * request(0, 0).len();
        let before = settled(&server);
        assert!(server.queue().depth() <= 4, "{} requests wait in a queue of 4", server.queue().depth());
        assert!(before < sent as u64 / 2, "{before} of {sent} octets were read although the queue is full");
        let mut answered = 0;
        let mut batch = [blank_event(); 16];
        while answered < CLIENTS * EACH {
            let count = server.queue().wait(&mut batch, 10_000);
            assert!(count > 0, "nothing came within ten seconds after {answered} answers");
            for event in &batch[..count as usize] {
                assert_eq!(server.text(event.token, b"ok"), INGEST_OK);
                answered += 1;
            }
        }
        for client in clients {
            assert_eq!(client.join().expect("the client ends"), EACH);
        }
        assert_eq!(server.queue().poll(&mut batch), 0, "a request was delivered twice");
    });
    server.finish();
}

fn request(client: usize, index: usize) -> String {
    format!("GET /{client:02}/{index:06} HTTP/1.1\r\nHost: x\r\nX-Fill: {:0200}\r\n\r\n", 0)
}

/// Sends everything from one thread while another reads the answers; returns how many came.
fn ask(port: u16, client: usize) -> usize {
    let mut reader = crate::support::client::Client::connect(port);
    let mut writer = reader.writer();
    let sender = std::thread::spawn(move || {
        for index in 0..EACH {
            writer.write_all(request(client, index).as_bytes()).expect("the server reads on in the end");
        }
    });
    for _ in 0..EACH {
        assert_eq!(reader.answer().text(), "ok");
    }
    sender.join().expect("the sender ends");
    EACH
}

/// Waits until the server has read nothing for a while; returns what it has read.
fn settled(server: &Server) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = (0, Instant::now());
    while Instant::now() < deadline {
        let read = server.stats().bytes_received;
        if read != last.0 || read == 0 {
            last = (read, Instant::now());
        } else if last.1.elapsed() > Duration::from_millis(300) {
            return read;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the server reads on and on although the queue is full: {} octets", last.0);
}
