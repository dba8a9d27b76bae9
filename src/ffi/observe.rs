//! C functions: what a server tells about itself: counters, log, traces.

use super::boundary::{Tagged, fence, is_tagged, write_tagged};
use super::server::{ingest_on_log, ingest_on_thread, ingest_server, server_of};
use crate::log::{Level, LogSink, Record, cut};
use crate::request::{ingest_journey, ingest_slice, ingest_token};
use crate::stats::Totals;
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_BUSY, INGEST_E_UNSUPPORTED, ingest_status};
use crate::topology::threads::ThreadHook;
use std::ffi::{CStr, c_char, c_void};
use std::mem::size_of;
use std::sync::Arc;

/// A hundred faults of its own were caught within a minute: the library is not well, and the host may want to start
/// another process.
pub const INGEST_STATS_UNHEALTHY: u32 = 1;
/// A queue stands: more comes than the host takes, and what waits too long is refused (`queue_delay_target`).
pub const INGEST_STATS_OVERLOADED: u32 = 2;

/// Counters and gauges of a server since it was made. Each is read by itself, so that sums may be off
/// by what happened in between.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ingest_stats {
    /// Size of this struct in octets; the caller sets it before the call, the call to what it filled.
    pub size: u32,
    /// `INGEST_STATS_...` bits.
    pub flags: u32,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Requests handed over to the queue or the callback.
    pub requests_delivered: u64,
    /// Requests that the host answered.
    pub requests_answered: u64,
    /// Requests that the library answered itself with 4xx or 5xx, other than those that timed out.
    pub requests_refused: u64,
    /// Requests that the host did not answer within `response_timeout`, or within the time that their clients wait.
    pub requests_timed_out: u64,
    /// Requests that the host abandoned.
    pub requests_abandoned: u64,
    /// Requests that the host holds now.
    pub in_flight: u64,
    /// Requests that wait in queues now.
    pub queued: u64,
    /// Octets that count against `memory_max` now.
    pub memory_bytes: u64,
    /// Octets received.
    pub bytes_received: u64,
    /// Octets sent.
    pub bytes_sent: u64,
    /// System calls made to wake a sleeping thread.
    pub wakeups_sent: u64,
    /// Faults of its own that the library caught.
    pub panics: u64,
    /// Times that a connection could not be accepted: no descriptors, no memory, or a broken listener.
    pub accepts_failed: u64,
    /// Receives that brought octets.
    pub receives: u64,
    /// Batches in which requests were handed over.
    pub batches_delivered: u64,
    /// Sends that the I/O threads began.
    pub sends: u64,
    /// Of `requests_refused`, those with status 400.
    pub refused_400: u64,
    /// Of `requests_refused`, those with status 408: head or body did not come in time.
    pub refused_408: u64,
    /// Of `requests_refused`, those with status 413: over `body_max` or `memory_max`.
    pub refused_413: u64,
    /// Of `requests_refused`, those with status 414: over `target_max`.
    pub refused_414: u64,
    /// Of `requests_refused`, those with status 421: meant for another scheme.
    pub refused_421: u64,
    /// Of `requests_refused`, those with status 431: over `headers_max`, `header_count`, or the limits of trailers.
    pub refused_431: u64,
    /// Of `requests_refused`, those with status 501.
    pub refused_501: u64,
    /// Of `requests_refused`, those with status 503: too long in the queue, or for their clients, or no memory.
    pub refused_503: u64,
    /// Of `requests_refused`, those with status 505.
    pub refused_505: u64,
    /// Of `requests_refused`, those with any other status.
    pub refused_others: u64,
    /// Times that a thread stopped accepting because of `max_connections`.
    pub limit_max_connections: u64,
    /// Connections that were reset because of `max_connections_per_ip`.
    pub limit_connections_per_ip: u64,
    /// Connections on which a head did not come within `header_timeout`.
    pub limit_header_timeout: u64,
    /// Connections that nothing was asked on for `keepalive_timeout`.
    pub limit_keepalive_timeout: u64,
    /// Connections on which a body broke `body_timeout` or `body_rate_min`.
    pub limit_body: u64,
    /// Connections on which an answer broke `write_timeout` or `write_rate_min`.
    pub limit_write: u64,
    /// Connections that the peer did not close within `linger_timeout`.
    pub limit_linger: u64,
    /// Times that a thread stopped reading because of `queue_max` or `queue_bytes`.
    pub limit_queue: u64,
    /// Requests that waited longer than `queue_age`.
    pub limit_queue_age: u64,
    /// Times that `in_flight_max` kept a consumer from taking more.
    pub limit_in_flight: u64,
    /// Times that a thread stopped reading because of `memory_max`.
    pub limit_memory: u64,
    /// Open connections that no request has begun on.
    pub connections_idle: u64,
    /// Open connections on which a head is coming.
    pub connections_in_head: u64,
    /// Open connections on which a body is coming.
    pub connections_in_body: u64,
    /// Open connections whose request is with the host, or waits for it.
    pub connections_in_exchange: u64,
    /// Open connections whose peer has to read before more can be sent.
    pub connections_sending: u64,
    /// Open connections that wait for the peer's end.
    pub connections_lingering: u64,
    /// Of `memory_bytes`, complete requests.
    pub memory_requests_bytes: u64,
    /// Of `memory_bytes`, bodies that are coming.
    pub memory_bodies_bytes: u64,
    /// Of `memory_bytes`, partial heads and what was read ahead.
    pub memory_read_ahead_bytes: u64,
    /// Octets beside `memory_bytes` that are kept for the next requests.
    pub memory_pooled_bytes: u64,
    /// The bound of `in_flight`.
    pub in_flight_max: u64,
    /// How long the request in front has waited, of all queues the longest.
    pub queue_oldest_ns: u64,
    /// The bound of `connections_open`, also when the library worked it out.
    pub connections_max: u64,
    /// The bound of `memory_bytes`; each I/O thread may hold one read above it, 256 KiB.
    pub memory_max_bytes: u64,
    /// TLS handshakes that were completed.
    pub handshakes: u64,
    /// TLS handshakes that failed, or were not completed.
    pub handshake_failures: u64,
    /// Connections on which a handshake was not completed within `tls.handshake_timeout`.
    pub limit_handshake: u64,
    /// Open connections whose TLS handshake has begun and is not over.
    pub connections_in_handshake: u64,
    /// Times that a thread stopped accepting for TLS because of `tls.handshakes_max`.
    pub limit_handshakes_max: u64,
    /// Connections that were closed at `tls.handshakes_max`, since their clients did not go on and others waited.
    pub handshakes_displaced: u64,
    /// Requests refused for a content-coding that is not known, or for too many.
    pub refused_415: u64,
    /// How often the decoding of a large body went to a decode thread: once for each share of it.
    pub decodings_offloaded: u64,
    /// Bodies that were begun in files (`body=spool`).
    pub bodies_spooled: u64,
    /// Bodies that were refused because of `spool_max`, or since there was no descriptor for a file.
    pub limit_spool: u64,
    /// Bodies that could not be written to their file: no space, a broken disk, a folder that is gone.
    pub spool_failures: u64,
    /// Octets in files of bodies now, those that the host holds included.
    pub spool_bytes: u64,
    /// Such files that are open now.
    pub spool_files: u64,
    /// Threads that take requests from queues, the library's own included: those that live, or that did when none does any more. 64 of
    /// each queue are told apart.
    pub consumers: u64,
    /// What the one of them has taken that has taken least: how even the load is over consumers, `most / least` being their spread.
    pub consumer_requests_least: u64,
    /// What the one has taken that has taken most.
    pub consumer_requests_most: u64,
    /// Of `requests_delivered`, the share of the I/O thread that has handed over least.
    pub io_requests_least: u64,
    /// The share of the I/O thread that has handed over most.
    pub io_requests_most: u64,
    /// Of `connections_open`, those of the I/O thread that has fewest.
    pub io_connections_least: u64,
    /// Those of the I/O thread that has most.
    pub io_connections_most: u64,
    /// Requests refused with 503 since their queue stood for longer than `queue_delay_interval` above `queue_delay_target`.
    pub limit_queue_delay: u64,
    /// Requests whose clients stopped to wait, as `deadline_header` said: 503 before the host had them, 504 after.
    pub limit_deadline: u64,
    /// Requests with a `deadline_header` that is no time, or with several; they have no deadline.
    pub deadlines_unread: u64,
    /// Requests that never reached the host, since their connection was lost first.
    pub requests_left: u64,
    /// Queues that stand now.
    pub queues_standing: u64,
    /// How often a queue has begun to stand.
    pub queue_overloads: u64,
}

