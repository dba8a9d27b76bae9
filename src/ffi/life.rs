//! C functions: a server's life, from start to end.

use super::boundary::{fence, fence_explained, text};
use super::options::ingest_error;
use super::server::{ingest_server, no_server, server_of};
use crate::memory::fork_mark;
use crate::status::{Failure, INGEST_E_ARGUMENT, INGEST_E_FORKED, INGEST_OK, ingest_status};
use std::ffi::c_char;

/// Compares the options with each other, starts the threads and begins to serve. The threads block
/// every signal but the synchronous ones. After a failure nothing runs and the call may be repeated.
///
/// Ownership: error, if given, is the caller's.
/// Thread: any, once.
/// Blocks: until the threads run, a few milliseconds.
/// Returns: INGEST_OK; INGEST_E_OPTION for options that contradict each other; INGEST_E_UNSUPPORTED
/// for a topology or engine that is not built; INGEST_E_SYSTEM if a thread or descriptor could not be
/// had; INGEST_E_STATE if it was started before or has no listener; INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_start(server: *mut ingest_server, error: *mut ingest_error) -> ingest_status {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.ok_or_else(no_server)?.start().map(|()| INGEST_OK)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// Starts the server and waits until it has stopped: ingest_server_start, then ingest_server_join
/// without a limit. A signal handler or another thread ends it with ingest_server_stop.
///
/// Ownership: error, if given, is the caller's.
/// Thread: any but the library's, once.
/// Blocks: until the server has stopped.
/// Returns: INGEST_OK when all threads have ended; else as ingest_server_start and ingest_server_join.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_run(server: *mut ingest_server, error: *mut ingest_error) -> ingest_status {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        let target = unsafe { server_of(server) }.ok_or_else(no_server)?;
        target.start()?;
        match target.join(-1) {
            INGEST_OK => Ok(INGEST_OK),
            status => Err(Failure::new(status, "waiting for the server's threads ended early (call ingest_server_join again)")),
        }
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// The descriptor of a server that the host drives with ingest_server_turn instead of starting it.
/// It is readable, level-triggered, when a turn has something to do: sockets, an answer given on
/// another thread, a deadline, or work left over. The host adds it to its own poll, epoll or event
/// loop and calls ingest_server_turn when it is readable; nothing runs between turns.
///
/// Ownership: the descriptor belongs to the server; the host only polls it, and never reads it.
/// Thread: the one that takes the turns.
/// Blocks: never.
/// Returns: the descriptor; INGEST_E_STATE if the server was started, is in a turn, or has options
/// that need threads; INGEST_E_STOPPED once it has stopped; INGEST_E_OPTION, INGEST_E_UNSUPPORTED or
/// INGEST_E_SYSTEM if it cannot be set up; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_fd(server: *mut ingest_server) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        let Some(server) = (unsafe { server_of(server) }) else { return INGEST_E_ARGUMENT };
        server.descriptor().unwrap_or_else(|status| status)
    })
}

/// Runs one turn of a server without threads on the calling thread: accepts, reads, parses, delivers
/// and sends what is there. With a callback the events of the turn are delivered by it, within the
/// turn; else they wait in the queue for ingest_queue_poll. Needs topology=inline (or auto with one
/// I/O thread), and takes the place of ingest_server_start. With tls.watch=on the turn looks at the files
/// when it is time to, and ends by then.
///
/// Ownership: none.
/// Thread: any, one at a time per server; a turn within a turn is INGEST_E_STATE.
/// Blocks: at most timeout_ms, never with 0, without limit with -1; with tls.watch=on also while files are read.
/// Returns: how many requests wait in the queue; INGEST_E_INTERRUPTED if a signal ended the wait;
/// INGEST_E_STOPPED once the server has stopped; INGEST_E_ARGUMENT for NULL or a timeout below -1;
/// else as ingest_server_fd.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_turn(server: *mut ingest_server, timeout_ms: i32) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        match unsafe { server_of(server) } {
            Some(server) if timeout_ms >= -1 => server.turn(timeout_ms),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Changes an option of a server, running or not, if it is flagged INGEST_OPTION_LIVE. Every thread goes
