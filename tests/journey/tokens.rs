//! A token is good for one answer: a second, late, foreign or invented one is INGEST_E_GONE, and never worse.

use crate::support::host::{Delivery, Server, on_requests};
use crate::support::{Random, eventually};
use crate::{everywhere, with_a_queue};
use ingest::status::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_second_answer_is_gone() {
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&statuses);
    let handler = on_requests(move |host, request| {
        let token = request.0.token;
        let each = [host.text(token, b"first"), host.text(token, b"second"), host.abandon(token), host.respond(token, 500, &[], b"third")];
        seen.lock().expect("no panic while held").push(each);
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "first");
        }
        assert!(eventually(|| statuses.lock().expect("no panic while held").len() == 20));
        for each in statuses.lock().expect("no panic while held").drain(..) {
            assert_eq!(each, [INGEST_OK, INGEST_E_GONE, INGEST_E_GONE, INGEST_E_GONE]);
        }
    });
}

#[test]
fn one_of_two_threads_wins() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        let host = server.host;
        for _ in 0..100 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let token = server.queue().take(1)[0].token;
            let (one, other) = std::thread::scope(|scope| {
                let one = scope.spawn(move || host.text(token, b"same"));
                let other = scope.spawn(move || host.text(token, b"same"));
                (one.join().expect("no panic"), other.join().expect("no panic"))
            });
            let mut statuses = [one, other];
            statuses.sort_unstable();
            assert_eq!(statuses, [INGEST_E_GONE, INGEST_OK]);
            assert_eq!(client.answer().text(), "same");
        }
        assert!(client.is_silent(Duration::from_millis(20)));
    });
}

#[test]
fn an_answer_after_the_client_left_is_harmless() {
    with_a_queue(&[], |server| {
        for round in 0..100 {
            let mut client = server.connect();
            client.send("GET /leaving HTTP/1.1\r\nHost: x\r\n\r\n");
            let event = server.queue().take(1)[0];
            drop(client);
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let status = server.text(event.token, b"nobody reads this");
            assert!(status == INGEST_OK || status == INGEST_E_GONE, "{status}");
            assert_eq!(server.text(event.token, b"again"), INGEST_E_GONE);
        }
        assert!(eventually(|| server.stats().connections_open == 0));
        assert!(eventually(|| server.stats().in_flight == 0));
    });
}

#[test]
fn a_client_that_left_is_gone_once_the_server_knows() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /leaving HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        assert_eq!(server.alive(event.token), 2);
        drop(client);
        assert!(eventually(|| server.alive(event.token) == 0), "a reset ends the right to answer");
        assert_eq!(server.text(event.token, b"nobody reads this"), INGEST_E_GONE);
    });
}

#[test]
fn invented_tokens_are_gone() {
    everywhere(&[], &on_requests(|host, request| assert_eq!(host.text(request.0.token, b"real"), INGEST_OK)), |server| {
        let mut random = Random(0x1065_7ACE);
        let mut tokens: Vec<u64> = vec![0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 52, 1 << 32, (1 << 32) - 1];
        tokens.extend((0..20_000).map(|_| random.next()));
        for token in tokens {
            assert_eq!(server.text(token, b"x"), INGEST_E_GONE, "{token:#x}");
            assert_eq!(server.abandon(token), INGEST_E_GONE, "{token:#x}");
            assert_eq!(server.alive(token), 0, "{token:#x}");
        }
        assert_eq!(server.connect().get("/").text(), "real");
    });
}

#[test]
fn neighbours_of_a_real_token_are_gone() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let token = server.queue().take(1)[0].token;
        for bit in 0..64 {
            assert_eq!(server.text(token ^ (1 << bit), b"x"), INGEST_E_GONE, "bit {bit} of {token:#x}");
        }
        assert_eq!(server.text(token, b"real"), INGEST_OK);
        assert_eq!(client.answer().text(), "real");
    });
}

#[test]
fn a_token_of_another_server_is_gone() {
    let one = Server::queued(&[]);
    let other = Server::queued(&[]);
    let mut client = one.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let token = one.queue().take(1)[0].token;
    assert_eq!(other.text(token, b"x"), INGEST_E_GONE);
    assert_eq!(one.text(token, b"mine"), INGEST_OK);
    assert_eq!(client.answer().text(), "mine");
    one.finish();
    other.finish();
}

#[test]
fn tokens_are_never_used_twice() {
    let seen = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let record = Arc::clone(&seen);
    let handler = on_requests(move |host, request| {
        let token = request.0.token;
        assert!(token != 0 && token >> 63 == 0, "{token:#x}");
        assert!(record.lock().expect("no panic while held").insert(token), "{token:#x} came twice");
        host.text(token, b"ok");
    });
    let server = Server::serve(&[], Delivery::Inline, handler);
    let mut client = server.connect();
    for _ in 0..3000 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(seen.lock().expect("no panic while held").len(), 3000);
    server.finish();
}

#[test]
fn many_answers_in_one_call() {
    with_a_queue(&[], |server| {
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        let mut tokens = Vec::new();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            tokens.push(server.queue().take(1)[0].token);
        }
        assert_eq!(server.text(tokens[1], b"early"), INGEST_OK);
        let bodies: [&[u8]; 4] = [b"zero", b"one", b"two", b"three"];
        let answers: Vec<_> = tokens.iter().zip(bodies).map(|(token, body)| (*token, 201, body)).collect();
        assert_eq!(server.respond_many(&answers), (3, vec![INGEST_OK, INGEST_E_GONE, INGEST_OK, INGEST_OK]));
        let texts: Vec<_> = clients.iter_mut().map(|client| client.answer()).map(|answer| (answer.status, answer.text())).collect();
        let expected = [(201, "zero"), (200, "early"), (201, "two"), (201, "three")];
        assert_eq!(texts, expected.map(|(status, text)| (status, text.to_string())));
    });
}

#[test]
fn one_answer_for_all() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut tokens: Vec<u64> = server.queue().take(3).iter().map(|event| event.token).collect();
        tokens.push(12345);
        assert_eq!(server.respond_all(&tokens, 503), (3, vec![INGEST_OK, INGEST_OK, INGEST_OK, INGEST_E_GONE]));
        for _ in 0..3 {
            assert_eq!(client.answer().status, 503);
        }
    });
}

#[test]
fn an_abandoned_request_closes_its_connection() {
    let handler = on_requests(|host, request| match request.target() {
        b"/abandon" => assert_eq!(host.abandon(request.0.token), INGEST_OK),
        target => assert_eq!(host.text(request.0.token, target), INGEST_OK),
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        assert_eq!(client.get("/before").text(), "/before");
        client.send("GET /abandon HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.is_closed(), "the client sees the connection closed, without an answer");
        assert_eq!(server.connect().get("/after").text(), "/after");
        assert_eq!(server.stats().requests_abandoned, 1);
    });
}
