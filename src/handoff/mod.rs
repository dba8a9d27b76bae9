//! The door to the host: `deliver` hands sealed requests over, by callback or through a queue.
#![forbid(unsafe_code)]

pub mod delay;
pub mod door;
pub mod host_queue;
pub mod outlet;
pub mod packed;
pub mod takers;

pub use door::{Door, Home};
pub use host_queue::HostQueue;
pub use outlet::{EventSink, Outlet};
