//! Answers going home: a list through the exchange slots themselves. Posting cannot fail, block or allocate.
#![forbid(unsafe_code)]

use super::slots::SlotTable;
use super::sync::{AtomicU32, Ordering};

/// Many post, one thread takes. A slot is linked at most once, since its state lets only one party claim it.
#[derive(Debug)]
pub struct Mailbox {
    /// The slot posted last, plus one; zero when empty.
    head: AtomicU32,
}

/// The owning thread has ended, and nobody will take anything any more.
const CLOSED: u32 = u32::MAX;

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    pub fn new() -> Self {
        Mailbox { head: AtomicU32::new(0) }
    }

    /// Posts a slot that the caller has claimed. False when it is closed: the slot stays the caller's.
    #[inline]
    pub fn post(&self, slots: &SlotTable, slot: u32) -> bool {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == CLOSED {
                return false;
            }
            slots.set_next(slot, head);
            // Release: whoever takes the slot sees the reply and the link. There is no ABA: the list is only ever taken whole.
            match self.head.compare_exchange_weak(head, slot + 1, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return true,
                Err(found) => head = found,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        // Only the owning thread closes it, so what that thread sees here stays.
        matches!(self.head.load(Ordering::Relaxed), 0 | CLOSED)
    }

    /// Appends everything posted to `taken`, in the order it was posted.
    #[inline]
    pub fn take(&self, slots: &SlotTable, taken: &mut Vec<u32>) {
        if self.is_empty() {
            return;
        }
        self.append(self.head.swap(0, Ordering::Acquire), slots, taken);
    }

    /// As `take`, for the last time: nothing can be posted any more.
    pub fn close(&self, slots: &SlotTable, taken: &mut Vec<u32>) {
        let head = self.head.swap(CLOSED, Ordering::AcqRel);
        self.append(if head == CLOSED { 0 } else { head }, slots, taken);
    }

    /// Forgets `close`.
    pub fn reopen(&self) {
        self.head.store(0, Ordering::Release);
    }

    #[inline]
    fn append(&self, mut head: u32, slots: &SlotTable, taken: &mut Vec<u32>) {
        let first = taken.len();
        while head != 0 {
            taken.push(head - 1);
            head = slots.next(head - 1);
        }
        taken[first..].reverse();
    }
}
