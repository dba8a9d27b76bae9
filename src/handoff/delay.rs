//! Whether a queue stands: the state of one queue's delay, after CoDel (RFC 8289). It owns no clock, time is an argument.
#![forbid(unsafe_code)]

use crate::memory::queue::share::Cuts;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// While a queue stands, who has waited longer than so many targets is refused. At the target itself nearly everybody would be, since it
/// is there that the queue is held.
const PATIENCE_TARGETS: u64 = 2;

/// What a server wants of the delay of its queues (`queue_delay_target`, `queue_delay_interval`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `u64::MAX` wants nothing.
    pub target_ns: u64,
    pub interval_ns: u64,
}

/// See the file's first line. Consumers share it without a lock: a look that comes too early or too late by one request does no harm.
#[derive(Debug, Default)]
pub struct Delay {
    /// Since when everything that left had waited longer than the target; zero when something had not, or the queue was found empty.
    above_since_ns: AtomicU64,
    /// While it stands, when the last one left that had waited longer than the target.
    above_last_ns: AtomicU64,
    /// That has lasted for an interval.
    stands: AtomicBool,
    /// How often it has begun to.
    times: AtomicU64,
}

impl Delay {
    /// A request leaves the queue. True if it is to be refused: the queue stands, this one has waited too long, and a fresher one is
    /// `behind` it. The last one is never refused, so whoever takes requests always gets one, however long each of them lasts.
    pub fn leaves(&self, waited_ns: u64, now_ns: u64, behind: bool, wish: Wish) -> bool {
        if waited_ns <= wish.target_ns {
            // One consumer may well take the last of those that have waited, and another, a moment later, one that has not.
            let last_ns = self.above_last_ns.load(Ordering::Relaxed);
            if !self.stands() || now_ns.saturating_sub(last_ns) >= wish.interval_ns || wish.target_ns == u64::MAX {
                self.calm();
            }
            return false;
        }
        let since_ns = self.above_since_ns.load(Ordering::Relaxed);
        if since_ns == 0 {
            self.above_since_ns.store(now_ns.max(1), Ordering::Relaxed);
            return false;
        }
        if !self.stands() {
            if now_ns.saturating_sub(since_ns) < wish.interval_ns {
                return false;
            }
            if !self.stands.swap(true, Ordering::Relaxed) {
                self.times.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.above_last_ns.store(now_ns, Ordering::Relaxed);
        behind && waited_ns > wish.too_long_ns()
    }

    /// One consumer has taken so many entries, of which the last has waited so long, and the queue is empty now: if that one had hardly
    /// waited, nothing stands any more, however long the first of them has waited for a consumer that looks seldom.
    pub fn emptied(&self, last_waited_ns: u64, wish: Wish) {
        if last_waited_ns <= wish.target_ns {
            self.calm();
        }
    }

    /// The queue was found empty: whatever was in it was a burst.
    #[inline]
    pub fn calm(&self) {
        if !self.is_calm() {
            self.above_since_ns.store(0, Ordering::Relaxed);
            self.stands.store(false, Ordering::Relaxed);
        }
    }

    /// Nothing has waited for long lately.
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.above_since_ns.load(Ordering::Relaxed) == 0
    }

    /// How the queue is divided for whoever takes from it; `None` while it does not stand.
    pub fn cuts(&self, now_ns: u64, wish: Wish) -> Option<Cuts> {
        let before = |waited_ns| now_ns.saturating_sub(waited_ns);
        self.stands().then(|| Cuts { stale_ns: before(wish.too_long_ns()), fresh_ns: before(wish.target_ns) })
    }

    pub fn stands(&self) -> bool {
        self.stands.load(Ordering::Relaxed)
    }

    /// How often it has begun to stand.
    pub fn times(&self) -> u64 {
        self.times.load(Ordering::Relaxed)
    }
}

impl Wish {
    fn too_long_ns(self) -> u64 {
        self.target_ns.saturating_mul(PATIENCE_TARGETS)
    }
}

#[cfg(test)]
mod tests;
