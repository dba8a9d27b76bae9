//! The host queue and its descriptor: never unreadable while non-empty, nothing lost, nothing twice, nobody starved.

use super::{Flag, explore};
use ingest::memory::queue::{Bounds, Entry, Queue, Taken};
use ingest::memory::waker::Waker;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;

fn queue(entries: usize) -> Arc<Queue<Flag>> {
    Arc::new(Queue::new(Bounds { entries, bytes: 1000 }, Flag::new()))
}

fn entry(token: u64) -> Entry {
    Entry::new(token, 1, 0, u64::MAX)
}

/// One `ingest_queue_poll` with room for one; the token, if there was any.
fn poll(queue: &Queue<Flag>) -> Option<u64> {
    let mut room = [Entry::default()];
    match queue.take(&mut room, false, true).0 {
        Taken::Some(count) => {
            assert_eq!(count, 1);
            Some(room[0].token)
        }
        Taken::Empty => None,
        Taken::Closed => unreachable!("nobody closes it"),
    }
}

/// What is left when all threads have ended: the descriptor must tell the truth at each step, and a new push must be seen.
fn drain(queue: &Queue<Flag>) -> Vec<u64> {
    let mut left = Vec::new();
    loop {
        let depth = queue.depth();
        assert!(depth == 0 || queue.descriptor().is_readable(), "unreadable with {depth} entries");
        match poll(queue) {
            Some(token) => left.push(token),
            None => break,
        }
    }
    assert!(!queue.descriptor().is_readable(), "readable after a poll that returned 0");
    queue.descriptor().fetch_edge();
    queue.push(&[entry(99)]);
    assert!(queue.descriptor().is_readable() && queue.descriptor().fetch_edge(), "a push into a quiet queue is not seen");
    assert_eq!(poll(queue), Some(99));
    left
}

fn sorted(mut tokens: Vec<u64>) -> Vec<u64> {
    tokens.sort_unstable();
    tokens
}

// Fails when: `take` resets the descriptor after it has let go of the lock; a poll that finds something resets; `push` announces
// under a lock of its own before it adds; `push` does not announce; `take` resets and does not set QUIET.
#[test]
fn one_producer_and_two_level_triggered_consumers() {
    explore(3, || {
        let queue = queue(8);
        // It begins empty but SIGNALLED, as it is in the middle of a busy period: the first empty poll resets it.
        queue.push(&[entry(0)]);
        assert_eq!(poll(&queue), Some(0));
        let consumers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let taken = poll(&queue);
                // Three are pushed at once and at most two are taken: once one was taken, one is left for good.
                assert!(taken.is_none() || queue.descriptor().is_readable(), "unreadable while an entry is left");
                taken
            })
        });
        assert_eq!(queue.push(&[entry(1), entry(2), entry(3)]), 3);
        assert!(queue.descriptor().is_readable(), "unreadable right after a push that leaves an entry");
        let mut all: Vec<u64> = consumers.into_iter().filter_map(|consumer| consumer.join().unwrap()).collect();
        assert!(queue.descriptor().is_readable());
        all.extend(drain(&queue));
        assert_eq!(sorted(all), [1, 2, 3]);
    });
}

// Fails when: `take` resets without the lock; `take` sets QUIET, lets go of the lock and then resets; a poll that finds something
// resets; `push` announces before it adds; `take` looks at the depth and lets go of the lock before it takes.
#[test]
fn an_edge_triggered_consumer_that_polls_until_0_misses_nothing() {
    explore(3, || {
        let queue = queue(8);
        let edge_triggered = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut taken = Vec::new();
                for _ in 0..2 {
                    if queue.descriptor().fetch_edge() {
                        while let Some(token) = poll(&queue) {
                            taken.push(token);
                        }
                    }
                }
                taken
            })
        };
        let level_triggered = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || if queue.descriptor().is_readable() { poll(&queue) } else { None })
        };
        queue.push(&[entry(1)]);
        queue.push(&[entry(2)]);
        let mut all = edge_triggered.join().unwrap();
        assert!(all.is_sorted(), "first in, first out");
        all.extend(level_triggered.join().unwrap());
        if queue.depth() > 0 {
            assert!(queue.descriptor().fetch_edge(), "entries are left and no event will come");
        }
        all.extend(drain(&queue));
        assert_eq!(sorted(all), [1, 2]);
    });
}

