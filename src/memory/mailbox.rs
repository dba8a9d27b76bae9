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

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    pub fn new() -> Self {
        Mailbox { head: AtomicU32::new(0) }
    }

    /// Posts a slot that the caller has claimed.
    pub fn post(&self, slots: &SlotTable, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            slots.set_next(slot, head);
            // Release: whoever takes the slot sees the reply and the link. There is no ABA: the list is only ever taken whole.
            match self.head.compare_exchange_weak(head, slot + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => head = found,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == 0
    }

    /// Appends everything posted to `taken`, in the order it was posted.
    pub fn take(&self, slots: &SlotTable, taken: &mut Vec<u32>) {
        if self.is_empty() {
            return;
        }
        let first = taken.len();
        let mut head = self.head.swap(0, Ordering::Acquire);
        while head != 0 {
            taken.push(head - 1);
            head = slots.next(head - 1);
        }
        taken[first..].reverse();
    }
}
