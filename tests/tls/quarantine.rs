//! Handshakes on threads of their own or few at a time: who is served meanwhile, what hostile and slow clients get, and how it ends.

use crate::support::client::Client;
use crate::support::host::{Delivery, Host, Server, blank_event, on_requests};
use crate::support::secured;
use crate::support::{PATIENCE, alone, eventually};
use crate::telling;
use ingest::ffi::life::ingest_server_turn;
use ingest::status::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// The options that decide who does the handshakes.
const CREWS: [&str; 3] = ["0", "1", "2"];
const TOPOLOGIES: [(&str, &str); 7] =
    [("inline", "1"), ("shards", "2"), ("shared", "2"), ("acceptor", "2"), ("dispatch", "2"), ("cut", "2"), ("cut-each", "2")];

fn crewed(crew: &'static str, extra: &[(&'static str, &'static str)]) -> Server {
    let mut options = vec![("handshake_threads", crew)];
    options.extend_from_slice(extra);
    crate::serve(&options)
}

fn raw(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

fn begun() -> ClientConnection {
    ClientConnection::new(Arc::new(secured::config()), ServerName::try_from("localhost").expect("a name")).expect("a client")
}

/// What the session has to say now.
fn said(session: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut out).expect("memory takes everything");
    }
    out
}

fn hello() -> Vec<u8> {
    said(&mut begun())
}

/// The same messages, those of the handshake in records of one octet each.
fn chopped(records: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (records, Vec::new());
    while let [kind, high, low, l1, l0, ..] = *rest {
        let (record, behind) = rest.split_at(5 + usize::from(u16::from_be_bytes([l1, l0])));
        match kind {
            22 => record[5..].iter().for_each(|octet| out.extend_from_slice(&[22, high, low, 0, 1, *octet])),
            _ => out.extend_from_slice(record),
        }
        rest = behind;
    }
    out
}

/// Whatever comes until the end, which may be a reset.
fn until_the_end(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
        _ => Ok(all),
    }
}

fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = std::mem::size_of::<libc::linger>() as u32;
    // SAFETY: the pointer is good for the call and the length is its type's.
    let set = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length) };
    assert_eq!(set, 0);
}

