//! Step one, accept: `admit` makes an arrival a connection, if there is room for one.
#![forbid(unsafe_code)]

pub mod address;
pub mod listener;
mod local;
pub mod peer;

pub use address::Address;
pub use listener::Listener;
pub use peer::Peer;

use crate::connection::Connection;
use crate::decrypt::Session;
use crate::engine::Arrival;
use std::os::fd::OwnedFd;

/// Names the peer and prepares its session. What is too many was already stopped: at the cap the listeners are paused.
pub fn admit(arrival: Arrival, listener: u16, now_ms: u64) -> (OwnedFd, Box<Connection>) {
    let Arrival::Stream(stream, address) = arrival;
    let peer = address.map_or_else(Peer::unnamed, Peer::of);
    (stream, Box::new(Connection::new(listener, peer, Session::Plain, now_ms)))
}