/// A log record: something failed that the host should look at.
pub const INGEST_LOG_ERROR: i32 = 1;
/// A log record: something is off, the library goes on.
pub const INGEST_LOG_WARN: i32 = 2;
/// A log record: something that operators like to see.
pub const INGEST_LOG_INFO: i32 = 3;
/// A log record: for those who debug the library.
pub const INGEST_LOG_DEBUG: i32 = 4;

/// One record of the log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_log_record {
    /// Size of this struct in octets.
    pub size: u32,
    /// `INGEST_LOG_...`; a lower number is more urgent.
    pub level: i32,
    /// CLOCK_REALTIME when it was made.
    pub at_ns: u64,
    /// One line of UTF-8.
    pub text: ingest_slice,
}

/// The whole life of one request that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_trace {
    /// Size of this struct in octets.
    pub size: u32,
    /// Zero.
    pub flags: u32,
    /// The request's token; it is stale by now.
    pub token: ingest_token,
    /// What each step up to the host cost.
    pub journey: ingest_journey,
    /// From the delivery to the call that answered.
    pub host_ns: u64,
    /// From that call until the answer was encoded on the thread of its connection.
    pub respond_ns: u64,
    /// From there until the kernel had taken all of it.
    pub send_ns: u64,
    /// The status of the answer, 0 if there was none.
    pub status: u16,
    /// The listener that took the connection.
    pub listener: u16,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), starts with its size, integers only.
