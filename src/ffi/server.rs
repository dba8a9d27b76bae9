//! C functions: a server and its callbacks.

use super::boundary::{argument, fence, fence_or};
use super::observe::{host_log, host_thread, ingest_log_record};
use super::options::ingest_options;
use crate::handoff::EventSink;
use crate::options::Options;
use crate::request::ingest_event;
use crate::server::Server;
use crate::status::{Failure, INGEST_E_ARGUMENT, INGEST_OK, ingest_status};
use std::ffi::{c_char, c_void};

/// A server: its threads, listeners, connections and queues. Opaque.
pub struct ingest_server {
    pub(super) server: Server,
}

/// Takes a batch of events. The events are the callee's to read until it returns; requests live until
/// they are answered, abandoned or returned. It must return normally: no C++ exception, no longjmp,
/// no panic may leave it.
pub type ingest_on_events =
    Option<unsafe extern "C" fn(userdata: *mut c_void, server: *mut ingest_server, events: *const ingest_event, count: usize)>;

/// Takes one record of the log; it and its text are the callee's to read until it returns.
pub type ingest_on_log = Option<unsafe extern "C" fn(userdata: *mut c_void, server: *mut ingest_server, record: *const ingest_log_record)>;

/// Called on each library thread after it started (1) and before it ends (0), so that a host can
/// attach the thread to a language runtime or a profiler. The name is the callee's to read until it
/// returns.
pub type ingest_on_thread =
    Option<unsafe extern "C" fn(userdata: *mut c_void, server: *mut ingest_server, name: *const c_char, started: i32)>;

/// The host's callback with what it wants to get back.
struct HostCallback {
    callback: unsafe extern "C" fn(*mut c_void, *mut ingest_server, *const ingest_event, usize),
    userdata: *mut c_void,
    server: *mut ingest_server,
}

// SAFETY: the pointers are only handed to the host, whose documented duty is a callback that may run on any library thread.
unsafe impl Send for HostCallback {}
// SAFETY: as for Send; several threads may call it at once, and the header says so.
unsafe impl Sync for HostCallback {}

impl EventSink for HostCallback {
    fn deliver(&self, events: &[ingest_event]) {
        // SAFETY: the host passed this function for exactly this purpose; the events live until it returns.
        unsafe { (self.callback)(self.userdata, self.server, events.as_ptr(), events.len()) };
    }
}

pub(super) fn no_server() -> Failure {
    argument("server is NULL (make one with ingest_server_new)")
}

/// SAFETY for callers: NULL, or a server from `ingest_server_new` that is not freed during `'a`.
pub(super) unsafe fn server_of<'a>(server: *const ingest_server) -> Option<&'a Server> {
    // SAFETY: promised by the caller of this function.
    unsafe { server.as_ref() }.map(|handle| &handle.server)
}

/// SAFETY for callers: NULL, or options that no other thread changes during `'a`.
pub(super) unsafe fn options_of<'a>(options: *const ingest_options) -> Option<&'a Options> {
    // SAFETY: promised by the caller of this function.
    unsafe { options.as_ref() }.map(|handle| &handle.options)
}

/// Makes a server. It has no thread until ingest_server_start and no listener until
/// ingest_server_listen; the descriptors of its queues and wake-ups are made here, so that their
/// numbers are small. Several servers may live side by side.
///
/// Ownership: the caller owns the server and frees it with ingest_server_free; options are copied and
/// stay the caller's, NULL means defaults.
/// Thread: any.
/// Blocks: never.
/// Returns: the server; NULL when memory or a descriptor could not be had, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_new(options: *const ingest_options) -> *mut ingest_server {
    fence_or(std::ptr::null_mut(), std::ptr::null_mut(), || {
        // SAFETY: NULL, or options that no other thread changes now.
        let options = unsafe { options_of(options) }.cloned().unwrap_or_default();
        match Server::new(options) {
            Ok(server) => Box::into_raw(Box::new(ingest_server { server })),
            Err(_) => std::ptr::null_mut(),
        }
    })
}

/// Sets the function that takes events. With the option delivery=auto it then runs on library threads
/// of its own (handler_threads), so it may block; with delivery=inline it runs on an I/O thread and
/// must not. It may run on several threads at once, and may call any function but ingest_server_free
/// and ingest_server_join. NULL takes the callback away again.
///
/// Ownership: userdata stays the caller's and must live until ingest_server_free has returned.
/// Thread: any, before the start.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_STATE once the server was started; INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_on_events(
    server: *mut ingest_server,
    callback: ingest_on_events,
    userdata: *mut c_void,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        let Some(target) = (unsafe { server_of(server) }) else {
            return INGEST_E_ARGUMENT;
        };
        let sink = callback.map(|callback| Box::new(HostCallback { callback, userdata, server }) as Box<dyn EventSink>);
        target.on_events(sink).map_or_else(|failure| failure.status, |()| INGEST_OK)
    })
}

/// Sets a function that takes each record of the log as it is made, on the thread that makes it: a
/// library thread, or the caller's within ingest_server_start, ingest_server_run, ingest_server_fd,
/// ingest_server_turn and ingest_server_free. That thread does nothing else until the function
/// returns, so it should be quick, and one that may block reads ingest_server_log_next instead. It
/// may run on several threads at once, must return normally, and may call any function but
/// ingest_server_free and ingest_server_join. Records are kept for ingest_server_log_next as well.
/// NULL takes the function away again.
///
/// Ownership: userdata stays the caller's and must live until ingest_server_free has returned.
/// Thread: any, before the start.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_STATE once the server was started; INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_on_log(server: *mut ingest_server, callback: ingest_on_log, userdata: *mut c_void) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        let Some(target) = (unsafe { server_of(server) }) else {
            return INGEST_E_ARGUMENT;
        };
        target.on_log(host_log(server, callback, userdata))
    })
}

/// Sets a function that is called on each library thread, after it started (1) and before it ends (0).
/// Threads that take part in I/O are named ingest-io-0, ingest-io-1 and so on, the one that only accepts
/// with topology=acceptor ingest-accept-0, those for handshakes (`handshake_threads`) ingest-shake-0, those that
/// decode large bodies (`decode_threads`) ingest-decode-0, those that
/// run the callback of delivery=threads ingest-run-0 and so on, the one that looks at files with tls.watch=on
/// ingest-watch. Whatever started also ends, before
/// ingest_server_join returns. The function must return normally, and may call any function but
/// ingest_server_free and ingest_server_join. NULL takes it away again.
///
/// Ownership: userdata stays the caller's and must live until ingest_server_free has returned.
/// Thread: any, before the start.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_STATE once the server was started; INGEST_E_ARGUMENT for NULL;
/// INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_on_thread(
    server: *mut ingest_server,
    callback: ingest_on_thread,
    userdata: *mut c_void,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        let Some(target) = (unsafe { server_of(server) }) else {
            return INGEST_E_ARGUMENT;
        };
        target.on_thread(host_thread(server, callback, userdata))
    })
}
