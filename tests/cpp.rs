//! Proves that a host in C++17 can use the C header: it compiles without a warning, and no exception of its handlers reaches the library.

mod runner;

use runner::{cpp, make, run};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const DRAIN: Duration = Duration::from_secs(20);

fn host() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    Command::new(BUILT.get_or_init(|| {
        make(&[]);
        cpp::build("", &[])
    }))
}

#[test]
fn on_handler_threads() {
    cpp::exercise(&mut host(), &["handler_threads=3"], DRAIN);
}

#[test]
fn on_handler_threads_behind_two_shards() {
    cpp::exercise(&mut host(), &["handler_threads=2", "topology=shards", "io_threads=2"], DRAIN);
}

#[test]
fn on_the_thread_of_the_connection() {
    cpp::exercise(&mut host(), &["delivery=inline"], DRAIN);
}

#[test]
fn what_the_library_refuses_is_an_exception_of_the_host() {
    for (arguments, part) in [
        (&["http://127.0.0.1:0", "io_threads=many"][..], "io_threads"),
        (&["http://127.0.0.1:0", "no_such_option=1"][..], "no_such_option"),
        (&["gopher://127.0.0.1:0"][..], "gopher"),
    ] {
        let ended = run(host().args(arguments));
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        assert!(ended.stderr.starts_with("host: ") && ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
    }
}
