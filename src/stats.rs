//! Counters and gauges of one I/O thread, and their sum. Each is written by one thread alone, so adding is a load and a store.
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

/// What each thread counts, the sum of it, and what only the whole server has: listed once.
macro_rules! counted {
    (threads: $($each:ident)* ; server: $($whole:ident)*) => {
        /// What one I/O thread counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub $each: Counter,)*
        }

        /// What `ingest_server_stats` shows, under the same names.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Totals {
            $(pub $each: u64,)*
            $(pub $whole: u64,)*
        }

        impl Totals {
            pub fn add(&mut self, counters: &Counters) {
                $(self.$each += counters.$each.get();)*
            }
        }
    };
}

counted! {
    threads:
    // Accept and read.
    connections_open connections_accepted accepts_failed receives bytes_received
    // Handoff and respond.
    requests_delivered batches_delivered requests_answered requests_refused requests_timed_out requests_abandoned sends bytes_sent
    // Refusals by status.
    refused_400 refused_408 refused_413 refused_414 refused_421 refused_431 refused_501 refused_503 refused_505 refused_others
    // Limits that were reached.
    limit_max_connections limit_connections_per_ip limit_header_timeout limit_keepalive_timeout limit_body limit_write limit_linger
    limit_queue limit_queue_age limit_queue_delay limit_deadline deadlines_unread requests_left limit_memory
    // Connections by what they are about.
    connections_in_handshake connections_idle connections_in_head connections_in_body connections_in_exchange connections_sending connections_lingering
    // Memory by kind.
    memory_bytes memory_requests_bytes memory_bodies_bytes memory_read_ahead_bytes memory_pooled_bytes
    // Decrypt.
    handshakes handshake_failures limit_handshake limit_handshakes_max handshakes_displaced
    // Decode.
    refused_415 decodings_offloaded
    panics;
    server:
    bodies_spooled limit_spool spool_failures spool_bytes spool_files
    limit_in_flight in_flight in_flight_max queued queue_oldest_ns connections_max memory_max_bytes wakeups_sent is_unhealthy
    // Whether all have equal shares.
    consumers consumer_requests_least consumer_requests_most io_requests_least io_requests_most io_connections_least io_connections_most
    queues_standing queue_overloads
}

impl Counters {
    /// A request was refused with this status.
    pub fn refused(&self, status: u16) {
        self.requests_refused.add(1);
        let counter = match status {
            400 => &self.refused_400,
            408 => &self.refused_408,
            413 => &self.refused_413,
            414 => &self.refused_414,
            415 => &self.refused_415,
            421 => &self.refused_421,
            431 => &self.refused_431,
            501 => &self.refused_501,
            503 => &self.refused_503,
            505 => &self.refused_505,
            _ => &self.refused_others,
        };
        counter.add(1);
    }
}

/// What a connection is about, for the gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not counted yet, or no more.
    #[default]
    Nowhere,
    /// No octet of a request is here, and no answer is owed.
    Idle,
    /// A head is coming.
    Head,
    /// A body is coming.
    Body,
    /// The host has a request, or will have it.
    Exchange,
    /// The peer has to read before the kernel takes more.
    Sending,
    /// Our FIN is sent.
    Lingering,
    /// A handshake of TLS has begun and is not over.
    Handshake,
}

/// How many connections of one thread are in each phase.
#[derive(Debug, Default)]
pub struct Census {
    counts: [u32; 8],
    changed: bool,
}

impl Census {
    /// A connection has moved on; the phase that it was counted in is `counted`.
    #[inline]
    pub fn moves(&mut self, counted: &mut Phase, now: Phase) {
        if *counted != now {
            self.counts[*counted as usize] = self.counts[*counted as usize].wrapping_sub(1);
            self.counts[now as usize] = self.counts[now as usize].wrapping_add(1);
            *counted = now;
            self.changed = true;
        }
    }

    /// How many are in that phase now.
    #[inline]
    pub fn of(&self, phase: Phase) -> u64 {
        u64::from(self.counts[phase as usize])
    }

    /// Shows the figures, once a tick.
    #[inline]
    pub fn show(&mut self, counters: &Counters) {
        if std::mem::take(&mut self.changed) {
            let of = |phase| self.of(phase);
            counters.connections_in_handshake.set(of(Phase::Handshake));
            counters.connections_idle.set(of(Phase::Idle));
            counters.connections_in_head.set(of(Phase::Head));
            counters.connections_in_body.set(of(Phase::Body));
            counters.connections_in_exchange.set(of(Phase::Exchange));
            counters.connections_sending.set(of(Phase::Sending));
            counters.connections_lingering.set(of(Phase::Lingering));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_under_its_status_and_in_the_sum() {
        let counters = Counters::default();
        for status in [400, 400, 431, 599] {
            counters.refused(status);
        }
        let mut totals = Totals::default();
        totals.add(&counters);
        totals.add(&counters);
        assert_eq!((totals.requests_refused, totals.refused_400, totals.refused_431, totals.refused_others), (8, 4, 2, 2));
    }

    #[test]
    fn the_census_follows_each_connection() {
        let (mut census, counters) = (Census::default(), Counters::default());
        let mut phases = [Phase::default(); 3];
        for phase in &mut phases {
            census.moves(phase, Phase::Idle);
        }
        census.moves(&mut phases[0], Phase::Body);
        census.moves(&mut phases[1], Phase::Nowhere);
        census.show(&counters);
        assert_eq!((counters.connections_idle.get(), counters.connections_in_body.get()), (1, 1));
    }
}
