//! The keys of each listener, shared by the threads that accept and changed while they do.
#![forbid(unsafe_code)]

use crate::decrypt::Keys;
use parking_lot::Mutex;
use std::sync::OnceLock;

/// See the file's first line. Empty until the server starts.
#[derive(Debug, Default)]
pub struct Keyring {
    listeners: OnceLock<Vec<Option<Mutex<Keys>>>>,
}

impl Keyring {
    /// The keys of each listener, by its number; `None` for plain ones. A second start has the same.
    pub fn fill(&self, listeners: impl Iterator<Item = Option<Keys>>) {
        self.listeners.get_or_init(|| listeners.map(|keys| keys.map(Mutex::new)).collect());
    }

    /// What a connection of that listener begins its session with: all of one pair, whatever is changed meanwhile.
    pub fn of(&self, listener: u16) -> Option<Keys> {
        let listeners = self.listeners.get()?;
        listeners.get(usize::from(listener))?.as_ref().map(|keys| keys.lock().clone())
    }

    /// The listeners that have keys.
    pub fn listeners(&self) -> Vec<u16> {
        let listeners = self.listeners.get().map_or(&[][..], Vec::as_slice);
        (0u16..).zip(listeners).filter(|(_, keys)| keys.is_some()).map(|(number, _)| number).collect()
    }

    /// Has connections that come from now on begin with these.
    pub fn change(&self, listener: u16, keys: Keys) {
        let slot = self.listeners.get().and_then(|listeners| listeners.get(usize::from(listener)));
        if let Some(Some(slot)) = slot {
            *slot.lock() = keys;
        }
    }
}
