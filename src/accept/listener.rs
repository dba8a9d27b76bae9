//! A listening socket: made, bound and listening before `listen` returns, so that every error is heard at once.
#![forbid(unsafe_code)]

use super::Address;
use crate::engine::sys::{self, Switch};
use crate::status::Failure;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// One address that the server listens on.
#[derive(Debug)]
pub struct Listener {
    pub address: Address,
    /// With the port that the kernel chose.
    pub bound: SocketAddr,
    /// The sockets of the I/O threads: one with one thread, one each with `shards`.
    sockets: Vec<OwnedFd>,
}

impl Listener {
    /// Binds `count` sockets to the same address.
    pub fn bind(address: Address, backlog: u64, count: usize) -> Result<Listener, Failure> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let wanted = address.socket;
        if count > 1 && wanted.port() != 0 {
            // With SO_REUSEPORT a second server would silently share the port: a socket without it finds out.
            open(&address, wanted, backlog, false).map_err(|error| explain(wanted, &error))?;
        }
        let first = open(&address, wanted, backlog, count > 1).map_err(|error| explain(wanted, &error))?;
        let bound = sys::local_address(first.as_raw_fd()).map_err(|error| explain(wanted, &error))?;
        let mut sockets = vec![first];
        while sockets.len() < count {
            sockets.push(open(&address, bound, backlog, true).map_err(|error| explain(bound, &error))?);
        }
        Ok(Listener { address, bound, sockets })
    }

    /// A second descriptor of each socket, one for each thread, so that a start that fails can be tried again.
    pub fn lend_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(OwnedFd::try_clone).collect()
    }

    /// The threads have theirs: the address is free again when the last of them closes.
    pub fn let_go(&mut self) {
        self.sockets.clear();
    }
}

fn open(address: &Address, socket: SocketAddr, backlog: i32, share: bool) -> io::Result<OwnedFd> {
    let listener = sys::stream_socket(&socket)?;
    let fd = listener.as_raw_fd();
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    sys::set_switch(fd, Switch::ReuseAddress, true)?;
    if share {
        sys::set_switch(fd, Switch::ReusePort, true)?;
    }
    if socket.is_ipv6() {
        sys::set_switch(fd, Switch::V6Only, address.v6_only)?;
    }
    // Inherited by accepted sockets, which saves a call for each.
    sys::set_switch(fd, Switch::NoDelay, true)?;
    sys::bind(fd, &socket)?;
    sys::listen(fd, backlog)?;
    Ok(listener)
}

fn explain(socket: SocketAddr, error: &io::Error) -> Failure {
    let (what, advice) = match error.kind() {
        io::ErrorKind::AddrInUse => ("address in use", "stop the other program or choose another port"),
        io::ErrorKind::AddrNotAvailable => ("no such address on this machine", "choose one of its own, or 0.0.0.0"),
        _ if sys::is_permission(error) => ("permission denied", "use a port above 1023 or grant CAP_NET_BIND_SERVICE"),
        _ => return Failure::system(error, format!("cannot bind {socket}: {error} (check the address and the descriptor limit)")),
    };
    Failure::system(error, format!("cannot bind {socket}: {what} ({advice})"))
}
