//! Peers that take their time: N07, with slowhttptest and with clients of our own whose end is timed one by one, and N08.

use crate::crowd::{Crowd, Habit, connect, raise_descriptors, will_reset};
use crate::far::FarServer;
use crate::many;
use crate::support::PATIENCE;
use crate::support::secured::{Handle, Secured};
use crate::survival::{Stall, Survival};
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a deadline may be late by (limits, section 4: "cut at limit + 1 s"), beside what the machine stalls for.
const LATE: Duration = Duration::from_secs(1);
/// Rates count after this (limits, section 2).
const GRACE: Duration = Duration::from_secs(5);

const DRIP: Habit = Habit { drip: b"x", read: 0, every: Duration::from_millis(100) };
const SILENCE: Habit = Habit { drip: b"", read: 0, every: Duration::from_secs(3600) };

/// A crowd with this greeting and habit is cut between these two times, each with this status, while the witness is served.
struct Cut<'a> {
    secure: bool,
    options: &'a [(&'a str, &'a str)],
    greeting: &'a [u8],
    habit: Habit,
    receive_buffer: i32,
    least: Duration,
    most: Duration,
    status: Option<u16>,
}

impl Cut<'_> {
    fn check(&self, count: usize) {
        raise_descriptors(count as u64 + 200);
        let server = FarServer::of(self.secure, self.options);
        let survival = Survival::begin(&server, count);
        let stall = Stall::watch();
        let mut crowd = Crowd::gather(server.port(), count, self.receive_buffer, self.greeting);
        crowd.live(self.habit, self.most + PATIENCE);
        let stall = stall.longest();
        // Timers fire at most a grain late, and never early; a connection's time begins when it is accepted.
        crowd.was_cut(self.least, self.most + LATE + stall);
        for member in &crowd.members {
            match self.status {
                Some(status) => assert_eq!(member.status(), Some(status), "{:?}", String::from_utf8_lossy(&member.heard)),
                None => assert!(member.reset, "who does not read is reset"),
            }
        }
        drop(crowd);
        let report = server.report();
        assert!(self.status.is_none() || report.strangers == survival.base().strangers, "something incomplete was delivered");
        survival.end();
        server.finish();
    }
}

#[test]
fn n07_heads_that_drip_are_cut_one_by_one() {
    slow_heads(false);
}

#[test]
fn n07_heads_that_drip_in_records_are_cut_one_by_one() {
    slow_heads(true);
}

fn slow_heads(secure: bool) {
    let limit = Duration::from_secs(2);
    Cut {
        secure,
        options: &[("header_timeout", "2s")],
        greeting: b"GET /slow HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        habit: DRIP,
        receive_buffer: 0,
        least: limit,
        most: limit,
        status: Some(408),
    }
    .check(many(200, 1_000));
}

#[test]
fn n07_bodies_that_drip_are_cut_one_by_one() {
    slow_bodies(false);
}

#[test]
fn n07_bodies_that_drip_in_records_are_cut_one_by_one() {
    slow_bodies(true);
}

fn slow_bodies(secure: bool) {
    // 10 octets a second are worth 20 ms a second at the least rate of 500.
    Cut {
        secure,
        options: &[("body_timeout", "30s"), ("body_rate_min", "500")],
        greeting: b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n",
        habit: DRIP,
        receive_buffer: 0,
        least: GRACE,
        most: GRACE + Duration::from_millis(200),
        status: Some(408),
    }
    .check(many(200, 1_000));
}

#[test]
fn n07_readers_that_drip_are_cut_one_by_one() {
    slow_readers(false);
}

#[test]
fn n07_readers_of_records_that_drip_are_cut_one_by_one() {
    slow_readers(true);
}

fn slow_readers(secure: bool) {
    // What the kernel takes at once, three megabytes, is worth three seconds at the least rate of 1 MiB; and many answers take their time.
    Cut {
        secure,
        options: &[("write_timeout", "30s"), ("write_rate_min", "1MiB")],
        greeting: b"GET /big/4000000 HTTP/1.1\r\nHost: x\r\n\r\n",
        habit: Habit { drip: b"", read: 100, every: Duration::from_millis(100) },
        receive_buffer: 4096,
        least: GRACE,
        most: GRACE + Duration::from_secs(8),
        status: None,
    }
    .check(many(50, 300));
}

