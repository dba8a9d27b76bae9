//! Step two, read: `absorb` takes what the engine received and says where the octets to be parsed are.
#![forbid(unsafe_code)]

pub mod inbox;

pub use inbox::Inbox;

use crate::engine::Window;

/// Where the octets are that wait to be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// So many at the start of the slab; what is left of them has to be carried.
    Slab(usize),
    /// In the inbox, behind what was carried over.
    Inbox,
    /// Nowhere: the allocator had no memory for them.
    Lost,
}

/// Takes what was received.
pub fn absorb(inbox: &mut Inbox, window: Window, slab: &[u8]) -> Absorbed {
    match window {
        Window::Slab(count) if inbox.is_empty() => Absorbed::Slab(count),
        // The receive was asked for before anything was carried.
        Window::Slab(count) if inbox.carry(&slab[..count]) => Absorbed::Inbox,
        Window::Slab(_) => Absorbed::Lost,
        Window::Buffer(buffer, _) => {
            inbox.put_back(buffer);
            Absorbed::Inbox
        }
    }
}
