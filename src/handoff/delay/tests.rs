//! The state of a queue's delay: step by step, then beside a model of arrivals and consumers whose time is counted, not measured.
#![forbid(unsafe_code)]

use super::*;
use crate::memory::queue::Entry;
use crate::memory::queue::share::share;
use std::collections::VecDeque;

const MS: u64 = 1_000_000;
const WISH: Wish = Wish { target_ns: 5 * MS, interval_ns: 100 * MS };

#[test]
fn a_queue_stands_when_all_that_left_in_an_interval_had_waited_too_long() {
    let delay = Delay::default();
    assert!(!delay.leaves(80 * MS, 1000 * MS, true, WISH), "the first is a sign, no more");
    assert!(!delay.leaves(80 * MS, 1099 * MS, true, WISH));
    assert!(!delay.stands() && !delay.is_calm());
    assert!(delay.leaves(80 * MS, 1100 * MS, true, WISH), "an interval is over");
    assert!(delay.stands());
    assert!(!delay.leaves(10 * MS, 1101 * MS, true, WISH), "twice the target is not too long");
    assert!(delay.leaves(10 * MS + 1, 1102 * MS, true, WISH));
    assert!(!delay.leaves(80 * MS, 1103 * MS, false, WISH), "nobody is behind it");
    assert!(delay.stands());
    assert_eq!(delay.times(), 1);
}

#[test]
fn one_that_hardly_waited_ends_the_suspicion_but_not_what_it_became() {
    let delay = Delay::default();
    delay.leaves(6 * MS, MS, true, WISH);
    delay.leaves(5 * MS, 50 * MS, true, WISH);
    assert!(delay.is_calm());
    delay.leaves(6 * MS, 60 * MS, true, WISH);
    delay.leaves(6 * MS, 159 * MS, true, WISH);
    assert!(!delay.stands(), "the interval began anew");
    delay.leaves(6 * MS, 160 * MS, true, WISH);
    assert!(delay.stands());
    // Another consumer took the last that had waited: only when none comes for an interval, it is over.
    delay.leaves(5 * MS, 161 * MS, true, WISH);
    delay.leaves(5 * MS, 259 * MS, true, WISH);
    assert!(delay.stands());
    delay.leaves(5 * MS, 260 * MS, true, WISH);
    assert!(!delay.stands() && delay.is_calm());
    // And the interval begins anew.
    assert!(!delay.leaves(80 * MS, 303 * MS, true, WISH));
    assert!(!delay.leaves(80 * MS, 402 * MS, true, WISH));
    assert!(delay.leaves(80 * MS, 403 * MS, true, WISH));
    assert_eq!(delay.times(), 2);
}

/// A host that looks seldom takes what has waited along with what has not, so the first of them say nothing.
#[test]
fn a_queue_that_one_look_emptied_stands_no_more() {
    let delay = Delay::default();
    delay.leaves(60 * MS, MS, true, WISH);
    delay.leaves(60 * MS, 101 * MS, true, WISH);
    delay.emptied(6 * MS, WISH);
    assert!(delay.stands(), "its last one had waited, too");
    delay.emptied(5 * MS, WISH);
    assert!(!delay.stands());
}

#[test]
fn a_queue_that_stands_is_divided_at_the_target_and_at_twice_of_it() {
    let delay = Delay::default();
    assert_eq!(delay.cuts(1000 * MS, WISH), None);
    delay.leaves(60 * MS, MS, true, WISH);
    delay.leaves(60 * MS, 101 * MS, true, WISH);
    assert_eq!(delay.cuts(1000 * MS, WISH), Some(Cuts { stale_ns: 990 * MS, fresh_ns: 995 * MS }));
}

#[test]
fn a_burst_that_is_worked_off_is_none() {
    let delay = Delay::default();
    delay.leaves(60 * MS, MS, true, WISH);
    delay.calm();
    assert!(!delay.leaves(60 * MS, 10_000 * MS, true, WISH), "long after the queue was empty");
    assert!(!delay.stands());
}

#[test]
fn nothing_is_refused_without_a_target() {
    let (delay, none) = (Delay::default(), Wish { target_ns: u64::MAX, interval_ns: 1 });
    for step in 1..100 {
        assert!(!delay.leaves(step * 1000 * MS, step * 1000 * MS, true, none));
    }
    assert!(delay.is_calm() && delay.times() == 0);
    // A target that is taken away while the queue stands.
    delay.leaves(6 * MS, MS, true, WISH);
    delay.leaves(6 * MS, 500 * MS, true, WISH);
    assert!(delay.stands());
    assert!(!delay.leaves(900 * MS, 501 * MS, true, none) && !delay.stands());
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    /// What each request that was served had waited before, in the order of service.
    waits: Vec<u64>,
    shed: usize,
    /// How long consumers had nothing to do, all together.
    idle_ns: u64,
    times: u64,
}

/// Requests that come at an even pace, one each `every_ns`, to so many consumers that take `batch` at once and `service_ns` for each.
#[derive(Clone)]
struct Model {
    every_ns: u64,
    consumers: usize,
    service_ns: u64,
    batch: usize,
    /// From when on they come at another pace.
    then_ns: Option<(u64, u64)>,
    /// Nobody takes anything in this time.
    pause_ns: std::ops::Range<u64>,
    until_ns: u64,
}

