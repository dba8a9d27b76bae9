//! The host queue with news in it: no sleeper sleeps through it, and the descriptor is never unreadable while it waits.

use super::table::{Hosts, Io, LAST, open};
use super::{Flag, explore, letter};
use ingest::memory::queue::{Asker, Entry, Heard, Sleep, Taken};
use ingest::memory::slots::GONE;
use loom::thread;
use std::sync::Arc;

/// How one pass through `_wait` ended.
#[derive(Debug)]
enum Wait {
    /// It heard so many events about requests, and these about the server.
    Heard(usize, Vec<u16>),
    Took(u64),
    Closed,
    /// It would sleep: nobody has signalled yet.
    Parked(Arc<Flag>, u64),
}

impl Hosts {
    /// `HostQueue::hear`; news that is told here was the host's last word about nothing, so no slot goes home.
    fn hear(&self, thread: u32, most: usize) -> (usize, Vec<u16>, u64) {
        let (mut heard, mut said) = (0, Vec::new());
        let asked =
            self.queue.ask(
                &self.table,
                Asker { queue: 0, thread, lives: |_| true, impatient: false },
                most,
                LAST,
                &mut |piece| match piece {
                    Heard::Token(..) => heard += 1,
                    Heard::Server(event) => said.push(event),
                    Heard::Stray(slot) => unreachable!("{slot}: there is one queue"),
                },
            );
        (heard, said, asked.announced)
    }

    /// The loop of `HostQueue::wait_for`, up to the point where the kernel would put the thread to sleep.
    fn wait(&self, thread: u32) -> Wait {
        loop {
            let (heard, said, announced) = self.hear(thread, 8);
            if heard + said.len() > 0 {
                return Wait::Heard(heard, said);
            }
            let mut room = [Entry::default()];
            match self.queue.take(&mut room, true, false).0 {
                Taken::Some(_) => return Wait::Took(room[0].token),
                Taken::Closed => return Wait::Closed,
                Taken::Empty => {}
            }
            match self.queue.fall_asleep(false, announced, || Some(Flag::new())).expect("a flag can always be made") {
                Sleep::Work => {}
                Sleep::Nudged => unreachable!("nobody nudges"),
                Sleep::Closed => return Wait::Closed,
                Sleep::On(signal, nudges) if signal.is_readable() => assert!(!self.queue.woken(signal, nudges, false)),
                Sleep::On(signal, nudges) => return Wait::Parked(signal, nudges),
            }
        }
    }

    /// A parked thread goes on, if its signal was set; else it sleeps for ever.
    fn go_on(&self, thread: u32, wait: Wait) -> Wait {
        match wait {
            Wait::Parked(signal, nudges) if signal.is_readable() => {
                assert!(!self.queue.woken(signal, nudges, false));
                self.wait(thread)
            }
            wait => wait,
        }
    }

    /// One `ingest_queue_poll`; how many events it brought.
    fn poll(&self, thread: u32) -> usize {
        let (heard, said, _) = self.hear(thread, 8);
        let mut room = [Entry::default()];
        let filled = heard + said.len();
        match self.queue.take(&mut room, false, filled == 0).0 {
            Taken::Some(count) => filled + count,
            Taken::Empty | Taken::Closed => filled,
        }
    }
}

impl Io {
    /// FIN on the connection of this slot, as its thread tells it.
    fn note(&mut self, hosts: &Hosts, slot: u32) {
        self.owner.note_read_closed(slot);
        self.tell(hosts);
    }
}

fn told(waits: &[Wait]) -> usize {
    waits.iter().map(|wait| if let Wait::Heard(count, _) = wait { *count } else { 0 }).sum()
}

// Fails when: `fall_asleep` does not compare what was announced; `add_notice` signals no sleeper, or does not count.
#[test]
fn news_is_not_slept_through() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE);
        let sleepers = [1, 2].map(|number| {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.wait(number))
        });
        io.note(&hosts, io.index);
        let waits = [1, 2].into_iter().zip(sleepers).map(|(number, sleeper)| (number, sleeper.join().unwrap()));
        let waits: Vec<Wait> = waits.collect::<Vec<_>>().into_iter().map(|(number, wait)| hosts.go_on(number, wait)).collect();
        assert_eq!(told(&waits), 1, "everyone sleeps while news waits, or it was told twice: {waits:?}");
    });
}

// Fails when: `add_notice` signals no sleeper.
#[test]
fn news_and_a_request_reach_two_sleepers() {
    explore(2, || {
        let (hosts, mut io) = open(true, GONE);
        let sleepers = [1, 2].map(|number| {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.wait(number))
        });
        io.note(&hosts, io.index);
        hosts.queue.push(&[Entry::new(9, 1, 0, u64::MAX)]);
        let [first, second] = sleepers.map(|sleeper| sleeper.join().unwrap());
        let waits = [hosts.go_on(1, first), hosts.go_on(2, second)];
        let took = waits.iter().filter(|wait| matches!(wait, Wait::Took(9))).count();
        let parked = waits.iter().any(|wait| matches!(wait, Wait::Parked(..)));
        // One that is awake again will ask again; but nobody may sleep while something waits.
        let left = hosts.queue.depth() + hosts.queue.notices();
        assert!(left == 0 || !parked, "someone sleeps while something waits: {waits:?}");
        assert_eq!(told(&waits) + took + left, 2, "{waits:?}");
    });
}

