//! S09 and S11: memory is refused at every place that a peer can size, and the stacks are small.

use crate::support::client::Client;
use crate::support::coders;
use crate::support::host::abi::{ingest_server, ingest_server_on_thread};
use crate::support::host::{Delivery, Handler, Server, on_requests};
use crate::support::secured;
use crate::support::{alone, eventually};
use crate::{full, serve_both};
use ingest::status::{INGEST_E_GONE, INGEST_E_MEMORY, INGEST_OK};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// The allocator of this test program: it refuses one request of a victim, the one that the test has chosen.
pub struct Refusing;

thread_local! {
    /// An I/O thread of the library.
    static VICTIM: Cell<bool> = const { Cell::new(false) };
}

/// Requests of victims of at least this size are counted down, and the one at zero is refused.
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);
static LEFT: AtomicI64 = AtomicI64::new(-1);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn refuses(size: usize) -> bool {
    if size < LEAST.load(Ordering::Relaxed) || !VICTIM.get() {
        return false;
    }
    let chosen = LEFT.fetch_sub(1, Ordering::Relaxed) == 0;
    if chosen && std::env::var_os("WHERE").is_some() {
        VICTIM.set(false);
        eprintln!("{size} {}", std::backtrace::Backtrace::force_capture());
        VICTIM.set(true);
    }
    if chosen {
        REFUSED.store(size, Ordering::Relaxed);
    }
    chosen
}

// SAFETY: everything is the system's allocator, but for requests that are refused, which an allocator may do.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of GlobalAlloc.
        if refuses(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if refuses(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        if size > layout.size() && refuses(size) { std::ptr::null_mut() } else { unsafe { System.realloc(pointer, layout, size) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

unsafe extern "C" fn on_thread(_userdata: *mut c_void, _server: *mut ingest_server, name: *const c_char, _started: i32) {
    // SAFETY: the library passes a terminated string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    VICTIM.set(name.starts_with(b"ingest-io") || name.starts_with(b"ingest-parse"));
}

/// What the host answers with; it has it before any memory is refused.
static LARGE: [u8; 200_000] = [b'x'; 200_000];

fn serve(options: &[(&str, &str)], delivery: Delivery) -> Server {
    let handler: Handler = on_requests(|host, request| {
        let large = &LARGE[..if request.target() == b"/large" { LARGE.len() } else { 2 }];
        let status = host.text(request.0.token, large);
        assert!([INGEST_OK, INGEST_E_MEMORY, INGEST_E_GONE].contains(&status), "{status}");
    });
    let mut all = vec![("delivery", if delivery == Delivery::Inline { "inline" } else { "queue" })];
    all.extend_from_slice(options);
    let mut server = Server::unstarted(&all);
    // SAFETY: the server lives, and the function is safe on every thread.
    assert_eq!(unsafe { ingest_server_on_thread(server.host.0, Some(on_thread), std::ptr::null_mut()) }, 0);
    if delivery == Delivery::Inline {
        server.call_back(handler.clone());
    }
    let secure = options.iter().any(|(name, _)| *name == "tls.cert");
    server.listen(if secure { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" }).expect("loopback");
    server.start().expect("the server starts");
    if delivery != Delivery::Inline {
        server.consume(handler);
    }
    server
}

/// Sends something and reads what comes: a whole answer with a status, or the end. Never half an answer taken for a whole.
fn tolerate(client: &mut Client, request: &[u8], answers: usize) {
    if client.try_send(request).is_err() {
        return;
    }
    for _ in 0..answers {
        match client.read_answer(false) {
            Ok(Some(answer)) => assert!([200, 503, 413, 431, 504].contains(&answer.status), "{}", answer.status),
            Ok(None) | Err(_) => return,
        }
    }
}

/// A body of each coding, made once.
fn coded_bodies() -> &'static [(&'static str, Vec<u8>)] {
    static BODIES: std::sync::OnceLock<Vec<(&str, Vec<u8>)>> = std::sync::OnceLock::new();
    let body = || coders::records(600_000);
    BODIES.get_or_init(|| ["gzip", "deflate", "br", "zstd"].map(|coding| (coding, coders::encode(coding, &body()))).into())
}

/// Everything whose size a peer chooses: heads, fields, queries, cookies, bodies of both framings, pipelines, read-ahead, large answers.
/// While memory is refused, of the codings br alone: docs/guest.md names the others among what cannot be refused.
fn everything_large(port: u16, refusing: bool) {
    let connect = || Client::connect(port);
    let fields: String = (0..90).map(|number| format!("X-Field-{number}: {}\r\n", "v".repeat(200))).collect();
    tolerate(&mut connect(), format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes(), 1);
    let query: String = (0..900).map(|number| format!("a{number}=%41&")).collect();
    let cookies: String = (0..900).map(|number| format!("c{number}=v; ")).collect();
    tolerate(&mut connect(), format!("GET /?{query} HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n\r\n").as_bytes(), 1);
    for size in [3_000, 30_000, 300_000, 3_000_000] {
        let body = "b".repeat(size);
        tolerate(&mut connect(), format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}").as_bytes(), 1);
        let chunks: String =
            body.as_bytes().chunks(50_000).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), "b".repeat(chunk.len()))).collect();
        let trailers: String = (0..30).map(|number| format!("T{number}: {}\r\n", "t".repeat(200))).collect();
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n");
        tolerate(&mut connect(), request.as_bytes(), 1);
    }
    for (coding, coded) in coded_bodies().iter().filter(|(coding, _)| !refusing || *coding == "br") {
        tolerate(&mut connect(), &coders::chunked(coding, coded, 50_000), 1);
    }
    let form = format!("a={}&b=%41", "+".repeat(300_000));
    let kind = "Content-Type: application/x-www-form-urlencoded";
    tolerate(&mut connect(), format!("POST / HTTP/1.1\r\nHost: x\r\n{kind}\r\nContent-Length: {}\r\n\r\n{form}", form.len()).as_bytes(), 1);
    tolerate(&mut connect(), "GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200).as_bytes(), 200);
    tolerate(&mut connect(), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8).as_bytes(), 8);
    // In two halves, so that what is not whole has to be kept.
    let mut half = connect();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let (first, second) = head.split_at(9_000);
    if half.try_send(first.as_bytes()).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        tolerate(&mut half, second.as_bytes(), 1);
    }
}

