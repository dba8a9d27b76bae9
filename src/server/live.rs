//! A server while it runs: options that change, and the figures that it shows.
#![forbid(unsafe_code)]

use super::{Server, connections_max};
use crate::handoff::HostQueue;
use crate::memory::queue::Queue;
use crate::stats::Totals;
use crate::status::{Failure, INGEST_E_OPTION};
use std::sync::atomic::Ordering;

impl Server {
    /// Changes an option that is marked live; every thread goes by it from its next tick on.
    pub fn set(&self, name: &str, value: &str) -> Result<(), Failure> {
        let mut live = self.live.lock();
        let mut next = live.clone();
        next.set_live(name, value)?;
        next.check()?;
        self.open_spool(&next)?;
        // An automatic bound stays what it was at the start, whatever the descriptor limit is by now.
        let connections = match name {
            "max_connections" => connections_max(&next.limits, self.options.descriptor_floor()),
            _ => self.orders.max_connections(),
        };
        let carried = self.carried.load(Ordering::Relaxed);
        if carried != 0 && connections > carried {
            let text =
                format!("max_connections cannot be above {carried} while connections travel between threads (set it before the start)");
            return Err(Failure::new(INGEST_E_OPTION, text));
        }
        self.orders.max_connections.store(connections, Ordering::Relaxed);
        self.orders.change_limits(next.limits.clone());
        self.door.set_limits(&next.limits);
        *live = next;
        Ok(())
    }

    /// The figures of all threads together.
    pub fn stats(&self) -> Totals {
        let door = &self.door;
        let spool = &self.orders.spool;
        let (bodies_spooled, limit_spool, spool_failures) = spool.counts();
        let standing = self.queues.iter().map(HostQueue::standing);
        let mut totals = Totals {
            in_flight: door.in_flight(),
            in_flight_max: door.in_flight_max() as u64,
            limit_in_flight: door.in_flight_met(),
            queued: door.queues().iter().map(|queue| queue.depth() as u64).sum(),
            connections_max: self.orders.max_connections(),
            memory_max_bytes: door.budget().most(),
            wakeups_sent: door.wakeups(),
            panics: self.orders.faults.beside(),
            bodies_spooled,
            limit_spool,
            spool_failures,
            spool_bytes: spool.account().bytes(),
            spool_files: spool.account().files(),
            is_unhealthy: self.orders.faults.is_unhealthy((door.clock())() / 1_000_000).into(),
            queues_standing: standing.clone().filter(|(stands, _)| *stands).count() as u64,
            queue_overloads: standing.map(|(_, times)| times).sum(),
            ..Totals::default()
        };
        door.homes().iter().for_each(|home| totals.add(&home.counters));
        let oldest_at_ns = door.queues().iter().filter_map(Queue::oldest_at_ns).min();
        totals.queue_oldest_ns = oldest_at_ns.map_or(0, |at_ns| (door.clock())().saturating_sub(at_ns));
        self.weigh_shares(&mut totals);
        totals
    }

    /// How unequal the shares are of those who do the same work.
    fn weigh_shares(&self, totals: &mut Totals) {
        let taken: Vec<u64> = self.queues.iter().flat_map(HostQueue::shares).collect();
        totals.consumers = taken.len() as u64;
        (totals.consumer_requests_least, totals.consumer_requests_most) = extremes(taken.into_iter());
        // The thread that only accepts stands behind those of the home.
        let homes = || self.door.homes().iter().take(self.options.io_threads as usize).map(|home| &home.counters);
        (totals.io_requests_least, totals.io_requests_most) = extremes(homes().map(|counters| counters.requests_delivered.get()));
        (totals.io_connections_least, totals.io_connections_most) = extremes(homes().map(|counters| counters.connections_open.get()));
    }
}

/// The least and the most, zeros when there is nothing.
fn extremes(of: impl Iterator<Item = u64> + Clone) -> (u64, u64) {
    (of.clone().min().unwrap_or(0), of.max().unwrap_or(0))
}
