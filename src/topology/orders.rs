//! What a server asks of its I/O threads, and what they share about connections.
#![forbid(unsafe_code)]

use crate::accept::PerAddress;
use crate::log::Log;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

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
    /// Counts the connections of each address; none while these are unlimited.
    pub per_address: Option<Arc<PerAddress>>,
    /// Where the threads say what operators should know.
    pub log: Log,
    /// The start failed: nothing that happens now is for the host to hear.
    pub failed: AtomicBool,
    /// The log has the line about the drain.
    pub drain_told: AtomicBool,
}
