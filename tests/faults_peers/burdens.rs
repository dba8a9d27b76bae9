//! Peers that cost memory: ten thousand that are idle (N10), and one that asks for much and never reads (N11).

use crate::crowd::{connect, raise_descriptors, will_reset};
use crate::far::FarServer;
use crate::many;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::secured::{Handle, Secured};
use crate::survival::{Stall, Survival};
use std::io::Write;
use std::time::{Duration, Instant};

/// What an idle connection may cost (limits, section 2).
const IDLE_BYTES: i64 = 1024;
const IDLE_SECURE_BYTES: i64 = 8 * 1024;

#[test]
fn n10_idle_connections_cost_little() {
    idle_costs(false, IDLE_BYTES);
}

#[test]
fn n10_idle_sessions_cost_little() {
    idle_costs(true, IDLE_SECURE_BYTES);
}

fn idle_costs(secure: bool, most: i64) {
    let count = many(1_000, 10_000);
    raise_descriptors(count as u64 + 200);
    let server = FarServer::of(secure, &[("keepalive_timeout", "1h"), ("max_connections", "16384")]);
    let before = server.report();
    let idle = idle(&server, count);
    let with = server.report();
    let each = (with.heap - before.heap) / count as i64;
    println!("{count} idle connections: {each} octets each; the process grew by {} each", (with.resident - before.resident) / count as i64);
    assert!(each <= most, "an idle connection costs {each} octets");
    assert_eq!(with.charged, before.charged, "an idle connection owns no buffer");
    drop(idle);
    server.settles_at(0);
    server.finish();
}

/// So many connections that have each asked once and stay.
fn idle(server: &FarServer, count: usize) -> Vec<Client> {
    let open = server.report().open;
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/idle").text(), "/idle");
    }
    server.settles_at(open + count as i64);
    clients
}

/// The active client's p99 in rounds with and without the idle ones, in turn, so that what else the machine does meets both. Asked of
/// the quietest round of each kind: with idle ones it may be a fifth above, and by as much as the middle round without them is above its
/// quietest. A machine that is busy gets more rounds; a server that is slower fails in all of them.
#[test]
fn n10_idle_connections_do_not_slow_an_active_one() {
    let count = many(1_000, 10_000);
    raise_descriptors(count as u64 + 200);
    let server = FarServer::start(&[("keepalive_timeout", "1h"), ("max_connections", "16384")]);
    let mut active = server.connect();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    p99(&mut active);
    let is_moved = |without: &mut Vec<Duration>, with: &[Duration]| {
        without.sort_unstable();
        let (least, middle) = (without[0], without[without.len() / 2]);
        with.iter().all(|round| *round > least * 6 / 5 + (middle - least))
    };
    let rounds = many(5, 8);
    while with.len() < rounds || (with.len() < 4 * rounds && is_moved(&mut without, &with)) {
        without.push(p99(&mut active));
        let crowd = idle(&server, count);
        with.push(p99(&mut active));
        drop(crowd);
        server.settles_at(1);
    }
    println!("p99 without {without:?}, with {count} idle connections {with:?}");
    assert!(!is_moved(&mut without, &with), "p99 was {without:?}, and {with:?} with idle connections");
    server.finish();
}

fn p99(client: &mut Client) -> Duration {
    let mut times: Vec<Duration> = (0..2_000)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(client.get("/active").status, 200);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn n11_an_answer_that_is_never_read_is_bounded_and_ends() {
    // A thread of the host's for each with its piece, the library's buffer, and what was framed for the wire.
    unread(false, 3 * 64 * 1024);
}

#[test]
fn n11_a_sealed_answer_that_is_never_read_is_bounded_and_ends() {
    // And a portion that is sealed, in a buffer that may have grown to twice as much.
    unread(true, 5 * 64 * 1024);
}

fn unread(secure: bool, most: i64) {
    let server = FarServer::of(secure, &[("write_timeout", "1s")]);
    let survival = Survival::begin(&server, 8);
    let stall = Stall::watch();
    let count = many(4, 40);
    let start = Instant::now();
    let streams: Vec<_> = (0..count)
        .map(|_| {
            let stream = connect(server.port(), 4096);
            will_reset(&stream);
            let tls = secure.then(|| Secured::connect(&stream).expect("a session"));
            let mut handle = Handle { tls, stream };
            handle.write_all(b"GET /stream/104857600 HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
            handle
        })
        .collect();
    // The host hears that there is no room, again and again, and then that it is over.
    let mut heap = 0;
    let ended = eventually(|| {
        let report = server.report();
        heap = heap.max(report.heap);
        report.gone == count as i64
    });
    let took = start.elapsed();
    assert!(ended, "the host was to hear INGEST_E_GONE {count} times: {:?}", server.report());
    let report = server.report();
    assert!(report.busy >= count as i64, "the host was to hear INGEST_E_BUSY: {report:?}");
    let each = (heap - survival.base().heap) / count as i64;
    println!("each unread answer held {each} octets, the kernel took {}, it ended after {took:?}", report.streamed / count as i64);
    assert!(each <= most + 16 * 1024, "an unread answer of 100 MiB held {each} octets");
    assert!(report.streamed / (count as i64) < 16 << 20, "the kernel alone took {}", report.streamed);
    assert!(took >= Duration::from_secs(1), "ended after {took:?}, the deadline is a second");
    assert!(took < Duration::from_secs(3) + stall.longest(), "ended after {took:?}, the deadline is a second");
    drop(streams);
    survival.end();
    server.finish();
}
