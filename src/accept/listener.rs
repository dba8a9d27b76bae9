//! A listening socket: made, bound and listening before `listen` returns, so that every error is heard at once.
#![forbid(unsafe_code)]

use super::address::Place;
use super::{Address, local};
use crate::engine::Listening;
use crate::engine::sys::listening::{self, ListenSocket};
use crate::engine::sys::local::{self as calls, Bound, SocketFile};
use crate::engine::sys::{self, Switch};
use crate::status::{Failure, INGEST_E_ADDRESS, ingest_status};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// One address that the server listens on.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    /// With the port that the kernel chose.
    bound: Bound,
    /// The sockets of the I/O threads: one of each thread's own, or one that all accept from.
    sockets: Vec<ListenSocket>,
    /// All descriptors lie at or above this number.
    floor: RawFd,
    file: Option<Arc<SocketFile>>,
}

impl Listener {
    /// Listens on an address, with `count` sockets where each thread can have one of its own, all at or above `floor`.
    pub fn bind(address: Address, backlog: u64, count: usize, floor: RawFd) -> Result<Listener, Failure> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        match &address.place {
            Place::Internet { socket, v6_only } => {
                let (sockets, bound) = bind_internet((*socket, *v6_only), backlog, count, floor)?;
                Ok(Listener { address, bound: Bound::Internet(bound), sockets, floor, file: None })
            }
            Place::File { path, mode } => {
                let (socket, file) = local::listen_file(&address.to_string(), path, *mode, backlog, floor)?;
                let bound = Bound::Path(path.clone());
                Ok(Listener { address, bound, sockets: vec![socket.into()], floor, file: Some(Arc::new(file)) })
            }
            Place::Abstract { name } => {
                let socket = local::listen_abstract(&address.to_string(), name, backlog, floor)?;
                let bound = Bound::Abstract(name.clone());
                Ok(Listener { address, bound, sockets: vec![socket.into()], floor, file: None })
            }
            Place::Descriptor(number) => Listener::adopt(address.scheme, *number, INGEST_E_ADDRESS, floor),
        }
    }

    /// Takes a socket of the host's that listens already; `status` is for a number that is none. It moves to a number of our own,
    /// close-on-exec, so that a number that is given twice is noticed; until that has worked the host's is as it was.
    pub fn adopt(scheme: &'static str, number: RawFd, status: ingest_status, floor: RawFd) -> Result<Listener, Failure> {
        let address = Address { scheme, place: Place::Descriptor(number) };
        let wrong = |what: &str, advice: &str| Failure::new(status, format!("cannot listen on {address}: {what} ({advice})"));
        let failed = |error: io::Error| match calls::wrong_descriptor(&error) {
            Some(what) => Failure { os_errno: error.raw_os_error().unwrap_or(0), ..wrong(what, "pass a stream socket that listens") },
            None => Failure::system(&error, format!("cannot listen on {address}: {error} (raise the descriptor limit)")),
        };
        if listening::is_ours(number) {
            return Err(wrong("a server of this process listens on it already", "pass one of the host's own"));
        }
        let (socket, traits) = calls::examine(number, floor).map_err(failed)?;
        if !traits.is_stream {
            return Err(wrong("it is no stream socket", "pass a stream socket that listens"));
        }
        if !traits.is_listening {
            return Err(wrong("the socket does not listen", "call listen on it before"));
        }
        let bound = calls::bound(socket.as_raw_fd()).map_err(failed)?;
        calls::set_nonblocking(socket.as_raw_fd()).map_err(failed)?;
        if let Bound::Internet(_) = bound {
            // As for our own; a socket that is no TCP after all does without.
            let _ = sys::set_switch(socket.as_raw_fd(), Switch::NoDelay, true);
        }
        calls::close_given(number).map_err(failed)?;
        Ok(Listener { address, bound, sockets: vec![ListenSocket::new(socket, false)], floor, file: None })
    }

    /// What the kernel has taken and nobody acknowledges ends the connection after so long: behind a black hole an answer may look sent,
    /// and the connection idle (RFC 5482). On the listener it costs nothing for each connection.
    pub fn set_write_timeout(&self, timeout_ms: u64) {
        if let Bound::Internet(_) = self.bound {
            for socket in &self.sockets {
                // A socket that was given and is no TCP after all does without.
                let _ = sys::tcp::set_user_timeout(socket.as_raw_fd(), timeout_ms);
            }
        }
    }

    /// Whether the descriptor is one of this listener's.
    pub fn owns(&self, number: RawFd) -> bool {
        self.sockets.iter().any(|socket| socket.as_raw_fd() == number)
    }

    /// 0 for a socket that has none.
    pub fn port(&self) -> u16 {
        match &self.bound {
            Bound::Internet(socket) => socket.port(),
            _ => 0,
        }
    }

    /// A second descriptor for each of so many threads, so that a start that fails can be tried again.
    pub fn lend_sockets(&self, threads: usize) -> io::Result<Vec<Listening>> {
        let shared = threads > self.sockets.len();
        let sockets = self.sockets.iter().cycle().take(threads);
        sockets.map(|socket| Ok(Listening { file: self.file.clone(), socket: socket.duplicate(self.floor)?, shared })).collect()
    }

    /// The server ends without having been started: nobody else listens on these sockets.
    pub fn shut(&self) {
        self.sockets.iter().for_each(ListenSocket::shut);
    }

    /// The threads have theirs: the address is free again when the last of them closes.
    pub fn let_go(&mut self) {
        self.sockets.clear();
        self.file = None;
    }
}

