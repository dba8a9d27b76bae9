//! Step one, accept: `admit` makes an arrival a connection, if there is room for one.
#![forbid(unsafe_code)]

pub mod address;
pub mod listener;
mod local;
pub mod peer;
pub mod per_address;

pub use address::Address;
pub use listener::Listener;
pub use peer::Peer;
pub use per_address::PerAddress;

use crate::connection::Connection;
use crate::decrypt::Session;
use crate::engine::{Arrival, sys};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Names the peer and prepares its session. What is too many in all was already stopped: at the cap the listeners are paused. What is
/// too many of one address is reset here; the error is that address.
pub fn admit(
    arrival: Arrival,
    listener: u16,
    per_address: Option<&Arc<PerAddress>>,
    now_ms: u64,
) -> Result<(OwnedFd, Box<Connection>), SocketAddr> {
    let Arrival::Stream(stream, address) = arrival;
    let place = match (per_address, address) {
        (Some(per_address), Some(address)) => match per_address.enter(address) {
            Some(place) => Some(Box::new(place)),
            None => {
                sys::abort(stream.as_raw_fd());
                return Err(address);
            }
        },
        _ => None,
    };
    let peer = address.map_or_else(Peer::unnamed, Peer::of);
    let mut connection = Box::new(Connection::new(listener, peer, Session::Plain, now_ms));
    connection.place = place;
    Ok((stream, connection))
}
