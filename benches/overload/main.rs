//! What comes of twice as many requests as a host can take: how many are answered in time, and how long those have waited, with nothing but
//! a bound on the queue, with the deadlines of clients, and with `queue_delay_target`.
//!
//!     cargo bench --bench overload -- [--seconds 60] [--patience 500] [--target 10] [--batch 64]
//!
//! The host is four handler threads, each of which takes 4 ms for a request and sleeps meanwhile, so that its capacity does not depend on what
//! else the machine does; it is measured first, with clients that wait for each other. The load is open: a request is due at its time whatever
//! became of the one before, and its latency counts from that time. A client that has waited for `--patience` milliseconds closes its
//! connection, as clients do, and its request counts as lost. Server and load are processes of their own.

#[path = "../support/mod.rs"]
mod bench;
#[path = "load.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

use bench::{Process, Words, quantile};
use load::{closed_loop, open_loop};
use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};
use support::host::{Delivery, Server, on_requests};

/// The host's threads, and what each of them takes for a request.
const THREADS: &str = "4";
const SERVICE: Duration = Duration::from_millis(4);
/// Clients that find out what the host can do.
const CLOSED_CLIENTS: usize = 32;

/// One line of the table.
struct Row {
    name: &'static str,
    /// What is offered, in hundredths of the capacity.
    load: u64,
    sheds: bool,
    /// Clients say how long they wait.
    says: bool,
}

const ROWS: [Row; 6] = [
    Row { name: "no shedding", load: 80, sheds: false, says: false },
    Row { name: "queue_delay_target", load: 80, sheds: true, says: false },
    Row { name: "no shedding", load: 200, sheds: false, says: false },
    Row { name: "deadline_header alone", load: 200, sheds: false, says: true },
    Row { name: "queue_delay_target", load: 200, sheds: true, says: false },
    Row { name: "both", load: 200, sheds: true, says: true },
];

fn main() {
    load::raise_descriptors();
    let words = Words::given();
    let patience_ms = words.number("--patience", 500);
    match words.get(0) {
        Some("serve") => serve(&words),
        Some("load") => {
            let length = Duration::from_secs(words.number("--seconds", 60));
            let (port, rate) = (words.number("--port", 0) as u16, words.number("--rate", 0));
            let request = request(words.number("--says", 0) == 1, patience_ms);
            let harvest = open_loop(port, request.as_bytes(), rate as f64, length, Duration::from_millis(patience_ms));
            println!("{}\n{}\n{}", harvest.lost, harvest.served.len(), harvest.refused.len());
            harvest.served.iter().chain(&harvest.refused).for_each(|latency| println!("{latency}"));
        }
        Some("capacity") => {
            let length = Duration::from_secs(words.number("--seconds", 60));
            println!("{:.0}", closed_loop(words.number("--port", 0) as u16, request(false, 0).as_bytes(), CLOSED_CLIENTS, length));
        }
        _ => measure(&words),
    }
}

fn request(says: bool, patience_ms: u64) -> String {
    let field = if says { format!("Request-Timeout: {patience_ms}ms\r\n") } else { String::new() };
    format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n")
}

/// A thread that comes back for more within this time has had no pause.
const AT_ONCE: Duration = Duration::from_millis(2);

thread_local! {
    /// Until when this thread works on what it has taken, and when it came back from that.
    static BUSY: Cell<Option<(Instant, Instant)>> = const { Cell::new(None) };
}

/// Takes the time of one request. A thread that slept too long, but has had no pause, makes up for it, as a device would that is busy all
/// the time.
fn work() {
    let now = Instant::now();
    let began = BUSY.get().filter(|(_, back)| now - *back < AT_ONCE).map_or(now, |(until, _)| until);
    let until = began + SERVICE;
    std::thread::sleep(until.saturating_duration_since(now));
    BUSY.set(Some((until, Instant::now())));
}

/// A server that says its port, lives as long as its input is open, and then says what it has counted.
fn serve(words: &Words) {
    let handler = on_requests(|host, request| {
        work();
        let _ = host.text(request.0.token, b"done");
    });
    let [target, batch] = [("--target", 0), ("--batch", 64)].map(|(name, otherwise)| words.number(name, otherwise));
    let (target, batch) = (if target == 0 { "off".to_owned() } else { format!("{target}ms") }, batch.to_string());
    let header = if words.number("--says", 0) == 1 { "Request-Timeout" } else { "" };
    let options = [("queue_delay_target", &*target), ("deadline_header", header), ("handler_threads", THREADS), ("batch_max", &*batch)];
    let server = Server::serve(&options, Delivery::Threads, handler);
    println!("{}", server.port());
    let _ = std::io::stdin().read(&mut [0]);
    let stats = server.stats();
    println!("{}\n{}\n{}", stats.requests_answered, stats.limit_queue_delay, stats.limit_deadline);
}

fn measure(words: &Words) {
    let seconds = words.number("--seconds", 60);
    let [patience, target, batch] =
        [("--patience", 500), ("--target", 10), ("--batch", 64)].map(|(name, otherwise)| words.number(name, otherwise));
    let capacity = {
        let mut server = Process::start(&["serve", "--batch", &batch.to_string()]);
        let port = server.line();
        let found = Process::start(&["capacity", "--port", &port, "--seconds", &seconds.min(20).to_string()]).rest()[0];
        server.end();
        found
    };
    println!(
        "capacity {capacity}/s; clients wait for {patience} ms; queue_delay_target {target} ms, queue_delay_interval 100 ms; {seconds} s a row"
    );
    println!("                        offered/s  in time/s  of capacity   p50 ms   p99 ms   most ms  refused/s  lost/s  host's answers/s");
    for row in ROWS {
        let length = if row.load > 100 { seconds } else { seconds.min(20) };
        let rate = capacity * row.load / 100;
        let text = |number: u64| number.to_string();
        let (says, target) = (text(row.says.into()), text(if row.sheds { target } else { 0 }));
        let mut server = Process::start(&["serve", "--target", &target, "--says", &says, "--batch", &text(batch)]);
        let port = server.line();
        let load =
            ["load", "--port", &port, "--rate", &text(rate), "--says", &says, "--patience", &text(patience), "--seconds", &text(length)];
        let figures = Process::start(&load).rest();
        let counted = server.end_with_figures();
        let (lost, served, refused) = (figures[0], figures[1] as usize, figures[2]);
        let mut latencies = figures[3..3 + served].to_vec();
        latencies.sort_unstable();
        let each_second = |count: u64| count as f64 / length as f64;
        let ms = |hundredths: usize| if served == 0 { f64::NAN } else { quantile(&latencies, hundredths) / 1000.0 };
        println!(
            "{:<22} {rate:>10} {:>10.0} {:>11.1}% {:>8.1} {:>8.1} {:>9.1} {:>10.0} {:>7.0} {:>17.0}",
            row.name,
            each_second(served as u64),
            100.0 * each_second(served as u64) / capacity as f64,
            ms(50),
            ms(99),
            ms(100),
            each_second(refused),
            each_second(lost),
            each_second(counted[0]),
        );
    }
}
