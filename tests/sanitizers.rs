//! Proves that the examples serve a thousand requests each without a fault that AddressSanitizer or valgrind can see.
//! `cargo test` leaves it out, since it needs both tools; `tests/run asan valgrind` runs it.

mod runner;

use runner::client::{self, Asked, Response};
use runner::{Server, built, make};
use std::process::Command;
use std::time::Duration;

/// A program, its arguments, and what judges its answers.
type Trial = (&'static str, &'static [&'static str], fn(&Asked, &Response));

const PROGRAMS: [Trial; 8] = [
    ("hello", &[], client::judge_hello),
    ("hello", &["--set", "topology=shards", "--set", "io_threads=2"], client::judge_hello),
    ("queue", &["--consumers", "2"], client::judge_hello),
    ("queue", &["--consumers", "3", "--set", "topology=shards", "--set", "io_threads=2"], client::judge_hello),
    ("own_loop", &[], client::judge_own_loop),
    ("turn", &[], client::judge_hello),
    ("late", &[], client::judge_hello),
    ("inspect", &["--set", "journey=steps"], client::judge_inspect),
];

/// The drain is bounded by what the tool costs, not by ours.
const DRAIN: Duration = Duration::from_secs(60);

fn serve_all(command: impl Fn(&str) -> Command) {
    for (name, arguments, judge) in PROGRAMS {
        let server = Server::start(command(name).args(["--listen", "http://127.0.0.1:0"]).args(arguments), 1);
        client::a_thousand_requests(server.port(), judge);
        server.stop_cleanly(DRAIN);
        println!("{name} {arguments:?}: clean");
    }
}

#[test]
fn asan_finds_nothing() {
    make(&["SANITIZE=address"]);
    serve_all(|name| {
        let mut command = Command::new(built("asan").join(name));
        command.env("ASAN_OPTIONS", "detect_leaks=1:halt_on_error=1:exitcode=99:detect_stack_use_after_return=1");
        command
    });
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