// Fails when: `take` sets QUIET, lets go of the lock and then resets; `push` does not announce; a poll that finds something resets.
#[test]
fn two_producers_and_one_consumer() {
    explore(3, || {
        let queue = queue(8);
        let producers = [10, 20].map(|first| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                queue.push(&[entry(first)]);
                queue.push(&[entry(first + 1)]);
            })
        });
        // Two polls take at most two of four.
        let mut all: Vec<u64> = [poll(&queue), poll(&queue)].into_iter().flatten().collect();
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(queue.descriptor().is_readable());
        all.extend(drain(&queue));
        let of = |first: u64| all.iter().copied().filter(|token| token / 10 == first / 10).collect::<Vec<_>>();
        assert_eq!((of(10), of(20), all.len()), (vec![10, 11], vec![20, 21], 4), "each producer's order is kept");
    });
}

// Fails when: the producer sleeps without a second push after `announce_sleep`; `take` or `push` forgets `starved`; `wake` does
// not signal.
#[test]
fn a_producer_that_found_it_full_hears_of_room() {
    explore(3, || {
        let queue = queue(1);
        queue.push(&[entry(1)]);
        let home = Arc::new(Waker::new(Flag::new()));
        let producer = {
            let (queue, home) = (Arc::clone(&queue), Arc::clone(&home));
            thread::spawn(move || {
                if queue.push(&[entry(2)]) == 1 {
                    return true;
                }
                home.announce_sleep();
                // The last look: a consumer that takes after this push finds the mark and sees that we sleep.
                let pushed = queue.push(&[entry(2)]) == 1;
                if pushed {
                    home.awake();
                }
                pushed
            })
        };
        let mut room = [Entry::default()];
        let (taken, starved) = queue.take(&mut room, false, true);
        assert_eq!((taken, room[0].token), (Taken::Some(1), 1));
        if starved {
            home.wake();
        }
        let pushed = producer.join().unwrap();
        assert!(pushed || home.signal().is_readable(), "it sleeps for ever, with room in the queue");
    });
}

// Fails when: `purge` takes the front without having asked about it, or lets go of the lock after it has asked.
#[test]
fn a_purge_drops_what_is_stale_and_nothing_else() {
    explore(3, || {
        let queue = queue(8);
        queue.push(&[entry(1), entry(2)]);
        let consumer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || poll(&queue))
        };
        queue.purge(|token| token == 1);
        queue.push(&[entry(3)]);
        let taken = consumer.join().unwrap();
        assert!(queue.descriptor().is_readable());
        let all: Vec<u64> = taken.into_iter().chain(drain(&queue)).filter(|token| *token != 1).collect();
        assert_eq!(all, [2, 3]);
    });
}

// Fails when: `rouse_all` does not signal the descriptor (it was so when this model was written).
#[test]
fn an_edge_triggered_consumer_at_in_flight_max_hears_of_room() {
    explore(3, || {
        let queue = queue(8);
        queue.push(&[entry(1)]);
        // One request is held and no more may be; `HostQueue::poll` looks there before it takes anything.
        let held = Arc::new(AtomicUsize::new(1));
        let answering = {
            let (queue, held) = (Arc::clone(&queue), Arc::clone(&held));
            thread::spawn(move || {
                // `Door::came_back`.
                held.fetch_sub(1, Ordering::SeqCst);
                queue.rouse_all();
            })
        };
        let mut taken = None;
        if queue.descriptor().fetch_edge() && held.load(Ordering::SeqCst) == 0 {
            taken = poll(&queue);
        }
        answering.join().unwrap();
        assert!(taken.is_some() || queue.descriptor().fetch_edge(), "there is room and work, and no event will come");
    });
}
