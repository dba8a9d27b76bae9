//! A large upload that is streamed costs little memory: 64 MiB in the quick profile, 1 GiB in the full one.

use super::support::alone;
use super::support::host::{Delivery, Handler, Server, abi::*};
use super::{STREAM, head};
use ingest::request::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// More than this above what the process held before is too much.
const MOST_BYTES: u64 = 4 << 20;

fn length() -> usize {
    if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { 1 << 30 } else { 64 << 20 }
}

/// The most that this process has held in memory.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn counting(counted: &Arc<AtomicU64>) -> Handler {
    let counted = Arc::clone(counted);
    Arc::new(move |host, event| match event.kind {
        INGEST_EVENT_REQUEST if event.data.ptr.is_null() => {
            // SAFETY: the request lives until it is answered.
            let streamed = unsafe { (*event.request).flags } & INGEST_REQUEST_STREAMED != 0;
            if !streamed {
                host.text(event.token, b"warm");
            }
        }
        INGEST_EVENT_BODY => {
            counted.fetch_add(event.data.len as u64, Ordering::Relaxed);
            // SAFETY: the server lives.
            unsafe { ingest_request_credit(host.0, event.token, event.data.len) };
        }
        INGEST_EVENT_BODY_END => {
            host.text(event.token, b"whole");
        }
        _ => {}
    })
}

#[test]
fn a_large_upload_costs_little_memory() {
    alone("bounds::a_large_upload_costs_little_memory", || {
        for delivery in [Delivery::Queue(1), Delivery::Inline] {
            let counted = Arc::new(AtomicU64::new(0));
            let server = Server::serve(&[STREAM, ("body_max", "2GiB")], delivery, counting(&counted));
            assert_eq!(server.connect().get("/").status, 200);
            let piece = vec![b'x'; 256 << 10];
            let before = peak_bytes();
            let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it connects");
            client.write_all(head(length()).as_bytes()).expect("the head is taken");
            for _ in 0..length() / piece.len() {
                client.write_all(&piece).expect("the body is taken");
            }
            let mut answer = [0; 512];
            let count = client.read(&mut answer).expect("an answer");
            assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
            assert_eq!(counted.load(Ordering::Relaxed), length() as u64);
            let more = peak_bytes() - before;
            assert!(more < MOST_BYTES, "{more} octets more for {} that were streamed ({delivery:?})", length());
            eprintln!("{delivery:?}: {} octets streamed with {more} more in memory", length());
            server.finish();
        }
    });
}
