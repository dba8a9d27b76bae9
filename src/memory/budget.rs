//! `memory_max`: one budget for a whole server, drawn on in large steps, and the account that each thread has of it.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The most that a thread draws beyond what it needs, and the least.
const STEP_MOST: u64 = 64 * 1024;
const STEP_LEAST: u64 = 4 * 1024;

/// What all threads of a server may hold together.
#[derive(Debug)]
pub struct Budget {
    most: AtomicU64,
    drawn: AtomicU64,
    /// Somebody found too little, and wants to be woken when there is more.
    waited_for: AtomicBool,
}

/// What one thread holds: letters, bodies that are coming, partial heads and read-ahead. Charging and releasing touch nothing that
/// is shared; the budget is asked once for many requests.
#[derive(Debug)]
pub struct Memory {
    pub used: u64,
    /// Of `used`, for bodies that are coming, and for octets that are read and not parsed.
    pub bodies: u64,
    pub read_ahead: u64,
    /// Drawn from the budget.
    granted: u64,
    /// What was asked for and refused: until there is so much room, memory is short.
    wanted: u64,
    /// Memory has been short for too long: what finds no room is refused at once.
    pub shedding: bool,
    /// So it was for bodies, and there is none for them yet.
    pub refuses_bodies: bool,
    step: u64,
    /// None for an account that travels: it is settled at home.
    budget: Option<Arc<Budget>>,
    /// Of an account that travels: `used` and `bodies` as its home knows them.
    known: (u64, u64),
}

impl Budget {
    pub fn new(most: u64) -> Self {
        Budget { most: AtomicU64::new(most), drawn: AtomicU64::new(0), waited_for: AtomicBool::new(false) }
    }

    /// Changes the bound. Below what is drawn already nothing more is granted until enough was paid back.
    pub fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Grants so many octets, and up to `spare` more if they are there; nothing when there are too few.
    fn draw(&self, needed: u64, spare: u64) -> u64 {
        let mut drawn = self.drawn.load(Ordering::SeqCst);
        loop {
            let left = self.most().saturating_sub(drawn);
            if left < needed {
                // Said first and looked at again: whoever pays back meanwhile is seen, or sees that somebody waits.
                self.waited_for.store(true, Ordering::SeqCst);
                drawn = self.drawn.load(Ordering::SeqCst);
                if self.most().saturating_sub(drawn) < needed {
                    return 0;
                }
                continue;
            }
            let granted = left.min(needed + spare);
            match self.drawn.compare_exchange_weak(drawn, drawn + granted, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return granted,
                Err(found) => drawn = found,
            }
        }
    }

    /// What bodies may fill: the rest is for heads, and for requests that are complete in one read.
    fn for_bodies(&self) -> u64 {
        body_share(self.most())
    }

    /// Bodies have filled their part. Whoever pays back then wakes the others.
    fn bodies_are_short(&self) -> bool {
        if self.drawn.load(Ordering::Relaxed) <= self.for_bodies() {
            return false;
        }
        self.waited_for.store(true, Ordering::SeqCst);
        self.drawn.load(Ordering::SeqCst) > self.for_bodies()
    }

    /// Takes octets back. True when somebody waits for some.
    fn pay_back(&self, octets: u64) -> bool {
        self.drawn.fetch_sub(octets, Ordering::SeqCst);
        self.waited_for.load(Ordering::SeqCst) && self.waited_for.swap(false, Ordering::SeqCst)
    }

    /// What is left of it.
    fn left(&self) -> u64 {
        self.most().saturating_sub(self.drawn.load(Ordering::Relaxed))
    }
}

impl Memory {
    /// The account of one of so many threads.
    pub fn new(budget: Arc<Budget>, threads: u64) -> Self {
        // What idle threads keep drawn is a small part of the whole.
        let step = (budget.most() / threads.max(1) / 32).clamp(STEP_LEAST, STEP_MOST);
        Memory { budget: Some(budget), step, ..Memory::empty() }
    }

    /// An account with nothing in it and no budget.
    pub fn empty() -> Self {
        Memory {
            used: 0,
            bodies: 0,
            read_ahead: 0,
            granted: 0,
            wanted: 0,
            shedding: false,
            refuses_bodies: false,
            step: 0,
            budget: None,
            known: (0, 0),
        }
    }