#[test]
fn whoever_does_the_handshakes_everybody_is_served() {
    let old: ClientConfig = {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(secured::pair().der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).expect("a version");
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    let old = Arc::new(old);
    for (topology, threads) in TOPOLOGIES {
        for crew in CREWS {
            let server = crewed(crew, &[("topology", topology), ("io_threads", threads)]);
            let port = server.port();
            let workers: Vec<_> = (0..8)
                .map(|number| {
                    let old = Arc::clone(&old);
                    std::thread::spawn(move || {
                        for _ in 0..3 {
                            let mut client = Client::connect(port);
                            assert!(client.get("/").text().starts_with("https 304 [localhost] []"), "worker {number}");
                            assert!(client.get("/").text().starts_with("https 304 [localhost] []"), "worker {number}");
                            let stream = raw(port);
                            let tls = secured::Secured::connect_with(&stream, Arc::clone(&old), "example.test").expect("a session of 1.2");
                            tls.write_all(&mut &stream, GET.as_bytes()).expect("the server reads");
                            let mut answer = [0; 1024];
                            let count = tls.read(&mut Both(&stream), &mut answer).expect("an answer");
                            let text = String::from_utf8_lossy(&answer[..count]).into_owned();
                            assert!(text.contains("https 303 [example.test] []"), "worker {number}: {text}");
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| worker.join().expect("every client is served"));
            let what = format!("{topology}, {crew} threads");
            let now = || (server.stats().connections_open, server.stats().memory_bytes, server.stats().connections_in_handshake);
            assert!(eventually(|| now() == (0, 0, 0)), "{what}: {:?}", now());
            assert_eq!((server.stats().handshakes, server.stats().handshake_failures, server.stats().panics), (48, 0, 0), "{what}");
            server.finish();
        }
    }
}

struct Both<'a>(&'a TcpStream);

impl Read for Both<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn n19_hellos_in_the_smallest_records_are_understood() {
    for crew in CREWS {
        let server = crewed(crew, &[]);
        for together in [true, false] {
            let (mut stream, mut session) = (raw(server.port()), begun());
            let octets = chopped(&said(&mut session));
            match together {
                true => stream.write_all(&octets).expect("the server reads"),
                // Each octet in a segment of its own, as far as the kernel goes along.
                false => octets.chunks(7).for_each(|piece| stream.write_all(piece).expect("the server reads")),
            }
            while session.is_handshaking() {
                assert!(session.read_tls(&mut stream).expect("the server answers") > 0, "{crew}");
                session.process_new_packets().expect("what the server says is understood");
            }
            session.writer().write_all(GET.as_bytes()).expect("memory takes it");
            let octets = chopped(&said(&mut session));
            stream.write_all(&octets).expect("the server reads");
            let mut answer = Vec::new();
            while !answer.windows(5).any(|window| window == b"https") {
                assert!(session.read_tls(&mut stream).expect("the server answers") > 0, "{crew}");
                let state = session.process_new_packets().expect("what the server says is understood");
                let mut plain = vec![0; state.plaintext_bytes_to_read()];
                session.reader().read_exact(&mut plain).expect("so many are there");
                answer.extend_from_slice(&plain);
            }
        }
        assert_eq!((server.stats().handshakes, server.stats().handshake_failures), (2, 0), "{crew}");
    }
}

#[test]
fn n19_a_hello_without_end_is_cut_off() {
    for crew in CREWS {
        let server = crewed(crew, &[]);
        let mut stream = raw(server.port());
        let mut writer = stream.try_clone().expect("a descriptor");
        // A hello of nearly 64 KiB, as it says itself, in records of one octet: 384 KiB.
        let feeder = std::thread::spawn(move || {
            let mut message = vec![1, 0, 0xff, 0xf0];
            message.resize(0xffff, 0);
            let octets: Vec<u8> = message.iter().flat_map(|octet| [22, 3, 1, 0, 1, *octet]).collect();
            // It may end before all is written.
            let _ = writer.write_all(&octets);
        });
        until_the_end(&mut stream).expect("the server ends it");
        feeder.join().expect("it only writes");
        assert!(eventually(|| server.stats().handshake_failures == 1), "{crew}");
        assert!(server.connect().get("/").text().starts_with("https"), "{crew}");
        assert!(eventually(|| server.stats().memory_bytes == 0 && server.stats().panics == 0), "{crew}");
    }
}

#[test]
fn n19_garbage_at_every_point_of_a_handshake_ends_it_and_no_other() {
    for crew in CREWS {
        let server = crewed(crew, &[("linger_timeout", "100ms")]);
        let mut witness = server.connect();
        let hello = hello();
        // Nothing before, half a hello, a whole one that was answered, and each octet of the header and a few behind.
        let mut places = vec![0, hello.len() / 2, hello.len() - 1, hello.len()];
        places.extend(1..12);
        for (count, place) in places.iter().enumerate() {
            let mut stream = raw(server.port());
            stream.write_all(&hello[..*place]).expect("the server reads");
            if *place == hello.len() {
                assert!(stream.peek(&mut [0]).expect("the server answers") > 0);
            }
            stream
                .write_all(&[0xff; 70_000])
                .or_else(|error| if error.kind() == ErrorKind::WouldBlock { Err(error) } else { Ok(()) })
                .expect("it ends");
            until_the_end(&mut stream).unwrap_or_else(|error| panic!("{crew} threads, garbage behind {place} octets: {error}"));
            assert!(eventually(|| server.stats().handshake_failures == count as u64 + 1), "{crew} threads, garbage behind {place} octets");
            assert!(witness.get("/").text().starts_with("https"));
        }
        assert_eq!((server.stats().handshakes, server.stats().panics, server.stats().requests_refused), (1, 0, 0), "{crew}");
    }
}

#[test]
fn resets_in_the_middle_of_a_handshake_harm_nobody() {
    for crew in CREWS {
        let server = crewed(crew, &[("topology", "shards"), ("io_threads", "2")]);
        let mut witness = server.connect();
        let hello = hello();
        for number in 0..60 {
            let mut stream = raw(server.port());
            let part = if number % 3 == 0 { hello.len() / 2 } else { hello.len() };
            stream.write_all(&hello[..part]).expect("the server reads");
            if number % 3 == 2 {
                assert!(stream.peek(&mut [0]).expect("the server answers") > 0);
            }
            if number % 2 == 0 {
                reset(stream)
            } else {
                drop(stream)
            }
            if number % 10 == 0 {
                assert!(witness.get("/").text().starts_with("https"));
            }
        }
        let now = || (server.stats().connections_open, server.stats().connections_in_handshake, server.stats().panics);
        assert!(eventually(|| now() == (1, 0, 0)), "{crew}: {:?}", now());
        assert!(witness.get("/").text().starts_with("https"));
    }
}

#[test]
fn the_deadline_of_a_handshake_is_the_same_whoever_does_it() {
    for crew in CREWS {
        let server = crewed(crew, &[("tls.handshake_timeout", "300ms"), ("header_timeout", "1m"), ("linger_timeout", "100ms")]);
        let start = Instant::now();
        let (mut silent, mut half, mut waiting) = (raw(server.port()), raw(server.port()), raw(server.port()));
        let hello = hello();
        half.write_all(&hello[..20]).expect("the server reads");
        waiting.write_all(&hello).expect("the server reads");
        for stream in [&mut silent, &mut half, &mut waiting] {
            until_the_end(stream).expect("each is closed");
        }
        assert!(start.elapsed() >= Duration::from_millis(300), "{crew}");
        assert!(eventually(|| server.stats().limit_handshake == 3 && server.stats().connections_open == 0), "{crew}");
        assert_eq!(server.stats().handshake_failures, 2, "{crew}: nobody has begun on the silent one");
    }
}

/// Clients that connect and ask without a break until they are told to end, or the server is gone.
fn storm(port: u16, over: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<u64>> {
    let clients = (0..4).map(|number| {
        let over = Arc::clone(over);
        std::thread::spawn(move || {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return served };
                let _ = stream.set_read_timeout(Some(PATIENCE));
                if number == 0 {
                    let _ = (&stream).write_all(&hello());
                    continue;
                }
                served += u64::from(secured::Secured::connect(&stream).is_ok());
            }
            served
        })
    });
    clients.collect()
}

#[test]
fn it_ends_while_handshakes_are_under_way() {
    for (round, (topology, threads)) in TOPOLOGIES.into_iter().enumerate() {
        for crew in CREWS {
            let server = crewed(crew, &[("topology", topology), ("io_threads", threads)]);
            let over = Arc::new(AtomicBool::new(false));
            let clients = storm(server.port(), &over);
            assert!(eventually(|| server.stats().handshakes > 20), "{topology}, {crew}");
            match round % 3 {
                // A drain first; then the end at once; then without a word.
                0 => {
                    assert_eq!(server.drain(5_000), INGEST_OK);
                    assert_eq!(server.join(10_000), INGEST_OK, "{topology}, {crew}");
                    server.finish();
                }
                1 => server.finish(),
                _ => assert_eq!(server.free_at_once(), INGEST_OK),
            }
            over.store(true, Ordering::Relaxed);
            let served: u64 = clients.into_iter().map(|client| client.join().expect("a client")).sum();
            assert!(served > 0, "{topology}, {crew}");
        }
    }
}

fn turn(host: Host, timeout_ms: i32) -> i32 {
    // SAFETY: the server lives.
    unsafe { ingest_server_turn(host.0, timeout_ms) }
}

/// A server that the test drives, with TLS.
fn driven(extra: &[(&'static str, &'static str)]) -> Server {
    let mut options = secured::options().to_vec();
    options.extend_from_slice(&[("delivery", "queue")]);
    options.extend_from_slice(extra);
    let mut server = Server::unstarted(&options);
    server.listen("https://127.0.0.1:0").expect("loopback can be listened on");
    server
}

#[test]
fn turns_and_threads_for_handshakes_exclude_each_other() {
    let server = driven(&[("handshake_threads", "1")]);
    assert_eq!(turn(server.host, 0), INGEST_E_OPTION);
    assert!(server.start().is_ok(), "nothing has begun");
}

#[test]
fn n19_a_crowd_of_hellos_is_answered_a_few_a_tick_and_others_are_served_between() {
    const CROWD: usize = 14;
    const A_TICK: usize = 4;
    let server = driven(&[]);
    let port = server.port();
    assert!(turn(server.host, 0) >= 0);
    let made = std::thread::spawn(move || Client::connect(port));
    while !made.is_finished() {
        assert!(turn(server.host, 1) >= 0);
    }
    let mut client = made.join().expect("it is served");
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| raw(port)).collect();
    assert!(eventually(|| turn(server.host, 1) >= 0 && server.stats().connections_open == 1 + CROWD as u64));
    let hello = hello();
    crowd.iter_mut().for_each(|stream| {
        stream.write_all(&hello).expect("the kernel takes it");
        stream.set_nonblocking(true).expect("a socket");
    });
    let (mut answered, mut turns) = (0, 0);
    let start = Instant::now();
    while answered < CROWD {
        // One whole request in each turn.
        client.send(GET);
        turns += 1;
        assert!(turn(server.host, 10_000) >= 0);
        let now = crowd.iter().filter(|stream| stream.peek(&mut [0]).is_ok()).count();
        assert!(now - answered <= A_TICK, "{} were answered in turn {turns}", now - answered);
        answered = now;
        let mut events = [blank_event(); 2];
        assert_eq!(server.queue().poll(&mut events), 1, "in turn {turns} somebody who has a session was not served");
        server.text(events[0].token, b"between");
        assert!(eventually(|| turn(server.host, 0) >= 0 && client.has_input()));
        assert_eq!(client.answer().text(), "between");
        answered = crowd.iter().filter(|stream| stream.peek(&mut [0]).is_ok()).count().max(answered);
    }
    assert!(start.elapsed() < Duration::from_secs(9), "a turn has waited although somebody had to be answered");
    assert_eq!(server.stats().connections_in_handshake, CROWD as u64);
    drop(crowd);
    assert!(eventually(|| turn(server.host, 0) >= 0 && server.stats().connections_open == 1));
}

#[test]
fn who_waits_for_a_later_tick_is_not_read_meanwhile() {
    const MORE: usize = 1_000;
    let server = driven(&[]);
    assert!(turn(server.host, 0) >= 0);
    let mut crowd: Vec<TcpStream> = (0..14).map(|_| raw(server.port())).collect();
    assert!(eventually(|| turn(server.host, 1) >= 0 && server.stats().connections_open == 14));
    let hello = hello();
    crowd.iter_mut().for_each(|stream| stream.write_all(&hello).expect("the kernel takes it"));
    assert!(turn(server.host, 10_000) >= 0);
    let received = server.stats().bytes_received;
    assert_eq!(received, 14 * hello.len() as u64, "all hellos are here");
    // The begin of a record that never ends.
    let mut more = vec![0x17, 3, 3, 0x40, 0];
    more.resize(MORE, 0);
    let answered = |stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        stream.peek(&mut [0]).is_ok()
    };
    let mut waiting: Vec<&mut TcpStream> = crowd.iter_mut().filter(|stream| !answered(stream)).collect();
    assert_eq!(waiting.len(), 10);
    waiting.iter_mut().for_each(|stream| stream.write_all(&more).expect("the kernel takes it"));
    assert!(turn(server.host, 10_000) >= 0);
    // Four of them had their turn, and are heard again.
    assert_eq!(server.stats().bytes_received - received, 4 * MORE as u64);
    assert!(eventually(|| turn(server.host, 1) >= 0 && server.stats().bytes_received - received == 10 * MORE as u64));
}

/// Peers that begin a handshake and go on with an octet now and then, until they are told to end.
struct Dribblers {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Dribblers {
    fn begin(port: u16, count: usize) -> Dribblers {
        let hello = hello();
        let mut streams: Vec<TcpStream> = (0..count).map(|_| raw(port)).collect();
        for stream in &mut streams {
            stream.write_all(&hello[..11]).expect("the kernel takes it");
            stream.set_nonblocking(true).expect("a socket");
        }
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for octet in hello[11..].chunks(1) {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // Those that were closed hear it here.
                streams.iter_mut().for_each(|stream| drop(stream.write_all(octet)));
                std::thread::sleep(Duration::from_millis(20));
            }
            while !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Dribblers { over, thread: Some(thread) }
    }
}

impl Drop for Dribblers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(|thread| thread.join());
    }
}

