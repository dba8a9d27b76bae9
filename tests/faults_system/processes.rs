//! S14 and S16 to S19, S21: signals, exec, unloading, many lives, exit, a full disk.

use crate::support::client::Client;
use crate::support::guest_process::{Guest, need};
use crate::support::host::{Delivery, Handler, Server, on_requests};
use crate::support::{PATIENCE, alone, eventually};
use crate::{behind, full, library, program, serve, strings};
use ingest::status::INGEST_OK;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn echo() -> Handler {
    on_requests(|host, request| assert_eq!(host.text(request.0.token, request.target()), INGEST_OK))
}

fn tasks() -> BTreeSet<i32> {
    let names = std::fs::read_dir("/proc/self/task").expect("procfs").map(|entry| entry.expect("an entry").file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// Threads that are the library's, while a handler may run on any thread.
static STRANGERS: [AtomicI32; 32] = [const { AtomicI32::new(0) }; 32];
static WRONG: AtomicUsize = AtomicUsize::new(0);
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_signal: libc::c_int) {
    // SAFETY: no pointers; safe in a handler.
    let thread = unsafe { libc::gettid() };
    HANDLED.fetch_add(1, Ordering::Relaxed);
    if STRANGERS.iter().any(|stranger| stranger.load(Ordering::Relaxed) == thread) {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn s14_signals_arrive_on_threads_of_the_host_alone() {
    alone("processes::s14_signals_arrive_on_threads_of_the_host_alone", || {
        let before = tasks();
        let shapes = [
            (Delivery::Threads, [("topology", "shards"), ("io_threads", "2")]),
            (Delivery::Inline, [("topology", "cut-each"), ("io_threads", "2")]),
        ];
        let servers: Vec<Server> = shapes.iter().map(|(delivery, options)| Server::serve(options, *delivery, echo())).collect();
        let strangers: Vec<i32> = tasks().difference(&before).copied().collect();
        assert!(strangers.len() >= 6 && strangers.len() <= STRANGERS.len(), "{strangers:?}");
        for (place, thread) in STRANGERS.iter().zip(&strangers) {
            place.store(*thread, Ordering::Relaxed);
            // Everything but the synchronous ones is blocked, so none could have come there at all.
            let path = format!("/proc/self/task/{thread}/status");
            let blocked = || {
                let text = std::fs::read_to_string(&path).expect("procfs");
                let line = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("the line is there").trim().to_owned();
                u64::from_str_radix(&line, 16).expect("a mask")
            };
            for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGPROF, libc::SIGINT, libc::SIGPIPE, libc::SIGCHLD] {
                assert!(eventually(|| blocked() & (1 << (signal - 1)) != 0), "{signal} on {thread}");
            }
            assert!(eventually(|| blocked() & (1 << (libc::SIGSEGV - 1)) == 0));
        }
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGPROF] {
            // SAFETY: plain data, zero is a value; the handler is safe in any context.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
                assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
            }
        }
        // A profiler at 1 kHz of processor time, and signals to the whole process.
        let each = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        let timer = libc::itimerval { it_interval: each, it_value: each };
        // SAFETY: the struct is good for the call.
        assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()) }, 0);
        for server in &servers {
            let mut client = server.connect();
            let start = Instant::now();
            let mut rounds = 0;
            while rounds < 300 || (HANDLED.load(Ordering::Relaxed) < 400 && start.elapsed() < PATIENCE) {
                rounds += 1;
                for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM] {
                    // SAFETY: a signal to ourselves, which is handled.
                    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
                }
                assert_eq!(client.get("/signals").text(), "/signals");
            }
        }
        assert!(HANDLED.load(Ordering::Relaxed) >= 300, "only {} signals were handled", HANDLED.load(Ordering::Relaxed));
        assert_eq!(WRONG.load(Ordering::Relaxed), 0, "handlers of the host ran on threads of the library");
        servers.into_iter().for_each(Server::finish);
    });
}

/// What a program that is run now has, beside what it opens itself; a few were perhaps inherited by us already.
fn inherited() -> Vec<String> {
    let output = std::process::Command::new("sh").args(["-c", "ls -l /proc/self/fd"]).output().expect("sh runs");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = listing.lines().filter_map(|line| line.split_whitespace().rev().nth(2)).map(str::to_owned);
    assert!(!listing.contains("anon_inode"), "{listing}");
    numbers.collect()
}

#[test]
fn s16_a_program_that_the_host_runs_inherits_nothing() {
    alone("processes::s16_a_program_that_the_host_runs_inherits_nothing", || {
        let before = inherited();
        let path = std::env::temp_dir().join(format!("ingest-s16-{}", std::process::id()));
        let local = format!("http+unix:{}", path.display());
        let shape = [("topology", "cut-each"), ("io_threads", "2")];
        let server = Server::serve_on(&["http://127.0.0.1:0", &local], &shape, Delivery::Queue(2), echo());
        let mut client = server.connect();
        assert_eq!(client.get("/").text(), "/");
        assert_eq!(inherited(), before, "the library's descriptors leak into programs that the host runs");
        server.finish();
    });
}

