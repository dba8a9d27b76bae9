//! The time of a tick: CLOCK_MONOTONIC is read once, and everything in the tick uses that.
#![forbid(unsafe_code)]

use crate::engine::sys;

/// The time as of the last `read`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    now_ns: u64,
}

impl Clock {
    pub fn read(&mut self) {
        self.now_ns = sys::monotonic_ns();
    }

    /// Nanoseconds of CLOCK_MONOTONIC.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Milliseconds of CLOCK_MONOTONIC, rounded down.
    pub fn now_ms(&self) -> u64 {
        self.now_ns / 1_000_000
    }
}
