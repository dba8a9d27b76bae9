//! What a decoding takes of the process' memory, measured: what is decoded so far, one window for each layer, and 256 KiB.

use crate::support::{Random, alone, eventually};
use crate::{Subject, serve};

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
