//! What a server tells by itself: the log that the host reads or is called with, and the calls on each library thread.

mod support;

use ingest::status::*;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_void};
use std::io::{Read, Write};
use std::mem::size_of;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::client::Client;
use support::host::abi::*;
use support::host::{Delivery, Handler, Host, Server, on_requests};
use support::{PATIENCE, alone, eventually};

/// A record as the host reads it.
#[derive(Debug, PartialEq)]
struct Line {
    level: i32,
    at_ns: u64,
    text: String,
}

fn next_within(host: Host, capacity: usize) -> Result<Line, ingest_status> {
    let mut record =
        ingest_log_record { size: size_of::<ingest_log_record>() as u32, level: 0, at_ns: 0, text: ingest::request::ingest_slice::NONE };
    let mut text = vec![0x55_u8; capacity + 1];
    // SAFETY: the server lives, the record has the size it says, and the text is as large as is said.
    let status = unsafe { ingest_server_log_next(host.0, &mut record, text.as_mut_ptr().cast(), capacity) };
    assert_eq!(text[capacity], 0x55, "an octet behind the buffer was written");
    if status != INGEST_OK {
        return Err(status);
    }
    if capacity == 0 {
        assert!(record.text.ptr.is_null() && record.text.len == 0);
    } else {
        assert_eq!((record.text.ptr, text[record.text.len]), (text.as_ptr(), 0));
    }
    text.truncate(record.text.len);
    Ok(Line { level: record.level, at_ns: record.at_ns, text: String::from_utf8(text).expect("a record is UTF-8") })
}

fn lines(host: Host) -> Vec<Line> {
    let mut lines = Vec::new();
    loop {
        match next_within(host, 256) {
            Ok(line) => lines.push(line),
            Err(status) => {
                assert_eq!(status, INGEST_E_BUSY);
                return lines;
            }
        }
    }
}

fn greet() -> Handler {
    on_requests(|host, request| {
        host.text(request.0.token, b"hello");
    })
}

#[test]
fn start_drain_and_stop_are_told_in_order() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970").as_nanos() as u64;
    let server = Server::serve(&[("topology", "shards"), ("io_threads", "2")], Delivery::Queue(1), greet());
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(server.drain(5000), INGEST_OK);
    assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
    let lines = lines(server.host);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!(texts[0], "started: topology shards, 2 i/o threads, delivery queue");
    assert_eq!(texts[1], format!("listening on http://127.0.0.1:{}", server.port()));
    assert!(texts[2].starts_with("draining: no more connections are accepted, 1 are open, at most "), "{}", texts[2]);
    assert_eq!(texts[3], "stopped: every connection is closed");
    assert!(lines.iter().all(|line| line.level == INGEST_LOG_INFO));
    assert!(lines[0].at_ns >= before && lines.is_sorted_by_key(|line| line.at_ns), "{lines:?}");
    server.finish();
}

#[test]
fn a_server_that_the_host_drives_tells_too() {
    let mut server = Server::unstarted(&[("topology", "inline"), ("delivery", "queue")]);
    server.listen("http://127.0.0.1:0").expect("loopback");
    assert_eq!(next_within(server.host, 100), Err(INGEST_E_BUSY));
    // SAFETY: the server lives, and only this thread takes turns.
    assert_eq!(unsafe { ingest_server_turn(server.host.0, 0) }, 0);
    server.stop();
    // SAFETY: as above.
    assert!(eventually(|| unsafe { ingest_server_turn(server.host.0, 10) } == INGEST_E_STOPPED));
    let texts: Vec<String> = lines(server.host).into_iter().map(|line| line.text).collect();
    assert_eq!(texts[0], "started: driven by the host, turn by turn");
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts[1].starts_with("listening on ") && texts[2].starts_with("draining: ") && texts[3].starts_with("stopped: "), "{texts:?}");
    server.finish();
}

#[test]
fn a_text_is_cut_to_what_the_host_has_room_for() {
    let mut server = Server::unstarted(&[]);
    for _ in 0..3 {
        server.listen("http://127.0.0.1:0").expect("loopback");
    }
    server.start().expect("the server starts");
    assert_eq!(next_within(server.host, 8).map(|line| line.text), Ok("started".to_owned()));
    assert_eq!(next_within(server.host, 1).map(|line| line.text), Ok(String::new()));
    assert_eq!(next_within(server.host, 0).map(|line| line.level), Ok(INGEST_LOG_INFO));
    assert_eq!(next_within(server.host, 100).map(|line| line.text), Ok(format!("listening on http://127.0.0.1:{}", server.ports[2])));
    server.finish();
}

