//! System calls around listening sockets: accepting, which numbers are ours and still are, and how a listening socket ends.
#![allow(unsafe_code)]

use super::{address_of, check, own, raise};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// Numbers under which the servers of this process have listening sockets, so that none of them is taken for one of the host's.
static OURS: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Whether a server of this process listens on this number.
pub fn is_ours(number: RawFd) -> bool {
    OURS.lock().contains(&number)
}

/// A listening socket of the library's. Dropping it closes the number only if it still is this socket: a host that closed it may
/// have got the same number for something of its own.
#[derive(Debug)]
pub struct ListenSocket {
    /// Always there, but while it is dropped.
    fd: Option<OwnedFd>,
    number: RawFd,
    /// What tells the socket from every other; none if the kernel does not say.
    cookie: Option<u64>,
    /// It was made here, so nobody outside this server has a right to it.
    made_here: bool,
}

impl ListenSocket {
    pub fn new(fd: OwnedFd, made_here: bool) -> Self {
        let number = fd.as_raw_fd();
        OURS.lock().insert(number);
        ListenSocket { cookie: cookie(number).ok(), number, fd: Some(fd), made_here }
    }

    /// A second number for the same socket, at least `floor`.
    pub fn duplicate(&self, floor: RawFd) -> io::Result<ListenSocket> {
        Ok(ListenSocket::new(super::duplicate(self.number, floor)?, self.made_here))
    }

    /// Whether the number still is the socket that it was; an error says what has become of it.
    pub fn look(&self) -> io::Result<()> {
        match (cookie(self.number), self.cookie) {
            (Ok(now), Some(before)) if now != before => Err(io::Error::from_raw_os_error(libc::EBADF)),
            (Err(error), _) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Nobody is let in any more, also not through the descriptors that a forked child has of it. A socket that the host gave may
    /// be shared with others on purpose, and is left as it is.
    pub fn shut(&self) {
        if self.made_here && self.look().is_ok() {
            // SAFETY: no pointers are passed. On a listening socket it ends the listening, and nothing else.
            unsafe { libc::shutdown(self.number, libc::SHUT_RDWR) };
        }
    }
}

impl AsRawFd for ListenSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl From<OwnedFd> for ListenSocket {
    fn from(fd: OwnedFd) -> Self {
        ListenSocket::new(fd, true)
    }
}

impl Drop for ListenSocket {
    fn drop(&mut self) {
        let still = self.look();
        // Before it is closed: the number may be another thread's a moment later.
        OURS.lock().remove(&self.number);
        match (self.fd.take(), still) {
            // Whatever it is by now, it is not ours to close.
            (Some(fd), Err(_)) => drop(fd.into_raw_fd()),
            (fd, Ok(())) => drop(fd),
            (None, Err(_)) => {}
        }
    }
}

/// A number that no other socket ever has, as long as the system runs (Linux 4.12).
fn cookie(socket: RawFd) -> io::Result<u64> {
    let mut value: u64 = 0;
    let mut length = size_of::<u64>() as u32;
    // SAFETY: both pointers are valid for the call and `length` is the room there is.
    check(unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// Takes one connection off a listener's backlog: non-blocking, close-on-exec, at or above `floor`, with the peer's address.
pub fn accept(listener: RawFd, floor: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: sockaddr_storage is plain data, all zeros is a valid value.
    let mut raw: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as u32;
    // SAFETY: both pointers are valid for the call and `length` is the room there is.
    let stream = own(unsafe { libc::accept4(listener, (&raw mut raw).cast(), &mut length, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) })?;
    Ok((raise(stream, floor)?, address_of(&raw)))
}

/// Whether there is such a call: a filter (seccomp) that takes it away is better heard of at the start (limits, S24).
pub fn may_accept() -> io::Result<()> {
    // SAFETY: no pointers are passed, and there is no descriptor -1, which is what the kernel says if it gets as far as looking.
    match own(unsafe { libc::accept4(-1, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Kinds of accept failure that call for different answers (limits, S01 to S04).
pub fn accept_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// What an operator can do about an exhausted accept; none if the error is of another kind.
pub fn exhausted_advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Some("raise the limit on descriptors, ulimit -n, or lower max_connections"),
        Some(libc::ENFILE) => Some("raise fs.file-max, the whole system is out of descriptors"),
        Some(libc::ENOMEM | libc::ENOBUFS) => {
            Some("the kernel is out of memory for sockets: lower max_connections, or raise net.ipv4.tcp_mem")
        }
        _ => None,
    }
}

/// The listener itself is unusable: closed under us, or never a listener.
pub fn accept_broken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK))
}
