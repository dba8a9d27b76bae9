//! What each step cost: which requests are timed, and how the times of one request come together.
#![forbid(unsafe_code)]

use crate::decrypt::Session;
use crate::options::JourneyMode;
use crate::request::{INGEST_JOURNEY_EXACT, INGEST_JOURNEY_FIRST, ingest_journey};

/// Whether, and with which clock, the steps of what has just been read are timed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub mode: JourneyMode,
    /// Reads CLOCK_MONOTONIC in nanoseconds.
    pub clock: fn() -> u64,
    /// The next request is timed at every step.
    pub exact: bool,
    /// What receiving its octets took, if it was timed, and opening them.
    pub read_ns: u64,
    pub decrypt_ns: u64,
}

/// The times of one request's steps.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    exact: bool,
    clock: fn() -> u64,
    began_ns: u64,
    parse_ns: u64,
    decode_ns: u64,
    read_ns: u64,
    decrypt_ns: u64,
}

impl Steps {
    /// Begins before a head is parsed. Only one request of a read is timed exactly with `sample`.
    pub fn begin(timing: &mut Timing) -> Steps {
        let began_ns = if timing.exact { (timing.clock)() } else { 0 };
        let Timing { exact, clock, read_ns, decrypt_ns, .. } = *timing;
        Steps { exact, clock, began_ns, parse_ns: 0, decode_ns: 0, read_ns, decrypt_ns }
    }

    pub fn parsed(&mut self) {
        if self.exact {
            let now_ns = (self.clock)();
            self.parse_ns = now_ns - self.began_ns;
            self.began_ns = now_ns;
        }
    }

    pub fn decoded(&mut self) {
        if self.exact {
            self.decode_ns = (self.clock)() - self.began_ns;
        }
    }
}

impl Timing {
    /// The journey of a request whose head is complete; `None` with `journey=off`. The first one of a connection has what accepting it
    /// and its handshake took.
    pub fn journey(&mut self, steps: &Steps, now_ns: u64, received_at_ns: u64, first: Option<Before>) -> Option<ingest_journey> {
        if self.mode == JourneyMode::Off {
            return None;
        }
        let mut journey = ingest_journey {
            size: size_of::<ingest_journey>() as u32,
            received_at_ns,
            delivered_at_ns: now_ns,
            read_ns: steps.read_ns,
            decrypt_ns: steps.decrypt_ns,
            parse_ns: steps.parse_ns,
            decode_ns: steps.decode_ns,
            ..ingest_journey::default()
        };
        if steps.exact {
            journey.flags |= INGEST_JOURNEY_EXACT;
        }
        if let Some(before) = first {
            journey.flags |= INGEST_JOURNEY_FIRST;
            journey.accept_ns = before.accept_ns;
            journey.handshake_ns = before.handshake_ns;
            (journey.handshake_began_at_ns, journey.handshake_ended_at_ns) = before.handshake_at_ns;
        }
        if self.mode == JourneyMode::Sample {
            self.exact = false;
        }
        // The receive is the first request's; what follows in the same read costs none.
        (self.read_ns, self.decrypt_ns) = (0, 0);
        Some(journey)
    }
}

/// What has been before the first request of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub accept_ns: u64,
    pub handshake_ns: u64,
    /// Begin and end of the handshake.
    pub handshake_at_ns: (u64, u64),
}

impl Before {
    pub fn of(accept_ns: u64, session: &Session) -> Before {
        Before { accept_ns, handshake_ns: session.handshake_ns(), handshake_at_ns: session.handshake_at_ns() }
    }
}

/// Draws one request in so many.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    mode: JourneyMode,
    every: u32,
    left: u32,
}

impl Sampler {
    pub fn new(mode: JourneyMode, every: u32) -> Self {
        Sampler { mode, every: every.max(1), left: 1 }
    }

    /// Whether the next read is to be timed.
    pub fn wants_next(&self) -> bool {
        match self.mode {
            JourneyMode::Off | JourneyMode::Tick => false,
            JourneyMode::Steps => true,
            JourneyMode::Sample => self.left <= 1,
        }
    }

    /// That many requests were delivered.
    pub fn delivered(&mut self, count: u32) {
        self.left = if self.left > count { self.left - count } else { self.every };
    }
}
