//! C functions: what a server listens on.

use super::boundary::{argument, fence, fence_explained, text};
use super::options::{ingest_error, ingest_options};
use super::server::{ingest_server, no_server, options_of, server_of};
use crate::status::INGEST_E_ARGUMENT;
use std::ffi::{c_char, c_int};

/// Listens on an address. Call it once per address, before the start; the kernel takes connections from
/// then on, and they are served once the server is started. The addresses:
///
/// `http://127.0.0.1:8080`, `http://[::1]:8080`, or `http://[::]:8080` for IPv6 and IPv4 at once
/// ("?v6only=on" for IPv6 alone). With port 0 the kernel chooses one, which ingest_server_port tells.
///
/// `http+unix:/run/app.sock`, a unix socket; its path is what stands before the first "?", at most 107
/// octets. "?mode=0660" gives its file exactly this mode before the first client can connect; without
/// it the mode is what the umask leaves of 0777, and the umask is never changed. The socket of a server
/// that has ended, on which nobody listens, is removed; one that is in use, and anything that is no
/// socket, is INGEST_E_ADDRESS and stays. The file is removed when the server accepts no more, on a
/// drain, a stop or a free, unless somebody has put another one in its place.
///
/// `http+unix:@name`, a unix socket in the abstract namespace: it has no file and no mode, so every
/// process in the same network namespace can connect.
///
/// `http+fd:3`, a descriptor that the process has inherited, as ingest_server_listen_fd takes it; one
/// that it would not take is INGEST_E_ADDRESS.
///
/// A peer on a unix socket has the family 0, no address and the port 0. With several I/O threads each
/// has a socket of its own for an "http://" address; on a unix socket or a given descriptor all of
/// them accept from the same one, which spreads many connections evenly and few of them less so.
///
/// `https://`, `https+unix:` and `https+fd:` are the same with TLS 1.2 and 1.3. The options tls.cert and
/// tls.key name the certificate and its key; both are read and checked here. Overrides may give a
/// listener others than the server has.
///
/// Ownership: the address is not kept; overrides are copied, stay the caller's, and may name only
/// options that are flagged INGEST_OPTION_LISTENER; NULL means none. `http+fd:` takes the descriptor
/// on success.
/// Thread: any, one at a time per server.
/// Blocks: never for long (an address has no host name to look up; a folder in which other servers
/// make their sockets at the same moment is waited for, a tenth of a second at most).
/// Returns: the listener's index, 0 for the first; INGEST_E_ADDRESS for an address that cannot be
/// understood, and for a unix socket or a descriptor as said above; INGEST_E_SYSTEM if the kernel
/// refuses (error.os_errno says why); INGEST_E_TLS for a certificate or a key that is missing or cannot
/// be used; INGEST_E_OPTION for an override that is no listener's; INGEST_E_STATE after the start;
/// INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_listen(
    server: *mut ingest_server,
    address: *const c_char,
    overrides: *const ingest_options,
    error: *mut ingest_error,
) -> i32 {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        let target = unsafe { server_of(server) }.ok_or_else(no_server)?;
        // SAFETY: NULL, or a C string that stays as it is during the call.
        let address = unsafe { text(address, "address")? };
        // SAFETY: NULL, or options that no other thread changes now.
        let overrides = unsafe { options_of(overrides) };
        if let Some(overrides) = overrides {
            overrides.check_overrides()?;
        }
        target.listen(address, overrides).map(i32::from)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// Listens on a socket that the host has made, or was given by the process that started it: a stream
/// socket, bound and listening, of any family. Its backlog, and the file of a unix socket, stay as
/// they are. Call it before the start.
///
/// Ownership: takes the descriptor on success: the socket moves to a number of the library's own,
/// close-on-exec, and the given number is closed, so take it out of poll and epoll sets before; after
/// a failure it is the caller's, as it was. The socket becomes non-blocking, and TCP_NODELAY on IPv4 and
/// IPv6; since that belongs to the open socket and not to a descriptor, it does so for everybody who
/// shares it (by dup, by fork, or by having passed it on), and stays so. In the place of a standard
/// stream (0, 1 or 2) comes /dev/null. At the end the socket is closed, not shut. The scheme is "http" or
/// "https" and is not kept; overrides as in
/// ingest_server_listen, of which listen_backlog has no effect here.
/// Thread: any, one at a time per server.
/// Blocks: never.
/// Returns: the listener's index, 0 for the first; INGEST_E_ARGUMENT for NULL, for an unknown scheme,
/// and for a descriptor that is not open, no stream socket, does not listen, or is one of
/// a server of this process; INGEST_E_SYSTEM if a descriptor cannot be had; INGEST_E_OPTION for an override that is no
/// listener's; INGEST_E_TLS as in ingest_server_listen; INGEST_E_STATE after the start; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_listen_fd(
    server: *mut ingest_server,
    fd: c_int,
    scheme: *const c_char,
    overrides: *const ingest_options,
    error: *mut ingest_error,
) -> i32 {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        let target = unsafe { server_of(server) }.ok_or_else(no_server)?;
        // SAFETY: NULL, or a C string that stays as it is during the call.
        let scheme = unsafe { text(scheme, "scheme")? };
        // SAFETY: NULL, or options that no other thread changes now.
        let overrides = unsafe { options_of(overrides) };
        if let Some(overrides) = overrides {
            overrides.check_overrides()?;
        }
        if fd < 0 {
            return Err(argument("fd is negative (pass a stream socket that listens)"));
        }
        target.listen_fd(fd, scheme, overrides).map(i32::from)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// The port of a listener, which is how a host learns what the kernel chose for port 0.
///
/// Ownership: none.
/// Thread: any.
/// Blocks: never.
/// Returns: 1 to 65535, or 0 for a unix socket and for a given descriptor that is neither IPv4 nor
/// IPv6; INGEST_E_ARGUMENT if there is no such listener; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_port(server: *const ingest_server, listener: i32) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        match unsafe { server_of(server) } {
            Some(server) => server.port(listener).map_or_else(|status| status, i32::from),
            None => INGEST_E_ARGUMENT,
        }
    })
}
