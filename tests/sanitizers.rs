//! Proves that the examples serve a thousand requests each without a fault that AddressSanitizer or valgrind can see, and that a host plays
//! the whole behaviour table without one that AddressSanitizer can see.
//! `cargo test` leaves it out, since it needs both tools; `tests/run asan valgrind` runs it.

#[path = "behaviour/build.rs"]
mod build;
#[path = "behaviour/driver.rs"]
mod driver;
#[path = "abi/library.rs"]
#[allow(dead_code)] // the library that is looked for there is not the sanitized one
mod library;
mod runner;
mod support;

use driver::{Library, SHAPES};
use runner::client::{self, Asked, Response};
use runner::{Server, built, cpp, make, root, streams};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A program, its arguments, and what judges its answers.
type Trial = (&'static str, &'static [&'static str], fn(&Asked, &Response));

const PROGRAMS: [Trial; 12] = [
    ("hello", &[], client::judge_hello),
    ("hello", &["--set", "topology=shards", "--set", "io_threads=2"], client::judge_hello),
    ("hello", &["--set", "topology=acceptor", "--set", "io_threads=2"], client::judge_hello),
    ("queue", &["--consumers", "2"], client::judge_hello),
    ("queue", &["--consumers", "3", "--set", "topology=shards", "--set", "io_threads=2"], client::judge_hello),
    ("own_loop", &[], client::judge_own_loop),
    ("turn", &[], client::judge_hello),
    ("late", &[], client::judge_hello),
    ("stream", &[], streams::judge_stream),
    ("stream", &["--set", "topology=shards", "--set", "io_threads=2"], streams::judge_stream),
    ("inspect", &["--set", "journey=steps"], client::judge_inspect),
    ("prefork", &["--workers", "2"], client::judge_hello),
];

const ASAN_OPTIONS: &str = "detect_leaks=1:halt_on_error=1:exitcode=99:detect_stack_use_after_return=1";

/// The drain is bounded by what the tool costs, not by ours.
const DRAIN: Duration = Duration::from_secs(60);

fn serve_all(command: impl Fn(&str) -> Command) {
    for (name, arguments, judge) in PROGRAMS {
        let mut command = command(name);
        command.args(["--listen", "http://127.0.0.1:0"]).args(arguments);
        if name == "stream" {
            command.arg("--file").arg(served());
        }
        let server = Server::start(&mut command, 1);
        client::a_thousand_requests(server.port(), judge);
        if name == "stream" {
            stream_and_stop(server);
        } else {
            server.stop_cleanly(DRAIN);
        }
        println!("{name} {arguments:?}: clean");
    }
}

/// What `stream` serves as its file: its own executable may be the tool's while a tool runs it.
fn served() -> PathBuf {
    root().join("include/ingest.h")
}

/// Every way of `stream`, and a drain while there are listeners.
fn stream_and_stop(server: Server) {
    streams::numbers_arrive_whole(server.port());
    streams::file_arrives_whole(server.port(), &std::fs::read(served()).expect("the header is there"));
    let stayed = streams::listeners_come_and_go(server.port());
    server.stop_cleanly(DRAIN);
    streams::judge_goodbye(stayed);
}

fn asan(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", ASAN_OPTIONS);
    command
}

#[test]
fn asan_finds_nothing() {
    make(&["SANITIZE=address"]);
    serve_all(|name| asan(built("asan").join(name)));
}

#[test]
fn asan_finds_nothing_in_the_host_in_cpp() {
    make(&["SANITIZE=address", "library"]);
    let host = cpp::build("asan", &["-fsanitize=address", "-fno-omit-frame-pointer"]);
    for options in [&["handler_threads=2", "topology=shards", "io_threads=2"][..], &["delivery=inline"]] {
        cpp::exercise(&mut asan(host.clone()), options, DRAIN);
        println!("tests/cpp/host.cpp {options:?}: clean");
    }
}

#[test]
fn asan_finds_nothing_in_the_behaviour_table() {
    make(&["SANITIZE=address", "library"]);
    let soname = library::soname();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("behaviour-asan");
    let program = build::host(&folder, &built("asan").join(&soname), &soname, &["-fsanitize=address", "-fno-omit-frame-pointer"]);
    let host = || {
        let mut command = Command::new(&program);
        command.env("ASAN_OPTIONS", ASAN_OPTIONS);
        command
    };
    driver::compare_rows(&mut host());
    for shape in &SHAPES {
        let played = driver::play(shape, &host, &Library { has: &build::has });
        assert!(played > 200, "only {played} trials were played");
        println!("the behaviour table, {}: clean", shape.name);
    }
}

#[test]
fn valgrind_finds_nothing() {
    make(&[]);
    serve_all(|name| {
        let mut command = Command::new("valgrind");
        command.args([
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect",
            "--fair-sched=yes",
        ]);
        command.arg(built(name));
        command
    });
}
