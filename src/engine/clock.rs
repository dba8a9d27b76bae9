//! The time of a tick: the clock is read once, and everything in the tick uses that.
#![forbid(unsafe_code)]

/// Where the time comes from, in nanoseconds: CLOCK_MONOTONIC, or a simulation's own.
pub type Source = fn() -> u64;

/// The time as of the last `read`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
    now_ns: u64,
}

impl Clock {
    /// A clock that was read just now.
    pub fn new(source: Source) -> Self {
        Clock { source, now_ns: source() }
    }

    pub fn read(&mut self) {
        self.now_ns = self.fresh_ns();
    }

    /// Nanoseconds as of the last `read`.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Milliseconds as of the last `read`, rounded down.
    pub fn now_ms(&self) -> u64 {
        self.now_ns / 1_000_000
    }

    /// The time right now, for what has to be measured within a tick.
    #[inline]
    pub fn fresh_ns(&self) -> u64 {
        (self.source)()
    }
}