    /// A copy that travels with a baton: what is charged and released under way is settled when it comes home.
    pub fn to_travel(&self) -> Memory {
        let left = self.budget.as_ref().map_or(0, |budget| budget.left());
        Memory {
            used: self.used,
            bodies: self.bodies,
            read_ahead: self.read_ahead,
            granted: self.granted.saturating_add(left),
            shedding: self.shedding,
            refuses_bodies: self.refuses_bodies,
            known: (self.used, self.bodies),
            ..Memory::empty()
        }
    }

    /// A travelling copy has come home.
    pub fn settle(&mut self, travelled: &mut Memory) {
        // Added before it is subtracted: every octet that a trip releases was charged at home or on an earlier trip.
        self.used = (self.used + travelled.used).saturating_sub(travelled.known.0);
        self.bodies = (self.bodies + travelled.bodies).saturating_sub(travelled.known.1);
        if !self.shedding {
            self.wanted = self.wanted.max(travelled.wanted);
        }
        travelled.known = (travelled.used, travelled.bodies);
    }

    /// Whether so many octets more are within bounds; if not, memory is short until they would be.
    #[inline]
    pub fn has_room(&mut self, octets: usize) -> bool {
        let needed = self.used.saturating_add(octets as u64);
        if needed <= self.granted || self.draw_up_to(needed) {
            return true;
        }
        if !self.shedding {
            self.wanted = self.wanted.max(octets as u64);
        }
        false
    }

    #[inline]
    pub fn charge(&mut self, octets: usize) {
        self.used += octets as u64;
    }

    #[inline]
    pub fn release(&mut self, octets: usize) {
        self.used = self.used.saturating_sub(octets as u64);
    }

    /// Octets of a body that is coming.
    pub fn charge_body(&mut self, octets: usize) {
        self.charge(octets);
        self.bodies += octets as u64;
    }

    pub fn release_body(&mut self, octets: usize) {
        self.release(octets);
        self.bodies = self.bodies.saturating_sub(octets as u64);
    }

    /// Octets of bodies were released with what they belong to.
    pub fn fewer_bodies(&mut self, octets: usize) {
        self.bodies = self.bodies.saturating_sub(octets as u64);
    }

    /// After a fault: this is what bodies and read-ahead come to.
    pub fn recount(&mut self, bodies: u64, read_ahead: u64) {
        let letters = self.used.saturating_sub(self.bodies + self.read_ahead);
        (self.bodies, self.read_ahead) = (bodies, read_ahead);
        self.used = letters + bodies + read_ahead;
    }

    /// The octets that a connection has read ahead were `counted`, and are `now`.
    #[inline]
    pub fn recount_read_ahead(&mut self, counted: &mut u32, now: usize) {
        if *counted as usize != now {
            self.used = (self.used + now as u64).saturating_sub(u64::from(*counted));
            self.read_ahead = (self.read_ahead + now as u64).saturating_sub(u64::from(*counted));
            *counted = now as u32;
        }
    }

    /// Bodies are coming, and there is no room for more of them.
    #[inline]
    pub fn bodies_are_short(&self) -> bool {
        self.bodies > 0 && self.budget.as_ref().is_some_and(|budget| budget.bodies_are_short())
    }

    /// No more bodies are to be begun: those that wait have filled their part, and these half of what is kept for heads.
    pub fn refuses_more_bodies(&self) -> bool {
        let low = |budget: &Arc<Budget>| budget.drawn.load(Ordering::Relaxed) > budget.most() - budget.most() / 16;
        self.refuses_bodies || self.budget.as_ref().is_some_and(low)
    }

    /// What bodies may still take.
    pub fn room_for_bodies(&self) -> u64 {
        let Some(budget) = &self.budget else { return 0 };
        let drawn = budget.drawn.load(Ordering::Relaxed);
        budget.for_bodies().saturating_sub(drawn.saturating_sub(self.granted.saturating_sub(self.used)))
    }