#[test]
fn s17_unloading_the_library_while_it_runs_does_nothing() {
    let path = program("unload", &[]);
    let library = path.parent().expect("it lies in a folder").join(library::soname());
    let mut guest = Guest::spawn(std::process::Command::new(path.clone()).arg(library));
    let status = guest.wait();
    assert!(status.success(), "{status}: {:?}", guest.lines());
    guest.wait_for("served");
}

/// A pair of servers side by side, each asked once.
fn pair_of_lives(index: usize) {
    let delivery = [Delivery::Inline, Delivery::Queue(1), Delivery::Threads][index % 3];
    let one = Server::serve(&[("topology", "inline"), ("handler_threads", "1")], delivery, echo());
    let other = Server::serve(&[("topology", "shards"), ("io_threads", "2"), ("handler_threads", "2")], delivery, echo());
    assert_eq!(one.connect().get("/one").text(), "/one");
    assert_eq!(other.connect().get("/other").text(), "/other");
    one.finish();
    other.finish();
}

/// Octets that malloc has given out.
fn heap() -> usize {
    // SAFETY: no pointers.
    let (info, _) = unsafe { (libc::mallinfo2(), libc::malloc_trim(0)) };
    info.uordblks + info.hblkhd
}

/// The number that the next key of pthread gets, which is the lowest that is free.
fn next_key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: the key is made and taken away again.
    unsafe {
        assert_eq!(libc::pthread_key_create(&mut key, None), 0);
        assert_eq!(libc::pthread_key_delete(key), 0);
    }
    key
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

#[test]
fn s18_thousands_of_lives_leave_nothing_behind() {
    alone("processes::s18_thousands_of_lives_leave_nothing_behind", || {
        let lives = if full() { 10_000 } else { 200 };
        (0..60).for_each(pair_of_lives);
        let (threads, descriptors, key, memory) = (tasks().len(), open_descriptors(), next_key(), heap());
        (0..lives / 2).for_each(pair_of_lives);
        assert!(eventually(|| tasks().len() == threads), "{} threads, {threads} before", tasks().len());
        assert!(eventually(|| open_descriptors() == descriptors), "{} descriptors, {descriptors} before", open_descriptors());
        assert_eq!(next_key(), key, "keys of thread-local storage");
        // Less than 200 octets a life, which is the noise of allocators and of the test itself.
        let grown = heap().saturating_sub(memory);
        assert!(grown < 64 * 1024 + 100 * lives, "{grown} octets more than after the first lives");
    });
}

#[test]
fn s19_exit_with_threads_running_is_clean() {
    let flags: &[&str] = if full() { &["-fsanitize=address", "-fno-omit-frame-pointer"] } else { &[] };
    let rounds = if full() { 30 } else { 6 };
    let path = program("serve", flags);
    for round in 0..rounds {
        let shape = [&["delivery=inline"][..], &["delivery=threads", "handler_threads=3", "topology=shards", "io_threads=2"]][round % 2];
        // By a request, on a thread of the library, and from the host's own thread at some time.
        let by_request = round % 3 != 0;
        let leave = format!("leave={}", if by_request { 60_000 } else { 200 + 10 * round });
        let mut arguments = vec!["http://127.0.0.1:0", &leave];
        arguments.extend_from_slice(shape);
        let mut guest = Guest::serving(&[], &path, &arguments, &[("ASAN_OPTIONS", "exitcode=99:detect_leaks=0")]);
        let port = guest.port(0);
        let busy: Vec<_> = (0..3).map(|_| std::thread::spawn(move || keep_asking(port))).collect();
        std::thread::sleep(Duration::from_millis(50));
        if by_request {
            if let Ok(mut client) = Client::connect_to(([127, 0, 0, 1], port).into()) {
                let _ = client.try_send(b"GET /exit HTTP/1.1\r\nHost: x\r\n\r\n");
                let _ = client.read_answer(false);
            }
        }
        let status = guest.wait();
        assert!(status.success(), "round {round} ended with {status}: {:?}", guest.lines());
        busy.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

/// Asks until the server is gone.
fn keep_asking(port: u16) {
    let Ok(mut client) = Client::connect_to(([127, 0, 0, 1], port).into()) else { return };
    while client.try_send(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
        if !matches!(client.read_answer(false), Ok(Some(_))) {
            return;
        }
    }
}

#[test]
fn s21_a_full_disk_does_not_matter() {
    need("unshare", "util-linux");
    let folder = std::env::temp_dir().join(format!("ingest-s21-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    // SAFETY: no pointers.
    let namespace = if unsafe { libc::geteuid() } == 0 { "-m" } else { "-rm" };
    let script = "mount -t tmpfs -o size=16k none \"$0\" && cd \"$0\" && export TMPDIR=\"$0\" \
                  && { dd if=/dev/zero of=fill bs=4k 2>/dev/null; ! echo full >more; } 2>/dev/null && exec \"$@\"";
    let guest = serve(&behind(&["unshare", namespace, "sh", "-c", script, &strings(&folder)]), &["max_connections=100"]);
    let mut client = Client::connect(guest.port(0));
    let body = "x".repeat(8 << 20);
    client.send(format!("POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.answer().text(), "/long");
    client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().body.len(), 4096);
    guest.finish();
    std::fs::remove_dir(&folder).expect("it is empty here");
}
