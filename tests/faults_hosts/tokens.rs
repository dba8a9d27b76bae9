//! Tokens that are used twice, late, after their time, or that nobody ever gave: H07 to H10.

use crate::many;
use crate::support::client::Client;
use crate::support::host::Server;
use crate::support::host::abi::ingest_token_request;
use crate::support::request_view::{RequestView, octets};
use crate::support::{Random, eventually};
use ingest::request::ingest_request;
use ingest::status::*;
use std::sync::Barrier;
use std::time::Duration;

const ASK: &str = "GET /asked HTTP/1.1\r\nHost: x\r\n\r\n";

/// Asks one question and takes its token.
fn asked(server: &Server, client: &mut Client) -> u64 {
    client.send(ASK);
    server.queue().take(1)[0].token
}

fn is_over(status: ingest_status) {
    assert!(status == INGEST_E_GONE || status == INGEST_E_STOPPED, "{status}");
}

/// Another client is served as if nothing had been.
fn serves(server: &Server) {
    let mut client = server.connect();
    let token = asked(server, &mut client);
    assert_eq!(server.text(token, b"served"), INGEST_OK);
    assert_eq!(client.answer().text(), "served");
}

#[test]
fn h07_the_first_answer_wins_and_the_second_is_gone() {
    let server = Server::queued(&[]);
    let host = server.host;
    let mut client = server.connect();
    for round in 0..many(5_000, 300) {
        let token = asked(&server, &mut client);
        let together = Barrier::new(2);
        let answer = |body: &'static [u8]| {
            together.wait();
            host.text(token, body)
        };
        let statuses = std::thread::scope(|scope| {
            let one = scope.spawn(|| answer(b"one"));
            let other = scope.spawn(|| answer(b"other"));
            [one.join().expect("no panic"), other.join().expect("no panic")]
        });
        let won = statuses.iter().position(|status| *status == INGEST_OK).expect("one of them answers");
        assert_eq!(statuses[1 - won], INGEST_E_GONE, "round {round}");
        assert_eq!(client.answer().text(), ["one", "other"][won], "round {round}");
        assert_eq!(host.abandon(token), INGEST_E_GONE);
    }
    assert!(client.is_silent(Duration::from_millis(20)), "more was sent than one answer each");
    assert!(eventually(|| server.stats().in_flight == 0));
    server.finish();
}

#[test]
fn h08_an_answer_after_the_end_is_gone() {
    let server = Server::queued(&[("response_timeout", "300ms")]);
    // The peer is gone.
    let mut client = server.connect();
    let token = asked(&server, &mut client);
    drop(client);
    assert!(eventually(|| server.alive(token) == 0), "the server does not see that the peer has left");
    assert_eq!(server.text(token, b"to nobody"), INGEST_E_GONE);
    // The time is over.
    let mut client = server.connect();
    let token = asked(&server, &mut client);
    assert_eq!(client.answer().status, 504);
    let host = server.host;
    let from_elsewhere = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(move || host.text(token, b"too late"))).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(from_elsewhere, [INGEST_E_GONE, INGEST_E_GONE]);
    assert!(client.is_closed(), "nothing follows the 504");
    serves(&server);
    assert!(eventually(|| server.stats().in_flight == 0), "what came late is not given back");
    // Everything is over.
    let mut client = server.connect();
    let token = asked(&server, &mut client);
    server.stop();
    server.stop();
    assert_eq!(server.join(5_000), INGEST_OK);
    is_over(server.text(token, b"after the stop"));
    is_over(server.text(token, b"again"));
    server.finish();
}

#[test]
fn h09_a_stale_foreign_or_invented_token_is_gone() {
    let (server, other) = (Server::queued(&[]), Server::queued(&[]));
    let mut client = server.connect();
    let mut stale = Vec::new();
    // More than there are slots in the first piece of the table, so that every slot is used again.
    for _ in 0..many(20_000, 600) {
        let token = asked(&server, &mut client);
        assert_eq!(other.text(token, b"foreign"), INGEST_E_GONE);
        for &past in stale.iter().rev().take(3) {
            assert_eq!(server.text(past, b"stale"), INGEST_E_GONE);
        }
        assert_eq!(server.text(token, b"right"), INGEST_OK);
        assert_eq!(client.answer().text(), "right");
        stale.push(token);
    }
    let held = asked(&server, &mut client);
    assert!(stale.iter().all(|token| server.abandon(*token) == INGEST_E_GONE), "a token is good for a second request");
    let mut random = Random(0x9e37_79b9);
    for _ in 0..many(5_000_000, 100_000) {
        let token = random.next();
        // Numbers that differ from a real token in a few bits only, too.
        for token in [token, held ^ (1 << (token % 64)), held ^ (token & 0xffff_ffff), held ^ (token & 0xf_ffff) << 32] {
            if token != held {
                assert_eq!(server.text(token, b"invented"), INGEST_E_GONE, "{token:#x} of {held:#x}");
                assert_eq!(server.alive(token), 0);
            }
        }
    }
    for token in [0, 1, u64::MAX, i64::MAX as u64, 1 << 63] {
        assert_eq!(server.text(token, b"invented"), INGEST_E_GONE);
        // SAFETY: the server lives; any number may be asked about.
        assert!(unsafe { ingest_token_request(server.host.0, token) }.is_null());
    }
    assert_eq!(server.text(held, b"still open"), INGEST_OK);
    assert_eq!(client.answer().text(), "still open");
    other.finish();
    server.finish();
}

/// The build that tests use poisons what was given back. Memory of the pool stays mapped, so a host in error reads poison and no trap
/// comes; in a release build it reads whatever is there next.
#[test]
fn h10_memory_of_a_request_that_was_given_back_is_poisoned() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send("POST /secret/path HTTP/1.1\r\nHost: example.test\r\nContent-Length: 10\r\n\r\ntop secret");
    let event = server.queue().take(1)[0];
    let view = RequestView::of(&event).expect("a request");
    assert_eq!((view.path(), view.body()), (&b"/secret/path"[..], &b"top secret"[..]));
    let (path, body) = (view.0.path, view.0.body);
    let request: *const ingest_request = event.request;
    assert_eq!(octets(&path), b"/secret/path");
    assert_eq!(server.text(event.token, b"given back"), INGEST_OK);
    assert_eq!(client.answer().text(), "given back");
    // SAFETY: none in the eyes of the contract, which is the point. The block went back to a pool that keeps it, nothing else was asked
    // since, and the pool is freed with the server, which lives.
    let seen: Vec<u8> = unsafe { (0..path.len).map(|at| path.ptr.add(at).read_volatile()).collect() };
    assert_eq!(seen, vec![0xDD; path.len], "the path can still be read");
    // SAFETY: as above.
    let seen: Vec<u8> = unsafe { (0..body.len).map(|at| body.ptr.add(at).read_volatile()).collect() };
    assert_eq!(seen, vec![0xDD; body.len], "the body can still be read");
    // SAFETY: as above.
    assert_eq!(unsafe { (&raw const (*request).size).read_volatile() }, 0xDDDD_DDDD, "the request can still be read");
    server.finish();
}
