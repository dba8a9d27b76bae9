//! S01 to S04 and S23: accept fails, because descriptors or memory have run out, a connection has died, or the listener is gone.

use crate::support::client::Client;
use crate::support::guest_process::{Guest, injecting, need};
use crate::support::host::{Delivery, Host, Server};
use crate::support::{PATIENCE, alone};
use crate::{behind, serve};
use ingest::request::{INGEST_EVENT_FAULT, INGEST_EVENT_REQUEST};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// More clients than there can be descriptors; then room is made, and everybody is served.
fn more_clients_than_descriptors(guest: &Guest, count: usize) {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(guest.port(0))).collect();
    for client in &mut clients {
        client.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    guest.wait_for("raise the limit on descriptors");
    // Who is in is served; the kernel holds the others.
    assert_eq!(clients[0].answer().text(), "/first");
    assert_eq!(clients[0].get("/again").text(), "/again");
    assert!(guest.rests(), "it asks again and again");
    assert_eq!(guest.count("cannot accept"), 1, "{:?}", guest.lines());
    let waiting = clients.split_off(count / 2);
    drop(clients);
    for mut client in waiting {
        assert_eq!(client.answer().text(), "/first");
    }
}

#[test]
fn s01_accept_emfile_pauses_the_listener() {
    need("prlimit", "util-linux");
    let guest = serve(&behind(&["prlimit", "--nofile=64:64"]), &["max_connections=1000"]);
    more_clients_than_descriptors(&guest, 100);
    guest.finish();
    // The whole system is out of them, for three tries of accept.
    let guest = serve(&injecting(&["accept4:error=ENFILE:when=1..3"]), &[]);
    assert_eq!(Client::connect(guest.port(0)).get("/").text(), "/");
    assert_eq!(guest.count("fs.file-max"), 1, "{:?}", guest.lines());
    guest.finish();
}

#[test]
fn s02_a_connection_that_died_in_the_backlog_is_skipped() {
    for error in ["ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "EOPNOTSUPP", "EHOSTUNREACH"] {
        let guest = serve(&injecting(&[&format!("accept4:error={error}:when=1..5")]), &[]);
        assert_eq!(Client::connect(guest.port(0)).get("/").text(), "/", "{error}");
        assert_eq!(guest.count("cannot accept") + guest.count("broken"), 0, "{error}: {:?}", guest.lines());
        guest.finish();
    }
    // What never works, such as a call that a filter forbids from now on, is no reason to spin.
    let guest = serve(&injecting(&["accept4:error=EPERM:when=2+"]), &[]);
    assert_eq!(Client::connect(guest.port(0)).get("/").text(), "/");
    let _second = Client::connect(guest.port(0));
    guest.wait_for("is the call forbidden?");
    assert!(guest.rests(), "it asks again and again");
    assert_eq!(guest.count("cannot accept"), 1, "{:?}", guest.lines());
    guest.finish();
}

#[test]
fn s03_accept_without_memory_pauses_the_listener() {
    for error in ["ENOMEM", "ENOBUFS"] {
        let guest = serve(&injecting(&[&format!("accept4:error={error}:when=1..4")]), &[]);
        assert_eq!(Client::connect(guest.port(0)).get("/").text(), "/", "{error}");
        assert_eq!(guest.count("out of memory for sockets"), 1, "{error}: {:?}", guest.lines());
        guest.finish();
    }
}

/// The number under which this process listens on a port.
fn listening_on(port: u16) -> RawFd {
    let names = std::fs::read_dir("/proc/self/fd").expect("procfs").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = names.collect();
    let is_it = |number: &RawFd| {
        // SAFETY: plain data, zero is a value; both pointers are good for the calls.
        unsafe {
            let (mut on, mut name): (libc::c_int, libc::sockaddr_in) = std::mem::zeroed();
            let (mut size, mut length) = (4, std::mem::size_of::<libc::sockaddr_in>() as libc::socklen_t);
            libc::getsockopt(*number, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, (&raw mut on).cast(), &mut size) == 0
                && on == 1
                && libc::getsockname(*number, (&raw mut name).cast(), &mut length) == 0
                && u16::from_be(name.sin_port) == port
        }
    };
    numbers.into_iter().find(is_it).expect("the library listens on it")
}

fn two_listeners(first: &str) -> (Server, Arc<AtomicUsize>) {
    two_listeners_of("inline", first)
}

fn two_listeners_of(topology: &str, first: &str) -> (Server, Arc<AtomicUsize>) {
    let faults = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&faults);
    let handler: crate::support::host::Handler = Arc::new(move |host: Host, event| match event.kind {
        INGEST_EVENT_FAULT => drop(seen.fetch_add(1, Ordering::Relaxed)),
        INGEST_EVENT_REQUEST => drop(host.text(event.token, b"ok")),
        _ => {}
    });
    let server =
        Server::serve_on(&[first, "http://127.0.0.1:0"], &[("events", "fault"), ("topology", topology)], Delivery::Inline, handler);
    (server, faults)
}

