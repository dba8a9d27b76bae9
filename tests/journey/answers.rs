//! What an answer looks like on the wire, and what no host can make it look like.

use crate::support::client::Client;
use crate::support::host::abi::INGEST_RESPONSE_CLOSE;
use crate::support::host::{Server, on_requests};
use crate::{everywhere, with_a_queue};
use ingest::status::*;
use std::time::{Duration, SystemTime};

fn asked(server: &Server, client: &mut Client, method: &str) -> u64 {
    client.send(format!("{method} /x HTTP/1.1\r\nHost: example.test\r\n\r\n"));
    server.queue().take(1)[0].token
}

#[test]
fn every_answer_has_a_date_and_a_length() {
    let handler = on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, b"thirteen octe"), INGEST_OK);
    });
    everywhere(&[], &handler, |server| {
        let answer = server.connect().get("/");
        assert_eq!(answer.version, "HTTP/1.1");
        assert_eq!((answer.count("date"), answer.count("content-length"), answer.count("content-type")), (1, 1, 1));
        assert_eq!(answer.header("content-length"), Some("13"));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        let date = httpdate::parse_http_date(answer.header("date").unwrap_or_default()).expect("an HTTP date");
        let apart = SystemTime::now().duration_since(date).unwrap_or_else(|early| early.duration());
        assert!(apart < Duration::from_secs(5), "the date is {apart:?} off");
        assert!(answer.header("transfer-encoding").is_none());
    });
}

#[test]
fn fields_are_sent_in_order_as_given() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = asked(server, &mut client, "GET");
        let fields: [(&[u8], &[u8]); 4] =
            [(b"X-One", b"1"), (b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=\xFF\t2"), (b"X-Empty", b"")];
        assert_eq!(server.respond(token, 404, &fields, b"not here"), INGEST_OK);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (404, "not here".to_string()));
        let own: Vec<_> = answer.headers.iter().filter(|(name, _)| name.starts_with("X-") || name == "set-cookie").collect();
        let names: Vec<_> = own.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-One", "set-cookie", "set-cookie", "X-Empty"]);
        assert_eq!((own[0].1.as_str(), own[1].1.as_str(), own[3].1.as_str()), ("1", "a=1; Path=/", ""));
    });
}

#[test]
fn nothing_that_would_split_an_answer_is_taken() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let bad: [(&[u8], &[u8]); 13] = [
            (b"X-A", b"1\r\nSet-Cookie: stolen=1"),
            (b"X-A", b"1\nX-B: 2"),
            (b"X-A", b"1\rX-B: 2"),
            (b"X-A", b"before\0after"),
            (b"X-A", b"bell\x07"),
            (b"X-A", b"\r\n\r\nHTTP/1.1 200 OK"),
            (b"X-A\r\nX-B", b"1"),
            (b"X-A\n", b"1"),
            (b"X-A\0", b"1"),
            (b"X-A:", b"1"),
            (b"X A", b"1"),
            (b"", b"1"),
            (b"X-\xC3\xA4", b"1"),
        ];
        for (index, field) in bad.into_iter().enumerate() {
            let token = asked(server, &mut client, "GET");
            assert_eq!(server.respond(token, 200, &[(b"X-Good", b"1"), field], b"split"), INGEST_E_ARGUMENT, "field {index}");
            assert_eq!(server.alive(token), 2, "field {index}: nothing happened, so the request is still open");
            assert_eq!(server.respond(token, 200, &[(b"X-Good", b"1")], b"whole"), INGEST_OK);
            let answer = client.answer();
            assert_eq!(answer.text(), "whole");
            assert!(answer.header("set-cookie").is_none() && answer.header("x-b").is_none());
        }
        let token = asked(server, &mut client, "GET");
        assert_eq!(server.bytes(token, 200, "text/plain\r\nX-B: 2", b""), INGEST_E_ARGUMENT);
        assert_eq!(server.bytes(token, 200, "text/plain", b"whole"), INGEST_OK);
        assert_eq!(client.answer().text(), "whole");
    });
}

