//! Slots that have come home, worked off where they are: a panic loses none of them.
#![forbid(unsafe_code)]

use crate::engine::SeatId;

/// See the file's first line.
#[derive(Debug, Default)]
pub struct Coming {
    pub slots: Vec<u32>,
    /// Those before are done.
    next: usize,
    /// Requests that the host has given back and the door has not been told of.
    pub back: usize,
    /// The seat that is worked on, in case that work panics.
    pub at_work: Option<SeatId>,
    /// The slot at which it has panicked before.
    failed: Option<u32>,
}

impl Coming {
    /// The slot to look at; it is the next until it is `done`.
    #[inline]
    pub fn current(&self) -> Option<u32> {
        self.slots.get(self.next).copied()
    }

    #[inline]
    pub fn done(&mut self) {
        self.next += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them are done.
    #[inline]
    pub fn clear(&mut self) {
        self.slots.clear();
        self.next = 0;
        self.at_work = None;
    }

    /// After a panic: the slot that it was about is looked at once more, when its connection has ended, and then no more.
    pub fn failed(&mut self) {
        let Some(slot) = self.current() else { return };
        if self.failed.replace(slot) == Some(slot) {
            self.done();
            self.failed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_fails_is_tried_twice_and_the_others_once() {
        let mut coming = Coming { slots: vec![4, 5, 6], ..Coming::default() };
        coming.done();
        coming.failed();
        assert_eq!(coming.current(), Some(5));
        coming.failed();
        assert_eq!(coming.current(), Some(6));
        coming.done();
        coming.failed();
        assert_eq!(coming.current(), None);
        coming.clear();
        assert!(coming.is_empty());
    }
}
