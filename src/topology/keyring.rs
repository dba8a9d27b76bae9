//! The keys of each listener, shared by the threads that accept and changed while they do.
#![forbid(unsafe_code)]

use crate::decrypt::Keys;
use parking_lot::RwLock;

/// See the file's first line. Empty until the server starts.
#[derive(Debug, Default)]
pub struct Keyring {
    listeners: RwLock<Vec<Option<Keys>>>,
}

impl Keyring {
    /// The keys of each listener, by its number; `None` for plain ones. After a start that failed there may be more of them.
    pub fn fill(&self, listeners: impl Iterator<Item = Option<Keys>>) {
        *self.listeners.write() = listeners.collect();
    }

    /// What a connection of that listener begins its session with: all of one pair, whatever is changed meanwhile.
    pub fn of(&self, listener: u16) -> Option<Keys> {
        self.listeners.read().get(usize::from(listener))?.clone()
    }

    /// The listeners that have keys.
    pub fn listeners(&self) -> Vec<u16> {
        let listeners = self.listeners.read();
        (0u16..).zip(listeners.iter()).filter(|(_, keys)| keys.is_some()).map(|(number, _)| number).collect()
    }

    /// Has connections that come from now on begin with these.
    pub fn change(&self, listener: u16, keys: Keys) {
        if let Some(Some(slot)) = self.listeners.write().get_mut(usize::from(listener)) {
            *slot = keys;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::decrypt::keys::{Material, Named};

    fn keys() -> Keys {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pem = |text: String| Named { name: String::new(), octets: text.into_bytes() };
        Keys::new(Material {
            pairs: vec![(pem(made.cert.pem()), pem(made.signing_key.serialize_pem()))],
            staples: Vec::new(),
            client_ca: None,
            client_auth: Default::default(),
            only_13: false,
            alpn: Vec::new(),
            tickets: None,
            keylog: None,
            handshake_timeout_ms: 1000,
            now_s: 1_800_000_000,
        })
        .unwrap()
    }

    #[test]
    fn a_listener_that_is_added_after_a_failed_start_has_its_keys_too() {
        let ring = Keyring::default();
        ring.fill([None].into_iter());
        ring.fill([None, Some(keys())].into_iter());
        assert!(ring.of(0).is_none() && ring.of(1).is_some(), "else it is served without tls");
    }
}
