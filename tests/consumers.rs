//! Proves that no wake-up is lost with 1, 2 and 8 consumers, that equally fast ones do equal work, and that work flows around one that sleeps.
//! `INGEST_TEST_PROFILE=full` asks ten million requests, otherwise it is a hundred thousand; a release build makes that a matter of a minute or two.

mod support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use support::client::Client;
use support::eventually;
use support::host::{Delivery, Handler, Host, Server, on_requests};
use support::request_view::RequestView;

const CONSUMERS: [usize; 3] = [1, 2, 8];
/// A request that nobody was woken for is never answered; nothing else takes this long.
const LOST: Duration = Duration::from_secs(30);
const PIPELINED: usize = 16;
const REQUEST: &[u8] = b"GET /wake HTTP/1.1\r\nHost: x\r\n\r\n";

fn deliveries(consumers: usize) -> [Delivery; 2] {
    [Delivery::Queue(consumers), Delivery::Threads]
}

fn serve(delivery: Delivery, consumers: usize, more: &[(&str, &str)], handler: Handler) -> Server {
    let count = consumers.to_string();
    let mut options = vec![("handler_threads", count.as_str()), ("queue_age", "1h"), ("response_timeout", "1h")];
    options.extend_from_slice(more);
    Server::serve(&options, delivery, handler)
}

/// What each consumer did. Every server has threads of its own, so a thread's number is given once.
#[derive(Default)]
struct Shares {
    next: AtomicUsize,
    requests: [AtomicU64; 8],
    busy_ns: [AtomicU64; 8],
}

impl Shares {
    fn mine(&self) -> usize {
        thread_local!(static NUMBER: Cell<Option<usize>> = const { Cell::new(None) });
        let number = NUMBER.get().unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        NUMBER.set(Some(number));
        number
    }

    fn note(&self, busy: Duration) {
        let mine = self.mine();
        self.requests[mine].fetch_add(1, Ordering::Relaxed);
        self.busy_ns[mine].fetch_add(busy.as_nanos() as u64, Ordering::Relaxed);
    }

    fn requests(&self, consumers: usize) -> Vec<u64> {
        self.requests[..consumers].iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn busy_ms(&self, consumers: usize) -> Vec<u64> {
        self.busy_ns[..consumers].iter().map(|busy| busy.load(Ordering::Relaxed) / 1_000_000).collect()
    }
}

/// The most over the least.
fn spread(of: &[u64]) -> f64 {
    let (most, least) = (of.iter().max().expect("there are some"), of.iter().min().expect("there are some"));
    *most as f64 / (*least).max(1) as f64
}

/// A connection that counts answers by their length, which is the same for all.
struct Burster {
    stream: TcpStream,
    answer: usize,
    owed: usize,
    buffer: Vec<u8>,
}

impl Burster {
    fn connect(port: u16) -> Burster {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(LOST)).expect("a socket option");
        stream.set_write_timeout(Some(LOST)).expect("a socket option");
        let mut burster = Burster { stream, answer: 0, owed: 0, buffer: vec![0; 64 * 1024] };
        burster.learn();
        burster
    }

    fn learn(&mut self) {
        self.stream.write_all(REQUEST).expect("the server reads");
        let mut length = 0;
        while !self.buffer[..length].ends_with(b"\r\n\r\nok") {
            let got = self.stream.read(&mut self.buffer[length..]).expect("the first answer comes");
            assert!(got > 0, "the server closed the connection");
            length += got;
        }
        self.answer = length;
    }

    fn ask(&mut self, count: usize) {
        let requests = REQUEST.repeat(count);
        self.stream.write_all(&requests).expect("the server reads");
        self.owed = count;
    }

