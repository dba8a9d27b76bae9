//! Chooses the thread that gets a new connection: the one with less to do of two that are drawn at random.
#![forbid(unsafe_code)]

/// A connection that waits to be let in counts as so many more. A thread that lets nobody in is held up by something that the
/// number of its connections does not tell; and few wait anywhere else.
const WAITING_WEIGHT: usize = 8;

/// What one thread has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections that it was given and that are not over.
    pub open: usize,
    /// Those among them that it has not let in yet.
    pub waiting: usize,
}

impl Load {
    fn weight(self) -> usize {
        self.open.saturating_add(self.waiting.saturating_mul(WAITING_WEIGHT))
    }
}

/// Power of two choices: what a turn costs does not grow with the number of threads, and nobody is swamped because a look at the
/// loads was a moment old, as the one with the least would be. It needs no order among threads that have the same to do, since
/// the first of a pair is drawn.
#[derive(Debug)]
pub struct Balance {
    state: u64,
}

impl Balance {
    pub fn new(seed: u64) -> Self {
        // Zero would be followed by zeros.
        Balance { state: seed | 1 }
    }

    /// One of `0..count`; there is at least one.
    pub fn choose(&mut self, count: usize, load: impl Fn(usize) -> Load) -> usize {
        if count < 2 {
            return 0;
        }
        let drawn = self.draw();
        let first = below(drawn as u32, count);
        // Never the same one twice: the others, counted from the one behind it.
        let second = (first + 1 + below((drawn >> 32) as u32, count - 1)) % count;
        if load(second).weight() < load(first).weight() { second } else { first }
    }

    /// A step of xorshift64*: three shifts and a multiplication. Nobody gains by guessing it.
    fn draw(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Spreads 32 random bits over `0..count`, without the division of a remainder.
fn below(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: usize = 8;

    fn spread(loads: &[Load]) -> usize {
        let open = || loads.iter().map(|load| load.open);
        open().max().unwrap_or(0) - open().min().unwrap_or(0)
    }

    fn give(balance: &mut Balance, loads: &mut [Load]) -> usize {
        let chosen = balance.choose(loads.len(), |index| loads[index]);
        loads[chosen].open += 1;
        loads[chosen].waiting += 1;
        chosen
    }

    /// Drawn blindly, 10,000 over 8 have a standard deviation of 33 and lie a hundred apart.
    #[test]
    fn ten_thousand_that_stay_are_spread_evenly() {
        for seed in 0..20 {
            let mut balance = Balance::new(seed);
            let mut loads = [Load::default(); THREADS];
            for number in 0..10_000 {
                give(&mut balance, &mut loads);
                if number % 64 == 0 {
                    loads.iter_mut().for_each(|load| load.waiting = 0);
                }
            }
            assert_eq!(loads.iter().map(|load| load.open).sum::<usize>(), 10_000);
            assert!(spread(&loads) <= 8, "seed {seed}: {loads:?}");
        }
    }

    #[test]
    fn who_was_given_few_is_given_more() {
        let mut balance = Balance::new(7);
        let mut loads = [Load { open: 100, waiting: 0 }; THREADS];
        loads[3].open = 0;
        for _ in 0..1_000 {
            give(&mut balance, &mut loads);
            loads.iter_mut().for_each(|load| load.waiting = 0);
        }
        assert!(spread(&loads) <= 8, "{loads:?}");
    }

    /// Connections that live long on one thread: it is given as many as it gets done, and no more.
    #[test]
    fn a_slow_thread_has_no_more_open_than_the_others() {
        let mut balance = Balance::new(11);
        let mut loads = [Load::default(); THREADS];
        let mut given = [0; THREADS];
        for number in 0..10_000 {
            given[give(&mut balance, &mut loads)] += 1;
            for (index, load) in loads.iter_mut().enumerate() {
                load.waiting = 0;
                // Eight come in the time in which each thread ends one, and the slow one a tenth.
                if number % 8 == 0 && (index > 0 || number % 80 == 0) {
                    load.open = load.open.saturating_sub(1);
                }
            }
        }
        let most = loads[1..].iter().map(|load| load.open).max().unwrap_or(0);
        assert!(loads[0].open <= most + 4, "{loads:?}");
        assert!(given[0] * 2 < given[1], "{given:?}");
    }

    /// A callback holds it up, so it lets nobody in, while the others do at once and keep what they have.
    #[test]
    fn a_thread_that_stands_still_is_given_little() {
        let mut balance = Balance::new(13);
        let mut loads = [Load::default(); THREADS];
        for _ in 0..10_000 {
            give(&mut balance, &mut loads);
            loads[1..].iter_mut().for_each(|load| load.waiting = 0);
        }
        let fair = 10_000 / THREADS;
        assert!(loads[0].open * 6 < fair, "{loads:?}");
        assert!(spread(&loads[1..]) <= 8, "{loads:?}");
    }

    #[test]
    fn those_with_the_same_to_do_are_drawn_evenly() {
        for count in [2, 3, 8] {
            let mut balance = Balance::new(17);
            let mut drawn = vec![0; count];
            (0..10_000).for_each(|_| drawn[balance.choose(count, |_| Load::default())] += 1);
            assert!(drawn.iter().all(|&times| times * count > 8_500 && times * count < 11_500), "{drawn:?}");
        }
        assert_eq!(Balance::new(1).choose(1, |_| Load { open: 9, waiting: 9 }), 0);
    }
}
