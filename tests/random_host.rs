//! Proves that a host which plays every call of the header at random, against clients that misbehave, finds nothing wrong under AddressSanitizer.
//! `cargo test` leaves it out, since it needs a C compiler with that tool; `tests/run asan` runs it, a minute at a time with `--full`.

mod runner;

use runner::{root, run};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

static BUILT: Once = Once::new();

/// Where the Makefile puts the program: the build folder of cargo, wherever that is.
fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let build = root().join(target).join("random_host");
    BUILT.call_once(|| {
        let made = run(Command::new("make").arg("-C").arg(root().join("tests/random_host")).arg(format!("BUILD={}", build.display())));
        assert!(made.status.success(), "make -C tests/random_host failed:\n{}", made.stderr);
    });
    build.join("random_host")
}

/// The seed is told first: `random_host --seed N` with the same arguments makes the same choices again, but for the threads' timing.
fn play(seed: u64, seconds: u64, arguments: &[&str]) {
    println!("seed {seed}, {seconds} s, {arguments:?}");
    let mut command = Command::new(program());
    command.args(["--seed", &seed.to_string(), "--seconds", &seconds.to_string()]).args(arguments);
    command.env("ASAN_OPTIONS", "detect_leaks=1:halt_on_error=1:exitcode=99:detect_stack_use_after_return=1");
    let ended = run(&mut command);
    let said = ended.stdout.join("\n");
    assert!(ended.status.success(), "{}:\n{said}\n{}", ended.status, ended.stderr);
    assert_eq!(ended.stderr, "", "something was said on stderr");
    assert_eq!(ended.stdout.last().map(String::as_str), Some("clean"), "{said}");
    println!("{}", ended.stdout.iter().rev().nth(1).expect("the figures stand before the last line"));
}

fn seed_of_today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_nanos() as u64
}

fn seconds(full: u64, quick: u64) -> u64 {
    if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { full } else { quick }
}

#[test]
fn asan_finds_nothing_with_a_random_host() {
    play(1, seconds(60, 10), &[]);
    play(seed_of_today(), seconds(60, 10), &[]);
}

#[test]
fn asan_finds_nothing_with_a_random_host_of_each_delivery() {
    for delivery in ["inline", "queue", "threads", "turn"] {
        for tls in ["0", "1"] {
            play(seed_of_today(), seconds(30, 4), &["--delivery", delivery, "--tls", tls]);
        }
    }
}

#[test]
fn asan_finds_nothing_however_connections_come_to_threads() {
    for topology in ["shared", "acceptor"] {
        play(seed_of_today(), seconds(30, 4), &["--topology", topology, "--io-threads", "3"]);
    }
    // Sessions travel with their connections.
    play(seed_of_today(), seconds(60, 10), &["--topology", "dispatch", "--io-threads", "2", "--tls", "1"]);
}

#[test]
fn asan_finds_nothing_however_bodies_come() {
    play(seed_of_today(), seconds(60, 10), &["--body", "stream"]);
    play(seed_of_today(), seconds(60, 10), &["--body", "spool"]);
    for delivery in ["inline", "queue", "threads", "turn"] {
        play(seed_of_today(), seconds(30, 4), &["--body", "stream", "--delivery", delivery]);
    }
}
