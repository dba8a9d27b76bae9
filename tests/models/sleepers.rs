//! Threads asleep in `_wait`: no push, nudge or close is slept through.

use super::{Flag, explore};
use ingest::memory::queue::{Bounds, Entry, Queue, Sleep, Taken};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;

/// How one pass through `_wait` ended.
#[derive(Debug)]
enum Wait {
    Took(u64),
    Nudged,
    Closed,
    /// It would sleep: nobody has signalled yet.
    Parked(Arc<Flag>, u64),
}

fn queue() -> Arc<Queue<Flag>> {
    Arc::new(Queue::new(Bounds { entries: 8, bytes: 1000 }, Flag::new()))
}

fn entry(token: u64) -> Entry {
    Entry::new(token, 1, 0, u64::MAX)
}

fn fall_asleep(queue: &Queue<Flag>) -> Sleep<Flag> {
    queue.fall_asleep(false, 0, || Some(Flag::new())).expect("a flag can always be made")
}

/// The loop of `HostQueue::wait_for`, up to the point where the kernel would put the thread to sleep.
fn wait(queue: &Queue<Flag>) -> Wait {
    loop {
        let mut room = [Entry::default()];
        match queue.take(&mut room, true, false).0 {
            Taken::Some(_) => return Wait::Took(room[0].token),
            Taken::Closed => return Wait::Closed,
            Taken::Empty => {}
        }
        match fall_asleep(queue) {
            Sleep::Work => {}
            Sleep::Nudged => return Wait::Nudged,
            Sleep::Closed => return Wait::Closed,
            Sleep::On(signal, nudges) if signal.is_readable() => {
                if queue.woken(signal, nudges, false) {
                    return Wait::Nudged;
                }
            }
            Sleep::On(signal, nudges) => return Wait::Parked(signal, nudges),
        }
    }
}

/// Lets those go on whose signal was set, until all others would sleep for ever. A parked thread goes on to wait.
fn go_on(queue: &Queue<Flag>, mut waits: Vec<Wait>) -> Vec<Wait> {
    while let Some(at) = waits.iter().position(|wait| matches!(wait, Wait::Parked(signal, _) if signal.is_readable())) {
        if let Wait::Parked(signal, nudges) = waits.remove(at) {
            waits.push(if queue.woken(signal, nudges, false) { Wait::Nudged } else { wait(queue) });
        }
    }
    waits
}

fn taken(waits: &[Wait]) -> Vec<u64> {
    let mut tokens: Vec<u64> = waits.iter().filter_map(|wait| if let Wait::Took(token) = wait { Some(*token) } else { None }).collect();
    tokens.sort_unstable();
    tokens
}

// Fails when: `fall_asleep` does not look at the entries; `push` signals no sleeper; `take` does not pass the rest on.
#[test]
fn a_batch_of_two_reaches_two_sleepers() {
    explore(3, || {
        let queue = queue();
        let sleepers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue))
        });
        queue.push(&[entry(1), entry(2)]);
        let waits = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).collect();
        assert_eq!(taken(&go_on(&queue, waits)), [1, 2], "someone sleeps while there is work");
    });
}

// Fails when: `woken` does not pass the wake-up on; `woken` leaves a thread on the list.
#[test]
fn a_sleeper_that_is_interrupted_passes_its_wake_up_on() {
    explore(3, || {
        let queue = queue();
        let interrupted = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                if let Sleep::On(signal, nudges) = fall_asleep(&queue) {
                    // A signal of the process ended the sleep, just before or after the push.
                    queue.woken(signal, nudges, true);
                }
            })
        };
        let sleeper = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue))
        };
        queue.push(&[entry(1)]);
        interrupted.join().unwrap();
        let waits = vec![sleeper.join().unwrap()];
        assert_eq!(taken(&go_on(&queue, waits)), [1], "the wake-up went to the one who did not want it");
    });
}

