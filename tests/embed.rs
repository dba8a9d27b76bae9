//! The library as a guest: in a host's own event loop, beside fork, signals and descriptors of the host, silent and without leaks.

mod support;

#[path = "embed/guest.rs"]
mod guest;
#[path = "embed/own_loop.rs"]
mod own_loop;
#[path = "embed/turns.rs"]
mod turns;

/// Runs the body in a process of its own, for what is about the whole process: descriptors, threads, signals, output. The
/// test program starts itself again with this test alone.
pub fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "INGEST_ALONE";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        return body();
    }
    let program = std::env::current_exe().expect("a test program knows where it lies");
    let mut command = std::process::Command::new(program);
    let output = command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, test).output().expect("it can be started");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{test} failed alone ({}):\n{}\n{}", output.status, text[0], text[1]);
    assert!(text[0].contains("1 passed"), "{test} was not run alone:\n{}", text[0]);
}
