//! What one connection notices of a storm of large gzip bodies: latencies of a steady load of small requests, round by round, while nobody
//! sends bodies, and while the storm goes on, with the bodies decoded on the I/O thread and on a thread of their own.
//!
//!     cargo bench --bench decoding -- [--rounds 5] [--seconds 4] [--rate 200] [--stormers 4]
//!
//! With `inflate --bodies N` it only inflates a body that shrinks from 64 KiB to 13, so often, with the library that ours uses: what of a gzip request
//! cannot be saved, for callgrind as for the clock.
//!
//! Server, load and storm are processes of their own. The load is open: a request is due at its time whatever became of the one before.

#[path = "../support/mod.rs"]
mod bench;
#[path = "../../tests/support/mod.rs"]
mod support;

use bench::{Process, Words, median, quantile};
use std::io::Read;
use std::time::{Duration, Instant};
use support::client::Client;
use support::coders::{encode, post, records};
use support::host::{Delivery, Server, on_requests};

const BODY_BYTES: usize = 8 << 20;

fn main() {
    let words = Words::given();
    let number = |name: &str, otherwise: u64| words.number(name, otherwise);
    match words.get(0) {
        Some("serve") => serve(words.get(1).unwrap_or("0")),
        Some("load") => load(number("--port", 0) as u16, number("--seconds", 4), number("--rate", 200)),
        Some("inflate") => inflate(number("--bodies", 10_000)),
        Some("storm") => storm(number("--port", 0) as u16, number("--seconds", 4), number("--stormers", 4)),
        _ => measure(number("--rounds", 5), number("--seconds", 4), number("--rate", 200), number("--stormers", 4)),
    }
}

/// A server that says its port and lives as long as its input is open.
fn serve(decode_threads: &str) {
    let threads: &'static str = String::from(decode_threads).leak();
    let handler = on_requests(|host, request| {
        let _ = host.text(request.0.token, b"ok");
    });
    let server = Server::serve(&[("decode_threads", threads), ("topology", "inline")], Delivery::Inline, handler);
    println!("{}", server.port());
    let _ = std::io::stdin().read(&mut [0]);
}

/// Prints each latency in nanoseconds.
fn load(port: u16, seconds: u64, rate: u64) {
    let mut client = Client::connect(port);
    std::thread::sleep(Duration::from_millis(500));
    let (start, step_ns) = (Instant::now(), 1_000_000_000 / rate);
    for number in 0..seconds * rate {
        let due = start + Duration::from_nanos(number * step_ns);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_eq!(client.get("/").text(), "ok");
        println!("{}", due.elapsed().as_nanos());
    }
}

/// Into the same buffer each time.
fn inflate(bodies: u64) {
    let (wire, mut plain) = (encode("gzip", &records(64 << 10)), vec![0; 64 << 10]);
    // The head of gzip is ten octets long, and eight stand behind: the checksum, which is computed here, too.
    let deflated = &wire[10..wire.len() - 8];
    let (mut inflater, start) = (flate2::Decompress::new(false), Instant::now());
    for _ in 0..bodies {
        inflater.reset(false);
        let status = inflater.decompress(deflated, &mut plain, flate2::FlushDecompress::Finish).expect("gzip made it");
        let mut checksum = flate2::Crc::new();
        checksum.update(&plain);
        assert_eq!((status, inflater.total_out()), (flate2::Status::StreamEnd, 64 << 10));
        assert_eq!(checksum.sum().to_le_bytes(), wire[wire.len() - 8..][..4]);
    }
    println!("{} octets inflated in {:.1} us", deflated.len(), start.elapsed().as_nanos() as f64 / 1000.0 / bodies as f64);
}

/// Bodies one after the other on each of so many connections; prints how many.
fn storm(port: u16, seconds: u64, stormers: u64) {
    let wire = post("gzip", &encode("gzip", &records(BODY_BYTES)));
    let start = Instant::now();
    let count = std::thread::scope(|scope| {
        let threads = (0..stormers).map(|_| {
            scope.spawn(|| {
                let mut client = Client::connect(port);
                let mut count = 0u64;
                while start.elapsed() < Duration::from_secs(seconds + 1) {
                    client.send(&wire);
                    assert_eq!(client.answer().text(), "ok");
                    count += 1;
                }
                count
            })
        });
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("every body is answered")).sum::<u64>()
    });
    println!("{count}");
}

fn measure(rounds: u64, seconds: u64, rate: u64, stormers: u64) {
    let [seconds_text, rate_text, stormers_text] = [seconds, rate, stormers].map(|number| number.to_string());
    let ways = [("0", false), ("0", true), ("1", false), ("1", true)];
    let mut seen: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, (threads, storms)) in ways.iter().enumerate() {
            let mut server = Process::start(&["serve", threads]);
            let port = server.line();
            let common = ["--port", &port, "--seconds", &seconds_text, "--rate", &rate_text, "--stormers", &stormers_text];
            let load = Process::start(&[&["load"], &common[..]].concat());
            let storm = storms.then(|| Process::start(&[&["storm"], &common[..]].concat()));
            let mut latencies = load.rest();
            latencies.sort_unstable();
            let bodies = storm.map_or(0, |storm| storm.rest()[0]);
            seen[way].push((quantile(&latencies, 50), quantile(&latencies, 99), bodies as f64 / (seconds + 1) as f64));
            server.end();
        }
    }
    println!("{rate} requests/s on one connection, {stormers} that send gzip bodies of 8 MiB; medians of {rounds} rounds");
    println!("decode_threads  storm   bodies/s     p50 us     p99 us");
    for (way, (threads, storms)) in ways.iter().enumerate() {
        let column = |pick: fn(&(f64, f64, f64)) -> f64| median(seen[way].iter().map(pick).collect());
        let [bodies, half, most] = [column(|round| round.2), column(|round| round.0), column(|round| round.1)];
        println!("{threads:>14}  {:<5} {bodies:>10.0} {half:>10.0} {most:>10.0}", if *storms { "yes" } else { "no" });
    }
}