// Fails when: `woken` never resets the signal (sleepers spin on it); `push` signals no sleeper.
#[test]
fn a_signal_that_is_used_again_keeps_its_wake_ups() {
    explore(3, || {
        let queue = queue();
        let Sleep::On(signal, nudges) = fall_asleep(&queue) else { unreachable!("there is nothing yet") };
        queue.push(&[entry(1)]);
        // The first sleeper goes on; the second uses its signal for a sleep of its own.
        let first = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || if queue.woken(signal, nudges, false) { Wait::Nudged } else { wait(&queue) })
        };
        let second = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue))
        };
        queue.push(&[entry(2)]);
        let waits = vec![first.join().unwrap(), second.join().unwrap()];
        assert_eq!(taken(&go_on(&queue, waits)), [1, 2]);
    });
}

// Fails when: `nudge` does not remember that it found nobody; `nudge` does not count; `nudge` rouses nobody; `woken` resets the
// signal after it has put it back for others, without the lock (a new sleeper's wake-up is wiped out).
#[test]
fn a_nudge_ends_one_wait_at_least() {
    explore(3, || {
        let queue = queue();
        let sleepers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue))
        });
        queue.nudge();
        assert!(queue.descriptor().is_readable(), "a host in its own event loop is nudged too");
        let waits = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).collect();
        let waits = go_on(&queue, waits);
        assert!(waits.iter().any(|wait| matches!(wait, Wait::Nudged)), "a nudge was lost");
        assert!(taken(&waits).is_empty());
    });
}

// Fails when: `close` rouses nobody.
#[test]
fn a_close_ends_every_wait() {
    explore(3, || {
        let queue = queue();
        let sleepers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue))
        });
        queue.push(&[entry(1)]);
        queue.close(None);
        assert!(queue.descriptor().is_readable());
        let waits = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).collect();
        let waits = go_on(&queue, waits);
        let closed = waits.iter().filter(|wait| matches!(wait, Wait::Closed)).count();
        assert!(closed > 0 && closed + taken(&waits).len() == 2, "someone sleeps for ever: {waits:?}");
        // What nobody had taken is gone with the connections it came from.
        assert_eq!(queue.depth(), 0);
        assert!(matches!(wait(&queue), Wait::Closed));
        assert!(queue.descriptor().is_readable(), "a closed queue stays readable");
    });
}

/// `HostQueue::wait_for` of a consumer that may hold one request, and nothing while `held` says that it holds one.
fn wait_within(queue: &Queue<Flag>, held: &AtomicUsize) -> Wait {
    loop {
        if held.load(Ordering::SeqCst) == 0 {
            return wait(queue);
        }
        let sated = held.load(Ordering::SeqCst) > 0;
        match queue.fall_asleep(sated, 0, || Some(Flag::new())).expect("a flag can always be made") {
            Sleep::Work => {}
            Sleep::Nudged => return Wait::Nudged,
            Sleep::Closed => return Wait::Closed,
            Sleep::On(signal, nudges) if signal.is_readable() || (sated && held.load(Ordering::SeqCst) == 0) => {
                if queue.woken(signal, nudges, false) {
                    return Wait::Nudged;
                }
            }
            Sleep::On(signal, nudges) => return Wait::Parked(signal, nudges),
        }
    }
}

// Fails when: `rouse_all` rouses nobody; the consumer does not look at `held` again after `fall_asleep`; it ignores what `woken`
// says of a nudge.
#[test]
fn a_sleeper_at_in_flight_max_hears_of_room_and_of_a_nudge() {
    for nudged in [false, true] {
        explore(3, move || {
            let queue = queue();
            queue.push(&[entry(1)]);
            let held = Arc::new(AtomicUsize::new(1));
            let sleeper = {
                let (queue, held) = (Arc::clone(&queue), Arc::clone(&held));
                thread::spawn(move || wait_within(&queue, &held))
            };
            let nudger = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    if nudged {
                        queue.nudge();
                    }
                })
            };
            held.fetch_sub(1, Ordering::SeqCst);
            queue.rouse_all();
            nudger.join().unwrap();
            let mut waits = go_on(&queue, vec![sleeper.join().unwrap()]);
            if nudged && matches!(waits[..], [Wait::Took(_)]) {
                // It took the request before it heard; then the nudge is its next wait's.
                waits = go_on(&queue, vec![wait(&queue)]);
                assert!(matches!(waits[..], [Wait::Nudged]), "the nudge was lost: {waits:?}");
            }
            assert!(matches!(waits[..], [Wait::Took(1)]) || nudged && matches!(waits[..], [Wait::Nudged]), "{waits:?}");
        });
    }
}
