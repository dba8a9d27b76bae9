//! What is asked of the kernel about octets that it has taken: how many the peer has not acknowledged, and for how long that may last.
#![allow(unsafe_code)]

use super::check;
use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;

/// Has the kernel end connections whose peer acknowledges nothing, or opens no window, for so long while octets wait for it. Set on a
/// listener it is inherited by what is accepted; other sockets than TCP have no such thing.
pub fn set_user_timeout(socket: RawFd, timeout_ms: u64) -> io::Result<()> {
    let value = libc::c_uint::try_from(timeout_ms).unwrap_or(libc::c_uint::MAX);
    let size = size_of::<libc::c_uint>() as u32;
    // SAFETY: `value` outlives the call and its size is given.
    check(unsafe { libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, (&raw const value).cast(), size) })?;
    Ok(())
}

/// Octets that the kernel has taken and the peer has not acknowledged; on a unix socket, not read.
pub fn unacknowledged(stream: RawFd) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one int to a valid pointer.
    let asked = check(unsafe { libc::ioctl(stream, libc::TIOCOUTQ, &raw mut count) });
    asked.map_or(0, |_| u64::try_from(count).unwrap_or(0))
}
