//! Answers that come in pieces, from files, and from memory that the host lends.

use crate::support::client::Client;
use crate::support::host::{Host, Server, on_requests};
use crate::{everywhere, with_a_queue};
use ingest::request::ingest_token;
use ingest::status::*;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Octets that show where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Writes all of it, trying again while the stream is busy.
fn write_all(host: &Host, token: ingest_token, mut octets: &[u8]) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !octets.is_empty() {
        match host.write(token, octets) {
            INGEST_E_BUSY => std::thread::yield_now(),
            taken => {
                assert!(taken > 0, "write returned {taken}");
                octets = &octets[taken as usize..];
            }
        }
        assert!(Instant::now() < limit, "the stream stayed busy");
    }
}

fn wait_until_none_is_held(server: &Server) {
    let limit = Instant::now() + Duration::from_secs(10);
    while server.stats().in_flight > 0 {
        assert!(Instant::now() < limit, "the memory did not come back");
        std::thread::yield_now();
    }
}

fn ask(server: &Server, client: &mut Client, request: &str) -> ingest_token {
    client.send(request);
    server.queue().take(1)[0].token
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: example.test\r\n\r\n";

#[test]
fn a_body_of_unknown_length_comes_in_chunks_with_trailers() {
    let handler = on_requests(|host, request| {
        let token = request.0.token;
        assert_eq!(host.begin(token, 200, &[(b"X-A", b"1")], -1), INGEST_OK);
        assert_eq!(host.write(token, b""), 0);
        assert_eq!(host.write(token, b"one, "), 5);
        assert_eq!(host.write(token, b"two"), 3);
        assert_eq!(host.end(token, &[(b"X-Sum", b"8"), (b"Content-Length", b"3")]), INGEST_OK);
        assert_eq!((host.write(token, b"more"), host.end(token, &[])), (INGEST_E_GONE, INGEST_E_GONE));
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str(), answer.header("x-a")), (200, "one, two", Some("1")));
            assert_eq!(answer.trailers, [("X-Sum".to_string(), "8".to_string())]);
            assert_eq!((answer.count("date"), answer.count("content-length")), (1, 0));
        }
    });
}

#[test]
fn large_bodies_arrive_whole_and_the_stream_pushes_back() {
    // One consumer's thread writes while the I/O thread sends, and the client reads slowly at first.
    const LENGTH: usize = 3_000_000;
    with_a_queue(&[], |server| {
        for announced in [-1, LENGTH as i64] {
            let mut client = server.connect();
            let token = ask(server, &mut client, GET);
            let host = server.host;
            let writer = std::thread::spawn(move || {
                assert_eq!(host.begin(token, 200, &[], announced), INGEST_OK);
                write_all(&host, token, &pattern(LENGTH));
                assert_eq!(host.end(token, &[]), INGEST_OK);
            });
            let answer = client.answer();
            writer.join().expect("the writer is content");
            assert!(answer.body == pattern(LENGTH), "octets are missing or in disorder");
            assert_eq!(answer.header("content-length").is_some(), announced >= 0);
        }
    });
}

#[test]
fn a_client_that_does_not_read_makes_the_stream_busy_and_nothing_grows() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = ask(server, &mut client, GET);
        assert_eq!(server.begin(token, 200, &[], -1), INGEST_OK);
        let octets = pattern(64 * 1024);
        let mut taken = 0;
        // The kernel's buffers fill first; after that at most 64 KiB are taken.
        let limit = Instant::now() + Duration::from_secs(20);
        let mut busy_since = None;
        while busy_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
            assert!(Instant::now() < limit, "the stream never got busy: {taken} octets were taken");
            match server.write(token, &octets) {
                INGEST_E_BUSY => {
                    busy_since.get_or_insert_with(Instant::now);
                    std::thread::sleep(Duration::from_millis(1));
                }
                count => {
                    busy_since = None;
                    taken += usize::try_from(count).expect("octets are taken");
                }
            }
        }
        let host = server.host;
        let ender = std::thread::spawn(move || assert_eq!(host.end(token, &[]), INGEST_OK));
        assert_eq!(client.answer().body.len(), taken);
        ender.join().expect("the end is taken");
    });
}

