//! The home's end of a pair of conveyors, if there is one: how many batons are out, which far threads do not know yet, and who has come home.
#![forbid(unsafe_code)]

use crate::topology::trip::Pass;
use std::collections::VecDeque;

/// See the file's first line. What is sent has the baton in it.
#[derive(Debug)]
pub struct Ferry<T> {
    pass: Option<Pass<T>>,
    /// Batons that are out.
    away: usize,
    /// Far threads that were sent a baton and not yet told.
    untold: Vec<bool>,
    /// Batons that have come home and were not yet looked at.
    home_again: VecDeque<T>,
}

impl<T> Ferry<T> {
    pub fn new(pass: Pass<T>) -> Self {
        let untold = vec![false; pass.belts().outward.len()];
        Ferry { pass: Some(pass), untold, ..Self::default() }
    }

    /// Whether there are threads at the other end.
    #[inline]
    pub fn crosses(&self) -> bool {
        self.pass.is_some()
    }

    pub fn away(&self) -> usize {
        self.away
    }

    /// Puts one on its way. The far thread hears of it with `tell`.
    fn send(&mut self, far: usize, cargo: T) {
        let Some(pass) = &self.pass else { return };
        self.away += 1;
        self.untold[far] = true;
        pass.belts().outward[far].put(cargo);
    }

    /// Puts one on its way, to the thread before which the fewest wait. Of those with as many it is the first from `near` on.
    pub fn send_to_idlest(&mut self, near: usize, cargo: T) {
        let Some(pass) = &self.pass else { return };
        let outward = &pass.belts().outward;
        let count = outward.len();
        let far = (0..count).map(|step| (near + step) % count).min_by_key(|far| outward[*far].len());
        self.send(far.unwrap_or(0), cargo);
    }

    /// Tells the far threads what they were sent: once a tick, and with a system call only to those that sleep.
    pub fn tell(&mut self) {
        let Some(pass) = &self.pass else { return };
        for (conveyor, untold) in pass.belts().outward.iter().zip(&mut self.untold) {
            if std::mem::take(untold) {
                conveyor.wake();
            }
        }
    }

    /// Whether batons are home again or on their last few metres.
    pub fn has_arrivals(&self, home: usize) -> bool {
        !self.home_again.is_empty() || self.pass.as_ref().is_some_and(|pass| !pass.belts().homeward[home].is_empty())
    }

    /// The next that is home again.
    pub fn next_home(&mut self, home: usize) -> Option<T> {
        if self.home_again.is_empty() {
            self.pass.as_ref()?.belts().homeward[home].take(&mut self.home_again, usize::MAX);
        }
        let next = self.home_again.pop_front();
        self.away -= usize::from(next.is_some());
        next
    }

    /// Sleeps until somebody comes home.
    pub fn wait(&self, home: usize) {
        if let Some(pass) = &self.pass {
            pass.belts().homeward[home].wait();
        }
    }
}

impl<T> Default for Ferry<T> {
    fn default() -> Self {
        Ferry { pass: None, away: 0, untold: Vec::new(), home_again: VecDeque::new() }
    }
}