unsafe impl Tagged for ingest_stats {
    const REQUIRED: usize = 8;
}

// SAFETY: repr(C), starts with its size; zeros are integers and an absent slice.
unsafe impl Tagged for ingest_log_record {
    const REQUIRED: usize = size_of::<ingest_log_record>();
}

// SAFETY: repr(C), starts with its size, integers only.
unsafe impl Tagged for ingest_trace {
    const REQUIRED: usize = size_of::<ingest_trace>();
}

/// Reads the counters of a server.
///
/// Ownership: stats is the caller's, its size set to sizeof(ingest_stats); a shorter one of an older
/// host is filled as far as it goes.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_ARGUMENT for NULL or a size that is too small; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_stats(server: *const ingest_server, stats: *mut ingest_stats) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call.
        let Some(server) = (unsafe { server_of(server) }) else {
            return INGEST_E_ARGUMENT;
        };
        let filled = shown_stats(&server.stats());
        // SAFETY: NULL, or the caller's struct with its size set.
        unsafe { write_tagged(stats, &filled) }
    })
}

fn flags_of(totals: &Totals) -> u32 {
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    flag(totals.is_unhealthy != 0, INGEST_STATS_UNHEALTHY) | flag(totals.queues_standing != 0, INGEST_STATS_OVERLOADED)
}

/// The totals as C sees them: the same names.
fn shown_stats(totals: &Totals) -> ingest_stats {
    macro_rules! shown {
        ($($name:ident)*) => {
            ingest_stats {
                size: 0,
                flags: flags_of(totals),
                $($name: totals.$name,)*
            }
        };
    }
    shown! {
        connections_open connections_accepted requests_delivered requests_answered requests_refused requests_timed_out
        requests_abandoned in_flight queued memory_bytes bytes_received bytes_sent
        wakeups_sent panics accepts_failed receives batches_delivered sends
        refused_400 refused_408 refused_413 refused_414 refused_421 refused_431
        refused_501 refused_503 refused_505 refused_others limit_max_connections limit_connections_per_ip
        limit_header_timeout limit_keepalive_timeout limit_body limit_write limit_linger limit_queue
        limit_queue_age limit_in_flight limit_memory connections_idle connections_in_head connections_in_body
        connections_in_exchange connections_sending connections_lingering memory_requests_bytes memory_bodies_bytes memory_read_ahead_bytes
        memory_pooled_bytes in_flight_max queue_oldest_ns connections_max memory_max_bytes
        handshakes handshake_failures limit_handshake connections_in_handshake limit_handshakes_max handshakes_displaced
        refused_415 decodings_offloaded
        bodies_spooled limit_spool spool_failures spool_bytes spool_files
        consumers consumer_requests_least consumer_requests_most io_requests_least io_requests_most io_connections_least io_connections_most
        limit_queue_delay limit_deadline deadlines_unread requests_left queues_standing queue_overloads
    }
}

const _: () =
    assert!(Level::Error as i32 == INGEST_LOG_ERROR && Level::Warn as i32 == INGEST_LOG_WARN && Level::Info as i32 == INGEST_LOG_INFO);

/// The host's function for the log with what it wants to get back.
struct HostLog {
    callback: unsafe extern "C" fn(*mut c_void, *mut ingest_server, *const ingest_log_record),
    userdata: *mut c_void,
    server: *mut ingest_server,
}

