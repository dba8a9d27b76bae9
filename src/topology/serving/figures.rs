//! What a thread that serves has counted, where the figures are read.
#![forbid(unsafe_code)]

use super::Serving;
use crate::respond::settle::Settled;
use crate::stats::Counters;

impl Serving {
    /// Counts what came of settling.
    pub(super) fn count(&mut self, settled: &Settled, counters: &Counters) {
        counters.requests_answered.add(settled.answered);
        if settled.refused > 0 {
            counters.refused(settled.refused_with);
        }
        counters.requests_abandoned.add(settled.abandoned);
        if settled.unserved() > 0 {
            (0..settled.unserved()).for_each(|_| counters.refused(503));
            counters.limit_queue_age.add(settled.aged);
            counters.limit_queue_delay.add(settled.shed);
            counters.limit_deadline.add(settled.late);
            self.sheds |= settled.shed > 0;
        }
    }

    /// Whether requests were refused since the last call because their queue stands.
    #[inline]
    pub fn has_shed(&mut self) -> bool {
        std::mem::take(&mut self.sheds)
    }

    /// Shows what memory this thread holds, and what else it has counted.
    pub fn show_memory(&mut self, counters: &Counters) {
        if self.hurried.late > 0 {
            counters.limit_deadline.add(std::mem::take(&mut self.hurried.late));
        }
        counters.handshakes.set(self.handshakes);
        counters.handshake_failures.set(self.handshake_failures);
        counters.deadlines_unread.set(self.hurried.unread);
        let memory = &self.memory;
        counters.memory_bytes.set(memory.used);
        counters.memory_bodies_bytes.set(memory.bodies);
        counters.memory_read_ahead_bytes.set(memory.read_ahead);
        counters.memory_requests_bytes.set(memory.used.saturating_sub(memory.bodies + memory.read_ahead));
        counters.memory_pooled_bytes.set((self.pool.kept() + self.decoders.kept()) as u64);
    }

    /// Slots that are not free, and octets of blocks that are lent.
    pub fn holdings(&self) -> (usize, isize) {
        (self.slots.taken(), self.pool.lent())
    }
}
