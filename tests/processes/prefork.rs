//! The example prefork: its workers die in all ways there are, and those who connect notice it only if a dead one had their request.

use crate::runner::{Server, built, client, make};
use crate::support::client::Client;
use crate::support::eventually;
use crate::{many, signal};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 6;

fn start(workers: &str, more: &[&str]) -> Server {
    make(&[]);
    Server::start(Command::new(built("prefork")).args(["--listen", "http://127.0.0.1:0", "--workers", workers]).args(more), 1)
}

/// The processes that it has forked and not waited for.
fn children(process: u32) -> BTreeSet<u32> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).expect("it runs, and the kernel lists children");
    list.split_whitespace().map(|child| child.parse().expect("a process id")).collect()
}

/// Asks on a connection of its own: which worker has answered, or nothing if the connection was made and then lost.
fn ask(port: u16) -> std::io::Result<Option<u32>> {
    let mut client = Client::connect_to(SocketAddr::from(([127, 0, 0, 1], port)))?;
    if client.try_send(b"GET /worker HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_err() {
        return Ok(None);
    }
    let Ok(Some(answer)) = client.read_answer(false) else { return Ok(None) };
    assert_eq!(answer.status, 200);
    Ok(Some(answer.text().trim().parse().expect("its process id")))
}

/// What became of the requests of all clients.
#[derive(Debug, Default)]
struct Seen {
    served: usize,
    workers: BTreeSet<u32>,
    refused: Vec<std::io::Error>,
    /// When each request that was lost was begun, and when its client knew.
    lost: Vec<(Instant, Instant)>,
}

/// Clients that connect in a loop while `meanwhile` goes on.
fn crowd(port: u16, meanwhile: impl FnOnce()) -> Seen {
    let (seen, done) = (Mutex::new(Seen::default()), AtomicBool::new(false));
    /// Ends the clients also when a check has failed.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let end = ask(port);
                    let mut seen = seen.lock().expect("no client panicked");
                    match end {
                        Ok(Some(worker)) => {
                            seen.served += 1;
                            seen.workers.insert(worker);
                        }
                        Ok(None) => seen.lost.push((began, Instant::now())),
                        Err(error) => {
                            seen.refused.push(error);
                            return;
                        }
                    }
                }
            });
        }
        let _done = Done(&done);
        meanwhile();
    });
    seen.into_inner().expect("no client panicked")
}

/// Ends one worker after the other with this signal, each when the one before has been replaced; returns when that was.
fn end_one_by_one(server: &Server, workers: usize, times: usize, number: i32) -> Vec<Instant> {
    (0..times)
        .map(|round| {
            let before = children(server.process());
            let victim = *before.iter().nth(round % before.len()).expect("there are workers");
            let when = Instant::now();
            signal(victim, number);
            let replaced = || {
                let now = children(server.process());
                !now.contains(&victim) && now.len() == workers
            };
            assert!(eventually(replaced), "worker {victim} is not replaced: {:?}", children(server.process()));
            when
        })
        .collect()
}

#[test]
fn prefork_serves_a_thousand_requests() {
    for more in [&[][..], &["--set", "io_threads=2"], &["--set", "topology=acceptor", "--set", "io_threads=2"]] {
        let server = start("3", more);
        client::a_thousand_requests(server.port(), client::judge_hello);
        server.stop_cleanly(Duration::from_secs(10));
    }
}

#[test]
fn a_worker_that_is_killed_takes_only_its_own_requests_along() {
    const WORKERS: usize = 3;
    let server = start("3", &[]);
    assert_eq!(children(server.process()).len(), WORKERS);
    let (times, mut killed) = (many(20, 200), Vec::new());
    let seen = crowd(server.port(), || {
        killed = end_one_by_one(&server, WORKERS, times, libc::SIGKILL);
        // Those that came last have time to serve.
        std::thread::sleep(Duration::from_millis(300));
    });
    println!(
        "{times} kills: {} served by {} workers, {} refused, {} lost",
        seen.served,
        seen.workers.len(),
        seen.refused.len(),
        seen.lost.len()
    );
    assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    // A client has one request at a time, and it is lost only if a worker died while it was under way.
    assert!(seen.lost.len() <= times * CLIENTS);
    for (began, ended) in &seen.lost {
        assert!(killed.iter().any(|when| began <= when && when <= ended), "a request was lost while nobody was killed");
    }
    assert!(seen.served > times && seen.workers.len() > WORKERS, "those that were forked later serve, too: {:?}", seen.workers);
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.matches("was killed by signal 9\n").count()), (Some(0), times), "{}", ended.stderr);
}

#[test]
fn a_worker_that_is_told_to_end_takes_nothing_along() {
    let server = start("3", &["--set", "io_threads=2"]);
    let times = many(10, 100);
    let seen = crowd(server.port(), || drop(end_one_by_one(&server, 3, times, libc::SIGTERM)));
    println!("{times} drains: {} served by {} workers, {:?}", seen.served, seen.workers.len(), (&seen.refused, seen.lost.len()));
    assert!(seen.refused.is_empty() && seen.lost.is_empty(), "refused {:?}, lost {}", seen.refused, seen.lost.len());
    assert!(seen.served > times && seen.workers.len() > 3);
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.matches("has ended with status 0\n").count()), (Some(0), times), "{}", ended.stderr);
}

/// Nobody serves, and nobody can be forked: connections are made all the same, and answered when there are workers again.
#[test]
fn with_all_workers_dead_those_who_connect_wait() {
    let server = start("2", &[]);
    signal(server.process(), libc::SIGSTOP);
    children(server.process()).into_iter().for_each(|worker| signal(worker, libc::SIGKILL));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(server.port())).collect();
    clients.iter_mut().for_each(|client| client.send("GET /worker HTTP/1.1\r\nHost: x\r\n\r\n"));
    std::thread::sleep(Duration::from_millis(50));
    let answered = clients.iter().filter(|client| client.has_input()).count();
    signal(server.process(), libc::SIGCONT);
    assert_eq!(answered, 0, "there was nobody to answer");
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    drop(clients);
    server.signal(libc::SIGTERM);
    assert_eq!(server.finish().status.code(), Some(0));
}

#[test]
fn a_drain_ends_all_workers_and_their_answers_come() {
    let server = start("3", &[]);
    let (port, workers) = (server.port(), children(server.process()));
    let mut half = Client::connect(port);
    half.send("POST /drained HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
    assert!(ask(port).is_ok_and(|worker| worker.is_some_and(|worker| workers.contains(&worker))));
    server.signal(libc::SIGTERM);
    assert!(eventually(|| ask(port).is_err()), "somebody still listens");
    half.send("cd");
    let answer = half.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "4"));
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    assert!(workers.iter().all(|worker| !std::path::Path::new(&format!("/proc/{worker}")).exists()), "a worker is left");
}

#[test]
fn workers_that_are_left_alone_end() {
    let server = start("2", &[]);
    let (port, workers) = (server.port(), children(server.process()));
    signal(server.process(), libc::SIGKILL);
    let gone = || workers.iter().all(|worker| !std::path::Path::new(&format!("/proc/{worker}/exe")).exists());
    let ended = eventually(gone);
    if !ended {
        workers.iter().for_each(|worker| signal(*worker, libc::SIGKILL));
    }
    assert!(ended, "workers live on without the process that watched over them");
    assert!(Client::connect_to(SocketAddr::from(([127, 0, 0, 1], port))).is_err());
}