// SAFETY: the pointers are only handed to the host, whose documented duty is a callback that may run on any thread.
unsafe impl Send for HostLog {}
// SAFETY: as for Send; several threads may call it at once, and the header says so.
unsafe impl Sync for HostLog {}

/// A record as C sees it, with its text wherever that is.
fn shown(record: &Record, text: ingest_slice) -> ingest_log_record {
    ingest_log_record { size: size_of::<ingest_log_record>() as u32, level: record.level as i32, at_ns: record.at_ns, text }
}

/// The sink around a host's function.
pub(super) fn host_log(server: *mut ingest_server, callback: ingest_on_log, userdata: *mut c_void) -> Option<Arc<dyn LogSink>> {
    callback.map(|callback| Arc::new(HostLog { callback, userdata, server }) as Arc<dyn LogSink>)
}

impl LogSink for HostLog {
    fn take(&self, record: &Record) {
        let shown = shown(record, ingest_slice { ptr: record.text.as_ptr(), len: record.text.len() });
        // SAFETY: the host passed this function for exactly this purpose; the record and its text live until it returns.
        unsafe { (self.callback)(self.userdata, self.server, &raw const shown) };
    }
}

/// The host's function for threads with what it wants to get back.
struct HostThread {
    callback: unsafe extern "C" fn(*mut c_void, *mut ingest_server, *const c_char, i32),
    userdata: *mut c_void,
    server: *mut ingest_server,
}

// SAFETY: as for HostLog.
unsafe impl Send for HostThread {}
// SAFETY: as for HostLog.
unsafe impl Sync for HostThread {}

/// The hook around a host's function.
pub(super) fn host_thread(server: *mut ingest_server, callback: ingest_on_thread, userdata: *mut c_void) -> Option<Arc<dyn ThreadHook>> {
    callback.map(|callback| Arc::new(HostThread { callback, userdata, server }) as Arc<dyn ThreadHook>)
}

impl ThreadHook for HostThread {
    fn tell(&self, name: &CStr, started: bool) {
        // SAFETY: the host passed this function for exactly this purpose; the name lives until it returns.
        unsafe { (self.callback)(self.userdata, self.server, name.as_ptr(), i32::from(started)) };
    }
}

/// Takes the oldest record of the log. The server keeps 256 of them; when more come than are read,
/// the oldest make way, and a record of its own says how many were lost. What a peer or the system
/// could repeat without end is said once in ten seconds. A text that does not fit is cut at a
/// character; 256 octets are always enough.
///
/// Ownership: record and text are the caller's, record's size set to sizeof(ingest_log_record); the
/// record's text points into text, which is NUL-terminated behind it. With capacity 0, text may be
/// NULL and only level and time are told.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_BUSY when there is none now; INGEST_E_ARGUMENT for NULL or a size that
/// is too small (nothing was taken); INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_log_next(
    server: *mut ingest_server,
    record: *mut ingest_log_record,
    text: *mut c_char,
    capacity: usize,
) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a server that is not freed during the call, and the caller's struct with its size set.
        let (server, sized) = unsafe { (server_of(server), is_tagged(record)) };
        let Some(server) = server.filter(|_| sized && (!text.is_null() || capacity == 0)) else {
            return INGEST_E_ARGUMENT;
        };
        let Some(next) = server.log_next() else { return INGEST_E_BUSY };
        let mut told = ingest_slice::NONE;
        if capacity > 0 {
            let part = cut(&next.text, capacity - 1);
            // SAFETY: the caller's text is writable for `capacity` octets, and the part with its NUL is no longer than that.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), text.cast::<u8>(), part.len());
                text.add(part.len()).write(0);
            }
            told = ingest_slice { ptr: text.cast::<u8>(), len: part.len() };
        }
        // SAFETY: the caller's struct with its size set.
        unsafe { write_tagged(record, &shown(&next, told)) }
    })
}

/// Takes the oldest trace of a request that has ended. Not built yet.
///
/// Ownership: trace is the caller's, its size set to sizeof(ingest_trace).
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_E_UNSUPPORTED in this version; INGEST_E_ARGUMENT for NULL or a size that is too
/// small; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_trace_next(server: *mut ingest_server, trace: *mut ingest_trace) -> ingest_status {
    // SAFETY: NULL, or a server that is not freed during the call, and the caller's struct with its size set.
    fence(|| if unsafe { server_of(server).is_some() && is_tagged(trace) } { INGEST_E_UNSUPPORTED } else { INGEST_E_ARGUMENT })
}
