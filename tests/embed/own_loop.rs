//! A host's own loop on `ingest_queue_fd`: level- and edge-triggered, alone and shared; the descriptor is never unreadable while the queue is not empty.

use crate::support::Random;
use crate::support::host::{Queue, Server, blank_event};
use ingest::request::ingest_event;
use ingest::status::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const BUSY_CLIENTS: usize = 16;
const ROUNDS: usize = 150;
/// Requests that a busy client sends in one go.
const AT_ONCE: usize = 3;

/// Sixteen clients that each wait for their answers before they ask again, so that a lost wake-up stops them all.
fn under_load(options: &[(&str, &str)], host_loop: impl Fn(&Server, &AtomicUsize) + Sync) {
    let server = Server::queued(options);
    let left = AtomicUsize::new(BUSY_CLIENTS * ROUNDS * AT_ONCE);
    std::thread::scope(|scope| {
        for client in 0..BUSY_CLIENTS {
            let port = server.port();
            scope.spawn(move || {
                let mut random = Random(client as u64 + 1);
                let mut client = crate::support::client::Client::connect(port);
                for _ in 0..ROUNDS {
                    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(AT_ONCE));
                    for _ in 0..AT_ONCE {
                        assert_eq!(client.answer().text(), "ok");
                    }
                    if random.next() % 8 == 0 {
                        std::thread::sleep(Duration::from_micros(random.next() % 300));
                    }
                }
            });
        }
        host_loop(&server, &left);
    });
    assert_eq!(left.load(Ordering::Relaxed), 0);
    server.finish();
}

fn answer(server: &Server, events: &[ingest_event], left: &AtomicUsize) {
    for event in events {
        assert_eq!(server.text(event.token, b"ok"), INGEST_OK);
        left.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Polls the descriptor for input: whether it is readable within the time.
fn readable(queue: Queue, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd: queue.fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, good for the call.
    let count = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
    assert!(count >= 0, "poll failed");
    count == 1 && poll.revents & libc::POLLIN != 0
}

/// An epoll instance of the host's with the queue's descriptor in it.
struct Loop(i32);

impl Loop {
    fn new(queue: Queue, events: i32) -> Loop {
        // SAFETY: no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        let mut event = libc::epoll_event { events: events as u32, u64: 7 };
        // SAFETY: both descriptors are open, the event is good for the call.
        assert_eq!(unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, queue.fd(), &mut event) }, 0);
        Loop(fd)
    }

    /// Whether the descriptor was reported.
    fn turn(&self, timeout_ms: i32) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        // SAFETY: room for four events.
        let count = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), 4, timeout_ms) };
        assert!(count >= 0, "epoll_wait failed");
        count == 1
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // SAFETY: ours, closed once.
        unsafe { libc::close(self.0) };
    }
}

#[test]
fn a_level_triggered_loop_may_take_a_few_at_a_time() {
    under_load(&[], |server, left| {
        let host_loop = Loop::new(server.queue(), libc::EPOLLIN);
        let mut batch = [blank_event(); 2];
        while left.load(Ordering::Relaxed) > 0 {
            assert!(host_loop.turn(5_000), "no wake-up with {} answers to give", left.load(Ordering::Relaxed));
            let got = server.queue().poll(&mut batch);
            answer(server, &batch[..usize::try_from(got).expect("a count")], left);
        }
    });
}

#[test]
fn an_edge_triggered_loop_polls_until_nothing_is_left() {
    under_load(&[("topology", "shards"), ("io_threads", "2")], |server, left| {
        let host_loop = Loop::new(server.queue(), libc::EPOLLIN | libc::EPOLLET);
        let mut batch = [blank_event(); 8];
        while left.load(Ordering::Relaxed) > 0 {
            assert!(host_loop.turn(5_000), "no edge with {} answers to give", left.load(Ordering::Relaxed));
            loop {
                let got = usize::try_from(server.queue().poll(&mut batch)).expect("a count");
                if got == 0 {
                    break;
                }
                answer(server, &batch[..got], left);
            }
        }
    });
}