/// by the new value from its next round on, also for what it waits for already; what is there stays,
/// though a new bound may be lower.
///
/// Ownership: the strings stay the caller's; error, if given, is the caller's.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_OPTION for an unknown name, one that is not live, a value that it cannot
/// take, or one that does not go with the others (nothing has changed); INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_set(
    server: *mut ingest_server,
    name: *const c_char,
    value: *const c_char,
    error: *mut ingest_error,
) -> ingest_status {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        let server = unsafe { server_of(server) }.ok_or_else(no_server)?;
        // SAFETY: NULL, or C strings that stay as they are during the call.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        server.set(name, value).map(|()| INGEST_OK)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// Reads the certificates and keys of every https listener again, and whatever else of TLS the options
/// name files for (docs/tls.md). All of it is checked first, also whether the certificates are valid now.
/// Handshakes that begin after the call have the new ones, each of them a certificate and its own key;
/// connections keep what they began with. On a failure nothing has changed. With tls.watch=on the same
/// happens when a file changes.
///
/// Ownership: error, if given, is the caller's.
/// Thread: any, also from a callback.
/// Blocks: while files are read.
/// Returns: INGEST_OK; INGEST_E_TLS for a file that cannot be read or used, which error.text names;
/// INGEST_E_STATE if no listener has TLS; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_reload_tls(server: *mut ingest_server, error: *mut ingest_error) -> ingest_status {
    let body = || {
        // SAFETY: NULL, or a server that is not freed during the call.
        unsafe { server_of(server) }.ok_or_else(no_server)?.reload_tls().map(|()| INGEST_OK)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// Ends the server gently: listeners close, idle connections close, open requests may still be
/// answered, each connection closes after its last answer. What is open after grace_ms is closed.
///
/// Ownership: none.
/// Thread: any, also from a callback.
/// Blocks: never; ingest_server_join waits for the end.
/// Returns: INGEST_OK, also when it drains already; INGEST_E_STATE if it was not started;
/// INGEST_E_ARGUMENT for NULL or a grace below -1 (-1 is the option drain_timeout); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_drain(server: *mut ingest_server, grace_ms: i32) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        match unsafe { server_of(server) } {
            Some(server) if grace_ms >= -1 => server.drain(grace_ms),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Ends the server: the first call drains it as ingest_server_drain does with the option
/// drain_timeout, the second closes everything now. Made for SIGINT and SIGTERM.
///
/// Ownership: none.
/// Thread: any, also from a callback and from a signal handler (it is async-signal-safe).
/// Blocks: never; ingest_server_join waits for the end.
/// Returns: INGEST_OK, also when it has stopped already; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_stop(server: *mut ingest_server) -> ingest_status {
    // No panic fence: it may allocate, which a signal handler must not. What it calls stores words and writes to a descriptor.
    if fork_mark::forked() {
        return INGEST_E_FORKED;
    }
    // SAFETY: NULL, or a server that is not freed during the call.
    match unsafe { server_of(server) } {
        Some(server) => server.stop(),
        None => INGEST_E_ARGUMENT,
    }
}

/// Waits until all threads of the server have ended, which they do after ingest_server_stop or
/// ingest_server_drain.
///
/// Ownership: none.
/// Thread: any but the library's (a callback that waited for itself would never return).
/// Blocks: at most timeout_ms, never with 0, without limit with -1.
/// Returns: INGEST_OK when all threads have ended; INGEST_E_BUSY when the time is over first;
/// INGEST_E_STATE if it was not started, or on a library thread; INGEST_E_ARGUMENT for NULL or a
/// timeout below -1; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_join(server: *mut ingest_server, timeout_ms: i32) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        match unsafe { server_of(server) } {
            Some(server) if timeout_ms >= -1 => server.join(timeout_ms),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Stops the server now if it still runs, waits for its threads and frees it with its listeners, its
/// queues, and every request, also those that the host still holds. No other call with this server
/// may be running, and none may follow. NULL is allowed and does nothing.
///
/// Ownership: takes the server on INGEST_OK; else it is still the caller's.
/// Thread: any but the library's.
/// Blocks: until the threads have ended, which is bounded unless a callback does not return.
/// Returns: INGEST_OK; INGEST_E_STATE on a library thread (nothing happened); INGEST_E_FORKED (a forked
/// child leaves the server to the parent).
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_free(server: *mut ingest_server) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that no other call uses.
        let Some(target) = (unsafe { server_of(server) }) else {
            return INGEST_OK;
        };
        let status = target.shutdown();
        if status == INGEST_OK {
            // SAFETY: made by Box::into_raw in ingest_server_new, its threads have ended, and the caller gives it away.
            drop(unsafe { Box::from_raw(server) });
        }
        status
    })
}
