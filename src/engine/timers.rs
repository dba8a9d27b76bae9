//! A hierarchical timer wheel: one entry a seat, moved lazily, so that a deadline that is pushed back costs one store.
#![forbid(unsafe_code)]

/// Milliseconds of one slot of the finest level; a deadline fires at most this late.
const GRAIN_MS: u64 = 8;
/// 64 slots a level, so that one word says which are occupied.
const SLOTS: u64 = 64;
/// Four levels reach 64^4 * 8 ms, a day and a half; what lies beyond waits in the last slot and is looked at again.
const LEVELS: usize = 4;
/// Room that a slot has from the start, so that a server with few connections allocates nothing as its deadlines go round.
const ROOM: usize = 4;
/// A slot that held more than this gives its memory back: otherwise each of them would keep room for the largest crowd there ever was.
const KEPT: usize = 64;

/// Entries are opaque words (a seat's index and generation).
#[derive(Debug)]
pub struct TimerWheel {
    /// The next grain to expire.
    grain: u64,
    levels: [Level; LEVELS],
    spare: Vec<Entry>,
}

#[derive(Debug)]
struct Level {
    occupied: u64,
    slots: Vec<Vec<Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at_ms: u64,
    word: u64,
}

impl TimerWheel {
    pub fn new(now_ms: u64) -> Self {
        let level = || Level { occupied: 0, slots: (0..SLOTS).map(|_| Vec::with_capacity(ROOM)).collect() };
        TimerWheel { grain: now_ms / GRAIN_MS, levels: std::array::from_fn(|_| level()), spare: Vec::with_capacity(ROOM) }
    }

    /// Notes that `word` wants to be looked at once `at_ms` is reached, never before.
    pub fn insert(&mut self, at_ms: u64, word: u64) {
        // Rounded up: a deadline never fires early.
        let due = at_ms.div_ceil(GRAIN_MS).max(self.grain);
        let distance = due - self.grain;
        let level = (0..LEVELS - 1).find(|&level| distance < SLOTS.pow(level as u32 + 1)).unwrap_or(LEVELS - 1);
        let width = SLOTS.pow(level as u32);
        let reach = (self.grain / width) + (SLOTS - 1);
        let slot = (due / width).min(reach) % SLOTS;
        self.levels[level].slots[slot as usize].push(Entry { at_ms, word });
        self.levels[level].occupied |= 1 << slot;
    }

    /// Hands every word whose time has come to `expire`.
    pub fn advance(&mut self, now_ms: u64, mut expire: impl FnMut(u64)) {
        let target = now_ms / GRAIN_MS;
        while self.grain <= target {
            if self.levels.iter().all(|level| level.occupied == 0) {
                self.grain = target + 1;
                return;
            }
            self.cascade();
            let slot = self.grain % SLOTS;
            if self.levels[0].occupied & (1 << slot) != 0 {
                self.empty(0, slot, |entry, _| {
                    expire(entry.word);
                    None
                });
            }
            self.grain += 1;
        }
    }

    /// Milliseconds until `advance` may find something, `None` when there is nothing to wait for.
    pub fn next_in_ms(&self, now_ms: u64) -> Option<u64> {
        let mut soonest: Option<u64> = None;
        for (level, held) in self.levels.iter().enumerate() {
            if held.occupied == 0 {
                continue;
            }
            let width = SLOTS.pow(level as u32);
            let here = self.grain / width;
            // The slot that we stand in was already spread out unless we stand at its very start.
            let from = if level == 0 || self.grain % width == 0 { here } else { here + 1 };
            let ahead = held.occupied.rotate_right((from % SLOTS) as u32).trailing_zeros() as u64;
            let at_ms = (from + ahead) * width * GRAIN_MS;
            soonest = Some(soonest.map_or(at_ms, |found| found.min(at_ms)));
        }
        soonest.map(|at_ms| at_ms.saturating_sub(now_ms))
    }

