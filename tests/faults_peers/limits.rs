//! Each limit on what a peer may send, crossed and just kept (limits.md, section 2): heads, bodies, chunks, trailers, requests in line.

use crate::support::client::Client;
use crate::support::host::{Delivery, Handler, Server, on_requests};
use ingest::limits::Limits;
use ingest::status::*;

/// Answers with the target and the length of the body.
pub fn telling() -> Handler {
    on_requests(|host, request| {
        let text = [request.target(), b" ", request.body().len().to_string().as_bytes()].concat();
        assert_eq!(host.text(request.0.token, &text), INGEST_OK);
    })
}

pub fn serve(options: &[(&str, &str)]) -> Server {
    Server::serve(options, Delivery::Inline, telling())
}

/// This is answered, and the connection stays.
fn keeps(server: &Server, what: &str, wire: impl AsRef<[u8]>) {
    let mut client = server.connect();
    client.send(wire);
    assert_eq!(client.answer().status, 200, "{what}: just within the limit");
    assert_eq!(client.get("/again").status, 200, "{what}: the connection goes on");
}

/// This is refused with the status, and the connection ends. More may be on its way than is read.
fn crosses(server: &Server, what: &str, status: u16, wire: impl AsRef<[u8]>) {
    let delivered = server.stats().requests_delivered;
    let mut client = server.connect();
    let _ = client.try_send(wire.as_ref());
    let answer = client.answer();
    assert_eq!((answer.status, answer.says_close()), (status, true), "{what}: over the limit");
    assert!(client.is_closed(), "{what}");
    assert_eq!(server.stats().requests_delivered, delivered, "{what}: what is over the limit is not delivered");
}

fn head(target: usize, fields: &[String]) -> String {
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("GET /{} HTTP/1.1\r\nHost: x\r\n{lines}\r\n", "t".repeat(target - 1))
}

fn field(length: usize) -> String {
    format!("X: {}", "v".repeat(length - 3))
}

