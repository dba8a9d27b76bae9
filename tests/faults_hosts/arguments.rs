//! Arguments that no call may take, structs of other versions, lengths that do not agree, and lengths beyond 32 bits: H13, H14, H15, H25.

use crate::library;
use crate::program;
use crate::support::eventually;
use crate::support::host::abi::*;
use crate::support::host::{Host, Server};
use crate::support::request_view::slice_of;
use ingest::request::{ingest_header, ingest_slice};
use ingest::status::*;
use std::mem::size_of;

const ASK: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn plain() -> ingest_response {
    ingest_response {
        size: size_of::<ingest_response>() as u32,
        status: 200,
        flags: 0,
        headers: std::ptr::null(),
        header_count: 0,
        body: ingest_slice::NONE,
        content_length: 0,
        lend: 0,
        reserved: 0,
    }
}

fn respond(host: Host, token: u64, response: &ingest_response) -> ingest_status {
    // SAFETY: the server lives; what the response points to is what the test made, as large as is said or refused before it is read.
    unsafe { ingest_respond(host.0, token, response) }
}

/// One gibibyte of the letter a that takes a few MiB of memory: the same pages again and again.
struct Huge(*mut libc::c_void);
const HUGE: usize = 1 << 30;
const PIECE: usize = 4 << 20;

impl Huge {
    fn new() -> Huge {
        // SAFETY: a fresh mapping is asked for, then pieces of it are replaced by mappings of our own file.
        unsafe {
            let file = libc::memfd_create(c"huge".as_ptr(), 0);
            assert!(file >= 0);
            let letters = vec![b'a'; PIECE];
            assert_eq!(libc::write(file, letters.as_ptr().cast(), PIECE), PIECE as isize);
            let whole = libc::mmap(
                std::ptr::null_mut(),
                HUGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            assert_ne!(whole, libc::MAP_FAILED);
            for at in (0..HUGE).step_by(PIECE) {
                let piece = libc::mmap(whole.byte_add(at), PIECE, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_FIXED, file, 0);
                assert_ne!(piece, libc::MAP_FAILED);
            }
            libc::close(file);
            Huge(whole)
        }
    }

    fn slice(&self) -> ingest_slice {
        ingest_slice { ptr: self.0.cast(), len: HUGE }
    }
}

impl Drop for Huge {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody uses it any more.
        unsafe { libc::munmap(self.0, HUGE) };
    }
}

#[test]
fn h13_what_cannot_be_sent_is_refused_and_nothing_happens() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send(ASK);
    let token = server.queue().take(1)[0].token;
    let value = b"v";
    for status in [0, 1, 99, 100, 101, 199, 600, 999, 1000, u16::MAX] {
        assert_eq!(server.respond(token, status, &[], b""), INGEST_E_ARGUMENT, "{status}");
        assert_eq!(server.bytes(token, status, "text/plain", b""), INGEST_E_ARGUMENT, "{status}");
    }
    for bad in [&b"a\r\nSet-Cookie: b"[..], b"a\nb", b"a\rb", b"a\0b", b"\x01", b"\x7f"] {
        assert_eq!(server.respond(token, 200, &[(b"X-Name", bad)], b""), INGEST_E_ARGUMENT, "{bad:?}");
        assert_eq!(server.respond(token, 200, &[(bad, value)], b""), INGEST_E_ARGUMENT, "{bad:?}");
        assert_eq!(server.begin(token, 200, &[(b"X-Name", bad)], -1), INGEST_E_ARGUMENT, "{bad:?}");
    }
    for name in [&b""[..], b"a b", b"a:", b"\xff", b"a\t"] {
        assert_eq!(server.respond(token, 200, &[(name, value)], b""), INGEST_E_ARGUMENT, "{name:?}");
    }
    let host = server.host;
    for response in [
        ingest_response { size: 0, ..plain() },
        ingest_response { size: 7, ..plain() },
        ingest_response { size: u32::MAX, ..plain() },
        ingest_response { header_count: 1, ..plain() },
        ingest_response { headers: std::ptr::dangling(), header_count: usize::MAX, ..plain() },
        ingest_response { body: ingest_slice { ptr: std::ptr::null(), len: 5 }, ..plain() },
        ingest_response { body: ingest_slice { ptr: std::ptr::dangling(), len: usize::MAX }, ..plain() },
        ingest_response { flags: 0x8000, ..plain() },
        ingest_response { content_length: -2, ..plain() },
        ingest_response { lend: 2, ..plain() },
        ingest_response { reserved: 1, ..plain() },
    ] {
        assert_eq!(respond(host, token, &response), INGEST_E_ARGUMENT, "size {} flags {}", response.size, response.flags);
    }
    assert_eq!(server.alive(token), 2, "a refused call used the token up");
    // Octets that are not UTF-8 may stand in a value (RFC 9110 section 5.5, obs-text).
    assert_eq!(server.respond(token, 200, &[(b"X-Name", b"caf\xe9")], b"sent"), INGEST_OK);
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.headers.len()), ("sent", 3), "{:?}", answer.headers);
    assert!(answer.header("set-cookie").is_none());
    server.finish();
}

