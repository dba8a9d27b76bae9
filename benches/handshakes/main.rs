//! What connections that have a session notice of a flood of handshakes: latencies of a steady load on them, round by round, while the flood goes to
//! another server (the base: it takes as much of the machine), and while it goes to theirs, with the handshakes on the I/O thread and on a
//! thread of their own.
//!
//!     cargo bench --bench handshakes -- [--rounds 5] [--seconds 4] [--rate 400] [--flooders 4]
//!
//! Servers, load and flood are processes of their own. The load is open: a request is due at its time whatever became of the one before, and its
//! latency counts from that time. Everybody may run on every processor, at the same priority.

#[path = "../support/mod.rs"]
mod bench;
#[path = "../../tests/support/mod.rs"]
mod support;

use bench::{Process, Words, median, quantile};
use rustls::client::Resumption;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::host::{Delivery, Server, on_requests};
use support::secured::{self, Secured};

/// Connections that have a session and carry the load.
const CONNECTIONS: u64 = 16;

fn main() {
    let words = Words::given();
    let number = |name: &str, otherwise: u64| words.number(name, otherwise);
    match words.get(0) {
        Some("serve") => serve(words.get(1).unwrap_or("0")),
        Some("load") => load(number("--port", 0) as u16, number("--seconds", 4), number("--rate", 400)),
        Some("flood") => flood(number("--port", 0) as u16, number("--seconds", 4), number("--flooders", 4)),
        _ => measure(number("--rounds", 5), number("--seconds", 4), number("--rate", 400), number("--flooders", 4)),
    }
}

/// A server that says its port and lives as long as its input is open. The certificate is that of the process which measures.
fn serve(handshake_threads: &str) {
    let pem = std::env::var("INGEST_BENCH_PEM").expect("the first process hands it on");
    let (cert, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").expect("certificate, then key"));
    let options = [("tls.cert", cert), ("tls.key", key), ("handshake_threads", handshake_threads), ("topology", "inline")];
    let handler = on_requests(|host, request| {
        let _ = host.text(request.0.token, b"ok");
    });
    let server = Server::serve(&options, Delivery::Inline, handler);
    println!("{}", server.port());
    let _ = std::io::stdin().read(&mut [0]);
}

/// Prints each latency in nanoseconds.
fn load(port: u16, seconds: u64, rate: u64) {
    let sessions: Vec<(TcpStream, Secured)> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            stream.set_nodelay(true).expect("a socket");
            let tls = Secured::connect_with(&stream, client(), "localhost").expect("a session");
            (stream, tls)
        })
        .collect();
    println!("ready");
    // The flood has begun by then.
    std::thread::sleep(Duration::from_millis(500));
    let (start, step_ns) = (Instant::now(), CONNECTIONS * 1_000_000_000 / rate);
    let threads = sessions.into_iter().enumerate().map(|(index, (mut stream, tls))| {
        std::thread::spawn(move || {
            let mut latencies = Vec::new();
            for number in 0..seconds * 1_000_000_000 / step_ns {
                let due = start + Duration::from_nanos(number * step_ns + index as u64 * step_ns / CONNECTIONS);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                tls.write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
                let mut answer = [0; 1024];
                assert!(tls.read(&mut stream, &mut answer).expect("the server answers") > 0);
                latencies.push(due.elapsed().as_nanos());
            }
            latencies
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        for latency in thread.join().expect("every request is answered") {
            println!("{latency}");
        }
    }
}

/// Clients that trust the certificate of all servers here, and never resume.
fn client() -> Arc<rustls::ClientConfig> {
    let der = std::env::var("INGEST_BENCH_CERT").expect("the first process hands it on");
    let der: Vec<u8> = (0..der.len() / 2).map(|at| u8::from_str_radix(&der[2 * at..2 * at + 2], 16).expect("hexadecimal digits")).collect();
    let mut config = secured::config_trusting(&[&der.into()]);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Full handshakes, one after the other on each of so many threads; prints how many.
fn flood(port: u16, seconds: u64, flooders: u64) {
    let (config, start) = (client(), Instant::now());
    let threads = (0..flooders).map(|_| {
        let config = Arc::clone(&config);
        std::thread::spawn(move || {
            let mut count = 0u64;
            while start.elapsed() < Duration::from_secs(seconds + 1) {
                let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
                count += u64::from(Secured::connect_with(&stream, Arc::clone(&config), "localhost").is_ok());
            }
            count
        })
    });
    let count: u64 = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("a client")).sum();
    println!("{count}");
}

fn measure(rounds: u64, seconds: u64, rate: u64, flooders: u64) {
    let pair = secured::pair();
    let numbers = [("--seconds", seconds), ("--rate", rate), ("--flooders", flooders)].map(|(name, number)| (name, number.to_string()));
    let words = |role: &'static str, port: &str| {
        let mut words = vec![role.to_owned(), "--port".to_owned(), port.to_owned()];
        numbers.iter().for_each(|(name, number)| words.extend([(*name).to_owned(), number.clone()]));
        words
    };
    let der: String = pair.der.iter().map(|octet| format!("{octet:02x}")).collect();
    let environment = [("INGEST_BENCH_CERT", der), ("INGEST_BENCH_PEM", format!("{}\n{}", pair.cert, pair.key))];
    let start = |words: Vec<String>| Process::start_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), &environment);
    // Whose server carries the load, and where the flood goes to: nowhere, to another server, or to the same.
    let ways = [("0", "none"), ("0", "elsewhere"), ("0", "here"), ("1", "none"), ("1", "elsewhere"), ("1", "here")];
    let mut seen: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, (threads, target)) in ways.iter().enumerate() {
            let mut server = start(vec!["serve".to_owned(), (*threads).to_owned()]);
            let mut other = start(vec!["serve".to_owned(), (*threads).to_owned()]);
            let (port, elsewhere) = (server.line(), other.line());
            let mut load = start(words("load", &port));
            assert_eq!(load.line(), "ready");
            let flood = match *target {
                "none" => None,
                "here" => Some(start(words("flood", &port))),
                _ => Some(start(words("flood", &elsewhere))),
            };
            let mut latencies = load.rest();
            latencies.sort_unstable();
            let handshakes = flood.map_or(0, |flood| flood.rest()[0]);
            let a_second = handshakes as f64 / (seconds + 1) as f64;
            seen[way].push((quantile(&latencies, 50), quantile(&latencies, 99), a_second));
            server.end();
            other.end();
        }
    }
    println!("{rate} requests/s on {CONNECTIONS} connections, {flooders} clients that do full handshakes; medians of {rounds} rounds");
    println!("handshake_threads  flood        handshakes/s     p50 us     p99 us   p99 beside the flood elsewhere");
    for (way, (threads, target)) in ways.iter().enumerate() {
        let column = |pick: fn(&(f64, f64, f64)) -> f64| median(seen[way].iter().map(pick).collect());
        let base = &seen[way - way % 3 + 1];
        let mut ratios: Vec<f64> = seen[way].iter().zip(base).map(|(mine, base)| mine.1 / base.1).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "{threads:>17}  {target:<11} {:>13.0} {:>10.0} {:>10.0}   {:.2} ({least:.2}-{most:.2})",
            column(|round| round.2),
            column(|round| round.0),
            column(|round| round.1),
            median(ratios),
        );
    }
}