/// Runs slowhttptest in one of its modes, and looks at every second what it says of the service.
fn slowhttptest(options: &[(&str, &str)], limit: Duration, arguments: &[&str], target: &str) {
    let count = many(50, 1_000);
    raise_descriptors(count as u64 * 2 + 200);
    let server = FarServer::start(options);
    let survival = Survival::begin(&server, count);
    let url = format!("http://127.0.0.1:{}{target}", server.port());
    let (count_text, seconds) = (count.to_string(), (limit.as_secs() + 5).to_string());
    let mut command = Command::new("slowhttptest");
    // All connect within a second; the probe must be answered within one.
    command.args(["-c", &count_text, "-r", &count_text, "-l", &seconds, "-p", "1", "-v", "1", "-u", &url]).args(arguments);
    let start = Instant::now();
    let running = std::thread::spawn(move || command.output());
    // The time at which the last of them was cut is seen here, since the tool looks once in five seconds only.
    let stall = Stall::watch();
    let open = survival.base().open + count as i64 / 2;
    assert!(crate::support::eventually(|| server.report().open >= open), "slowhttptest does not connect: apt-get install slowhttptest");
    let mut last = start.elapsed();
    while start.elapsed() < limit + Duration::from_secs(8) {
        // Half of the crowd or more are slow ones; beside them there is the tool's own probe.
        if server.report().open > survival.base().open + 2 {
            last = start.elapsed();
        }
        std::thread::sleep(Duration::from_millis(20));
        if running.is_finished() {
            break;
        }
    }
    let output = running.join().expect("it only waits").expect("slowhttptest can be started (apt-get install slowhttptest)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stall = stall.longest();
    assert!(text.contains("service available") && text.contains("YES"), "{text}");
    assert!(!text.contains("NO\n") && !text.contains("NO\u{1b}"), "the service was not available:\n{text}");
    println!("slowhttptest {arguments:?}: {count} connections, the last was cut after {last:?} (limit {limit:?})");
    // It takes a second to connect them all.
    assert!(last < limit + Duration::from_secs(1) + LATE + stall, "the last was cut after {last:?}, the limit is {limit:?}");
    survival.end();
    server.finish();
}

#[test]
fn n07_slowhttptest_with_slow_heads() {
    let options = [("header_timeout", "3s")];
    slowhttptest(&options, Duration::from_secs(3), &["-H", "-i", "1", "-x", "8"], "/slow");
}

#[test]
fn n07_slowhttptest_with_slow_bodies() {
    let options = [("body_timeout", "10s"), ("body_rate_min", "500")];
    slowhttptest(&options, GRACE + Duration::from_millis(500), &["-B", "-i", "1", "-x", "8", "-s", "8192"], "/slow");
}

#[test]
fn n07_slowhttptest_with_slow_readers() {
    let options = [("write_timeout", "3s"), ("write_rate_min", "1MiB")];
    slowhttptest(&options, GRACE + Duration::from_secs(4), &["-X", "-n", "1", "-z", "16", "-w", "512", "-y", "1024"], "/big/1000000");
}

/// With TLS it is the handshake that has its deadline, begun or not.
#[test]
fn n08_a_flood_of_handshakes_that_are_not_gone_on_with() {
    let limit = Duration::from_secs(2);
    let count = many(500, 5_000);
    raise_descriptors(count as u64 + 200);
    // The bound on handshakes would close the oldest sooner (tests/tls/quarantine.rs): here it is the deadline.
    let options =
        [("tls.handshake_timeout", "2s"), ("tls.handshakes_max", "unlimited"), ("header_timeout", "1h"), ("max_connections", "16384")];
    let server = FarServer::of(true, &options);
    let survival = Survival::begin(&server, count);
    for greeting in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let stall = Stall::watch();
        let mut crowd = Crowd::gather_raw(server.port(), count, greeting);
        crowd.live(SILENCE, limit + PATIENCE);
        // As below, a time may begin early.
        crowd.was_cut(limit / 2, limit + LATE + stall.longest());
    }
    assert_eq!(server.report().strangers, survival.base().strangers);
    survival.end();
    server.finish();
}

#[test]
fn n08_a_flood_of_connections_that_never_send() {
    let limit = Duration::from_secs(2);
    let count = many(1_000, 10_000);
    raise_descriptors(count as u64 + 200);
    let server = FarServer::start(&[("header_timeout", "2s"), ("max_connections", "16384")]);
    let survival = Survival::begin(&server, count);
    let stall = Stall::watch();
    let start = Instant::now();
    let mut crowd = Crowd::gather(server.port(), count, 0, b"");
    println!("{count} connections came in {:?}", start.elapsed());
    crowd.live(SILENCE, limit + PATIENCE);
    // The last ones may stand in the backlog while the first are served. A time begins with the tick that accepts: before the connect, when the
    // thread had to wait for a processor in between.
    crowd.was_cut(limit / 2, limit + LATE + stall.longest());
    assert!(crowd.members.iter().all(|member| member.status() == Some(408)), "each is told why");
    drop(crowd);
    assert_eq!(server.report().strangers, survival.base().strangers);
    survival.end();
    server.finish();
}

/// Whoever reads faster than the least rate is served, although the kernel wants a megabyte to be free before it takes more: what is
/// streamed or sealed is with it in small portions, of which it takes nothing meanwhile.
#[test]
fn n07_readers_above_the_least_rate_are_not_cut() {
    let targets = [(false, "/big/8000000"), (false, "/stream/8000000"), (true, "/big/8000000"), (true, "/stream/8000000")];
    let threads = targets.map(|(secure, target)| {
        std::thread::spawn(move || {
            let server = FarServer::of(secure, &[]);
            let stream = connect(server.port(), 4096);
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            will_reset(&stream);
            let tls = secure.then(|| Secured::connect(&stream).expect("a session"));
            let mut handle = Handle { tls, stream };
            handle.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("the server reads");
            let (start, mut room, mut total) = (Instant::now(), [0; 2000], 0);
            // Twice the grace at 50 KB a second, which is 200 times the least rate.
            while start.elapsed() < 2 * GRACE {
                match handle.read(&mut room) {
                    Ok(count) if count > 0 => total += count,
                    other => panic!("tls {secure}, {target}: {other:?} after {:?} and {total} octets", start.elapsed()),
                }
                std::thread::sleep(Duration::from_millis(40));
            }
            drop(handle);
            server.finish();
        })
    });
    threads.into_iter().for_each(|thread| thread.join().expect("nobody is cut"));
}
