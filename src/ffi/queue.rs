//! C functions: the host's side of a queue.

use super::boundary::{area, area_mut, fence, fence_or};
use super::packed;
use super::server::{ingest_server, server_of};
use crate::handoff::HostQueue;
use crate::request::{ingest_event, ingest_token};
use crate::status::{INGEST_E_ARGUMENT, ingest_status};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// A queue of events, from which any number of the host's threads may take. Opaque.
pub struct ingest_queue {
    _opaque: [u8; 0],
}

/// SAFETY for callers: NULL, or a queue from `ingest_server_queue` whose server is not freed during `'a`.
unsafe fn queue_of<'a>(queue: *const ingest_queue) -> Option<&'a HostQueue> {
    // SAFETY: every ingest_queue is a HostQueue in disguise (ingest_server_queue); the rest the caller promises.
    unsafe { queue.cast::<HostQueue>().as_ref() }
}

/// SAFETY for callers: a pointer that is not NULL is writable for `capacity` events during `'a`.
unsafe fn batch_of<'a>(events: *mut ingest_event, capacity: usize) -> Option<&'a mut [MaybeUninit<ingest_event>]> {
    if events.is_null() || !events.is_aligned() || capacity == 0 {
        return None;
    }
    // No batch is longer than batch_max can be, so a larger array may be used in part.
    let usable = capacity.min(4096);
    // SAFETY: not NULL, aligned, small; the caller promises that it may be written.
    Some(unsafe { std::slice::from_raw_parts_mut(events.cast::<MaybeUninit<ingest_event>>(), usable) })
}

/// One of the server's queues; there are as many as the option queues says, one by default. It can be
/// had before the start, so that its descriptor can be put into an event loop.
///
/// Ownership: the queue belongs to the server and lives until ingest_server_free.
/// Thread: any.
/// Blocks: never.
/// Returns: the queue; NULL if there is none with this index or server is NULL, and in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_server_queue(server: *mut ingest_server, index: u32) -> *mut ingest_queue {
    fence_or(std::ptr::null_mut(), std::ptr::null_mut(), || {
        // SAFETY: NULL, or a server that is not freed during the call.
        let queue = unsafe { server_of(server) }.and_then(|server| server.queue(index));
        queue.map_or(std::ptr::null_mut(), |queue| std::ptr::from_ref::<HostQueue>(queue).cast_mut().cast::<ingest_queue>())
    })
}

/// Takes up to capacity events without waiting. Only a call that returns 0 makes the queue's
/// descriptor unreadable, so an edge-triggered loop calls it until then; a level-triggered one need
/// not.
///
/// Ownership: the array is the caller's; requests in it are the caller's to read until answered,
/// abandoned or returned.
/// Thread: any, also several at once.
/// Blocks: never.
/// Returns: how many events were written, 0 if there are none; INGEST_E_STOPPED when the server has
/// stopped and nothing is left; INGEST_E_ARGUMENT for NULL or a capacity of 0; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_poll(queue: *mut ingest_queue, events: *mut ingest_event, capacity: usize) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call, and an array of `capacity` events.
        match unsafe { (queue_of(queue), batch_of(events, capacity)) } {
            (Some(queue), Some(batch)) => queue.poll(batch),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Waits for events and takes up to capacity of them. When several threads wait on one queue each
/// takes its share of what is there, one event when there is little.
///
/// Ownership: the array is the caller's; requests in it are the caller's to read until answered,
/// abandoned or returned.
/// Thread: any, also several at once.
/// Blocks: at most timeout_ms, never with 0, without limit with -1; a signal, ingest_queue_wake and the
/// end of the server end it early.
/// Returns: how many events were written; 0 when the time is over or after ingest_queue_wake;
/// INGEST_E_INTERRUPTED when a signal arrived (handle it, call again); INGEST_E_STOPPED when the server
/// has stopped and nothing is left; INGEST_E_SYSTEM when there is no descriptor to sleep on (nothing was
/// taken, call again); INGEST_E_ARGUMENT for NULL, a capacity of 0 or a timeout below -1;
/// INGEST_E_STATE if the host drives the server by turns; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_wait(queue: *mut ingest_queue, events: *mut ingest_event, capacity: usize, timeout_ms: i32) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call, and an array of `capacity` events.
        match unsafe { (queue_of(queue), batch_of(events, capacity)) } {
            (Some(queue), Some(batch)) if timeout_ms >= -1 => queue.wait(batch, timeout_ms),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// A descriptor for the host's own event loop: it is readable while the queue has events, and may be
/// readable although it is empty. It fits poll, select and epoll, level- and edge-triggered.
///
/// Ownership: the descriptor belongs to the queue; the host neither reads, writes nor closes it.
/// Thread: any.
/// Blocks: never.
/// Returns: the descriptor; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_fd(queue: *const ingest_queue) -> c_int {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call.
        unsafe { queue_of(queue) }.map_or(INGEST_E_ARGUMENT, HostQueue::descriptor)
    })
}

