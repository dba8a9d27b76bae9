//! What a thread does at `memory_max`: it reads no more, and after a while turns away whoever waits for room.
#![forbid(unsafe_code)]

use super::Segment;
use crate::connection::Connection;
use crate::engine::Engine;
use crate::limits::{MEMORY_WAIT_MS, SLAB_BYTES};
use crate::topology::tell;

impl<E: Engine<Connection>> Segment<E> {
    /// Octets have come: at the bound nothing more is received, not even in this tick.
    #[inline]
    pub(super) fn watch_memory(&mut self) {
        if self.serving.memory.is_short() {
            self.read_or_pause();
        }
    }

    /// Receives are paused while a queue is full, or memory short.
    pub(super) fn read_or_pause(&mut self) {
        let short = self.serving.memory.is_short() && !self.serving.memory.shedding;
        self.engine.pause_receives(short || self.serving.outlet.is_stalled());
    }

    /// Nothing is to be parsed that would find no room.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.short_since_ms != 0 && !self.serving.memory.shedding
    }

    /// Looks at the thread's account at the end of a tick.
    #[inline]
    pub(super) fn weigh_memory(&mut self) {
        let is_short = self.serving.memory.is_short();
        if is_short || self.short_since_ms != 0 {
            self.live_with_shortage(is_short);
        }
        if self.serving.memory.pay_back() {
            // Other threads found the budget empty.
            self.door.wake_homes();
        }
    }

    #[cold]
    fn live_with_shortage(&mut self, is_short: bool) {
        let now_ms = self.clock.now_ms();
        if !is_short {
            self.short_since_ms = 0;
            self.serving.memory.shedding = false;
        } else if self.short_since_ms == 0 {
            self.short_since_ms = now_ms.max(1);
            self.home().counters.limit_memory.add(1);
            tell::short_of_memory(&self.orders.log, self.serving.limits.memory_max);
        } else if self.waits_for_memory() && now_ms >= self.short_since_ms + MEMORY_WAIT_MS {
            self.shed();
        }
        self.read_or_pause();
    }

    /// Whoever has waited so long is told to come again, and so is whoever comes until there is room for one read again.
    fn shed(&mut self) {
        self.serving.memory.shed_until_room_for(SLAB_BYTES);
        for id in self.engine.seats().ids() {
            let waits = |connection: &mut Connection| connection.protocol.in_body() || connection.protocol.is_starved();
            if self.engine.seats().baton(id).is_some_and(waits) {
                self.with(id, |segment, connection| segment.serving.turn_away(connection));
            }
        }
    }

    /// When somebody will have waited too long, while anybody waits.
    pub(super) fn shed_at_ms(&self) -> Option<u64> {
        self.waits_for_memory().then(|| self.short_since_ms + MEMORY_WAIT_MS)
    }
}
