//! A list of slots that have news for the host, through the slots themselves: adding to it cannot fail or allocate.
#![forbid(unsafe_code)]

use super::slots::SlotTable;

/// Belongs to one thread, or stands behind a lock. First in, first out.
#[derive(Debug, Default)]
pub struct Notices {
    /// Slots plus one; zero for none.
    first: u32,
    last: u32,
    count: usize,
}

impl Notices {
    /// Adds a slot; the caller has `enlist`ed it, so that it stands on one list at most.
    pub fn push(&mut self, slots: &SlotTable, slot: u32) {
        slots.set_next_notice(slot, 0);
        match self.last.checked_sub(1) {
            None => self.first = slot + 1,
            Some(last) => slots.set_next_notice(last, slot + 1),
        }
        self.last = slot + 1;
        self.count += 1;
    }

    /// Takes the oldest off the list. It still counts as enlisted: `delist` it before looking at its news.
    pub fn pop(&mut self, slots: &SlotTable) -> Option<u32> {
        let slot = self.first.checked_sub(1)?;
        self.first = slots.next_notice(slot);
        if self.first == 0 {
            self.last = 0;
        }
        self.count -= 1;
        Some(slot)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