    /// Reads all that is owed, or says that it never came.
    fn take(&mut self) -> Result<(), String> {
        let wanted = self.owed * self.answer;
        let mut length = 0;
        while length < wanted {
            match self.stream.read(&mut self.buffer[length..wanted]) {
                Ok(0) => return Err("the server closed the connection".to_string()),
                Ok(got) => length += got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(format!("{} of {} answers are missing after {LOST:?}", (wanted - length).div_ceil(self.answer), self.owed));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        for answer in self.buffer[..wanted].chunks_exact(self.answer) {
            assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n\r\nok"), "{}", String::from_utf8_lossy(answer));
        }
        self.owed = 0;
        Ok(())
    }
}

/// Bursts of random size, each to the last answer, so that every consumer falls asleep over and over; returns how many were asked.
fn burst(port: u16, requests: usize, seed: u64) -> Result<usize, String> {
    let mut random = support::Random(seed);
    let mut connections: Vec<Burster> = (0..4).map(|_| Burster::connect(port)).collect();
    let mut asked = connections.len();
    while asked < requests {
        let together = 1 + random.next() as usize % connections.len();
        for connection in &mut connections[..together] {
            let count = 1 + random.next() as usize % PIPELINED;
            connection.ask(count);
            asked += count;
        }
        for connection in &mut connections[..together] {
            connection.take()?;
        }
        if random.next() % 256 == 0 {
            // Longer than anyone looks for work before he sleeps.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(asked)
}

fn no_wake_up_is_lost(delivery: Delivery, consumers: usize, spin: &str, requests: usize) -> usize {
    let shares: Arc<Shares> = Arc::default();
    let noted = Arc::clone(&shares);
    let handler = on_requests(move |host: Host, request: RequestView| {
        noted.note(Duration::ZERO);
        assert_eq!(host.text(request.0.token, b"ok"), ingest::status::INGEST_OK);
    });
    let server = serve(delivery, consumers, &[("spin", spin)], handler);
    let (port, began) = (server.port(), Instant::now());
    let asked: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=2).map(|seed| scope.spawn(move || burst(port, requests / 2, seed * 0x9E37_79B9))).collect();
        let ends = clients.into_iter().map(|client| client.join().expect("a client ends"));
        ends.map(|end| end.unwrap_or_else(|what| panic!("a wake-up is lost with {delivery:?}, {consumers} consumers, spin {spin}: {what}; {} wait in the queue, the host holds {}", server.queue().depth(), server.stats().in_flight))).sum()
    });
    let (took, of) = (began.elapsed(), shares.requests(consumers));
    println!("{delivery:?}, {consumers} consumers, spin {spin}: {asked} requests in {took:.1?}, by each {of:?}, spread {:.2}", spread(&of));
    assert_eq!(of.iter().sum::<u64>(), asked as u64, "a request was delivered twice, or an answer came from nowhere");
    assert_eq!(server.queue().depth(), 0);
    server.finish();
    asked
}

#[test]
fn no_wake_up_is_lost_in_all_the_requests() {
    let full = std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full");
    let total = if full { 10_000_000 } else { 100_000 };
    let mut asked = 0;
    for consumers in CONSUMERS {
        for delivery in deliveries(consumers) {
            for spin in ["auto", "off"] {
                asked += no_wake_up_is_lost(delivery, consumers, spin, total / 12 + 1);
            }
        }
    }
    println!("{asked} requests in all");
    assert!(asked >= total);
}

/// Each consumer sleeps the same time over each request, so they are equally fast by construction and no processor is needed
/// for it. What a busy machine adds to such a sleep counts as work; what is compared is how long each consumer *had* work.
fn equally_fast_consumers_do_equal_work(delivery: Delivery, consumers: usize) {
    const EACH: usize = 1_000;
    let shares: Arc<Shares> = Arc::default();
    let noted = Arc::clone(&shares);
    let handler = on_requests(move |host: Host, request: RequestView| {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(host.text(request.0.token, b"ok"), ingest::status::INGEST_OK);
        noted.note(began.elapsed());
    });
    let server = serve(delivery, consumers, &[], handler);
    let port = server.port();
    let mut connections: Vec<Burster> = (0..4 * consumers).map(|_| Burster::connect(port)).collect();
    let total = EACH * consumers;
    let mut asked = connections.len();
    connections.iter_mut().for_each(|connection| connection.ask(PIPELINED));
    asked += connections.len() * PIPELINED;
    // There is always more in the queue than there are consumers.
    for turn in (0..connections.len()).cycle() {
        connections[turn].take().expect("every answer comes");
        if asked >= total {
            break;
        }
        connections[turn].ask(PIPELINED);
        asked += PIPELINED;
    }
    for connection in connections.iter_mut().filter(|connection| connection.owed > 0) {
        connection.take().expect("every answer comes");
    }
    let (requests, busy) = (shares.requests(consumers), shares.busy_ms(consumers));
    let pace: Vec<u64> = busy.iter().zip(&requests).map(|(busy, requests)| busy * 100_000 / (*requests).max(1)).collect();
    println!(
        "{delivery:?}, {consumers} equal consumers: requests {requests:?}, spread {:.3}; busy {busy:?} ms, spread {:.3}; pace, spread {:.3}",
        spread(&requests),
        spread(&busy),
        spread(&pace)
    );
    assert!(spread(&busy) < 1.2, "one consumer had work for {busy:?} ms and another not");
    // Equally fast only if the machine let them be: a spread of requests that follows that of the pace is the weather.
    assert!(spread(&requests) < 1.2 * spread(&pace), "requests {requests:?} at a pace of {pace:?}");
    server.finish();
}

#[test]
fn equally_fast_consumers_differ_by_less_than_a_fifth() {
    for consumers in [2, 8] {
        for delivery in deliveries(consumers) {
            equally_fast_consumers_do_equal_work(delivery, consumers);
        }
    }
}

/// One connection asks nearly everything, so one I/O thread hands nearly everything over; the consumers share it all the same, and the
/// stats say both. A load that followed the connections would leave three of the four without work.
#[test]
fn an_uneven_load_of_connections_is_an_even_load_of_requests() {
    const ROUNDS: u64 = 150;
    const CONSUMERS: usize = 4;
    for delivery in deliveries(CONSUMERS) {
        let handler = on_requests(|host: Host, request: RequestView| {
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(host.text(request.0.token, b"ok"), ingest::status::INGEST_OK);
        });
        let server = serve(delivery, CONSUMERS, &[("topology", "acceptor"), ("io_threads", "2")], handler);
        // Each asks once, to learn what an answer looks like.
        let mut connections: Vec<Burster> = (0..8).map(|_| Burster::connect(server.port())).collect();
        for _ in 0..ROUNDS {
            connections[0].ask(PIPELINED);
            connections[0].take().expect("every answer comes");
        }
        let (stats, total) = (server.stats(), 8 + ROUNDS * PIPELINED as u64);
        println!(
            "{delivery:?}: {} consumers took {} to {} requests each; I/O threads had {} to {} connections and {} to {} requests",
            stats.consumers,
            stats.consumer_requests_least,
            stats.consumer_requests_most,
            stats.io_connections_least,
            stats.io_connections_most,
            stats.io_requests_least,
            stats.io_requests_most
        );
        assert_eq!(stats.io_requests_least + stats.io_requests_most, total);
        assert_eq!((stats.io_connections_least, stats.io_connections_most), (4, 4));
        assert!(stats.io_requests_least <= 8, "one connection is one thread's");
        assert_eq!(stats.consumers, CONSUMERS as u64);
        let (least, most) = (stats.consumer_requests_least, stats.consumer_requests_most);
        assert!(least > 0 && most <= 2 * least && most >= total / CONSUMERS as u64, "{least} to {most} of {total}");
        drop(connections);
        server.finish();
    }
}

/// Holds whoever passes until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    reached: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        self.reached.store(true, Ordering::Release);
        let mut open = self.open.lock().expect("nobody panics with it");
        while !*open {
            open = self.changed.wait(open).expect("nobody panics with it");
        }
    }

    fn open(&self) {
        *self.open.lock().expect("nobody panics with it") = true;
        self.changed.notify_all();
    }
}

