//! What a decoding takes of the process' memory, measured: what is decoded so far, one window for each layer, and 256 KiB.

use crate::support::{Random, alone, eventually};
use crate::{Subject, outcome, serve};

const KIB: u64 = 1024;
/// What is decoded before a bomb is known for one: a mebibyte, and up to the next mark.
const SO_FAR: u64 = 1280 * KIB;
const SPARE: u64 = 256 * KIB;
/// The client, the test and the allocator.
const NOISE: u64 = 512 * KIB;

/// The most octets that were resident since `forget`.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * KIB
}

fn forget() {
    std::fs::write("/proc/self/clear_refs", "5").expect("the kernel forgets the peak");
}

/// How much the peak grows by a body that is a bomb.
fn growth(subject: Subject) -> u64 {
    let server = serve(&[]);
    let bomb = subject.encode(&vec![0; 64 << 20]);
    let small = subject.encode(&Random(1).bytes(1000));
    assert_eq!(subject.try_on(&server, &small).0, 200);
    forget();
    let before = peak();
    assert_eq!(subject.try_on(&server, &bomb).0, 413);
    let grown = peak() - before;
    assert!(eventually(|| server.stats().memory_bodies_bytes == 0));
    server.finish();
    grown
}

fn takes_at_most(name: &'static str, windows: u64) {
    alone(&format!("memory::of_{name}"), || {
        let grown = growth(Subject::of(name));
        println!("{name}: {} KiB", grown / KIB);
        assert!(grown <= SO_FAR + windows + SPARE + NOISE, "{name} took {} KiB, with windows of {}", grown / KIB, windows / KIB);
    });
}

#[test]
fn of_gzip() {
    takes_at_most("gzip", 32 * KIB);
}

#[test]
fn of_zlib() {
    takes_at_most("zlib", 32 * KIB);
}

#[test]
fn of_br() {
    takes_at_most("br", 16 * KIB * KIB);
}

#[test]
fn of_zstd() {
    takes_at_most("zstd", 8 * KIB * KIB);
}

#[test]
fn of_nested() {
    takes_at_most("nested", 16 * KIB * KIB + 32 * KIB);
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("it can be read");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4 * KIB
}

fn form(len: usize) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    [format!("{head}Content-Length: {}\r\n\r\na=", len + 2).into_bytes(), b"+".repeat(len)].concat()
}

/// What a form was decoded to is the request's alone: a thread keeps none of it for its next one, which may never come.
#[test]
fn a_large_form_leaves_nothing_behind() {
    alone("memory::a_large_form_leaves_nothing_behind", || {
        let server = serve(&[("body_max", "64MiB")]);
        assert_eq!(outcome(&server, &form(1000)).0, 200);
        let before = resident();
        assert_eq!(outcome(&server, &form(40 << 20)).0, 200);
        assert!(eventually(|| server.stats().memory_bytes == 0));
        let kept = || resident().saturating_sub(before);
        assert!(eventually(|| kept() < 8 * KIB * KIB), "{} KiB are kept", kept() / KIB);
        server.finish();
    });
}

/// What a form decodes to counts as its body does; what can never fit is not to be tried again.
#[test]
fn a_form_that_memory_max_has_no_room_for_is_refused() {
    let server = serve(&[("body_max", "16MiB"), ("memory_max", "16MiB")]);
    assert_eq!(outcome(&server, &form(10 << 20)).0, 413);
    assert_eq!(outcome(&server, &form(5 << 20)).0, 200);
    assert!(eventually(|| server.stats().memory_bytes == 0));
    server.finish();
}