impl Model {
    /// The loop of `HostQueue::take`, with a queue of the model's own.
    fn run(&self, wish: Wish) -> Outcome {
        let (delay, mut outcome) = (Delay::default(), Outcome::default());
        let mut queue: VecDeque<Entry> = VecDeque::new();
        let mut free_at = vec![0u64; self.consumers];
        let mut next_arrival = self.every_ns;
        let mut now = 0;
        while now < self.until_ns {
            while next_arrival <= now {
                queue.push_back(Entry::new(0, 1, next_arrival, u64::MAX));
                next_arrival += self.then_ns.filter(|(at_ns, _)| *at_ns <= next_arrival).map_or(self.every_ns, |(_, every_ns)| every_ns);
            }
            let consumer = (0..self.consumers).min_by_key(|consumer| free_at[*consumer]).unwrap_or(0);
            if free_at[consumer] > now || self.pause_ns.contains(&now) {
                now = if self.pause_ns.contains(&now) { self.pause_ns.end } else { free_at[consumer] };
                continue;
            }
            let mut taken = 0;
            while taken == 0 && !queue.is_empty() {
                let count = share(&queue, self.consumers, self.batch, delay.cuts(now, wish));
                let drawn: Vec<Entry> = queue.drain(..count).collect();
                if queue.is_empty() {
                    delay.emptied(now - drawn[count - 1].at_ns, wish);
                }
                for (index, entry) in drawn.iter().enumerate() {
                    let behind = index + 1 < count || !queue.is_empty();
                    if delay.leaves(now - entry.at_ns, now, behind, wish) {
                        outcome.shed += 1;
                    } else {
                        outcome.waits.push(now + taken as u64 * self.service_ns - entry.at_ns);
                        taken += 1;
                    }
                }
            }
            if taken == 0 {
                delay.calm();
                outcome.idle_ns += next_arrival - now;
                free_at[consumer] = next_arrival;
            } else {
                free_at[consumer] = now + taken as u64 * self.service_ns;
            }
        }
        outcome.times = delay.times();
        outcome
    }
}

const MINUTE: Model =
    Model { every_ns: MS / 2, consumers: 4, service_ns: 4 * MS, batch: 1, then_ns: None, pause_ns: 0..0, until_ns: 60_000 * MS };
const NOTHING: Wish = Wish { target_ns: u64::MAX, interval_ns: 1 };

fn worst_after(outcome: &Outcome, first: usize) -> u64 {
    outcome.waits[first..].iter().copied().max().unwrap_or(0)
}

#[test]
fn at_twice_the_capacity_everybody_works_and_nobody_who_is_served_has_waited_long() {
    for (consumers, service_ns, batch) in [(4, 4 * MS, 1), (1, MS, 1), (1, MS, 64), (2, 2 * MS, 64), (100, 100 * MS, 1), (16, 16 * MS, 8)] {
        let model = Model { consumers, service_ns, batch, ..MINUTE };
        let outcome = model.run(WISH);
        // Capacity is 1,000 a second in each of them, and 2,000 come.
        assert!(outcome.waits.len() >= 59_500, "{consumers} x {batch}: {} were served", outcome.waits.len());
        assert!(outcome.idle_ns < 2 * consumers as u64 * service_ns, "{consumers} x {batch}: {} ns idle", outcome.idle_ns);
        // The first second has the time until it is noticed. What is taken together waits in the consumer's hands as well.
        let worst = worst_after(&outcome, 1000);
        let in_hand = if batch == 1 { 0 } else { 15 * MS };
        assert!(worst <= 2 * WISH.target_ns + in_hand + MS, "{consumers} x {batch}: one has waited {worst} ns");
        // Without it the last ones wait for half of the run.
        let worst = worst_after(&model.run(NOTHING), 1000);
        assert!(worst > 25_000 * MS, "{consumers} x {batch}: {worst} ns without");
    }
}

/// One consumer that takes far longer for a request than the target: there is always one to be served, and it is a fresh one.
#[test]
fn a_slow_host_is_never_left_without_work() {
    let model = Model { every_ns: 50 * MS, consumers: 1, service_ns: 100 * MS, ..MINUTE };
    let outcome = model.run(WISH);
    assert!(outcome.waits.len() >= 599, "{} were served", outcome.waits.len());
    assert!(outcome.idle_ns <= 100 * MS, "{} ns idle", outcome.idle_ns);
    let worst = worst_after(&outcome, 10);
    assert!(worst <= 200 * MS, "one has waited {worst} ns");
}

#[test]
fn below_the_capacity_nothing_is_refused_and_a_short_pause_is_forgiven() {
    // Four fifths of the capacity.
    let calm = Model { every_ns: 1_250_000, ..MINUTE };
    let outcome = calm.run(WISH);
    assert_eq!((outcome.shed, outcome.times), (0, 0));
    // A host that stops for less than it takes to notice: what has gathered is worked off.
    let pause = Model { every_ns: 2 * MS, pause_ns: 10_000 * MS..10_080 * MS, ..MINUTE };
    assert_eq!(pause.run(WISH).shed, 0);
}

/// A host that looks every 50 ms and works off what there is: the delay is above the target, but nothing stands.
#[test]
fn a_host_that_looks_seldom_and_keeps_up_is_not_overloaded() {
    let delay = Delay::default();
    for tick in 1..1000u64 {
        let now = tick * 50 * MS;
        for age in (0..50).rev() {
            assert!(!delay.leaves(age * MS, now, age > 0, WISH));
        }
    }
    assert_eq!(delay.times(), 0);
}

#[test]
fn it_ends_when_the_load_does() {
    for batch in [1, 8] {
        // Twice the capacity for ten seconds, in which nothing is taken back of what was refused; then four fifths of it.
        let model = Model { batch, every_ns: MS / 2, then_ns: Some((10_000 * MS, 1_250_000)), ..MINUTE };
        let outcome = model.run(WISH);
        let calm = Model { batch, until_ns: 10_100 * MS, ..model }.run(WISH);
        assert!(outcome.shed > 9_000 && outcome.shed == calm.shed, "{} and {}", outcome.shed, calm.shed);
        assert!(outcome.times <= 2, "it went on and off: {}", outcome.times);
    }
}
