//! A good guest: fork, signals, descriptors, threads and output belong to the host.

use crate::alone;
use crate::support::client::Client;
use crate::support::host::abi::ingest_options_new;
use crate::support::host::{Delivery, Handler, Server, blank_event, on_requests};
use crate::support::{PATIENCE, eventually};
use ingest::status::*;
use std::collections::BTreeSet;
use std::os::fd::FromRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::time::{Duration, Instant};

pub fn echo_target() -> Handler {
    on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
    })
}

pub fn descriptors() -> BTreeSet<i32> {
    let names = std::fs::read_dir("/proc/self/fd").expect("procfs").map(|entry| entry.expect("an entry").file_name());
    let numbers: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    // The descriptor of the listing itself is closed by now.
    // SAFETY: F_GETFD on any number is harmless.
    numbers.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

pub fn threads() -> BTreeSet<i32> {
    let names = std::fs::read_dir("/proc/self/task").expect("procfs").map(|entry| entry.expect("an entry").file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// A line of a status file, as a hexadecimal number.
fn mask(path: &str, line: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("procfs");
    let value = text.lines().find_map(|each| each.strip_prefix(line)).expect("the line is there");
    u64::from_str_radix(value.trim_start_matches(':').trim(), 16).expect("a mask")
}

/// Runs in a forked child: no allocation, no lock, no panic; returns the number of the first check that failed.
fn in_the_child(server: &Server, token: u64) -> i32 {
    let queue = server.queue_raw();
    let mut batch = [blank_event(); 1];
    let checks = [
        server.text_raw(token),
        server.host.abandon(token),
        server.host.alive(token),
        server.host.stop(),
        server.host.drain(0),
        server.host.join(0),
        queue.poll(&mut batch),
        queue.wait(&mut batch, -1),
        queue.depth(),
        queue.wake(),
        queue.fd(),
    ];
    for (index, status) in checks.into_iter().enumerate() {
        if status != INGEST_E_FORKED {
            return index as i32 + 1;
        }
    }
    // SAFETY: no argument; and a server that the child must leave to the parent.
    unsafe {
        if !ingest_options_new().is_null() {
            return 90;
        }
        if crate::support::host::abi::ingest_server_free(server.host.0) != INGEST_E_FORKED {
            return 91;
        }
    }
    0
}

/// Calls without what a forked child must not do.
trait Raw {
    fn queue_raw(&self) -> crate::support::host::Queue;
    fn text_raw(&self, token: u64) -> i32;
}

thread_local! {
    /// The queue, fetched before the fork: a child gets NULL for it.
    static QUEUE: std::cell::Cell<*mut crate::support::host::abi::ingest_queue> = const { std::cell::Cell::new(std::ptr::null_mut()) };
}

impl Raw for Server {
    fn queue_raw(&self) -> crate::support::host::Queue {
        crate::support::host::Queue(QUEUE.get())
    }

    fn text_raw(&self, token: u64) -> i32 {
        // SAFETY: the server lives, the texts are static.
        unsafe {
            crate::support::host::abi::ingest_respond_bytes(self.host.0, token, 200, c"text/plain".as_ptr(), b"child".as_ptr().cast(), 5)
        }
    }
}

#[test]
fn a_forked_child_is_told_and_the_parent_goes_on() {
    let server = Server::queued(&[("topology", "shards"), ("io_threads", "2")]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let event = server.queue().take(1)[0];
    QUEUE.set(server.queue().0);
    // SAFETY: the child calls only what is safe after a fork, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let failed = in_the_child(&server, event.token);
        // SAFETY: ends the child without destructors.
        unsafe { libc::_exit(failed) };
    }
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > PATIENCE {
            // SAFETY: our child, which has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(libc::WIFEXITED(status), "the child ended with {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "the check of this number did not return INGEST_E_FORKED");
    assert_eq!(server.text(event.token, b"parent"), INGEST_OK);
    assert_eq!(client.answer().text(), "parent");
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    let event = server.queue().take(1)[0];
    assert_eq!(server.text(event.token, b"still here"), INGEST_OK);
    assert_eq!(client.answer().text(), "still here");
    server.finish();
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Installs a handler that does nothing, as a host would, with or without SA_RESTART.
fn handle(signal: libc::c_int, flags: libc::c_int) {
    // SAFETY: every field is an integer, a set or a pointer for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = flags;
    // SAFETY: the handler does nothing, which is safe in any context.
    assert_eq!(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

#[test]
fn a_signal_ends_a_wait() {
    let server = Server::queued(&[]);
    for flags in [0, libc::SA_RESTART] {
        handle(libc::SIGUSR1, flags);
        let queue = server.queue();
        let waiting = std::thread::spawn(move || queue.wait(&mut [blank_event(); 1], -1));
        std::thread::sleep(Duration::from_millis(100));
        // SAFETY: the thread has not been joined.
        assert_eq!(unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR1) }, 0);
        assert_eq!(waiting.join().expect("no panic"), INGEST_E_INTERRUPTED, "flags {flags:#x}");
    }
    server.finish();
}

#[test]
fn library_threads_block_every_signal_but_the_synchronous_ones() {
    alone("guest::library_threads_block_every_signal_but_the_synchronous_ones", || {
        let before = threads();
        for (delivery, options) in [
            (Delivery::Inline, [("topology", "inline"), ("io_threads", "1")]),
            (Delivery::Threads, [("topology", "shards"), ("io_threads", "2")]),
            (Delivery::Inline, [("topology", "cut-each"), ("io_threads", "2")]),
            (Delivery::Inline, [("topology", "acceptor"), ("io_threads", "2")]),
        ] {
            if !delivery.is_built() {
                continue;
            }
            let server = Server::serve(&options, delivery, echo_target());
            assert_eq!(server.connect().get("/").text(), "/");
            let own: Vec<i32> = threads().difference(&before).copied().collect();
            assert!(!own.is_empty(), "the server has threads");
            for thread in own {
                let path = format!("/proc/self/task/{thread}/status");
                let is_blocked = |signal: i32| mask(&path, "SigBlk") & (1 << (signal - 1)) != 0;
                let synchronous = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
                // The C library starts a thread with every signal blocked and gives it its own mask as its first step.
                let sees_crashes = || synchronous.into_iter().all(|signal| !is_blocked(signal));
                assert!(eventually(sees_crashes), "a crash could not be seen: {:#x}", mask(&path, "SigBlk"));
                let host_signals = [
                    libc::SIGHUP,
                    libc::SIGINT,
                    libc::SIGQUIT,
                    libc::SIGUSR1,
                    libc::SIGUSR2,
                    libc::SIGPIPE,
                    libc::SIGALRM,
                    libc::SIGTERM,
                    libc::SIGCHLD,
                    libc::SIGWINCH,
                    libc::SIGPROF,
                    libc::SIGVTALRM,
                    libc::SIGIO,
                    libc::SIGURG,
                ];
                for signal in host_signals {
                    assert!(is_blocked(signal), "signal {signal} could arrive on a library thread");
                }
            }
            server.finish();
        }
    });
}

#[test]
fn no_signal_is_handled_or_ignored_by_the_library() {
    alone("guest::no_signal_is_handled_or_ignored_by_the_library", || {
        let dispositions = || [mask("/proc/self/status", "SigIgn"), mask("/proc/self/status", "SigCgt")];
        let before = dispositions();
        let server = Server::serve(&[], Delivery::Inline, echo_target());
        assert_eq!(server.connect().get("/").text(), "/");
        assert_eq!(dispositions(), before);
        server.finish();
        assert_eq!(dispositions(), before);
    });
}

#[test]
fn a_client_that_leaves_raises_no_sigpipe() {
    alone("guest::a_client_that_leaves_raises_no_sigpipe", || {
        // A C host has the default disposition, which ends the process; Rust's test programs ignore the signal.
        // SAFETY: sets the default.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let body = vec![b'x'; 2 << 20];
        let handler = on_requests(move |host, request| {
            host.text(request.0.token, &body);
        });
        for delivery in [Delivery::Inline, Delivery::Queue(1)] {
            let server = Server::serve(&[], delivery, handler.clone());
            for _ in 0..30 {
                let mut client = server.connect();
                // This process no longer ignores SIGPIPE, so our own side must not write after the server closed.
                client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(eventually(|| server.stats().connections_open == 0));
            server.finish();
        }
    });
}

fn one_life(delivery: Delivery, options: &[(&str, &str)]) {
    let server = Server::serve(options, delivery, echo_target());
    let mut client = server.connect();
    assert_eq!(client.get("/a").text(), "/a");
    let mut idle = server.connect();
    idle.send("GET / HT");
    client.send("GET /bad HTTP/1.1\r\nHost : x\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    server.finish();
}

#[test]
fn nothing_leaks_over_fifty_lives() {
    alone("guest::nothing_leaks_over_fifty_lives", || {
        let lives = |count: usize| {
            for index in 0..count {
                let delivery = if index % 2 == 0 { Delivery::Inline } else { Delivery::Queue(2) };
                let options = match index / 2 % 5 {
                    0 => [("topology", "inline"), ("io_threads", "1")],
                    1 => [("topology", "shards"), ("io_threads", "2")],
                    2 => [("topology", "shared"), ("io_threads", "2")],
                    3 => [("topology", "acceptor"), ("io_threads", "2")],
                    _ => [("topology", "cut-each"), ("io_threads", "2")],
                };
                one_life(delivery, &options);
            }
        };
        lives(10);
        let before = (descriptors(), threads());
        lives(50);
        assert!(eventually(|| (descriptors(), threads()) == before), "from {before:?} to {:?} and {:?}", descriptors(), threads());
    });
}

#[test]
fn all_descriptors_are_closed_on_exec() {
    alone("guest::all_descriptors_are_closed_on_exec", || {
        let before = descriptors();
        let server = Server::serve(&[("topology", "shards"), ("io_threads", "2")], Delivery::Queue(2), echo_target());
        let mut client = server.connect();
        assert_eq!(client.get("/").text(), "/");
        let own: Vec<i32> = descriptors().difference(&before).copied().collect();
        assert!(own.len() >= 5, "listeners, epoll instances, connections: {own:?}");
        for fd in own {
            // SAFETY: asks for the flags of an open descriptor.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            assert!(flags & libc::FD_CLOEXEC != 0, "descriptor {fd} ({}) would leak into a child", target.display());
        }
        server.finish();
    });
}

/// Whatever is written to standard output and standard error while the body runs.
fn output_of(body: impl FnOnce()) -> Vec<u8> {
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }, 0);
    // SAFETY: all of these descriptors are open, and each is closed once.
    unsafe {
        let kept = [libc::dup(1), libc::dup(2)];
        libc::dup2(pipe[1], 1);
        libc::dup2(pipe[1], 2);
        body();
        libc::dup2(kept[0], 1);
        libc::dup2(kept[1], 2);
        libc::close(kept[0]);
        libc::close(kept[1]);
        libc::close(pipe[1]);
    }
    let mut written = Vec::new();
    // SAFETY: ours, and owned by the file from here.
    let mut reader = unsafe { std::fs::File::from_raw_fd(pipe[0]) };
    std::io::Read::read_to_end(&mut reader, &mut written).expect("a pipe without writers ends");
    written
}

#[test]
fn nothing_is_printed() {
    alone("guest::nothing_is_printed", || {
        let written = output_of(|| {
            for delivery in [Delivery::Inline, Delivery::Queue(1)] {
                one_life(delivery, &[("journey", "steps")]);
                let server = Server::serve(&[("header_timeout", "100ms"), ("response_timeout", "100ms")], delivery, on_requests(|_, _| ()));
                let mut slow = server.connect();
                slow.send("GET /slow HTTP");
                let mut unanswered = server.connect();
                unanswered.send("GET /unanswered HTTP/1.1\r\nHost: x\r\n\r\n");
                assert_eq!(slow.answer().status, 408);
                assert_eq!(unanswered.answer().status, 504);
                let occupied = format!("http://127.0.0.1:{}", server.port());
                let other = Server::unstarted(&[]);
                assert!(crate::support::host::listen(other.host, &occupied).is_err());
                other.finish();
                server.finish();
            }
        });
        assert!(written.is_empty(), "the library wrote: {}", String::from_utf8_lossy(&written));
    });
}

#[test]
fn stop_under_load_is_bounded() {
    for (delivery, topology) in [(Delivery::Inline, "shards"), (Delivery::Queue(2), "shards"), (Delivery::Queue(2), "acceptor")] {
        let server = Server::serve(&[("topology", topology), ("io_threads", "2")], delivery, echo_target());
        let port = server.port();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        let Ok(mut client) = Client::connect_to(([127, 0, 0, 1], port).into()) else { return };
                        while client.try_send(b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
                            match client.read_answer(false) {
                                Ok(Some(answer)) => assert_eq!(answer.text(), "/load"),
                                _ => break,
                            }
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(200));
            let start = Instant::now();
            server.stop();
            assert_eq!(server.join(5_000), INGEST_OK);
            assert!(start.elapsed() < Duration::from_secs(3), "the drain took {:?}", start.elapsed());
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        server.finish();
    }
}

/// Without descriptors a start fails with what to do; with some it can be tried again, on the same listeners.
#[test]
fn a_start_that_fails_can_be_tried_again() {
    alone("guest::a_start_that_fails_can_be_tried_again", || {
        // Each thread takes an epoll instance, one that accepts a listener too, and one beyond a cut only what it is woken by.
        let starts = [
            ("auto", "1", 2),
            ("auto", "3", 6),
            ("cut", "1", 3),
            ("cut-each", "2", 6),
            ("shared", "2", 4),
            ("acceptor", "2", 4),
            ("dispatch", "2", 4),
        ];
        for (topology, io_threads, needed) in starts {
            let options = [("topology", topology), ("io_threads", io_threads), ("delivery", "threads"), ("handler_threads", "2")];
            let mut server = Server::unstarted(&options);
            server.call_back(on_requests(|host, request| assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK)));
            server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
            let before = soft_limit();
            set_soft_limit(64);
            let mut fill = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                fill.push(file);
            }
            // From none to a few free descriptors: it fails at a later step each time.
            for free in 0..needed {
                let refused = server.start().expect_err("there are too few descriptors");
                assert_eq!(refused.status, INGEST_E_SYSTEM, "{free} free");
                assert!(refused.text.contains("descriptor"), "{}", refused.text);
                if free + 1 < needed {
                    fill.pop();
                }
            }
            drop(fill);
            set_soft_limit(before);
            assert_eq!(threads().len(), 2, "a thread of a failed start is left");
            server.start().expect("there are descriptors now");
            for _ in 0..4 {
                assert_eq!(server.connect().get("/").text(), "ok");
            }
            server.finish();
        }
    });
}

pub fn soft_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is good for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur
}

pub fn set_soft_limit(soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is good for the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = soft;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}
