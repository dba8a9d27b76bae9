//! How many requests each thread has taken that consumes from a queue, so that it can be seen whether all have equal shares.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Threads that are told apart, a power of two. Those beyond are not counted until one of these has ended.
const PLACES: usize = 64;
/// One in so many that find no place looks whether somebody's has become free, since that asks the kernel about each.
const LOOK_EVERY: u32 = 1024;

/// One thread's count, in a cache line of its own: only that thread writes to it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place {
    /// The kernel's number of the thread; zero is nobody's.
    thread: AtomicU32,
    taken: AtomicU64,
}

impl Place {
    fn add(&self, requests: u64) {
        self.taken.store(self.taken.load(Ordering::Relaxed) + requests, Ordering::Relaxed);
    }
}

/// See the file's first line.
#[derive(Debug)]
pub struct Takers {
    places: Box<[Place]>,
    /// How often a thread has found no place.
    placeless: AtomicU32,
    /// Whether this process has a thread of that number.
    lives: fn(u32) -> bool,
}

impl Takers {
    pub fn new(lives: fn(u32) -> bool) -> Self {
        Takers { places: (0..PLACES).map(|_| Place::default()).collect(), placeless: AtomicU32::new(0), lives }
    }

    /// The calling thread, whose number this is, has asked for requests and got so many, which may be none.
    pub fn count(&self, thread: u32, requests: usize) {
        if let Some(place) = self.place_of(thread) {
            place.add(requests as u64);
        }
    }

    /// Where the thread counts. The numbers of threads that were started together follow each other, so mostly it is the first place that is
    /// looked at.
    fn place_of(&self, thread: u32) -> Option<&Place> {
        for step in 0..PLACES {
            let place = &self.places[(thread as usize + step) % PLACES];
            let there = place.thread.load(Ordering::Relaxed);
            if there == thread || (there == 0 && place.thread.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok()) {
                return Some(place);
            }
        }
        if self.placeless.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY != 0 {
            return None;
        }
        let place = self.places.iter().find(|place| {
            let there = place.thread.load(Ordering::Relaxed);
            !(self.lives)(there) && place.thread.compare_exchange(there, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        })?;
        place.taken.store(0, Ordering::Relaxed);
        Some(place)
    }

    /// What each thread has taken: of those that live, or of all that are known when none of them does any more.
    pub fn shares(&self) -> Vec<u64> {
        let of = |place: &Place| (place.thread.load(Ordering::Relaxed), place.taken.load(Ordering::Relaxed));
        let known: Vec<(u32, u64)> = self.places.iter().map(of).filter(|(thread, _)| *thread != 0).collect();
        let living: Vec<u64> = known.iter().filter(|(thread, _)| (self.lives)(*thread)).map(|(_, taken)| *taken).collect();
        if living.is_empty() { known.into_iter().map(|(_, taken)| taken).collect() } else { living }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(takers: &Takers) -> Vec<u64> {
        let mut shares = takers.shares();
        shares.sort_unstable();
        shares
    }

    #[test]
    fn each_thread_has_its_own_count() {
        let takers = Takers::new(|_| true);
        // The first two meet at one place.
        for (thread, requests) in [(7, 3), (7 + PLACES as u32, 5), (8, 0), (7, 4)] {
            takers.count(thread, requests);
        }
        assert_eq!(sorted(&takers), [0, 5, 7]);
    }

    #[test]
    fn those_that_have_ended_are_left_out_unless_all_have() {
        let takers = Takers::new(|thread| thread > 100);
        takers.count(1, 10);
        takers.count(2, 20);
        assert_eq!(sorted(&takers), [10, 20], "what is told after the end");
        takers.count(101, 7);
        takers.count(102, 0);
        assert_eq!(sorted(&takers), [0, 7]);
    }

    #[test]
    fn who_comes_when_all_places_are_taken_gets_that_of_one_that_has_ended() {
        let takers = Takers::new(|thread| thread != 5);
        (1..=PLACES as u32).for_each(|thread| takers.count(thread, 2));
        takers.count(1000, 9);
        assert_eq!(takers.places.iter().filter(|place| place.thread.load(Ordering::Relaxed) == 5).count(), 0);
        let shares = sorted(&takers);
        assert_eq!((shares.len(), shares[PLACES - 1], shares[PLACES - 2]), (PLACES, 9, 2), "it begins anew");
        // All live now: nobody's count is taken away, and no more questions are asked than now and then.
        (0..3000).for_each(|_| takers.count(2000, 1));
        assert_eq!(sorted(&takers), shares);
    }

    #[test]
    fn threads_that_come_at_once_lose_nothing() {
        let takers = Takers::new(|_| true);
        std::thread::scope(|scope| {
            for thread in 1..=16 {
                let takers = &takers;
                // Four of them want the same place each.
                scope.spawn(move || (0..1000).for_each(|_| takers.count(thread % 4 + 64 * thread, 1)));
            }
        });
        assert_eq!(takers.shares(), [1000; 16]);
    }
}