#[test]
fn h13_a_field_of_a_gibibyte_is_refused() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    client.send(ASK);
    let token = server.queue().take(1)[0].token;
    let huge = Huge::new();
    let fields =
        [ingest_header { name: slice_of(b"X-Huge"), value: huge.slice() }, ingest_header { name: huge.slice(), value: slice_of(b"v") }];
    for field in &fields {
        let response = ingest_response { headers: field, header_count: 1, ..plain() };
        assert_eq!(respond(server.host, token, &response), INGEST_E_ARGUMENT);
        // SAFETY: the server lives; the response is readable.
        assert_eq!(unsafe { ingest_respond_begin(server.host.0, token, &response) }, INGEST_E_ARGUMENT);
    }
    // Nor as the type of the short call.
    assert_eq!(server.bytes(token, 200, &"a".repeat(2 << 20), b""), INGEST_E_ARGUMENT);
    // Nor many that are small, each by itself.
    let many: Vec<ingest_header> =
        (0..100_000).map(|_| ingest_header { name: slice_of(b"X-Small"), value: slice_of(&[b'v'; 64]) }).collect();
    let response = ingest_response { headers: many.as_ptr(), header_count: many.len(), ..plain() };
    assert_eq!(respond(server.host, token, &response), INGEST_E_ARGUMENT);
    assert_eq!(server.text(token, b"small"), INGEST_OK);
    assert_eq!(client.answer().text(), "small");
    server.finish();
}

/// Every function of the header with NULL wherever a pointer goes: tests/abi/arguments.c knows them all, and this makes sure of it.
#[test]
fn h13_every_function_takes_null() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let ledger = std::fs::read_to_string(root.join("tests/symbols.txt")).expect("the ledger can be read");
    let source = std::fs::read_to_string(root.join("tests/abi/arguments.c")).expect("a source can be read");
    let names: Vec<&str> =
        ledger.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| name.starts_with("ingest_")).collect();
    assert!(names.len() > 40, "{names:?}");
    // These take no pointer.
    let takes = |name: &&&str| !["ingest_version", "ingest_abi_version", "ingest_status_name", "ingest_status_text"].contains(*name);
    let missing: Vec<_> = names.iter().filter(takes).filter(|name| !source.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "tests/abi/arguments.c does not call {missing:?}");
    let program = program::build("arguments", &["tests/abi/arguments.c"], &library::find());
    let output = std::process::Command::new(program).output().expect("it can be started");
    assert!(output.status.success(), "{}\n{}", library::soname(), String::from_utf8_lossy(&output.stderr));
}

#[repr(C)]
struct Newer<T> {
    known: T,
    tail: [u64; 4],
}

#[test]
fn h14_structs_of_an_older_and_of_a_newer_host() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    let mut ask = || {
        client.send(ASK);
        server.queue().take(1)[0].token
    };
    let token = ask();
    // A newer host that uses something we do not know.
    let mut newer = Newer { known: ingest_response { size: size_of::<Newer<ingest_response>>() as u32, ..plain() }, tail: [0, 0, 1, 0] };
    assert_eq!(respond(server.host, token, &newer.known), INGEST_E_ARGUMENT);
    // And one that does not use it.
    newer.tail = [0; 4];
    assert_eq!(respond(server.host, token, &newer.known), INGEST_OK);
    // An older host, whose struct ends behind the body: what stands behind it is not ours to read.
    let token = ask();
    let older = ingest_response {
        size: std::mem::offset_of!(ingest_response, content_length) as u32,
        content_length: 12345,
        lend: 7,
        reserved: 9,
        body: slice_of(b"older"),
        ..plain()
    };
    assert_eq!(respond(server.host, token, &older), INGEST_OK);
    // What the library fills ends where the host's struct does.
    // SAFETY: every field is an integer, for which zero is a value.
    let mut stats: Newer<ingest_stats> = unsafe { std::mem::zeroed() };
    let short = std::mem::offset_of!(ingest_stats, requests_answered) as u32;
    (stats.known.size, stats.known.requests_answered, stats.tail) = (short, 77, [78; 4]);
    // SAFETY: the server lives, and the struct is at least as large as it says.
    assert_eq!(unsafe { ingest_server_stats(server.host.0, &mut stats.known) }, INGEST_OK);
    assert_eq!((stats.known.size, stats.known.requests_answered), (short, 77), "written behind an older host's struct");
    assert!(stats.known.connections_accepted == 1);
    stats.known.size = size_of::<Newer<ingest_stats>>() as u32;
    // SAFETY: as above.
    assert_eq!(unsafe { ingest_server_stats(server.host.0, &mut stats.known) }, INGEST_OK);
    assert_eq!((stats.known.size, stats.tail), (size_of::<ingest_stats>() as u32, [78; 4]), "written behind what we know");
    assert_eq!(client.answer().text(), "");
    assert_eq!(client.answer().text(), "older");
    server.finish();
}

