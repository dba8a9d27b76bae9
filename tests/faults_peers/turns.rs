//! Fairness counted in ticks, not in time: a server that the test itself drives, turn by turn (N09, N12, and the shares of limits.md).

use crate::crowd::{Crowd, connect, raise_descriptors, will_reset};
use crate::many;
use crate::support::client::Client;
use crate::support::host::{Host, Server, on_requests};
use ingest::ffi::life::ingest_server_turn;
use ingest::limits::READ_PER_TICK_BYTES;
use ingest::status::*;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MODEST: &str = "GET /m HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server that nothing runs but the turns.
struct Driven {
    server: Server,
    /// Methods and targets of what was delivered since it was last looked at, in order, with the token if the handler keeps it.
    seen: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Driven {
    /// Answers with the target, or keeps what it is given for `answer_all`.
    fn new(options: &[(&str, &str)], keeps: bool) -> Driven {
        let mut server = Server::unstarted(options);
        let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let noted = Arc::clone(&seen);
        server.call_back(on_requests(move |host: Host, request| {
            let text = [request.method(), b" ", request.target()].concat();
            noted.lock().expect("one thread").push((String::from_utf8_lossy(&text).into_owned(), request.0.token));
            if !keeps {
                assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
            }
        }));
        server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
        let driven = Driven { server, seen };
        driven.turn();
        driven
    }

    fn turn(&self) {
        // SAFETY: the server lives, and only this thread drives it.
        assert!(unsafe { ingest_server_turn(self.server.host.0, 0) } >= 0);
    }

    fn take_seen(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut *self.seen.lock().expect("one thread"))
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    /// Takes turns until the question is answered with yes, no more than `most`; how many it took.
    fn turns_until(&self, most: usize, mut done: impl FnMut(&Driven) -> bool) -> usize {
        for turns in 0..most {
            if done(self) {
                return turns;
            }
            self.turn();
        }
        panic!("it is not done after {most} turns");
    }
}

/// `accepts_per_wake`: so many of one listener are taken in a tick, no more, and meanwhile those that are here are served.
#[test]
fn n09_a_herd_is_accepted_bit_by_bit_and_starves_nobody() {
    let per_wake = 64;
    // What the backlog holds at once; the rest of a larger herd would be connecting still.
    let herd = many(500, 1_000);
    raise_descriptors(2 * herd as u64 + 200);
    let driven = Driven::new(&[], false);
    let mut running = driven.server.connect();
    driven.turns_until(10, |driven| driven.server.stats().connections_open == 1);
    let _herd: Vec<_> = (0..herd)
        .map(|_| {
            let mut stream = connect(driven.port(), 0);
            stream.write_all(b"G").expect("the kernel takes it");
            stream
        })
        .collect();
    let (mut before, mut largest, mut rounds) = (1, 0, 0);
    while before < 1 + herd as u64 {
        running.send("GET /running HTTP/1.1\r\nHost: x\r\n\r\n");
        let turns = driven.turns_until(3, |driven| !driven.take_seen().is_empty());
        assert_eq!(running.answer().text(), "/running");
        let accepted = driven.server.stats().connections_accepted;
        assert!(accepted - before <= per_wake * turns as u64, "{} were accepted in {turns} turns", accepted - before);
        largest = largest.max((accepted - before) / turns as u64);
        before = accepted;
        rounds += 1;
        assert!(rounds < 1000, "the herd is not accepted");
    }
    assert!(largest > per_wake / 2, "a herd was to stand in the backlog");
    driven.server.finish();
}

/// 10,000 at once, as fast as they can connect, while a witness on a connection of its own is served.
#[test]
fn n09_a_herd_at_once_while_a_witness_is_served() {
    let herd = many(1_000, 10_000);
    raise_descriptors(herd as u64 + 200);
    let server = crate::far::FarServer::start(&[("max_connections", "16384"), ("header_timeout", "1h")]);
    let survival = crate::survival::Survival::begin(&server, herd);
    let crowds: Vec<Crowd> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Crowd::gather(server.port(), herd / 4, 0, b"G"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("all of them connect")).collect()
    });
    server.settles_at(survival.base().open + herd as i64);
    std::thread::sleep(Duration::from_millis(200));
    drop(crowds);
    survival.end();
    server.finish();
}

