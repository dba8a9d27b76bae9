//! Proves that several processes may serve one listener: inherited, passed over a unix socket, or bound by each with SO_REUSEPORT; and what
//! becomes of those who wait when one of the processes dies (docs/processes.md).

mod runner;
mod support;

#[path = "processes/backlog.rs"]
mod backlog;
#[path = "processes/handed.rs"]
mod handed;
#[path = "processes/prefork.rs"]
mod prefork;

/// How many of something: more in the full profile.
fn many(quick: usize, full: usize) -> usize {
    if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { full } else { quick }
}

/// Sends a signal to a process that is ours, or a child of one of ours that is not waited for yet.
fn signal(process: u32, number: i32) {
    let process = i32::try_from(process).expect("a process id fits");
    // SAFETY: kill takes two numbers.
    assert_eq!(unsafe { libc::kill(process, number) }, 0, "process {process} has ended already");
}