#[test]
fn the_framing_is_the_librarys_own() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let framing: [(&[u8], &[u8]); 5] = [
            (b"Content-Length", b"3"),
            (b"content-length", b"99"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Connection", b"keep-alive"),
        ];
        for field in framing {
            let token = asked(server, &mut client, "GET");
            let name = String::from_utf8_lossy(field.0).into_owned();
            assert_eq!(server.respond(token, 200, &[field, (b"X-Own", b"1")], b"five!"), INGEST_OK, "{name}");
            let answer = client.answer();
            assert_eq!((answer.text(), answer.count("content-length")), ("five!".to_string(), 1), "{name}");
            assert_eq!((answer.count("transfer-encoding"), answer.count("keep-alive")), (0, 0), "{name}");
            assert_eq!((answer.header("x-own"), answer.says_close()), (Some("1"), false), "{name}");
        }
        let token = asked(server, &mut client, "GET");
        let date: (&[u8], &[u8]) = (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(server.respond(token, 200, &[date], b"five!"), INGEST_OK);
        assert_eq!(client.answer().count("date"), 1, "a Date of the host's replaces ours");
        let token = asked(server, &mut client, "GET");
        assert_eq!(server.respond(token, 200, &[(b"Connection", b"close")], b"five!"), INGEST_OK);
        assert!(client.answer().says_close());
        assert!(client.is_closed(), "who says close gets it");
    });
}

#[test]
fn a_status_that_is_no_final_one_is_an_argument_error() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        for status in [0, 1, 99, 100, 101, 199, 600, 999, 1000, u16::MAX] {
            let token = asked(server, &mut client, "GET");
            assert_eq!(server.text_status(token, status), INGEST_E_ARGUMENT, "{status}");
            assert_eq!(server.respond(token, status, &[], b""), INGEST_E_ARGUMENT, "{status}");
            assert_eq!(server.text(token, b"fine"), INGEST_OK);
            assert_eq!(client.answer().text(), "fine");
        }
        for status in [200, 201, 299, 302, 418, 451, 500, 599] {
            let token = asked(server, &mut client, "GET");
            assert_eq!(server.text_status(token, status), INGEST_OK, "{status}");
            assert_eq!(client.answer().status, status);
        }
    });
}

trait TextStatus {
    fn text_status(&self, token: u64, status: u16) -> i32;
}

impl TextStatus for Server {
    fn text_status(&self, token: u64, status: u16) -> i32 {
        self.bytes(token, status, "text/plain", b"body")
    }
}

#[test]
fn answers_without_a_body_have_none() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        for status in [204, 304] {
            let token = asked(server, &mut client, "GET");
            assert_eq!(server.text_status(token, status), INGEST_OK);
            let answer = client.answer();
            assert_eq!(answer.status, status);
            assert!(status != 204 || answer.count("content-length") == 0, "204 has no Content-Length (RFC 9110 section 8.6)");
            assert_eq!(answer.count("transfer-encoding"), 0);
        }
        let token = asked(server, &mut client, "HEAD");
        assert_eq!(server.text(token, b"measured"), INGEST_OK);
        let answer = client.answer_to_head();
        assert_eq!((answer.header("content-length"), answer.body.len()), (Some("8"), 0));
        // What comes next is found where it has to be.
        let token = asked(server, &mut client, "GET");
        assert_eq!(server.text(token, b"next"), INGEST_OK);
        assert_eq!(client.answer().text(), "next");
    });
}

#[test]
fn an_answer_may_close_the_connection() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let token = asked(server, &mut client, "GET");
        assert_eq!(server.respond_flagged(token, 200, INGEST_RESPONSE_CLOSE, &[], b"bye"), INGEST_OK);
        let answer = client.answer();
        assert!(answer.says_close());
        assert_eq!(answer.text(), "bye");
        assert!(client.is_closed());
    });
}

#[test]
fn head_has_the_length_of_get() {
    let handler = on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, &vec![b'x'; 70_000]), INGEST_OK);
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.answer_to_head().header("content-length"), Some("70000"));
        assert_eq!(client.answer().body.len(), 70_000);
        assert_eq!(client.answer_to_head().header("content-length"), Some("70000"));
        assert!(client.is_silent(Duration::from_millis(20)));
    });
}

#[test]
fn requests_per_connection_is_a_bound() {
    let handler = on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
    });
    everywhere(&[("requests_per_connection", "3")], &handler, |server| {
        let mut client = server.connect();
        assert!(!client.get("/1").says_close());
        assert!(!client.get("/2").says_close());
        assert!(client.get("/3").says_close());
        assert!(client.is_closed());
    });
}
