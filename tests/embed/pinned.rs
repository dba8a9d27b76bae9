//! Threads that are pinned to processors (`io_threads.cpus`): which to which, and what is refused.

use crate::alone;
use crate::support::host::{Delivery, Host, Server};
use ingest::ffi::life::ingest_server_turn;
use ingest::status::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The processors that a thread may run on, in the kernel's words.
fn places(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the kernel tells of affinity").trim().to_owned()
}

/// The name of each thread of this process, and where it may run.
fn threads() -> BTreeMap<String, String> {
    let read = |thread: &std::path::Path, file: &str| std::fs::read_to_string(thread.join(file)).ok();
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs").filter_map(|entry| Some(entry.ok()?.path()));
    tasks.filter_map(|thread| Some((read(&thread, "comm")?.trim().to_owned(), places(&read(&thread, "status")?)))).collect()
}

/// Numbers from what the kernel writes as `0-3,8`.
fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u16>().expect("a number")..=last.parse().expect("a number")
    };
    list.split(',').flat_map(range).collect()
}

#[test]
fn threads_run_where_they_are_pinned_and_no_others_are() {
    alone("pinned::threads_run_where_they_are_pinned_and_no_others_are", || {
        let whole = places(&std::fs::read_to_string("/proc/thread-self/status").expect("procfs"));
        let ours = numbers(&whole);
        let (last, first) = (ours[ours.len() - 1].to_string(), ours[0].to_string());
        // With one processor every thread has it, and what is shown is only that they are pinned at all.
        let both = if first == last { first.clone() } else { format!("{last},{first}") };
        let in_turn = [&last, &first, &last];
        for (topology, pinned) in [
            ("shards", &["ingest-io-0", "ingest-io-1"][..]),
            ("acceptor", &["ingest-io-0", "ingest-io-1", "ingest-accept-0"]),
            ("dispatch", &["ingest-io-0", "ingest-parse-0", "ingest-parse-1"]),
        ] {
            let options = [("topology", topology), ("io_threads", "2"), ("handler_threads", "1"), ("io_threads.cpus", both.as_str())];
            let server = Server::serve(&options, Delivery::Threads, crate::guest::echo_target());
            assert_eq!(server.connect().get("/").text(), "/");
            let mut wanted: BTreeMap<&str, &str> = pinned.iter().copied().zip(in_turn.map(String::as_str)).collect();
            wanted.insert("ingest-run-0", &whole);
            // A thread that has not begun is not pinned yet.
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let seen = threads();
                let right = wanted.iter().all(|(name, place)| seen.get(*name).is_some_and(|at| at == place));
                if right {
                    break;
                }
                assert!(Instant::now() < deadline, "{topology}: wanted {wanted:?}, but there are {seen:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
}

#[test]
fn a_processor_that_cannot_be_had_is_refused_at_the_start() {
    let mut server = Server::unstarted(&[("io_threads.cpus", "1023")]);
    server.listen("http://127.0.0.1:0").expect("loopback");
    let refused = server.start().expect_err("this machine has fewer");
    assert_eq!(refused.status, INGEST_E_OPTION);
    assert!(refused.text.contains("names processor 1023"), "{}", refused.text);
}

#[test]
fn the_thread_of_a_host_that_takes_turns_is_not_pinned() {
    let whole = places(&std::fs::read_to_string("/proc/thread-self/status").expect("procfs"));
    let first = numbers(&whole)[0].to_string();
    let mut server = Server::unstarted(&[("io_threads.cpus", first.as_str())]);
    server.listen("http://127.0.0.1:0").expect("loopback");
    let Host(handle) = *server;
    // SAFETY: the server lives.
    assert_eq!(unsafe { ingest_server_turn(handle, 0) }, INGEST_E_OPTION);
    assert_eq!(places(&std::fs::read_to_string("/proc/thread-self/status").expect("procfs")), whole);
}