// Fails when: a poll resets while news waits; `add_notice` does not announce, or does not count; a poll that finds nothing,
// though news came since it asked, leaves no edge (it was so when this model was written).
#[test]
fn the_descriptor_is_readable_while_news_waits() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE);
        let (other, ..) = io.owner.open(letter(&mut io.pool), 6, true).expect("a slot is free");
        // It begins empty but SIGNALLED, as it is in the middle of a busy period: the first empty poll resets it.
        hosts.queue.push(&[Entry::new(9, 1, 0, u64::MAX)]);
        assert_eq!(hosts.poll(1), 1);
        hosts.queue.descriptor().fetch_edge();
        let edge_triggered = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = 0;
                loop {
                    let found = hosts.poll(1);
                    told += found;
                    if found == 0 {
                        return told;
                    }
                }
            })
        };
        let sated = {
            let hosts = Arc::clone(&hosts);
            // A consumer at in_flight_max: `HostQueue::have_enough`.
            thread::spawn(move || hosts.queue.quiet())
        };
        io.note(&hosts, io.index);
        io.note(&hosts, other);
        let told = edge_triggered.join().unwrap();
        sated.join().unwrap();
        assert!(told == 2 || hosts.queue.descriptor().is_readable(), "unreadable while news waits");
        assert!(told == 2 || hosts.queue.descriptor().fetch_edge(), "news waits and no event will come");
        assert_eq!(told + hosts.poll(1), 2);
        assert_eq!(hosts.poll(1), 0);
        assert!(!hosts.queue.descriptor().is_readable(), "readable after a poll that returned 0");
    });
}

// Fails when: a poll that cannot reset, since a busy consumer's news waits, leaves no edge for what is pushed next (it was so when
// this model was written).
#[test]
fn an_edge_triggered_consumer_beside_a_busy_one_hears_of_requests() {
    explore(3, || {
        let (hosts, mut io) = open(false, GONE);
        let token = io.token;
        let (.., announced) = hosts.hear(1, 8);
        assert_eq!(announced, 0);
        let busy = hosts.ask(1, 8, &mut Vec::new());
        assert!(hosts.table.take(token, busy.taker, |_| true).is_ok_and(|taken| taken.is_some()));
        let edge_triggered = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut found = 0;
                while hosts.queue.descriptor().fetch_edge() {
                    while hosts.poll(2) > 0 {
                        found += 1;
                    }
                }
                found
            })
        };
        io.note(&hosts, io.index);
        hosts.queue.push(&[Entry::new(9, 1, 0, u64::MAX)]);
        let found = edge_triggered.join().unwrap();
        assert!(found == 1 || hosts.queue.descriptor().fetch_edge(), "a request waits and no event will come");
        assert!(hosts.queue.descriptor().is_readable(), "unreadable while news waits");
    });
}

// Fails when: `ask` says the last event twice; `close` rouses nobody.
#[test]
fn the_last_event_comes_once_and_after_all_others() {
    explore(2, || {
        let (hosts, mut io) = open(true, GONE);
        let sleepers = [1, 2].map(|number| {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut heard = (0, Vec::new());
                for _ in 0..2 {
                    match hosts.wait(number) {
                        Wait::Heard(count, said) => {
                            assert!(
                                heard.1.is_empty() && (count == 0 || said.is_empty() || said == [LAST]),
                                "something came after the last"
                            );
                            heard.0 += count;
                            heard.1.extend(said);
                        }
                        wait => return (heard, wait),
                    }
                }
                (heard, hosts.wait(number))
            })
        });
        io.note(&hosts, io.index);
        hosts.queue.close(Some(LAST));
        assert!(hosts.queue.descriptor().is_readable());
        let (mut told, mut said) = (0, Vec::new());
        for (number, sleeper) in [1, 2].into_iter().zip(sleepers) {
            let (heard, mut wait) = sleeper.join().unwrap();
            told += heard.0;
            said.extend(heard.1);
            while !matches!(wait, Wait::Closed) {
                wait = hosts.go_on(number, wait);
                match wait {
                    Wait::Heard(count, last) => {
                        assert!(said.is_empty() || count == 0, "something came after the last");
                        told += count;
                        said.extend(last);
                        wait = hosts.wait(number);
                    }
                    Wait::Closed => {}
                    wait => panic!("{number} sleeps for ever: {wait:?}"),
                }
            }
        }
        assert_eq!((told, said), (1, vec![LAST]));
        assert!(hosts.queue.descriptor().is_readable(), "a closed queue stays readable");
    });
}

// Fails when: `woken` passes a declined wake-up on for entries alone (it was so when this model was written).
#[test]
fn a_sleeper_that_is_interrupted_passes_on_that_there_is_news() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE);
        let interrupted = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let (heard, _, announced) = hosts.hear(1, 8);
                if let Some(Sleep::On(signal, nudges)) = hosts.queue.fall_asleep(false, announced, || Some(Flag::new())) {
                    // A signal of the process ended the sleep, just before or after the news.
                    hosts.queue.woken(signal, nudges, true);
                }
                heard
            })
        };
        let sleeper = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.wait(2))
        };
        io.note(&hosts, io.index);
        let heard = interrupted.join().unwrap();
        let wait = hosts.go_on(2, sleeper.join().unwrap());
        assert_eq!(heard + told(&[wait]), 1, "the wake-up went to the one who did not want it");
    });
}
