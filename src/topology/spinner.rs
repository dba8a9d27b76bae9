//! Looks for work a little before sleeping: with one busy connection that halves the latency (design, section 8).
#![forbid(unsafe_code)]

use crate::engine::sys;
use crate::options::Spin;

/// Spins that find nothing before spinning is given up.
const MISSES_MAX: u32 = 8;
/// Sleeps until it is tried again.
const REST: u32 = 256;
const AUTO_NS: u64 = 30_000;
/// Measured on one processor with pipelined clients: 64 cost 1.7x the bare loop, 256 cost 1.5x, more gained nothing.
const SHARED_BATCH: usize = 256;

/// See the file's first line.
#[derive(Debug)]
pub struct Spinner {
    limit_ns: u64,
    misses: u32,
    /// The consumers of the queue have no other processor to run on.
    shares_processor: bool,
}

impl Spinner {
    /// With one processor spinning would only keep the others from working.
    pub fn new(spin: Spin) -> Self {
        let alone = sys::processors() == 1;
        let limit_ns = match spin {
            Spin::Off => 0,
            Spin::Auto if alone => 0,
            Spin::Auto => AUTO_NS,
            Spin::Microseconds(time) => u64::from(time) * 1000,
        };
        Spinner { limit_ns, misses: 0, shares_processor: alone && spin == Spin::Auto }
    }

    /// How long to look for work before the next sleep; zero for not at all.
    pub fn time_ns(&mut self) -> u64 {
        if self.limit_ns == 0 {
            return 0;
        }
        if self.misses >= MISSES_MAX {
            self.misses += 1;
            if self.misses < MISSES_MAX + REST {
                return 0;
            }
            self.misses = MISSES_MAX - 1;
        }
        self.limit_ns
    }

    /// On one processor: lets the consumers work off what was just delivered before this thread goes to sleep, so that
    /// they need not wake it for their first answer (one switch a batch instead of one a request).
    pub fn make_way(&self) {
        if self.shares_processor {
            sys::yield_processor();
        }
    }

    /// How many requests are gathered before consumers are told: on one processor they would only take this thread's turn.
    pub fn batch(&self, batch_max: usize) -> usize {
        if self.shares_processor { batch_max.max(SHARED_BATCH) } else { batch_max }
    }

    pub fn found(&mut self) {
        self.misses = 0;
    }

    pub fn missed(&mut self) {
        self.misses += 1;
    }
}