#[test]
fn n19_at_handshakes_max_the_door_is_shut_for_tls_alone() {
    for crew in CREWS {
        let mut options = secured::options().to_vec();
        options.extend([("tls.handshakes_max", "4"), ("handshake_threads", crew), ("tls.handshake_timeout", "1m")]);
        let server = Server::serve_on(&["https://127.0.0.1:0", "http://127.0.0.1:0"], &options, Delivery::Inline, telling());
        let mut witness = server.connect();
        let _dribblers = Dribblers::begin(server.ports[0], 4);
        assert!(eventually(|| server.stats().limit_handshakes_max == 1), "{crew}");
        let mut plain = Client::connect(server.ports[1]);
        assert!(plain.get("/").text().starts_with("http "), "{crew}");
        assert!(witness.get("/").text().starts_with("https"), "{crew}");
        let open = server.stats().connections_accepted;
        let port = server.port();
        let late = std::thread::spawn(move || Client::connect(port).get("/").text());
        // Nobody was let in before somebody had to go: looked at in this order, since the two are counted one after the other.
        while !late.is_finished() {
            let accepted = server.stats().connections_accepted;
            assert!(server.stats().handshakes_displaced > 0 || accepted == open, "{crew}: {accepted}, before {open}");
        }
        assert!(late.join().expect("it is served").starts_with("https"), "{crew}");
        assert!(server.set("tls.handshakes_max", "unlimited").is_ok(), "{crew}: it is live");
        assert!(server.connect().get("/").text().starts_with("https"), "{crew}");
    }
}