#[test]
fn what_was_announced_is_what_has_to_be_written() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = ask(server, &mut client, GET);
        assert_eq!((server.write(token, b"x"), server.end(token, &[])), (INGEST_E_STATE, INGEST_E_STATE));
        assert_eq!(server.begin(token, 200, &[], 5), INGEST_OK);
        assert_eq!(server.begin(token, 200, &[], 5), INGEST_E_STATE);
        assert_eq!(server.begin(token, 103, &[], 0), INGEST_E_STATE);
        assert_eq!((server.text(token, b"no"), server.alive(token)), (INGEST_E_STATE, 2));
        assert_eq!(server.write(token, b"123456"), INGEST_E_ARGUMENT);
        assert_eq!(server.write(token, b"1234"), 4);
        assert_eq!(server.end(token, &[]), INGEST_E_ARGUMENT);
        assert_eq!(server.write(token, b"56"), INGEST_E_ARGUMENT);
        assert_eq!(server.write(token, b"5"), 1);
        assert_eq!(server.end(token, &[(b"bad name", b"")]), INGEST_E_ARGUMENT);
        assert_eq!(server.end(token, &[(b"X-Dropped", b"")]), INGEST_OK);
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.header("content-length")), ("12345", Some("5")));
        assert_eq!(server.alive(token), 0);
        // The client has all octets before the end has come home.
        wait_until_none_is_held(server);
    });
}

#[test]
fn interim_answers_come_before_the_final_one() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = ask(server, &mut client, GET);
        assert_eq!(server.begin(token, 101, &[], 0), INGEST_E_ARGUMENT);
        assert_eq!(server.begin(token, 103, &[(b"Link", b"</a>"), (b"Content-Length", b"7")], 0), INGEST_OK);
        let early = client.read_any(false).expect("an answer").expect("an answer");
        assert_eq!((early.status, early.header("link"), early.headers.len()), (103, Some("</a>"), 1));
        assert_eq!(server.begin(token, 102, &[], 0), INGEST_OK);
        assert_eq!(server.text(token, b"final"), INGEST_OK);
        assert_eq!(client.read_any(false).expect("an answer").expect("an answer").status, 102);
        assert_eq!(client.answer().text(), "final");
        // An HTTP/1.0 client would take it for the answer.
        let mut old = server.connect();
        let token = ask(server, &mut old, "GET / HTTP/1.0\r\n\r\n");
        assert_eq!(server.begin(token, 103, &[], 0), INGEST_OK);
        assert_eq!(server.text(token, b"only"), INGEST_OK);
        assert_eq!(old.read_any(false).expect("an answer").expect("an answer").status, 200);
    });
}

#[test]
fn http_1_0_gets_the_end_of_the_connection_as_the_end_of_the_body() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = ask(server, &mut client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(server.begin(token, 200, &[], -1), INGEST_OK);
        assert_eq!((server.write(token, b"until the end"), server.end(token, &[(b"T", b"1")])), (13, INGEST_OK));
        let text = String::from_utf8(client.read_to_end().expect("a polite end")).expect("text");
        assert!(text.contains("Connection: close\r\n") && !text.contains("chunked"), "{text}");
        assert!(text.ends_with("\r\n\r\nuntil the end"), "{text}");
        // One that is given up must not look complete.
        let mut client = server.connect();
        let token = ask(server, &mut client, "GET / HTTP/1.0\r\n\r\n");
        client.finish_sending();
        assert_eq!((server.begin(token, 200, &[], -1), server.write(token, b"half")), (INGEST_OK, 4));
        while !client.has_input() {
            std::thread::yield_now();
        }
        assert_eq!(server.abandon(token), INGEST_OK);
        assert!(client.read_to_end().is_err(), "a truncated body ended as a whole one does");
    });
}

#[test]
fn a_stream_that_is_given_up_never_looks_complete() {
    with_a_queue(&[], |server| {
        for length in [-1, 100] {
            let mut client = server.connect();
            let token = ask(server, &mut client, GET);
            assert_eq!((server.begin(token, 200, &[], length), server.write(token, b"half")), (INGEST_OK, 4));
            while !client.has_input() {
                std::thread::yield_now();
            }
            assert_eq!(server.abandon(token), INGEST_OK);
            assert!(client.read_answer(false).is_err(), "the answer ended as a whole one does");
            assert_eq!((server.abandon(token), server.end(token, &[])), (INGEST_E_GONE, INGEST_E_GONE));
        }
        wait_until_none_is_held(server);
    });
}

#[test]
fn head_and_statuses_without_a_body_send_no_octets() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let asked = [("HEAD", 200, -1), ("HEAD", 200, 200_000), ("GET", 204, -1), ("GET", 304, -1)];
        for (method, status, length) in asked {
            let token = ask(server, &mut client, &format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(server.begin(token, status, &[], length), INGEST_OK);
            write_all(&server.host, token, &pattern(200_000));
            assert_eq!(server.end(token, &[(b"T", b"1")]), INGEST_OK);
            let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
            assert_eq!(answer.status, status);
        }
        let token = ask(server, &mut client, GET);
        assert_eq!(server.text(token, b"next"), INGEST_OK);
        assert_eq!(client.answer().text(), "next");
    });
}

