//! Faults of the place where bodies are kept: no space, no descriptors, a limit on files, a folder that is gone. Others are served on.

use super::support::host::{Delivery, Server};
use super::support::{alone, alone_behind, eventually, log_lines};
use super::{SPOOL, ask, chunked, is_clean, post, telling, told};
use std::fs::File;

fn folder(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("ingest-spool-{name}-{}", std::process::id()));
    std::fs::create_dir(&path).expect("the folder is new");
    path
}

/// One client is refused with this status, others are served before, meanwhile and after, and nothing is left.
fn is_survived(server: &Server, wire: &[u8], status: u16) {
    let mut other = server.connect();
    assert_eq!(ask(&mut other, post("", b"small")).text(), told("memory", b"small"));
    let mut client = server.connect();
    let _ = client.try_send(wire);
    let answer = client.answer();
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.says_close());
    assert_eq!(ask(&mut other, post("", b"small")).text(), told("memory", b"small"));
    drop((client, other));
    assert!(is_clean(server), "{:?}", server.stats());
}

#[test]
fn s21_a_full_disk_refuses_large_bodies_alone() {
    // A file system of a mebibyte that only this process sees.
    alone_behind(&["unshare", "--mount", "--map-root-user"], "faults::s21_a_full_disk_refuses_large_bodies_alone", || {
        let path = folder("full");
        let place = path.to_str().expect("text");
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", place]).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a tmpfs can be mounted");
        let server = Server::serve(&[("body", "spool"), ("spool_dir", place)], Delivery::Queue(1), telling());
        let (fits, over) = (vec![1; 900_000], vec![1; 1_100_000]);
        for wire in [post("", &over), chunked("", &over, 30_000)] {
            is_survived(&server, &wire, 507);
            assert_eq!(ask(&mut server.connect(), post("", &fits)).text(), told("file", &fits), "there is space again");
        }
        assert_eq!((server.stats().spool_failures, server.stats().refused_others), (2, 2));
        let lines = log_lines(server.host);
        assert!(lines.iter().any(|line| line.starts_with("cannot write a body to its file: No space left")), "{lines:?}");
        server.finish();
        drop(std::process::Command::new("umount").arg(place).status());
        std::fs::remove_dir(&path).expect("it is empty");
    });
}

#[test]
fn s21_a_limit_on_the_size_of_files_refuses_and_kills_nobody() {
    alone_behind(&["prlimit", "--fsize=200000"], "faults::s21_a_limit_on_the_size_of_files_refuses_and_kills_nobody", || {
        let server = Server::serve(&SPOOL, Delivery::Queue(1), telling());
        let (fits, over) = (vec![1; 200_000], vec![1; 300_000]);
        is_survived(&server, &post("", &over), 507);
        is_survived(&server, &chunked("", &over, 9_000), 507);
        assert_eq!(ask(&mut server.connect(), post("", &fits)).text(), told("file", &fits));
        server.finish();
    });
}

#[test]
fn s21_a_limit_on_files_does_not_kill_a_host_that_takes_turns() {
    alone_behind(&["prlimit", "--fsize=200000"], "faults::s21_a_limit_on_files_does_not_kill_a_host_that_takes_turns", || {
        use super::support::host::abi::ingest_server_turn;
        let mut server = Server::unstarted(&[&SPOOL[..], &[("topology", "inline"), ("delivery", "inline")]].concat());
        server.call_back(telling());
        server.listen("http://127.0.0.1:0").expect("a port is free");
        // SAFETY: the server lives, and this is the only thread that takes turns.
        let turn = || assert!(unsafe { ingest_server_turn(server.host.0, 20) } >= 0);
        turn();
        let mut client = server.connect();
        let sender = std::thread::spawn(move || {
            let _ = client.try_send(&post("", &vec![1; 300_000]));
            client.answer().status
        });
        while !sender.is_finished() {
            turn();
        }
        assert_eq!(sender.join().expect("it got its answer"), 507);
        server.finish();
    });
}

#[test]
fn a_folder_that_is_gone_refuses_large_bodies_alone() {
    let path = folder("gone");
    let server = Server::serve(&[("body", "spool"), ("spool_dir", path.to_str().expect("text"))], Delivery::Queue(1), telling());
    let body = vec![1; 100_000];
    assert_eq!(ask(&mut server.connect(), post("", &body)).text(), told("file", &body));
    std::fs::remove_dir(&path).expect("it is empty: the files have no names");
    is_survived(&server, &post("", &body), 507);
    is_survived(&server, &chunked("", &body, 9_000), 507);
    assert_eq!(server.stats().spool_failures, 2);
    server.finish();
}

#[test]
fn scarce_descriptors_refuse_large_bodies_alone() {
    alone("faults::scarce_descriptors_refuse_large_bodies_alone", || {
        let body = vec![1; 100_000];
        let server = Server::serve(&SPOOL, Delivery::Queue(1), telling());
        let (mut client, mut other) = (server.connect(), server.connect());
        for client in [&mut client, &mut other] {
            assert_eq!(ask(client, post("", &body)).text(), told("file", &body));
        }
        assert!(is_clean(&server));
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
            assert!(taken.len() < 2_000_000, "there is a limit");
        }
        let _ = client.try_send(&post("", &body));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
        assert_eq!(ask(&mut other, post("", b"small")).text(), told("memory", b"small"));
        drop(taken);
        assert_eq!(ask(&mut other, post("", &body)).text(), told("file", &body));
        assert!(eventually(|| server.stats().limit_spool == 1));
        server.finish();
    });
}
