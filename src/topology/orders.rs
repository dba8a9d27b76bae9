//! What a server asks of its I/O threads, and what they share about connections.
#![forbid(unsafe_code)]

use crate::log::Log;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the server asks of its I/O threads; they look once a tick.
#[derive(Debug, Default)]
pub struct Orders {
    /// Accept no more, answer what is there, then end.
    pub drain: AtomicBool,
    /// When draining becomes stopping, in CLOCK_MONOTONIC milliseconds; zero for not yet known.
    pub drain_until_ms: AtomicU64,
    /// End now.
    pub stop: AtomicBool,
    /// Connections that all threads together may have.
    pub max_connections: u64,
    pub connections: AtomicU64,
    /// Where the threads say what operators should know.
    pub log: Log,
    /// The start failed: nothing that happens now is for the host to hear.
    pub failed: AtomicBool,
    /// The log has the line about the drain.
    pub drain_told: AtomicBool,
}

impl Orders {
    /// Whether another connection may be accepted.
    pub fn has_room(&self) -> bool {
        self.connections.load(Ordering::Relaxed) < self.max_connections
    }

    /// A connection is over. True when that makes room where there was none.
    pub fn one_less(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::Relaxed) == self.max_connections
    }
}
