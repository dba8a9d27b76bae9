//! Counts heap allocations of the whole process: after warm-up, ten thousand keep-alive requests make none, inline and through the queue.

mod support;

use ingest::status::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::host::abi::ingest_respond_bytes;
use support::host::{Delivery, Handler, Server, on_requests};

/// Counts what passes through to the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Sizes of the latest allocations, for whoever has to find out where they come from.
static SIZES: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

fn note(size: usize) {
    let index = ALLOCATIONS.fetch_add(1, Relaxed);
    SIZES[index % SIZES.len()].store(size, Relaxed);
}

/// Sizes of the latest allocations since there were so many, oldest first.
fn latest(since: usize) -> Vec<usize> {
    let until = ALLOCATIONS.load(Relaxed);
    let since = since.max(until.saturating_sub(SIZES.len()));
    (since..until).map(|index| SIZES[index % SIZES.len()].load(Relaxed)).collect()
}

// SAFETY: every call is handed to the system's allocator as it is; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: usize = 10_000;
const WARM_UP: usize = 3_000;

/// Answers without any allocation of its own.
fn hello() -> Handler {
    on_requests(|host, request| {
        let body = b"Hello, World!";
        // SAFETY: the server lives, the texts are static.
        let status =
            unsafe { ingest_respond_bytes(host.0, request.0.token, 200, c"text/plain".as_ptr(), body.as_ptr().cast(), body.len()) };
        assert_eq!(status, INGEST_OK);
    })
}

/// Sends the octets and receives answers until so many of them have come; no allocation either.
fn exchange(socket: RawFd, wire: &[u8], answers: usize, room: &mut [u8]) {
    let mut sent = 0;
    while sent < wire.len() {
        // SAFETY: the rest of the wire is good for the call.
        let count = unsafe { libc::send(socket, wire[sent..].as_ptr().cast(), wire.len() - sent, libc::MSG_NOSIGNAL) };
        assert!(count > 0, "send failed");
        sent += count as usize;
    }
    let mut filled = 0;
    loop {
        let seen = room[..filled].windows(13).filter(|window| *window == b"Hello, World!").count();
        if seen >= answers {
            assert_eq!(seen, answers);
            return;
        }
        // SAFETY: the rest of the room is good for the call.
        let count = unsafe { libc::recv(socket, room[filled..].as_mut_ptr().cast(), room.len() - filled, 0) };
        assert!(count > 0, "recv failed");
        filled += count as usize;
    }
}

#[test]
fn ten_thousand_requests_allocate_nothing() {
    let get = b"GET /plaintext HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nCookie: a=1; b=2\r\n\r\n".to_vec();
    let query = b"GET /a%20b?x=%41&y=c+d HTTP/1.1\r\nHost: example.test\r\n\r\n".to_vec();
    let post = b"POST /p HTTP/1.1\r\nHost: example.test\r\nContent-Length: 10\r\n\r\n0123456789".to_vec();
    let chunked = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n".to_vec();
    let kinds = [
        ("GET", get.clone(), 1),
        ("GET with a query", query, 1),
        ("POST", post, 1),
        ("chunked", chunked, 1),
        ("pipelined", get.repeat(16), 16),
    ];
    let mut room = vec![0u8; 64 * 1024];
    let mut failures = Vec::with_capacity(64);
    let ways = [
        ("inline", Delivery::Inline),
        ("inline", Delivery::Queue(1)),
        ("inline", Delivery::Queue(2)),
        ("cut", Delivery::Inline),
        ("cut", Delivery::Queue(1)),
    ];
    for (topology, delivery) in ways {
        for journey in ["sample", "steps"] {
            let server = Server::serve(&[("topology", topology), ("journey", journey)], delivery, hello());
            let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts");
            stream.set_nodelay(true).expect("a socket");
            stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout above zero");
            for (kind, wire, answers) in &kinds {
                for _ in 0..WARM_UP {
                    exchange(stream.as_raw_fd(), wire, *answers, &mut room);
                }
                let before = ALLOCATIONS.load(Relaxed);
                for _ in 0..REQUESTS / answers {
                    exchange(stream.as_raw_fd(), wire, *answers, &mut room);
                }
                let count = ALLOCATIONS.load(Relaxed) - before;
                if count > 0 {
                    failures.push(format!(
                        "{count} with {kind}, topology={topology}, {delivery:?}, journey={journey}: {:?} octets",
                        latest(before)
                    ));
                }
            }
            drop(stream);
            server.finish();
        }
    }
    assert!(failures.is_empty(), "allocations in {REQUESTS} requests:\n{}", failures.join("\n"));
}