    /// Spreads the slots of coarser levels that begin at this grain over the finer ones.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let width = SLOTS.pow(level as u32);
            let slot = (self.grain / width) % SLOTS;
            if self.grain % width == 0 && self.levels[level].occupied & (1 << slot) != 0 {
                self.empty(level, slot, |entry, _| Some(entry));
            }
        }
    }

    /// Takes every entry of a slot; those that `visit` gives back are inserted anew.
    fn empty(&mut self, level: usize, slot: u64, mut visit: impl FnMut(Entry, u64) -> Option<Entry>) {
        self.levels[level].occupied &= !(1 << slot);
        // Swapped, not taken, so that the capacity stays in use and a steady server allocates nothing here.
        let mut entries = std::mem::replace(&mut self.levels[level].slots[slot as usize], std::mem::take(&mut self.spare));
        for entry in entries.drain(..) {
            if let Some(entry) = visit(entry, self.grain) {
                self.insert(entry.at_ms, entry.word);
            }
        }
        self.spare = if entries.capacity() <= KEPT { entries } else { Vec::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every deadline fires, never early, and at most one grain late when the wheel is advanced each grain.
    #[test]
    fn fires_in_time_over_all_levels() {
        let start = 1_000_003;
        let mut wheel = TimerWheel::new(start);
        let deadlines: Vec<u64> = [0, 1, 7, 8, 9, 511, 512, 513, 4_000, 32_768, 32_769, 60_000, 300_000, 2_200_000, 3_000_000]
            .iter()
            .map(|after| start + after)
            .collect();
        for (word, &at) in deadlines.iter().enumerate() {
            wheel.insert(at, word as u64);
        }
        let mut fired = vec![None; deadlines.len()];
        let mut now = start;
        while fired.iter().any(Option::is_none) {
            wheel.advance(now, |word| fired[word as usize] = Some(now));
            assert!(now < start + 4_000_000, "some deadline never fired: {fired:?}");
            now += GRAIN_MS;
        }
        for (word, &at) in deadlines.iter().enumerate() {
            let when = fired[word].unwrap();
            assert!(when >= at && when <= at + 2 * GRAIN_MS, "deadline {at} fired at {when}");
        }
    }

    /// Also across the borders of the coarser levels, with other entries near and far, which the single start above does not meet.
    #[test]
    fn fires_in_time_from_every_start() {
        let border = SLOTS * SLOTS * GRAIN_MS;
        for start in (0..800).map(|step| 3 * border - 3_000 + step * 5).chain((0..200).map(|step| SLOTS * border - 600 + step * 5)) {
            for after in [0, 1, 50, 300, 505, 513, 2_000, 10_000, 33_000, 60_000] {
                for other in [None, Some(10_000), Some(60_000), Some(1)] {
                    let mut wheel = TimerWheel::new(start - 2_000);
                    other.into_iter().for_each(|other| wheel.insert(start - 1_000 + other, 1));
                    let mut fired = None;
                    wheel.advance(start - 500, |_| ());
                    wheel.insert(start + after, 0);
                    let mut now = start;
                    while fired.is_none() {
                        let sleep = wheel.next_in_ms(now).unwrap_or_else(|| panic!("forgotten: {start} {after} {other:?}"));
                        now += sleep.max(1);
                        assert!(now <= start + after + 2 * GRAIN_MS, "late: {start} {after} {other:?}");
                        wheel.advance(now, |word| {
                            if word == 0 {
                                fired = Some(now)
                            }
                        });
                    }
                    assert!(fired >= Some(start + after), "early: {start} {after} {other:?}");
                }
            }
        }
    }

    /// What a crowd needed is given back once it is gone.
    #[test]
    fn keeps_no_memory_of_a_crowd() {
        let mut wheel = TimerWheel::new(0);
        let mut now = 0;
        for _ in 0..200 {
            for word in 0..1000 {
                wheel.insert(now + 10_000, word);
            }
            now += 512;
            wheel.advance(now, |_| ());
        }
        wheel.advance(now + 20_000, |_| ());
        let kept: usize = wheel.levels.iter().flat_map(|level| &level.slots).map(Vec::capacity).sum();
        assert!(kept <= LEVELS * SLOTS as usize * KEPT, "room for {kept} entries is kept");
    }

    /// Sleeping as long as `next_in_ms` allows never misses a deadline.
    #[test]
    fn says_how_long_one_may_sleep() {
        let mut wheel = TimerWheel::new(5);
        assert_eq!(wheel.next_in_ms(5), None);
        for (word, at) in [100u64, 777, 40_000, 2_500_000].into_iter().enumerate() {
            wheel.insert(at, word as u64);
        }
        let (mut now, mut fired, mut rounds) = (5, Vec::new(), 0);
        while let Some(sleep) = wheel.next_in_ms(now) {
            now += sleep.max(1);
            wheel.advance(now, |word| fired.push((word, now)));
            rounds += 1;
            assert!(rounds < 100, "the wheel wakes its thread too often");
        }
        let late: Vec<u64> = fired.iter().map(|&(word, when)| when - [100u64, 777, 40_000, 2_500_000][word as usize]).collect();
        assert_eq!(fired.len(), 4);
        assert!(late.iter().all(|&late| late <= GRAIN_MS), "late by {late:?}");
    }
}