/// Opens the gate also when the test fails, or the server could not end.
struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Sixty-four requests at once; the consumer that finds `/sleep` among its own does not come back.
fn work_flows_around(delivery: Delivery, consumers: usize) {
    const AT_ONCE: usize = 64;
    // As many as one batch of the test's consumers or, by the option, of the library's threads.
    const BATCH: u64 = 16;
    let gate: Arc<Gate> = Arc::default();
    let sleeper = Arc::clone(&gate);
    let handler = on_requests(move |host: Host, request: RequestView| {
        if request.target() == b"/sleep" {
            sleeper.pass();
        }
        assert_eq!(host.text(request.0.token, b"ok"), ingest::status::INGEST_OK);
    });
    let server = serve(delivery, consumers, &[("batch_max", "16")], handler);
    let opener = Opener(Arc::clone(&gate));
    let mut clients: Vec<Client> = (0..AT_ONCE).map(|_| server.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let target = if index == AT_ONCE / 2 { "/sleep" } else { "/other" };
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    assert!(eventually(|| gate.reached.load(Ordering::Acquire)), "nobody took /sleep");
    let all_but_a_batch = AT_ONCE as u64 - BATCH;
    assert!(eventually(|| server.stats().requests_answered >= all_but_a_batch), "more than one batch waits for the one that sleeps");
    let mut others: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for _ in 0..500 {
        others.iter_mut().for_each(|other| other.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n"));
        others.iter_mut().for_each(|other| assert_eq!(other.answer().text(), "ok"));
    }
    let held = AT_ONCE as u64 + 2_000 - server.stats().requests_answered;
    println!("{delivery:?}, {consumers} consumers: the one that sleeps holds {held} requests, 2000 others were answered meanwhile");
    assert!((1..=BATCH).contains(&held), "{held} requests wait for the one that sleeps");
    drop(opener);
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "ok"));
    drop((clients, others));
    server.finish();
}

#[test]
fn work_flows_around_a_consumer_that_does_not_come_back() {
    for consumers in [2, 8] {
        for delivery in deliveries(consumers) {
            work_flows_around(delivery, consumers);
        }
    }
}