#[test]
fn the_descriptor_is_never_unreadable_while_the_queue_is_not_empty() {
    let late = AtomicUsize::new(0);
    let observed = AtomicUsize::new(0);
    under_load(&[("topology", "shards"), ("io_threads", "2")], |server, left| {
        let queue = server.queue();
        let mut random = Random(42);
        let mut batch = [blank_event(); 32];
        // This is the only consumer, so a depth that it sees stays until it polls. A producer may stand between its push
        // and its write for a moment, which is why the descriptor gets a moment, too.
        let consistent = || {
            if queue.depth() > 0 {
                observed.fetch_add(1, Ordering::Relaxed);
                if !readable(queue, 0) {
                    late.fetch_add(1, Ordering::Relaxed);
                    assert!(readable(queue, 2_000), "the queue has {} events and its descriptor is unreadable", queue.depth());
                }
            }
        };
        while left.load(Ordering::Relaxed) > 0 {
            assert!(readable(queue, 5_000), "no wake-up with {} answers to give", left.load(Ordering::Relaxed));
            for _ in 0..random.next() % 4 + 1 {
                consistent();
                let capacity = random.next() as usize % batch.len() + 1;
                let got = usize::try_from(queue.poll(&mut batch[..capacity])).expect("a count");
                consistent();
                answer(server, &batch[..got], left);
                consistent();
            }
        }
        assert_eq!(queue.poll(&mut batch), 0);
        assert!(!readable(queue, 0), "a poll that returned 0 made the descriptor unreadable");
    });
    let (late, observed) = (late.into_inner(), observed.into_inner());
    eprintln!("{observed} looks at a queue that was not empty, {late} of them a moment before the write");
    assert!(observed > 100, "the queue was seen filled only {observed} times");
    assert!(late * 4 <= observed, "{late} of {observed} looks were too early to be moments");
}

#[test]
fn several_consumers_share_the_descriptor() {
    under_load(&[("topology", "shards"), ("io_threads", "2")], |server, left| {
        std::thread::scope(|scope| {
            for consumer in 0..3 {
                scope.spawn(move || {
                    let queue = server.queue();
                    let trigger = if consumer == 0 { libc::EPOLLIN | libc::EPOLLET } else { libc::EPOLLIN };
                    let host_loop = Loop::new(queue, trigger);
                    let mut batch = [blank_event(); 4];
                    while left.load(Ordering::Relaxed) > 0 {
                        if !host_loop.turn(20) {
                            continue;
                        }
                        while let Ok(got @ 1..) = usize::try_from(queue.poll(&mut batch)) {
                            answer(server, &batch[..got], left);
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn consumers_that_wait_and_loops_on_the_descriptor_mix() {
    under_load(&[], |server, left| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut batch = [blank_event(); 4];
                while left.load(Ordering::Relaxed) > 0 {
                    let got = server.queue().wait(&mut batch, 20);
                    answer(server, &batch[..usize::try_from(got).expect("a count")], left);
                }
            });
            let mut batch = [blank_event(); 4];
            while left.load(Ordering::Relaxed) > 0 {
                if readable(server.queue(), 20) {
                    let got = server.queue().poll(&mut batch);
                    answer(server, &batch[..usize::try_from(got).expect("a count")], left);
                }
            }
        });
    });
}

#[test]
fn the_end_of_the_server_wakes_the_loop() {
    for trigger in [libc::EPOLLIN, libc::EPOLLIN | libc::EPOLLET] {
        let server = Server::queued(&[]);
        let host_loop = Loop::new(server.queue(), trigger);
        host_loop.turn(0);
        assert_eq!(server.queue().poll(&mut [blank_event(); 1]), 0);
        assert_eq!(server.stop(), INGEST_OK);
        let mut batch = [blank_event(); 1];
        let ended = crate::support::eventually(|| {
            host_loop.turn(1_000);
            server.queue().poll(&mut batch) == INGEST_E_STOPPED
        });
        assert!(ended);
        server.finish();
    }
}

/// At `in_flight_max` a level-triggered loop must sleep, although requests wait; giving one back wakes it.
#[test]
fn a_loop_that_holds_all_it_may_sleeps_until_it_gives_something_back() {
    let server = Server::queued(&[("in_flight_max", "1"), ("queue_age", "30s")]);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    let held = server.queue().take(1)[0];
    second.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    while server.queue().depth() == 0 {
        std::thread::yield_now();
    }
    let mut batch = [blank_event(); 4];
    assert_eq!(server.queue().poll(&mut batch), 0, "more was delivered than may be held");
    assert!(!readable(server.queue(), 100), "the descriptor keeps a loop awake that may take nothing");
    assert_eq!(server.text(held.token, b"one"), INGEST_OK);
    assert!(readable(server.queue(), 5_000), "the loop was not told that it may take more");
    assert_eq!(server.queue().poll(&mut batch), 1);
    assert_eq!(server.text(batch[0].token, b"two"), INGEST_OK);
    assert_eq!((first.answer().text(), second.answer().text()), ("one".into(), "two".into()));
    server.finish();
}