#[test]
fn what_the_host_does_not_read_is_counted() {
    const LISTENERS: usize = 300;
    alone("what_the_host_does_not_read_is_counted", || {
        limit_descriptors(4096);
        let mut server = Server::unstarted(&[]);
        for _ in 0..LISTENERS {
            server.listen("http://127.0.0.1:0").expect("loopback");
        }
        server.start().expect("the server starts");
        let lines = lines(server.host);
        // One line more than listeners was made, 256 are kept.
        assert_eq!(lines.len(), 257);
        assert_eq!(lines[0].level, INGEST_LOG_WARN);
        assert!(lines[0].text.starts_with("45 records of the log were lost"), "{}", lines[0].text);
        assert_eq!(lines[1].text, format!("listening on http://127.0.0.1:{}", server.ports[44]));
        assert_eq!(lines[256].text, format!("listening on http://127.0.0.1:{}", server.ports[LISTENERS - 1]));
        server.finish();
    });
}

/// Sets the soft limit, as far as the hard one lets us.
fn limit_descriptors(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is good for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// The limit under which so many more descriptors can be had.
fn limit_with_spare(spare: usize) -> u64 {
    let names = std::fs::read_dir("/proc/self/fd").expect("procfs").map(|entry| entry.expect("an entry").file_name());
    let open: BTreeSet<u64> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    (0..).filter(|number| !open.contains(number)).nth(spare).expect("there are enough numbers")
}

/// What this process has used of its processors.
fn processor_time() -> Duration {
    // SAFETY: all zeros is a value of it, and the kernel fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// A socket that needs no further descriptor to become a connection.
fn unconnected() -> OwnedFd {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn connect(socket: OwnedFd, port: u16) -> TcpStream {
    let sin_addr = libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) };
    let address = libc::sockaddr_in { sin_family: libc::AF_INET as u16, sin_port: port.to_be(), sin_addr, sin_zero: [0; 8] };
    // SAFETY: the address is a whole sockaddr_in and its size is given.
    let status = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    TcpStream::from(socket)
}

fn ask(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the kernel takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).expect("the answer comes");
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..count]);
    }
}

#[test]
fn without_descriptors_it_waits_says_so_once_and_recovers() {
    const CLIENTS: usize = 40;
    const SPARE: usize = 10;
    alone("without_descriptors_it_waits_says_so_once_and_recovers", || {
        let server = Server::serve(&[], Delivery::Inline, greet());
        let sockets: Vec<OwnedFd> = (0..CLIENTS).map(|_| unconnected()).collect();
        limit_descriptors(limit_with_spare(SPARE));
        let clients: Vec<TcpStream> = sockets.into_iter().map(|socket| connect(socket, server.port())).collect();
        let mut told = Vec::new();
        assert!(eventually(|| {
            told.extend(lines(server.host).into_iter().filter(|line| line.level != INGEST_LOG_INFO));
            !told.is_empty()
        }));
        let accepted = server.stats().connections_accepted;
        assert!((1..CLIENTS as u64).contains(&accepted), "{accepted} connections were accepted with {SPARE} descriptors");
        ask(&clients[0]);
        let before = processor_time();
        std::thread::sleep(Duration::from_secs(1));
        let used = processor_time() - before;
        assert!(used < Duration::from_millis(50), "waiting for descriptors took {used:?} of a second");
        ask(&clients[0]);
        // Each that leaves makes room for those that wait.
        for client in clients {
            ask(&client);
        }
        assert_eq!(server.stats().connections_accepted, CLIENTS as u64);
        told.extend(lines(server.host));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].level, INGEST_LOG_WARN);
        let start = "cannot accept on listener 0: Too many open files (os error 24) (raise the limit on descriptors, ulimit -n,";
        assert!(told[0].text.starts_with(start), "{}", told[0].text);
        server.finish();
    });
}

/// What a callback of the log does: it notes each line, and may hold up the thread that said it.
#[derive(Default)]
struct Listening {
    lines: Mutex<Vec<String>>,
    holding: AtomicBool,
    release: AtomicBool,
}

