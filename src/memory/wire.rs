//! The way to a peer that an I/O thread lends to the host's threads while a large answer streams (docs/decisions.md).
#![forbid(unsafe_code)]

use std::fmt::Debug;

/// Whoever holds it may send; the lock that it lies behind lets one at a time, and lets the I/O thread take it back.
pub trait Wire: Debug + Send + Sync {
    /// Sends what the kernel takes at once: how many octets of all pieces together. `None` when it takes none, or the
    /// connection is broken, which is for the I/O thread to find out.
    fn send(&self, pieces: [&[u8]; 3]) -> Option<usize>;
}
