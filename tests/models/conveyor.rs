//! Batons between segments: each arrives exactly once, in its sender's order, and nobody sleeps while one waits.

use super::{Flag, explore};
use ingest::memory::waker::{Signal, Waker};
use ingest::topology::conveyor::Conveyor;
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc;

/// A conveyor and the waker of the thread at its far end.
struct End {
    conveyor: Conveyor<u32, Flag>,
    waker: Arc<Waker<Flag>>,
}

fn end() -> Arc<End> {
    let waker = Arc::new(Waker::new(Flag::new()));
    Arc::new(End { conveyor: Conveyor::new(4, Arc::clone(&waker)).expect("there is memory"), waker })
}

impl End {
    /// What a tick does for the far thread: several are put, one wake follows.
    fn send(&self, batons: &[u32]) {
        batons.iter().for_each(|baton| self.conveyor.put(*baton));
        self.conveyor.wake();
    }

    /// The loop of who stands at the far end, until the kernel would put it to sleep.
    fn take_until_asleep(&self, most: usize, each: &mut impl FnMut(u32)) {
        let mut taken = VecDeque::new();
        loop {
            self.conveyor.take(&mut taken, most);
            if !taken.is_empty() {
                taken.drain(..).for_each(&mut *each);
                continue;
            }
            self.waker.announce_sleep();
            if self.conveyor.is_empty() && !self.waker.signal().is_readable() {
                return;
            }
            self.waker.awake();
            self.waker.signal().reset();
        }
    }

    /// Whether who sleeps here will be woken, or has no reason to be.
    fn sleeps_well(&self) -> bool {
        self.conveyor.is_empty() || self.waker.signal().is_readable()
    }
}

fn homes_send(batons: [&'static [u32]; 2], most: usize) {
    let far = end();
    let homes = batons.map(|batons| {
        let far = Arc::clone(&far);
        thread::spawn(move || far.send(batons))
    });
    let mut seen = Vec::new();
    far.take_until_asleep(most, &mut |baton| seen.push(baton));
    homes.into_iter().for_each(|home| home.join().unwrap());
    assert!(far.sleeps_well(), "the far thread sleeps while a baton waits");
    far.waker.awake();
    far.take_until_asleep(most, &mut |baton| seen.push(baton));
    for mine in batons {
        let found: Vec<u32> = seen.iter().copied().filter(|baton| mine.contains(baton)).collect();
        assert_eq!(found, mine, "each baton once, in its sender's order");
    }
    assert_eq!(seen.len(), batons.iter().map(|mine| mine.len()).sum::<usize>());
}

// Fails when: `put` does not count what it put, or counts before it puts and outside of the lock; `wake` has no fence.
#[test]
fn two_homes_and_a_far_thread_that_sleeps() {
    explore(3, || homes_send([&[1], &[2]], usize::MAX));
}

// Fails when: `take` says that nothing is left although something is; it takes from the back.
#[test]
fn what_is_left_on_the_belt_is_taken_in_the_next_round() {
    explore(2, || homes_send([&[1, 2], &[3]], 1));
}

// Fails when: `put` or `wake` is changed as above, which either direction would notice.
#[test]
fn a_baton_goes_out_and_comes_home() {
    explore(3, || {
        let (out, home) = (end(), end());
        let far = {
            let (out, home) = (Arc::clone(&out), Arc::clone(&home));
            thread::spawn(move || out.take_until_asleep(1, &mut |baton| home.send(&[baton + 1])))
        };
        let mut back = Vec::new();
        out.send(&[7]);
        home.take_until_asleep(1, &mut |baton| back.push(baton));
        far.join().unwrap();
        assert!(out.sleeps_well(), "the far thread sleeps while the baton waits");
        out.waker.awake();
        out.take_until_asleep(1, &mut |baton| home.send(&[baton + 1]));
        assert!(home.sleeps_well(), "the home sleeps while its baton waits");
        home.waker.awake();
        home.take_until_asleep(1, &mut |baton| back.push(baton));
        assert_eq!(back, [8]);
    });
}