unsafe extern "C" fn take(userdata: *mut c_void, server: *mut ingest_server, record: *const ingest_log_record) {
    // SAFETY: userdata is the test's, which outlives the server; the record and its text live through the call.
    let (listening, record, text) = unsafe {
        let record = &*record;
        (&*userdata.cast::<Listening>(), record, std::slice::from_raw_parts(record.text.ptr, record.text.len))
    };
    assert_eq!(record.size as usize, size_of::<ingest_log_record>());
    let text = String::from_utf8(text.to_vec()).expect("a record is UTF-8");
    let host = Host(server);
    // No lock of the library is held here: each of these would wait for ever.
    // SAFETY: the server lives.
    assert!(unsafe { ingest_server_port(server, 0) } > 0);
    assert_eq!(next_within(host, 256).map(|line| line.text), Ok(text.clone()));
    host.stats();
    let holds = text.starts_with("max_connections is reached");
    listening.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    if holds {
        listening.holding.store(true, Ordering::Release);
        let start = Instant::now();
        while !listening.release.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_slow_callback_holds_up_its_own_thread_alone() {
    const CLIENTS: usize = 24;
    let listening = Listening::default();
    let mut server =
        Server::unstarted(&[("topology", "shards"), ("io_threads", "2"), ("delivery", "queue"), ("max_connections", &CLIENTS.to_string())]);
    let userdata: *mut c_void = (&raw const listening).cast_mut().cast();
    // SAFETY: the server lives, and `listening` outlives it.
    assert_eq!(unsafe { ingest_server_on_log(server.host.0, Some(take), userdata) }, INGEST_OK);
    server.listen("http://127.0.0.1:0").expect("loopback");
    server.start().expect("the server starts");
    // SAFETY: as above.
    assert_eq!(unsafe { ingest_server_on_log(server.host.0, None, userdata) }, INGEST_E_STATE);
    server.consume(greet());
    // The kernel spreads them by their ports: each thread gets some.
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    assert!(eventually(|| listening.holding.load(Ordering::Acquire)));
    let mut answered = 0;
    for client in &mut clients {
        client.set_patience(Duration::from_millis(50));
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let mut late = Vec::new();
    for mut client in clients {
        match client.read_answer(false) {
            Ok(Some(_)) => answered += 1,
            _ => late.push(client),
        }
    }
    assert!(answered > 0 && !late.is_empty(), "{answered} of {CLIENTS} were answered while one thread was held up");
    listening.release.store(true, Ordering::Release);
    for mut client in late {
        client.set_patience(PATIENCE);
        assert_eq!(client.answer().status, 200);
    }
    server.finish();
    let lines = listening.lines.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(lines[0].starts_with("started: "), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.starts_with("stopped: ")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("max_connections is reached: 24 are open")).count(), 1, "{lines:?}");
}

/// Name of the thread as the library says it, as the system says it, and whether it started.
type Seen = Mutex<Vec<(String, String, bool)>>;

unsafe extern "C" fn see(userdata: *mut c_void, server: *mut ingest_server, name: *const c_char, started: i32) {
    // SAFETY: userdata is the test's, which outlives the server; the name is a C string that lives through the call.
    let (seen, name) = unsafe { (&*userdata.cast::<Seen>(), CStr::from_ptr(name)) };
    let own = std::fs::read_to_string("/proc/thread-self/comm").expect("procfs").trim_end().to_owned();
    Host(server).stats();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_str().expect("UTF-8").to_owned(), own, started == 1));
}

/// A server with two I/O threads and three that call the host tells of these threads and of no others.
fn tells_of(topology: &str, names: &[&str]) {
    let seen = Seen::default();
    let mut server = Server::unstarted(&[("topology", topology), ("io_threads", "2"), ("delivery", "threads"), ("handler_threads", "3")]);
    let userdata: *mut c_void = (&raw const seen).cast_mut().cast();
    // SAFETY: the server lives, and `seen` outlives it.
    assert_eq!(unsafe { ingest_server_on_thread(server.host.0, Some(see), userdata) }, INGEST_OK);
    server.call_back(greet());
    server.listen("http://127.0.0.1:0").expect("loopback");
    server.start().expect("the server starts");
    // SAFETY: as above.
    assert_eq!(unsafe { ingest_server_on_thread(server.host.0, None, userdata) }, INGEST_E_STATE);
    assert_eq!(server.connect().get("/").text(), "hello");
    server.drain(1000);
    assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(seen.len(), 2 * names.len(), "{seen:?}");
    for &name in names {
        let of: Vec<_> = seen.iter().filter(|(said, _, _)| said == name).map(|(_, own, started)| (own.as_str(), *started)).collect();
        assert_eq!(of, [(name, true), (name, false)], "{seen:?}");
    }
    server.finish();
}

#[test]
fn each_thread_that_starts_is_told_to_end() {
    let names = ["ingest-io-0", "ingest-io-1", "ingest-run-0", "ingest-run-1", "ingest-run-2", "ingest-accept-0"];
    tells_of("shards", &names[..5]);
    tells_of("acceptor", &names);
    tells_of("dispatch", &["ingest-io-0", "ingest-parse-0", "ingest-parse-1", "ingest-run-0", "ingest-run-1", "ingest-run-2"]);
}

#[test]
fn one_thread_says_for_all_that_the_cap_is_reached_and_how_they_began() {
    let options = [("topology", "acceptor"), ("io_threads", "2"), ("max_connections", "3")];
    let server = Server::serve(&options, Delivery::Queue(1), greet());
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "hello"));
    let mut fourth = server.connect();
    fourth.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(fourth.is_silent(Duration::from_millis(50)), "a fourth connection was served");
    clients.clear();
    assert_eq!(fourth.answer().text(), "hello");
    assert_eq!(server.drain(1000), INGEST_OK);
    assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
    let texts: Vec<String> = lines(server.host).into_iter().map(|line| line.text).collect();
    assert_eq!(texts[0], "started: topology acceptor, 2 i/o threads behind 1 that accepts, delivery queue");
    assert!(texts[2].starts_with("max_connections is reached: 3 are open, "), "{texts:?}");
    assert!(texts[3].starts_with("draining: ") && texts[4].starts_with("stopped: ") && texts.len() == 5, "{texts:?}");
    server.finish();
}