/// The listener is told to be lost, and the other one goes on, without spinning.
fn one_is_lost_and_one_goes_on(server: &Server, faults: &AtomicUsize) {
    let start = Instant::now();
    while faults.load(Ordering::Relaxed) == 0 {
        assert!(start.elapsed() < PATIENCE + Duration::from_secs(10), "no fault was told");
        assert_eq!(Client::connect(server.ports[1]).get("/").text(), "ok");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = processor_time();
    std::thread::sleep(Duration::from_secs(1));
    assert!(processor_time() - before < Duration::from_millis(100), "it spins");
    assert_eq!(Client::connect(server.ports[1]).get("/").text(), "ok");
    assert_eq!(faults.load(Ordering::Relaxed), 1);
    let said = crate::support::log_lines(server.host);
    assert_eq!(said.iter().filter(|line| line.contains("listener 0 is broken")).count(), 1, "{said:?}");
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is good for the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn s04_a_listener_that_is_closed_under_us_ends_alone() {
    alone("accepting::s04_a_listener_that_is_closed_under_us_ends_alone", || {
        // The host closes the number, and gets it again for something of its own, which must stay open.
        let (server, faults) = two_listeners("http://127.0.0.1:0");
        let number = listening_on(server.ports[0]);
        let other = std::fs::File::open("/dev/null").expect("it can be opened");
        // SAFETY: what a careless host does; the number is the host's own from then on.
        let own = unsafe {
            assert_eq!(libc::close(number), 0);
            assert_eq!(libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&other), libc::F_DUPFD_CLOEXEC, number), number);
            std::fs::File::from_raw_fd(number)
        };
        one_is_lost_and_one_goes_on(&server, &faults);
        server.finish();
        assert!(own.metadata().is_ok(), "the host's descriptor was closed");

        // The thread that accepts has nobody to tell, and has another tell it.
        let (server, faults) = two_listeners_of("acceptor", "http://127.0.0.1:0");
        // SAFETY: what a careless host does.
        assert_eq!(unsafe { libc::close(listening_on(server.ports[0])) }, 0);
        one_is_lost_and_one_goes_on(&server, &faults);
        server.finish();

        // The socket stops listening.
        let (server, faults) = two_listeners("http://127.0.0.1:0");
        // SAFETY: what a careless host does.
        assert_eq!(unsafe { libc::shutdown(listening_on(server.ports[0]), libc::SHUT_RDWR) }, 0);
        one_is_lost_and_one_goes_on(&server, &faults);
        server.finish();

        // The host still has the socket under another number, so that the kernel goes on to report it under the one that is closed.
        let folder = std::env::temp_dir().join(format!("ingest-s04-{}", std::process::id()));
        let given = UnixListener::bind(&folder).expect("the folder can be written");
        // SAFETY: a second number, owned from here on.
        let kept = unsafe { OwnedFd::from_raw_fd(libc::dup(std::os::fd::AsRawFd::as_raw_fd(&given))) };
        let (server, faults) = two_listeners(&format!("http+fd:{}", std::os::fd::IntoRawFd::into_raw_fd(given)));
        let own = same_socket(&kept);
        assert_eq!(own.len(), 1);
        // SAFETY: what a careless host does.
        assert_eq!(unsafe { libc::close(own[0]) }, 0);
        let _waiting = std::os::unix::net::UnixStream::connect(&folder).expect("it listens still");
        one_is_lost_and_one_goes_on(&server, &faults);
        server.finish();
        std::fs::remove_file(&folder).expect("it was bound");
    });
}

/// The other numbers of this socket.
fn same_socket(kept: &OwnedFd) -> Vec<RawFd> {
    let kept = std::os::fd::AsRawFd::as_raw_fd(kept);
    let link = |number: RawFd| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let names = std::fs::read_dir("/proc/self/fd").expect("procfs").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = names.collect();
    numbers.into_iter().filter(|number| *number != kept && link(*number).is_some() && link(*number) == link(kept)).collect()
}

#[test]
fn s23_a_limit_that_is_lowered_while_it_runs_is_the_same() {
    let guest = serve(&[], &["max_connections=1000"]);
    let mut early = Client::connect(guest.port(0));
    assert_eq!(early.get("/").text(), "/");
    let limit = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
    // SAFETY: the struct is good for the call.
    assert_eq!(unsafe { libc::prlimit(guest.pid(), libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) }, 0);
    more_clients_than_descriptors(&guest, 80);
    assert_eq!(early.get("/").text(), "/");
    guest.finish();
}