/// The smallest size that is refused. Below it are objects of fixed sizes and short lists, which are the documented limit.
const SIZE: usize = 4096;
/// With TLS: rustls copies each record that it opens or seals, and none is larger (RFC 8446 section 5.2). That is the documented limit, too.
const SECURE_SIZE: usize = 16 * 1024 + 256 + 5 + 1;

#[test]
fn s09_memory_that_is_refused_costs_a_connection_at_most() {
    alone("memory::s09_memory_that_is_refused_costs_a_connection_at_most", || {
        let [cert, key] = secured::options();
        let shapes = [
            (Delivery::Inline, &[("topology", "inline"), cert, key][..]),
            (Delivery::Inline, &[("topology", "inline")]),
            (Delivery::Queue(1), &[("topology", "inline")]),
            (Delivery::Queue(1), &[("topology", "cut"), ("io_threads", "1")]),
        ];
        for (delivery, options) in shapes {
            let mut refused = 0;
            // For whoever looks for more: other sizes, one number, and where it is refused (WHERE=1).
            let size = if options.contains(&cert) { SECURE_SIZE } else { SIZE };
            let size = std::env::var("SIZE").map_or(size, |text| text.parse().expect("a number"));
            let step = if full() { 1 } else { 5 };
            let only = std::env::var("ONLY").ok().map(|text| text.parse::<i64>().expect("a number"));
            for chosen in only.map_or((0..300).step_by(step), |only| (only..only + 1).step_by(1)) {
                // A fresh server each time, so that nothing is to be had from what an earlier round has left in its pools.
                let server = serve(options, delivery);
                // What a thread has from its start on is another matter: it runs once it has served.
                assert_eq!(Client::connect(server.port()).get("/first").text(), "xx");
                LEFT.store(chosen, Ordering::Relaxed);
                REFUSED.store(0, Ordering::Relaxed);
                LEAST.store(size, Ordering::Relaxed);
                eprintln!("refusing number {chosen} of {delivery:?} {:?}", &options[..1]);
                everything_large(server.port(), true);
                LEAST.store(usize::MAX, Ordering::Relaxed);
                // Whoever comes next is served, and everything is given back.
                assert_eq!(Client::connect(server.port()).get("/next").text(), "xx", "after number {chosen}");
                assert!(eventually(|| server.stats().connections_open == 0 && server.stats().in_flight == 0));
                assert!(eventually(|| server.stats().memory_bytes == 0), "{} octets are still accounted", server.stats().memory_bytes);
                assert_eq!(server.stats().panics, 0);
                server.finish();
                if REFUSED.load(Ordering::Relaxed) == 0 {
                    break;
                }
                refused += 1;
            }
            assert!(refused > 5 || only.is_some(), "only {refused} requests were refused");
        }
    });
}

/// With 64 KiB of stack for every thread of the library, the largest heads and deepest lists there are.
#[test]
fn s11_small_stacks_are_enough() {
    for options in
        [&["topology=inline", "delivery=inline"][..], &["topology=cut-each", "io_threads=2", "delivery=threads", "handler_threads=2"]]
    {
        let wrapper = ["sh", "-c", "ulimit -s 64 && exec \"$0\" \"$@\""].map(str::to_owned);
        let guest = serve_both(&wrapper, options, &[("RUST_MIN_STACK", "65536")]);
        everything_large(guest.port(0), false);
        // With handshakes, and records that are opened and sealed.
        everything_large(guest.port(1), false);
        let nested = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a/../".repeat(1_500));
        let mut client = Client::connect(guest.port(0));
        client.send(nested.repeat(10));
        for _ in 0..10 {
            assert_eq!(client.answer().status, 200);
        }
        guest.finish();
    }
}