#[test]
fn n12_ten_thousand_in_one_segment_are_taken_in_turn() {
    let count = 10_000;
    let driven = Driven::new(&[], true);
    let mut client = driven.server.connect();
    let mut writer = client.writer();
    // Every hundredth may not be repeated, so it is delivered alone (RFC 9110 section 9.2.1).
    let line = |index: usize| if index % 100 == 50 { format!("DELETE /{index}") } else { format!("GET /{index}") };
    let wire: String = (0..count).map(|index| format!("{} HTTP/1.1\r\nHost: x\r\n\r\n", line(index))).collect();
    let sender = std::thread::spawn(move || writer.write_all(wire.as_bytes()).expect("the server reads"));
    let reader = std::thread::spawn(move || {
        for index in 0..count {
            assert_eq!(client.answer().text(), line(index));
        }
    });
    let (mut next, mut largest) = (0, 0);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while next < count {
        assert!(std::time::Instant::now() < deadline, "stuck after {next}");
        driven.turn();
        let seen = driven.take_seen();
        largest = largest.max(seen.len());
        let alone = seen.iter().any(|(text, _)| text.starts_with("DELETE"));
        assert!(!alone || seen.len() == 1, "something was delivered beside an unsafe request: {seen:?}");
        for (text, token) in seen {
            assert_eq!(text, line(next));
            assert_eq!(driven.server.text(token, text.as_bytes()), INGEST_OK);
            next += 1;
        }
        // The answers travel by the mailbox, which the next turn looks into.
    }
    assert_eq!(largest, 16, "pipeline_max is 16, and that many came at once");
    driven.turns_until(1_000_000, |_| reader.is_finished());
    sender.join().expect("all was sent");
    reader.join().expect("all was answered in order");
    driven.server.finish();
}

/// Between what a modest client asks and what it gets, a greedy one is served two ticks' worth at most.
#[test]
fn n12_a_pipeline_leaves_the_others_their_turn() {
    let share = 16;
    let driven = Driven::new(&[], false);
    let greedy = driven.server.connect();
    let mut writer = greedy.writer();
    let wire = "GET /greedy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000);
    let sender = std::thread::spawn(move || drop(writer.write_all(wire.as_bytes())));
    let drain = std::thread::spawn(move || {
        let mut greedy = greedy;
        for _ in 0..20_000 {
            greedy.answer();
        }
    });
    let mut modest: Vec<Client> = (0..50).map(|_| driven.server.connect()).collect();
    driven.turns_until(1_000, |driven| driven.server.stats().connections_open == 51);
    driven.turns_until(100_000, |driven| driven.take_seen().iter().any(|(text, _)| text == "GET /greedy"));
    let (mut longest, mut served) = (0, 0);
    for round in 0..10 {
        for (index, client) in modest.iter_mut().enumerate() {
            client.send(format!("GET /modest/{index} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        // All of them have asked: how much of the greedy one comes before the last of them?
        let (mut waiting, mut between) = (modest.len(), 0);
        while waiting > 0 {
            driven.turn();
            for (text, _) in driven.take_seen() {
                if text == "GET /greedy" {
                    between += 1;
                } else {
                    waiting -= 1;
                    longest = longest.max(between);
                }
            }
            assert!(between <= 1_000, "{waiting} of 50 were not served in round {round}");
        }
        served += between;
        for client in &mut modest {
            assert_eq!(client.answer().status, 200);
        }
    }
    println!("500 modest requests beside {served} of the greedy one; at most {longest} came before one of them");
    assert!(served > 0, "the greedy client was to have something under way");
    assert!(longest <= 2 * share, "{longest} requests of one connection came before another's");
    driven.turns_until(10_000_000, |_| drain.is_finished());
    sender.join().expect("all was sent");
    drain.join().expect("all was answered");
    driven.server.finish();
}

/// No more than 256 KiB of a body are read in a tick, and the others are served in every tick.
#[test]
fn n12_a_large_body_leaves_the_others_their_turn() {
    let driven = Driven::new(&[("body_max", "unlimited")], false);
    let mut greedy = driven.server.connect();
    let length = 64 << 20;
    greedy.send(format!("PUT /greedy HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    let mut writer = greedy.writer();
    let sender = std::thread::spawn(move || writer.write_all(&vec![b'x'; length]).expect("the server reads"));
    let mut modest: Vec<Client> = (0..50).map(|_| driven.server.connect()).collect();
    driven.turns_until(1_000, |driven| driven.server.stats().connections_open == 51);
    let (mut largest, mut done) = (0, false);
    while !done {
        let before = driven.server.stats().bytes_received;
        for client in &mut modest {
            client.send(MODEST);
        }
        let modest_octets = (modest.len() * MODEST.len()) as u64;
        driven.turn();
        let seen = driven.take_seen();
        let count = seen.iter().filter(|(text, _)| text == "GET /m").count();
        done = seen.iter().any(|(text, _)| text == "PUT /greedy");
        assert_eq!(count, modest.len(), "not all of them were served in this tick");
        let received = driven.server.stats().bytes_received - before - modest_octets;
        largest = largest.max(received);
        assert!(received <= READ_PER_TICK_BYTES as u64, "{received} octets of one connection in one tick");
        for client in &mut modest {
            assert_eq!(client.answer().text(), "/m");
        }
    }
    assert!(largest > 64 * 1024, "the share of a tick was hardly used: {largest}");
    sender.join().expect("all was sent");
    driven.turns_until(100, |_| greedy.has_input());
    assert_eq!(greedy.answer().text(), "/greedy");
    will_reset(&greedy.writer().stream);
    driven.server.finish();
}
