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
use crate::decrypt::{Keys, Session};
use crate::engine::{Arrival, sys};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Why an arrival is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unadmitted {
    /// There are too many of this address.
    Crowded(SocketAddr),
    /// No session could be made for it.
    NoSession,
}

/// Names the peer and prepares its session. What is too many in all was already stopped: at the cap the listeners are paused. What is
/// too many of one address is reset here.
pub fn admit(
    arrival: Arrival,
    listener: u16,
    per_address: Option<&Arc<PerAddress>>,
    keys: Option<&Keys>,
    now_ns: u64,
) -> Result<(OwnedFd, Box<Connection>), Unadmitted> {
    let Arrival::Stream(stream, address) = arrival;
    let place = match (per_address, address) {
        (Some(per_address), Some(address)) => match per_address.enter(address) {
            Some(place) => Some(Box::new(place)),
            None => {
                sys::abort(stream.as_raw_fd());
                return Err(Unadmitted::Crowded(address));
            }
        },
        _ => None,
    };
    let session = match keys {
        None => Session::Plain,
        Some(keys) => keys.session(now_ns).ok_or(Unadmitted::NoSession)?,
    };
    let peer = address.map_or_else(Peer::unnamed, Peer::of);
    let mut connection = Box::new(Connection::new(listener, peer, session, now_ns / 1_000_000));
    connection.place = place;
    Ok((stream, connection))
}
