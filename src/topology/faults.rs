//! Faults of the library's own that were caught: how many, and whether they come so often that the host should know.
#![forbid(unsafe_code)]

use crate::limits::{UNHEALTHY_FAULTS, UNHEALTHY_MS};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the file's first line. Faults are rare, so a lock does no harm.
#[derive(Debug, Default)]
pub struct Faults {
    /// When the last of them were caught, in CLOCK_MONOTONIC milliseconds.
    times_ms: Mutex<VecDeque<u64>>,
    /// Those of threads that have no counters of their own.
    beside: AtomicU64,
}

impl Faults {
    /// One was caught. True if it is the one that makes the server unhealthy.
    pub fn note(&self, now_ms: u64) -> bool {
        let mut times_ms = self.times_ms.lock();
        let before = is_unhealthy(&times_ms, now_ms);
        if times_ms.len() >= UNHEALTHY_FAULTS {
            times_ms.pop_front();
        }
        times_ms.push_back(now_ms);
        !before && is_unhealthy(&times_ms, now_ms)
    }

    /// As `note`, on a thread that has no counters of its own.
    pub fn note_beside(&self, now_ms: u64) -> bool {
        self.beside.fetch_add(1, Ordering::Relaxed);
        self.note(now_ms)
    }

    pub fn beside(&self) -> u64 {
        self.beside.load(Ordering::Relaxed)
    }

    /// So many were caught within the last minute; it is well again a minute after they end.
    pub fn is_unhealthy(&self, now_ms: u64) -> bool {
        is_unhealthy(&self.times_ms.lock(), now_ms)
    }
}

fn is_unhealthy(times_ms: &VecDeque<u64>, now_ms: u64) -> bool {
    times_ms.len() >= UNHEALTHY_FAULTS && times_ms.front().is_some_and(|oldest| now_ms.saturating_sub(*oldest) < UNHEALTHY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_within_a_minute_are_too_many_and_are_told_once() {
        let faults = Faults::default();
        assert!((0..99).all(|_| !faults.note(1_000)));
        assert!(!faults.is_unhealthy(1_000));
        assert!(faults.note(2_000) && !faults.note(2_000));
        assert!(faults.is_unhealthy(60_999) && !faults.is_unhealthy(62_000));
        assert_eq!(faults.beside(), 0);
    }

    #[test]
    fn a_hundred_in_a_longer_time_are_not() {
        let faults = Faults::default();
        assert!((0..500).all(|number| !faults.note_beside(number * 610)));
        assert_eq!(faults.beside(), 500);
    }
}