    /// What the window of a decoder may take: it is had at once, so it is not begun where there is no room for it.
    pub fn room_for_windows(&self) -> usize {
        let room = if self.budget.is_some() { self.room_for_bodies() } else { self.granted.saturating_sub(self.used) };
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// More is held than was granted, or something waits for room.
    #[inline]
    pub fn is_short(&mut self) -> bool {
        let needed = self.used.saturating_add(self.wanted);
        if needed > self.granted && !self.draw_up_to(needed) {
            return true;
        }
        self.wanted = 0;
        false
    }

    /// What finds no room is refused at once from now on, until there is so much.
    pub fn shed_until_room_for(&mut self, octets: usize) {
        self.shedding = true;
        self.wanted = octets as u64;
    }

    #[cold]
    fn draw_up_to(&mut self, needed: u64) -> bool {
        let Some(budget) = &self.budget else { return false };
        self.granted += budget.draw(needed - self.granted, self.step);
        needed <= self.granted
    }

    /// Pays back what is not needed, but for a step, and that too if somebody waits. True when another thread waits for it.
    #[inline]
    pub fn pay_back(&mut self) -> bool {
        if self.granted <= self.used.saturating_add(2 * self.step) && !self.is_waited_for() {
            return false;
        }
        self.pay_back_down_to(if self.is_waited_for() { self.used } else { self.used + self.step })
    }

    fn is_waited_for(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.waited_for.load(Ordering::Relaxed))
    }

    /// Pays everything back, at the end. True when another thread waits for it.
    pub fn close(&mut self) -> bool {
        self.pay_back_down_to(0)
    }

    #[cold]
    fn pay_back_down_to(&mut self, kept: u64) -> bool {
        let surplus = self.granted.saturating_sub(kept);
        self.granted -= surplus;
        self.budget.as_ref().is_some_and(|budget| surplus > 0 && budget.pay_back(surplus))
    }
}

/// The part of a budget that bodies may fill.
pub fn body_share(most: u64) -> u64 {
    most - most / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn threads_share_one_budget_and_none_gets_more() {
        let budget = Arc::new(Budget::new(1024 * KIB));
        let mut first = Memory::new(Arc::clone(&budget), 2);
        let mut second = Memory::new(Arc::clone(&budget), 2);
        assert!(first.has_room(900 << 10));
        first.charge(900 << 10);
        assert!(!second.has_room(200 << 10) && second.is_short());
        assert!(second.has_room(100 << 10), "what is left can be had");
        first.release(900 << 10);
        assert!(first.pay_back(), "another one waits for it");
        assert!(!first.pay_back(), "it was told");
        assert!(!second.is_short());
        assert!(second.has_room(900 << 10));
        second.charge(900 << 10);
        assert!(budget.left() <= 124 * KIB);
        second.release(900 << 10);
        first.close();
        second.close();
        assert_eq!(budget.left(), budget.most());
    }

    #[test]
    fn what_came_although_there_was_no_room_makes_memory_short_until_it_is_gone() {
        let mut memory = Memory::new(Arc::new(Budget::new(1024 * KIB)), 1);
        memory.charge_body(2 << 20);
        assert!(memory.is_short());
        memory.release_body(1 << 20);
        assert!(!memory.is_short(), "exactly at the bound is within it");
        assert!(!memory.has_room(1));
        assert!(memory.is_short());
        memory.release_body(1 << 20);
        assert!(!memory.is_short() && memory.bodies == 0);
    }

    #[test]
    fn idle_threads_keep_little_of_a_small_budget() {
        let budget = Arc::new(Budget::new(1024 * KIB));
        let mut threads: Vec<Memory> = (0..8).map(|_| Memory::new(Arc::clone(&budget), 8)).collect();
        for memory in &mut threads {
            assert!(memory.has_room(100));
            memory.charge(100);
            memory.release(100);
            memory.pay_back();
        }
        assert!(budget.left() >= 1024 * KIB / 2);
    }

    #[test]
    fn the_bound_may_change() {
        let budget = Arc::new(Budget::new(1024 * KIB));
        let mut memory = Memory::new(Arc::clone(&budget), 1);
        assert!(memory.has_room(800 << 10));
        memory.charge(800 << 10);
        budget.set_most(500 * KIB);
        assert!(!memory.has_room(300 << 10));
        memory.release(800 << 10);
        memory.pay_back();
        assert!(memory.has_room(400 << 10) && !memory.has_room(501 << 10));
    }

    #[test]
    fn memory_comes_home_without_drift() {
        let mut home = Memory::new(Arc::new(Budget::new(10_000)), 1);
        home.charge(1_000);
        let (mut first, mut second) = (home.to_travel(), home.to_travel());
        first.charge(700);
        second.release(1_000);
        second.charge_body(5);
        for trip in [&mut first, &mut second] {
            home.settle(trip);
            home.settle(trip);
        }
        assert_eq!((home.used, home.bodies), (705, 5));
    }
}
