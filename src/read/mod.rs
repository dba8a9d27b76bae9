//! Step two, read: `absorb` takes what the engine received and says where the octets to be parsed are.
#![forbid(unsafe_code)]

pub mod inbox;

pub use inbox::Inbox;

use crate::engine::Window;

/// Says where the octets are that wait to be parsed: `Some(count)` at the start of the slab, so that what is left of them
/// has to be carried; `None` in the inbox, behind what was carried over.
pub fn absorb(inbox: &mut Inbox, window: Window, slab: &[u8]) -> Option<usize> {
    match window {
        Window::Slab(count) if inbox.is_empty() => Some(count),
        Window::Slab(count) => {
            // The receive was asked for before anything was carried.
            inbox.carry(&slab[..count]);
            None
        }
        Window::Buffer(buffer, _) => {
            inbox.put_back(buffer);
            None
        }
    }
}
