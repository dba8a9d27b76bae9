//! What a server asks of its I/O threads, and what they share about connections.
#![forbid(unsafe_code)]

use super::faults::Faults;
use super::keyring::Keyring;
use crate::accept::PerAddress;
use crate::engine::spool::Spool;
use crate::limits::Limits;
use crate::log::Log;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

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
    pub max_connections: AtomicU64,
    pub connections: AtomicU64,
    /// Counts the connections of each address; none while these are unlimited.
    pub per_address: Option<Arc<PerAddress>>,
    /// What sessions of TLS begin with.
    pub keys: Keyring,
    /// The limits as they are now, and how often they have changed: the threads look once a tick.
    pub limits: Mutex<Arc<Limits>>,
    pub limits_changes: AtomicU64,
    /// Where bodies go that are too large for memory.
    pub spool: Arc<Spool>,
    /// Where the threads say what operators should know.
    pub log: Log,
    /// FAULT events that a thread without an outlet owes the host; one that has one says them.
    pub faults_unsaid: AtomicU32,
    /// The start failed: nothing that happens now is for the host to hear.
    pub failed: AtomicBool,
    /// The log has the line about the drain.
    pub drain_told: AtomicBool,
    /// Panics that were caught, on any thread.
    pub faults: Faults,
}

impl Orders {
    /// The most connections that all threads together may have.
    pub fn max_connections(&self) -> u64 {
        self.max_connections.load(Ordering::Relaxed)
    }

    /// The server is to end now: what nobody has begun on is not worth beginning.
    pub fn is_over(&self, now_ms: u64) -> bool {
        let until_ms = self.drain_until_ms.load(Ordering::Relaxed);
        self.stop.load(Ordering::Acquire) || (self.drain.load(Ordering::Acquire) && until_ms != 0 && now_ms >= until_ms)
    }

    /// Whether another connection may be accepted.
    pub fn has_room(&self) -> bool {
        self.connections.load(Ordering::Relaxed) < self.max_connections()
    }

    /// A connection is over. True when there was no room before.
    pub fn one_less(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::Relaxed) >= self.max_connections()
    }

    /// Has every thread take these limits on in its next tick. They still have to be woken.
    pub fn change_limits(&self, limits: Limits) {
        *self.limits.lock() = Arc::new(limits);
        self.limits_changes.fetch_add(1, Ordering::Release);
    }

    /// The limits, if they have changed since the caller `knew` them.
    #[inline]
    pub fn changed_limits(&self, known: &mut u64) -> Option<Arc<Limits>> {
        let changes = self.limits_changes.load(Ordering::Acquire);
        if changes == *known {
            return None;
        }
        *known = changes;
        Some(Arc::clone(&self.limits.lock()))
    }
}
