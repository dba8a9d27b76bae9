//! Starts the threads of a server, counts them, and waits for their end.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::tell;
use crate::engine::sys::{self, EventFd};
use crate::handoff::{EventSink, HostQueue};
use crate::request::ingest_event;
use crate::status::INGEST_E_INTERRUPTED;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

thread_local! {
    /// The address of the roll this thread is on, 0 for a thread of the host. `std::thread::current` would answer the same question,
    /// but it allocates a handle for every thread of the host that asks, and the main thread's is never given back.
    static ON_ROLL: Cell<usize> = const { Cell::new(0) };
}

/// How many threads of a server are still running.
#[derive(Debug, Default)]
pub struct Roll {
    running: Mutex<Running>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    io: usize,
    all: usize,
}

impl Roll {
    fn enter(&self, io: bool) {
        let mut running = self.running.lock();
        running.all += 1;
        running.io += usize::from(io);
    }

    /// An I/O thread has done its work. Returns whether it was the last one.
    fn end_io(&self) -> bool {
        let mut running = self.running.lock();
        running.io -= 1;
        running.io == 0
    }

    /// Waits until no I/O thread runs any more, which each says when it leaves; false when the time is over before.
    pub fn wait_for_io_end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut running = self.running.lock();
        while running.io > 0 && !self.changed.wait_until(&mut running, deadline).timed_out() {}
        running.io == 0
    }

    fn leave(&self) {
        self.running.lock().all -= 1;
        self.changed.notify_all();
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether the calling thread is on it, and must not wait for its end.
    pub fn includes_caller(&self) -> bool {
        ON_ROLL.get() == self.address()
    }

    /// Waits until no thread runs any more; false when the time is over before.
    pub fn wait_for_none(&self, limit: Option<Duration>) -> bool {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut running = self.running.lock();
        while running.all > 0 {
            match deadline {
                None => self.changed.wait(&mut running),
                Some(deadline) => {
                    if self.changed.wait_until(&mut running, deadline).timed_out() {
                        return running.all == 0;
                    }
                }
            }
        }
        true
    }
}

/// What the host wants to be called with on each thread.
pub trait ThreadHook: Send + Sync {
    /// After the thread started, and before it ends.
    fn tell(&self, name: &CStr, started: bool);
}

/// The threads of one server.
pub struct Threads {
    handles: Vec<JoinHandle<()>>,
    pub hook: Option<Arc<dyn ThreadHook>>,
    orders: Arc<Orders>,
}

impl Threads {
    pub fn new(orders: Arc<Orders>) -> Self {
        Threads { handles: Vec::new(), hook: None, orders }
    }

    /// Starts a thread with every signal blocked but the synchronous ones. `after` is told whether it was the last I/O thread.
    pub fn start(
        &mut self,
        roll: &Arc<Roll>,
        name: String,
        io: bool,
        work: impl FnOnce() + Send + 'static,
        after: impl FnOnce(bool) + Send + 'static,
    ) -> io::Result<()> {
        let _blocked = sys::block_signals();
        roll.enter(io);
        let (theirs, orders) = (Arc::clone(roll), Arc::clone(&self.orders));
        let hook = self.hook.clone().zip(CString::new(name.as_str()).ok());
        let named = name.clone();
        let body = move || {
            ON_ROLL.set(theirs.address());
            if let Some((hook, name)) = &hook {
                hook.tell(name, true);
            }
            // A panic must neither leave this thread nor leave the roll wrong.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                tell::fault(&orders.log, &named, &*payload);
            }
            after(io && theirs.end_io());
            if let Some((hook, name)) = &hook {
                hook.tell(name, false);
            }
            // The host may be called until here: who waits for the end of this thread may free what its functions use.
            theirs.leave();
        };
        match Builder::new().name(name).spawn(body) {
            Ok(handle) => {
                self.handles.push(handle);
                Ok(())
            }
            Err(error) => {
                if io {
                    roll.end_io();
                }
                roll.leave();
                Err(error)
            }
        }
    }

    pub fn join(&mut self) {
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

/// What a handler thread does: exactly the loop of a host that polls. A panic costs what it had taken and not yet delivered.
pub fn handle(queue: &HostQueue, sink: &dyn EventSink, batch_max: usize, sleeper: EventFd, orders: &Orders) {
    let mut sleeper = Some(sleeper);
    let mut events: Vec<ingest_event> = Vec::with_capacity(batch_max);
    loop {
        match catch_unwind(AssertUnwindSafe(|| handle_once(queue, sink, &mut events, &mut sleeper))) {
            Ok(true) => {}
            Ok(false) => return,
            Err(payload) => {
                tell::fault(&orders.log, "a handler thread", &*payload);
                if orders.faults.note_beside(queue.now_ms()) {
                    tell::unhealthy(&orders.log);
                }
                queue.lose(&mut events);
                events.reserve(batch_max);
            }
        }
    }
}

/// One batch. False when nothing comes any more.
fn handle_once(queue: &HostQueue, sink: &dyn EventSink, events: &mut Vec<ingest_event>, sleeper: &mut Option<EventFd>) -> bool {
    let count = queue.wait_into(events, sleeper);
    if count < 0 && count != INGEST_E_INTERRUPTED {
        return false;
    }
    if !events.is_empty() {
        fail_point!("handler");
        // Out of `events`: from here on they are the host's, whatever happens.
        let delivered = std::mem::take(events);
        sink.deliver(&delivered);
        *events = delivered;
    }
    true
}
