//! The library as a guest: in a host's own event loop, beside fork, signals and descriptors of the host, silent and without leaks.

mod support;

#[path = "embed/arrivals.rs"]
mod arrivals;
#[path = "embed/guest.rs"]
mod guest;
#[path = "embed/own_loop.rs"]
mod own_loop;
#[path = "embed/pinned.rs"]
mod pinned;
#[path = "embed/turns.rs"]
mod turns;

pub use support::alone;