/// For people: where it listens, with the port that the kernel chose.
impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let scheme = self.address.scheme;
        let adopted = matches!(self.address.place, Place::Descriptor(_));
        if adopted {
            write!(out, "{}", self.address)?;
        }
        let (before, after) = if adopted { (" (", ")") } else { ("", "") };
        match &self.bound {
            Bound::Internet(socket) => write!(out, "{before}{scheme}://{socket}{after}"),
            Bound::Path(path) => write!(out, "{before}{scheme}+unix:{path}{after}"),
            Bound::Abstract(name) => write!(out, "{before}{scheme}+unix:@{name}{after}"),
            Bound::Unnamed => Ok(()),
        }
    }
}

/// One socket for each thread, all bound to the same address.
fn bind_internet(
    (wanted, v6_only): (SocketAddr, bool),
    backlog: i32,
    count: usize,
    floor: RawFd,
) -> Result<(Vec<ListenSocket>, SocketAddr), Failure> {
    let high = |socket: OwnedFd| sys::raise(socket, floor).map_err(|error| explain(wanted, &error));
    if count > 1 && wanted.port() != 0 {
        // With SO_REUSEPORT a second server would silently share the port: a socket without it finds out.
        open(wanted, v6_only, backlog, false).map_err(|error| explain(wanted, &error))?;
    }
    let first = high(open(wanted, v6_only, backlog, count > 1).map_err(|error| explain(wanted, &error))?)?;
    let bound = sys::local_address(first.as_raw_fd()).map_err(|error| explain(wanted, &error))?;
    let mut sockets = vec![first.into()];
    while sockets.len() < count {
        sockets.push(high(open(bound, v6_only, backlog, true).map_err(|error| explain(bound, &error))?)?.into());
    }
    Ok((sockets, bound))
}

fn open(socket: SocketAddr, v6_only: bool, backlog: i32, share: bool) -> io::Result<OwnedFd> {
    let listener = sys::stream_socket(&socket)?;
    let fd = listener.as_raw_fd();
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    sys::set_switch(fd, Switch::ReuseAddress, true)?;
    if share {
        sys::set_switch(fd, Switch::ReusePort, true)?;
    }
    if socket.is_ipv6() {
        sys::set_switch(fd, Switch::V6Only, v6_only)?;
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