#[test]
fn h15_a_length_that_does_not_agree_never_desyncs() {
    let server = Server::queued(&[]);
    let mut client = server.connect();
    let take = |client: &mut crate::support::client::Client, method: &str| {
        client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        server.queue().take(1)[0].token
    };
    // One call: a length that is not the body's is refused, and one in a field is not believed.
    let token = take(&mut client, "GET");
    let wrong = ingest_response { content_length: 4, body: slice_of(b"five!"), ..plain() };
    assert_eq!(respond(server.host, token, &wrong), INGEST_E_ARGUMENT);
    let fields: [(&[u8], &[u8]); 3] = [(b"Content-Length", b"3"), (b"transfer-encoding", b"chunked"), (b"X-Kept", b"yes")];
    assert_eq!(server.respond(token, 200, &fields, b"five!"), INGEST_OK);
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.count("content-length"), answer.header("x-kept")), ("five!", 1, Some("yes")));
    assert!(answer.header("transfer-encoding").is_none());
    // Statuses and methods without a body (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5): nothing of it is on the wire.
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)] {
        let token = take(&mut client, method);
        assert_eq!(server.respond(token, status, &[], b"HTTP/1.1 500 not an answer\r\n\r\n"), INGEST_OK);
        assert_eq!(client.read_answer(method == "HEAD").expect("an answer").expect("an answer").status, status);
        assert!(client.is_silent(std::time::Duration::from_millis(10)), "{method} {status}: a body was sent");
    }
    // In pieces: more than was said is refused, less cannot be ended.
    let token = take(&mut client, "GET");
    assert_eq!(server.begin(token, 200, &[], 5), INGEST_OK);
    assert_eq!(server.write(token, b"too much"), INGEST_E_ARGUMENT);
    assert_eq!(server.write(token, b"fi"), 2);
    assert_eq!(server.end(token, &[]), INGEST_E_ARGUMENT);
    assert_eq!(server.write(token, b"ve!"), 3);
    assert_eq!(server.end(token, &[]), INGEST_OK);
    assert_eq!(client.answer().text(), "five!");
    // And what is given up half-way is seen to be cut.
    let token = take(&mut client, "GET");
    assert_eq!(server.begin(token, 200, &[], 5), INGEST_OK);
    assert_eq!(server.write(token, b"fi"), 2);
    assert_eq!(server.abandon(token), INGEST_OK);
    // Nothing of it may have been sent yet: then the connection ends without an answer.
    assert!(!matches!(client.read_answer(false), Ok(Some(_))), "half an answer looks whole");
    assert!(eventually(|| server.stats().connections_open == 0));
    server.finish();
}

#[test]
fn h25_lengths_beyond_32_bits_are_refused_and_never_shortened() {
    let server = Server::queued(&[]);
    for (length, status) in [
        ("4294967295", 413),
        ("4294967296", 413),
        ("4294967297", 413),
        ("9223372036854775807", 413),
        ("9223372036854775809", 413),
        ("18446744073709551617", 413),
        ("36893488147419103233", 413),
    ] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nx"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.says_close()), (status, true), "{length}");
    }
    // In chunks, too (RFC 9112 section 7.1).
    for (size, status) in [("100000000", 413), ("100000001", 413), ("7fffffffffffffff", 413), ("10000000000000001", 400)] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nx\r\n0\r\n\r\n"));
        assert_eq!(client.answer().status, status, "{size}");
    }
    assert_eq!(server.stats().requests_delivered, 0);
    // Without a limit such a length is waited for; that it was only announced costs nothing.
    let lenient = Server::queued(&[("body_max", "unlimited"), ("memory_max", "8GiB")]);
    let mut client = lenient.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967297\r\n\r\nx");
    assert!(
        client.is_silent(std::time::Duration::from_millis(100)),
        "one octet was taken for the whole body, or {:?}",
        client.read_answer(false)
    );
    assert_eq!((lenient.stats().requests_delivered, lenient.stats().memory_bytes < 1 << 20), (0, true));
    lenient.finish();
    server.finish();
}