#[test]
fn n19_peers_that_dribble_their_hellos_do_not_hold_the_door_shut() {
    for (topology, threads) in &TOPOLOGIES[..5] {
        for crew in ["0", "1"] {
            let options = [("topology", *topology), ("io_threads", *threads), ("tls.handshakes_max", "8"), ("tls.handshake_timeout", "1m")];
            let server = crewed(crew, &options);
            // More than all threads together let in at once.
            let _dribblers = Dribblers::begin(server.port(), 64);
            assert!(eventually(|| server.stats().limit_handshakes_max > 0), "{topology}, {crew}");
            let start = Instant::now();
            for _ in 0..3 {
                assert!(server.connect().get("/").text().starts_with("https"), "{topology}, {crew}");
            }
            println!("{topology}, {crew} threads: three others were served within {:?}", start.elapsed());
            // Perhaps the others came to a thread that still had room.
            assert!(eventually(|| server.stats().handshakes_displaced > 0), "{topology}, {crew}");
            assert_eq!(server.stats().limit_handshake, 0, "{topology}, {crew}");
            server.finish();
        }
    }
}

/// The threads of this process whose name begins so, each with the mask of the signals that it blocks.
fn threads(named: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("/proc is there").flatten() {
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        if name.starts_with(named) {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("every task has one");
            found.push((name.trim_end().to_owned(), u64::from_str_radix(mask.trim(), 16).expect("hexadecimal digits")));
        }
    }
    found.sort();
    found
}

