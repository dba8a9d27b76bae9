//! What a thread does near `memory_max`: bodies wait first, then everything; and whoever waits too long is turned away.
#![forbid(unsafe_code)]

use super::Segment;
use crate::connection::{Connection, Ending};
use crate::engine::{Engine, SeatId};
use crate::limits::{MEMORY_WAIT_MS, SLAB_BYTES};
use crate::topology::tell;

/// What is known of a shortage; all zeros and empty while there is none.
#[derive(Debug, Default)]
pub struct Shortage {
    /// Since when there is no room for anything.
    since_ms: u64,
    /// Since when there is none for bodies: the rest is kept for heads, so that a few large bodies stop nobody else.
    bodies_since_ms: u64,
    /// Connections whose bodies are not received for now.
    hungry: Vec<SeatId>,
    /// Receives were paused, for want of memory or of room in a queue.
    paused: bool,
}

impl Shortage {
    /// Somebody waits, or may.
    pub fn is_any(&self) -> bool {
        self.since_ms != 0 || self.bodies_since_ms != 0
    }

    /// Bodies are not received for now.
    pub fn stops_bodies(&self) -> bool {
        self.bodies_since_ms != 0
    }

    /// A connection has to wait for room before its body is received.
    #[cold]
    pub(super) fn starve(&mut self, id: SeatId, connection: &mut Connection) {
        if !connection.hungry {
            connection.hungry = true;
            self.hungry.push(id);
        }
    }
}

impl<E: Engine<Connection>> Segment<E> {
    /// Octets have come: at the bound nothing more is received, not even in this tick.
    #[inline]
    pub(super) fn watch_memory(&mut self) {
        if self.serving.memory.is_short() {
            self.read_or_pause();
        }
        if !self.shortage.stops_bodies() && self.serving.memory.bodies_are_short() {
            self.stop_bodies();
        }
    }

    /// Receives are paused while a queue is full, or memory short.
    pub(super) fn read_or_pause(&mut self) {
        let short = self.serving.memory.is_short() && !self.serving.memory.shedding;
        self.shortage.paused = short || self.serving.outlet.is_stalled();
        self.engine.pause_receives(self.shortage.paused);
    }

    /// Nothing is to be parsed that would find no room.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.shortage.since_ms != 0 && !self.serving.memory.shedding
    }

    /// There is room again for what waits: others may have made it while this thread was about to sleep.
    pub(super) fn has_memory_again(&mut self) -> bool {
        let shortage = &self.shortage;
        (shortage.since_ms != 0 && !self.serving.memory.is_short())
            || (shortage.bodies_since_ms != 0 && !self.serving.memory.bodies_are_short())
    }

    /// Looks at the thread's account at the end of a tick.
    #[inline]
    pub(super) fn weigh_memory(&mut self) {
        self.serving.reckon_bodies();
        if self.serving.memory.pay_back() {
            // Other threads found the budget empty.
            self.door.wake_homes();
        }
        let all = self.serving.memory.is_short();
        let bodies = self.serving.memory.bodies_are_short() && {
            // What this thread keeps for its next requests may be what is missing.
            self.serving.memory.pay_back();
            self.serving.memory.bodies_are_short()
        };
        if all || bodies || self.shortage.is_any() || self.shortage.paused {
            self.live_with_shortage(all, bodies);
        }
    }

    #[cold]
    fn live_with_shortage(&mut self, all: bool, bodies: bool) {
        let now_ms = self.clock.now_ms();
        let waited = |since_ms: u64| since_ms != 0 && now_ms >= since_ms + MEMORY_WAIT_MS;
        if !bodies {
            self.feed();
        } else if !self.shortage.stops_bodies() {
            self.stop_bodies();
        } else if waited(self.shortage.bodies_since_ms) {
            self.shed_bodies();
            self.feed();
            self.serving.memory.refuses_bodies = self.serving.memory.bodies_are_short();
        }
        if !all {
            self.shortage.since_ms = 0;
            self.serving.memory.shedding = false;
        } else if self.shortage.since_ms == 0 {
            self.shortage.since_ms = now_ms.max(1);
            self.home().counters.limit_memory.add(1);
            tell::short_of_memory(&self.orders.log, self.serving.limits.memory_max);
            // Threads that keep a little for their next requests give it back.
            self.door.wake_homes();
        } else if waited(self.shortage.since_ms) && !self.serving.memory.shedding {
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

    /// Receives no more of any body, also of those that the engine was asked for already.
    #[cold]
    fn stop_bodies(&mut self) {
        self.shortage.bodies_since_ms = self.clock.now_ms().max(1);
        self.home().counters.limit_memory.add(1);
        tell::short_of_memory(&self.orders.log, self.serving.limits.memory_max);
        self.door.wake_homes();
        for id in self.engine.seats().ids() {
            let receives = |connection: &mut Connection| connection.receiving && connection.protocol.in_body();
            if !self.engine.seats().baton(id).is_some_and(receives) {
                continue;
            }
            let Some(landing) = self.engine.take_back(id) else { continue };
            if let Some(connection) = self.engine.seats().baton(id) {
                connection.receiving = false;
                connection.protocol.put_body_back(landing);
                self.shortage.starve(id, connection);
            }
        }
    }

    /// There is room for bodies again.
    fn feed(&mut self) {
        self.serving.memory.refuses_bodies = false;
        if self.shortage.bodies_since_ms != 0 {
            self.shortage.bodies_since_ms = 0;
            for id in std::mem::take(&mut self.shortage.hungry) {
                self.with(id, |_, connection| connection.hungry = false);
            }
        }
    }

    /// Bodies that can be finished within what there is go on, those with the least to come first. The others are turned away: each
    /// might hold what another one waits for, for ever.
    fn shed_bodies(&mut self) {
        let mut coming: Vec<(u64, SeatId)> = Vec::new();
        let mut room = self.serving.memory.room_for_bodies();
        for id in self.engine.seats().ids() {
            let Some(connection) = self.engine.seats().baton(id) else { continue };
            if let Some(whole) = connection.protocol.body_whole().filter(|_| connection.ending == Ending::Open) {
                room += connection.protocol.body_charged() as u64;
                coming.push((whole, id));
            }
        }
        coming.sort_unstable_by_key(|(whole, _)| *whole);
        for (whole, id) in coming {
            if whole <= room {
                room -= whole;
            } else {
                self.with(id, |segment, connection| segment.serving.turn_away(connection));
            }
        }
        if self.serving.memory.pay_back() {
            self.door.wake_homes();
        }
    }

    /// When somebody will have waited too long, while anybody waits.
    pub(super) fn shed_at_ms(&self) -> Option<u64> {
        let all = self.waits_for_memory().then_some(self.shortage.since_ms);
        let bodies = self.shortage.stops_bodies().then_some(self.shortage.bodies_since_ms);
        all.into_iter().chain(bodies).min().map(|since_ms| since_ms + MEMORY_WAIT_MS)
    }
}