#[test]
fn pipelined_streams_keep_the_order_of_the_requests() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send(GET.repeat(4));
        let tokens: Vec<_> = server.queue().take(4).iter().map(|event| event.token).collect();
        // The last is answered first, the first last; the second is whole, the others are streams.
        assert_eq!(server.begin(tokens[3], 200, &[], -1), INGEST_OK);
        write_all(&server.host, tokens[3], b"four");
        assert_eq!(server.end(tokens[3], &[]), INGEST_OK);
        assert_eq!(server.begin(tokens[2], 200, &[], 5), INGEST_OK);
        assert_eq!(server.text(tokens[1], b"two"), INGEST_OK);
        assert_eq!(server.write(tokens[2], b"three"), 5);
        assert_eq!(server.begin(tokens[0], 200, &[], -1), INGEST_OK);
        assert_eq!((server.write(tokens[0], b"one"), server.end(tokens[0], &[])), (3, INGEST_OK));
        assert_eq!((client.answer().text(), client.answer().text()), ("one".to_string(), "two".to_string()));
        assert_eq!(server.end(tokens[2], &[]), INGEST_OK);
        assert_eq!((client.answer().text(), client.answer().text()), ("three".to_string(), "four".to_string()));
    });
}

#[test]
fn a_stream_whose_client_left_is_gone_and_its_memory_comes_back_with_the_end() {
    with_a_queue(&[], |server| {
        for whole in [false, true] {
            let mut client = server.connect();
            let token = ask(server, &mut client, GET);
            assert_eq!((server.begin(token, 200, &[], -1), server.write(token, b"x")), (INGEST_OK, 1));
            drop(client);
            let limit = Instant::now() + Duration::from_secs(10);
            while server.alive(token) != 0 {
                assert!(Instant::now() < limit, "nobody noticed that the client left");
                std::thread::yield_now();
            }
            assert_eq!((server.write(token, b"y"), server.stats().in_flight), (INGEST_E_GONE, 1));
            let ended = if whole { server.end(token, &[]) } else { server.abandon(token) };
            assert_eq!((ended, server.end(token, &[])), (INGEST_E_GONE, INGEST_E_GONE));
            wait_until_none_is_held(server);
        }
    });
}

fn file_of(octets: &[u8]) -> std::fs::File {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("streams-{:?}", std::thread::current().id()));
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    // It goes when its last descriptor is closed.
    std::fs::remove_file(path).expect("the file is there");
    file.write_all(octets).expect("the file takes it");
    file.seek(SeekFrom::Start(0)).expect("a file can be rewound");
    file
}

#[test]
fn files_are_sent_as_they_are() {
    const LENGTH: usize = 5_000_000;
    let whole = pattern(LENGTH);
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        for (offset, length) in [(0, LENGTH), (1, 1), (4_096, 100_000), (LENGTH, 0), (0, 0)] {
            let file = file_of(&whole);
            let token = ask(server, &mut client, GET);
            for (offset, length) in [(0, LENGTH as u64 + 1), (LENGTH as u64, 1), (u64::MAX, 2)] {
                assert_eq!(server.file(token, file.as_raw_fd(), offset, length), INGEST_E_ARGUMENT);
            }
            assert_eq!(server.file(token, file.as_raw_fd(), offset as u64, length as u64), INGEST_OK);
            drop(file);
            let answer = client.answer();
            assert!(answer.body == whole[offset..offset + length], "other octets than those of the file");
        }
        let token = ask(server, &mut client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(server.file(token, file_of(&whole).as_raw_fd(), 0, 77), INGEST_OK);
        assert_eq!(client.answer_to_head().header("content-length"), Some("77"));
    });
}

#[test]
fn what_is_no_file_is_refused_and_a_file_that_shrinks_never_looks_whole() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = ask(server, &mut client, GET);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (pipe, folder) = (reader.as_raw_fd(), std::fs::File::open(".").expect("a folder"));
        for fd in [pipe, writer.as_raw_fd(), folder.as_raw_fd(), -1, 1_000_000] {
            assert_eq!(server.file(token, fd, 0, 0), INGEST_E_ARGUMENT, "descriptor {fd}");
        }
        let file = file_of(&pattern(40_000_000));
        assert_eq!(server.file(token, file.as_raw_fd(), 0, 40_000_000), INGEST_OK);
        // The kernel's buffers are smaller than that, so it is not sent yet.
        while !client.has_input() {
            std::thread::yield_now();
        }
        file.set_len(1_000_000).expect("it can be cut");
        assert!(client.read_answer(false).is_err(), "it looked whole");
        let mut end = Vec::new();
        assert!(client.writer().read_to_end(&mut end).is_err() || end.is_empty());
    });
}