#[test]
fn threads_for_handshakes_have_names_block_signals_and_are_there_for_tls_alone() {
    alone("quarantine::threads_for_handshakes_have_names_block_signals_and_are_there_for_tls_alone", || {
        let server = crewed("2", &[]);
        assert!(eventually(|| threads("ingest-shake-").len() == 2));
        let found = threads("ingest-shake-");
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["ingest-shake-0", "ingest-shake-1"]);
        for (name, mask) in &found {
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGALRM, libc::SIGPIPE] {
                assert!(mask & (1 << (signal - 1)) != 0, "{name} does not block {signal}");
            }
        }
        server.finish();
        assert_eq!(threads("ingest-shake-"), []);
        let plain = Server::serve(&[("handshake_threads", "2")], Delivery::Inline, on_requests(|_, _| ()));
        assert!(eventually(|| threads("ingest-io-").len() == 1));
        assert_eq!(threads("ingest-shake-"), []);
        plain.finish();
    });
}

#[test]
fn a_start_that_fails_leaves_no_thread_for_handshakes_and_can_be_tried_again() {
    alone("quarantine::a_start_that_fails_leaves_no_thread_for_handshakes_and_can_be_tried_again", || {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is good for the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
        let lower = |most: u64| {
            let limit = libc::rlimit { rlim_cur: most, ..limit };
            // SAFETY: the pointer is good for the call.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        };
        let mut options = secured::options().to_vec();
        options.extend([("handshake_threads", "3"), ("topology", "shards"), ("io_threads", "2"), ("max_connections", "64")]);
        let mut server = Server::unstarted(&options);
        server.listen("https://127.0.0.1:0").expect("loopback can be listened on");
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count() as u64 - 1;
        let (base, mut failed) = (descriptors(), 0);
        loop {
            lower(base + failed);
            let started = server.start();
            lower(limit.rlim_cur);
            match started {
                Ok(_) => break,
                Err(_) => failed += 1,
            }
            assert!(failed < 100, "it never starts");
            assert!(eventually(|| threads("ingest-").is_empty()), "{:?}", threads("ingest-"));
            assert_eq!(descriptors(), base, "after {failed} failures");
        }
        // A thread for handshakes sleeps on a descriptor, and an I/O thread waits on one.
        assert!(failed >= 5, "{failed} failures");
        assert!(eventually(|| threads("ingest-shake-").len() == 3));
        let mut options = Vec::with_capacity(64);
        while server.host.stats().handshakes < 4 {
            let (host, port) = (server.host, server.port());
            let client = std::thread::spawn(move || Client::connect(port));
            while !client.is_finished() {
                host.queue().poll(&mut [blank_event(); 4]);
            }
            options.push(client.join().expect("it is served"));
        }
        server.finish();
    });
}
