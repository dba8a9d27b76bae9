//! Counters of one I/O thread, and their sum. Each is written by one thread alone, so adding is a load and a store.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes something off, for others than the writing thread once that has ended.
    pub fn lower(&self, count: u64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(value.saturating_sub(count)));
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one I/O thread counts.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections_open: Counter,
    pub connections_accepted: Counter,
    /// Reset at once, since their address had as many as it may.
    pub connections_refused_per_ip: Counter,
    pub requests_delivered: Counter,
    pub requests_answered: Counter,
    pub requests_refused: Counter,
    pub requests_timed_out: Counter,
    pub requests_abandoned: Counter,
    pub memory_bytes: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    pub panics: Counter,
}

/// The sums that `ingest_server_stats` shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub connections_open: u64,
    pub connections_accepted: u64,
    pub requests_delivered: u64,
    pub requests_answered: u64,
    pub requests_refused: u64,
    pub requests_timed_out: u64,
    pub requests_abandoned: u64,
    pub in_flight: u64,
    pub queued: u64,
    pub memory_bytes: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub wakeups_sent: u64,
    pub panics: u64,
}

impl Totals {
    pub fn add(&mut self, counters: &Counters) {
        self.connections_open += counters.connections_open.get();
        self.connections_accepted += counters.connections_accepted.get();
        self.requests_delivered += counters.requests_delivered.get();
        self.requests_answered += counters.requests_answered.get();
        self.requests_refused += counters.requests_refused.get();
        self.requests_timed_out += counters.requests_timed_out.get();
        self.requests_abandoned += counters.requests_abandoned.get();
        self.memory_bytes += counters.memory_bytes.get();
        self.bytes_received += counters.bytes_received.get();
        self.bytes_sent += counters.bytes_sent.get();
        self.panics += counters.panics.get();
    }
}