fn sized(length: usize) -> Vec<u8> {
    [format!("PUT /sized HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes(), vec![b'x'; length]].concat()
}

fn chunked(chunks: &[&str], last: &str) -> String {
    let framed: String = chunks.iter().map(|data| format!("{:x}\r\n{data}\r\n", data.len())).collect();
    format!("PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{framed}{last}")
}

#[test]
fn limits_target_max() {
    let server = serve(&[]);
    let most = Limits::default().target_max as usize;
    keeps(&server, "target_max", head(most, &[]));
    crosses(&server, "target_max", 414, head(most + 1, &[]));
    server.finish();
    let server = serve(&[("target_max", "10")]);
    keeps(&server, "target_max=10", head(10, &[]));
    crosses(&server, "target_max=10", 414, head(11, &[]));
    server.finish();
}

#[test]
fn limits_header_line_max() {
    let server = serve(&[("header_line_max", "1000")]);
    keeps(&server, "header_line_max", head(1, &[field(1000), field(1000)]));
    crosses(&server, "header_line_max", 431, head(1, &[field(1001)]));
    server.finish();
}

#[test]
fn limits_headers_max() {
    // The field lines with their ends: `Host: x` has 9 octets.
    let server = serve(&[("headers_max", "1000"), ("header_line_max", "1000")]);
    keeps(&server, "headers_max", head(1, &[field(489), field(498)]));
    crosses(&server, "headers_max", 431, head(1, &[field(489), field(499)]));
    server.finish();
}

#[test]
fn limits_header_count() {
    let server = serve(&[]);
    let most = Limits::default().header_count as usize;
    keeps(&server, "header_count", head(1, &vec!["A: b".to_owned(); most - 1]));
    crosses(&server, "header_count", 431, head(1, &vec!["A: b".to_owned(); most]));
    server.finish();
}

#[test]
fn limits_body_max() {
    let server = serve(&[("body_max", "100000")]);
    keeps(&server, "body_max by length", sized(100_000));
    // Before any of it is read.
    crosses(&server, "body_max by length", 413, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n");
    let half = "x".repeat(50_000);
    keeps(&server, "body_max in chunks", chunked(&[&half, &half], "0\r\n\r\n"));
    crosses(&server, "body_max in chunks", 413, chunked(&[&half, &half, "x"], "0\r\n\r\n"));
    server.finish();
}

#[test]
fn limits_chunk_ext_max() {
    let server = serve(&[("chunk_ext_max", "100")]);
    // A semicolon, a name, an equals sign and a value, over several chunks.
    let with = |lengths: &[usize]| {
        let chunks: String = lengths.iter().map(|length| format!("1;a={}\r\nx\r\n", "e".repeat(length - 3))).collect();
        format!("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    keeps(&server, "chunk_ext_max", with(&[100]));
    keeps(&server, "chunk_ext_max over chunks", with(&[50, 50]));
    crosses(&server, "chunk_ext_max", 400, with(&[101]));
    crosses(&server, "chunk_ext_max over chunks", 400, with(&[50, 51]));
    server.finish();
}

/// Framing may cost 16 KiB and once the data: a chunk of one octet costs five, so 4,096 of them are free.
#[test]
fn limits_chunk_overhead() {
    let server = serve(&[]);
    let ones = |count: usize| chunked(&vec!["x"; count], "0\r\n\r\n");
    // Each brings one octet of data, and five of framing: count * 5 <= 16,384 + count.
    keeps(&server, "chunk overhead", ones(4_000));
    crosses(&server, "chunk overhead", 400, ones(4_200));
    let large = "x".repeat(40_000);
    let mixed: Vec<&str> = std::iter::once(large.as_str()).chain(vec!["x"; 10_000]).collect();
    keeps(&server, "chunk overhead that the data allows", chunked(&mixed, "0\r\n\r\n"));
    server.finish();
}

#[test]
fn limits_chunk_size_digits() {
    let server = serve(&[]);
    let size = |digits: usize| {
        format!("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}1\r\nx\r\n0\r\n\r\n", "0".repeat(digits - 1))
    };
    keeps(&server, "chunk size digits", size(16));
    crosses(&server, "chunk size digits", 400, size(17));
    server.finish();
}

#[test]
fn limits_trailers_max_and_trailer_count() {
    let server = serve(&[("trailers_max", "1000"), ("trailer_count", "5")]);
    let with = |fields: &[String]| {
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        chunked(&["data"], &format!("0\r\n{lines}\r\n"))
    };
    keeps(&server, "trailers_max", with(&[field(498), field(498)]));
    crosses(&server, "trailers_max", 431, with(&[field(498), field(499)]));
    keeps(&server, "trailer_count", with(&vec!["A: b".to_owned(); 5]));
    crosses(&server, "trailer_count", 431, with(&vec!["A: b".to_owned(); 6]));
    server.finish();
}

#[test]
fn limits_empty_lines_before_a_request() {
    let server = serve(&[]);
    let after = |count: usize| format!("{}GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n".repeat(count));
    keeps(&server, "empty lines", after(8));
    crosses(&server, "empty lines", 400, after(9));
    server.finish();
}

#[test]
fn limits_requests_per_connection() {
    let server = serve(&[("requests_per_connection", "3")]);
    let mut client = server.connect();
    for (index, closes) in [false, false, true].into_iter().enumerate() {
        assert_eq!(client.get("/").says_close(), closes, "answer {index}");
    }
    assert!(client.is_closed());
    // What is pipelined behind the last one is not served.
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
    for closes in [false, false, true] {
        assert_eq!(client.answer().says_close(), closes);
    }
    assert!(client.is_closed());
    assert_eq!(server.stats().requests_delivered, 6);
    server.finish();
}

#[test]
fn limits_pipeline_max() {
    let server = Server::queued(&[("pipeline_max", "4")]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4));
    let first = server.queue().take(4);
    client.send("GET /5 HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut more = [crate::support::host::blank_event(); 4];
    assert_eq!(server.queue().wait(&mut more, 100), 0, "a fifth was delivered");
    assert_eq!(server.text(first[0].token, b"1"), INGEST_OK);
    let fifth = server.queue().take(1);
    for event in first[1..].iter().chain(&fifth) {
        assert_eq!(server.text(event.token, b"2"), INGEST_OK);
    }
    for _ in 0..5 {
        assert_eq!(client.answer().status, 200);
    }
    server.finish();
}

#[test]
fn limits_queue_max_and_queue_bytes() {
    for (options, room) in [([("queue_max", "3"), ("queue_age", "1h")], 3), ([("queue_bytes", "40000"), ("queue_age", "1h")], 3)] {
        let server = Server::queued(&options);
        // A little more than 10,000 octets each: three of them fit, and four would not.
        let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send(sized(10_000));
        }
        assert!(crate::support::eventually(|| server.queue().depth() >= room), "{options:?}: {} wait", server.queue().depth());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(server.queue().depth(), room, "{options:?}");
        for _ in 0..10 {
            assert!(server.queue().depth() <= room, "{options:?}");
            let event = server.queue().take(1)[0];
            assert_eq!(server.text(event.token, b"served"), INGEST_OK);
        }
        for client in &mut clients {
            assert_eq!(client.answer().text(), "served", "{options:?}: none was lost");
        }
        server.finish();
    }
}