/// Makes one ingest_queue_wait return 0: one that waits now, or the next one.
///
/// Ownership: none.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_wake(queue: *mut ingest_queue) -> ingest_status {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call.
        unsafe { queue_of(queue) }.map_or(INGEST_E_ARGUMENT, HostQueue::wake)
    })
}

/// How many events are in the queue now. It may have changed before the caller looks at it.
///
/// Ownership: none.
/// Thread: any.
/// Blocks: never.
/// Returns: a count; INGEST_E_ARGUMENT for NULL; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_depth(queue: *const ingest_queue) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call.
        unsafe { queue_of(queue) }.map_or(INGEST_E_ARGUMENT, HostQueue::depth)
    })
}

/// Gives back requests that were taken but not begun, so that another consumer may have them. They go
/// to the front of the queue in the order of the array, with new tokens; the old tokens are stale. A
/// request to which an interim answer was sent, or an answer begun, or of whose body a piece or the end
/// was taken, is left as it is and not counted.
///
/// Ownership: the array is the caller's; the other requests are the library's again, also those whose
/// client has left or that came too late.
/// Thread: any.
/// Blocks: never.
/// Returns: how many were still open and are in the queue again; INGEST_E_ARGUMENT for NULL or more
/// tokens than the result can count; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_return(queue: *mut ingest_queue, tokens: *const ingest_token, count: usize) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call, and an array of `count` tokens.
        match unsafe { (queue_of(queue), area(tokens, count)) } {
            (Some(queue), Some(tokens)) if i32::try_from(count).is_ok() => queue.give_back(tokens),
            _ => INGEST_E_ARGUMENT,
        }
    })
}

/// Takes up to 256 requests as one flat block of fixed-width records and octets, for languages in which
/// fields cost more than calls. docs/packed.md describes it byte by byte. What does not fit stays in the
/// queue; when not even the first request fits, the block's header says how large a block it needs. Only a
/// call that returns 0 makes the queue's descriptor unreadable.
///
/// Ownership: the block is the caller's; it holds copies. Every request in it is the caller's until
/// answered, abandoned or returned, as with ingest_queue_poll.
/// Thread: any, also several at once, each with a block of its own.
/// Blocks: never.
/// Returns: how many requests were packed, 0 if there are none; INGEST_E_SPACE if the first does not fit
/// (nothing was taken); INGEST_E_STOPPED when the server has stopped and nothing is left;
/// INGEST_E_STATE once body=stream was set: a block has no place for octets that are the host's until
/// credited; INGEST_E_ARGUMENT for NULL or a capacity under 32, a header's; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_queue_poll_packed(queue: *mut ingest_queue, block: *mut c_void, capacity: usize) -> i32 {
    fence(|| {
        // SAFETY: NULL, or a queue whose server is not freed during the call, and a block of `capacity` octets.
        match unsafe { (queue_of(queue), area_mut(block.cast::<u8>(), capacity)) } {
            (Some(queue), Some(block)) => packed::poll(queue, block),
            _ => INGEST_E_ARGUMENT,
        }
    })
}
