//! A waker that makes a system call only if the other side sleeps.
#![forbid(unsafe_code)]

use super::sync::{AtomicBool, Ordering, fence};

/// Something that can be made readable and unreadable: an eventfd, or a flag in a model.
pub trait Signal {
    /// Makes it readable.
    fn signal(&self);
    /// Makes it unreadable.
    fn reset(&self);
}

/// One sleeper, many who wake it.
///
/// The sleeper announces its sleep, then looks at its work once more; the others add work, then look whether it sleeps.
/// The two fences order these steps, so at least one side sees the other.
#[derive(Debug)]
pub struct Waker<S> {
    asleep: AtomicBool,
    signal: S,
}

impl<S: Signal> Waker<S> {
    pub fn new(signal: S) -> Self {
        Waker { asleep: AtomicBool::new(false), signal }
    }

    pub fn signal(&self) -> &S {
        &self.signal
    }

    /// Called by the sleeper before its last look at its work.
    pub fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the sleeper when it goes on; whoever found it asleep may have signalled.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Called after work was added. Returns whether a signal had to be sent.
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // One of several wakers signals; the others leave the flag as it is (loom cannot order a swap of false for false).
        if self.asleep.load(Ordering::Relaxed) && self.asleep.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.signal.signal();
            return true;
        }
        false
    }

    /// Signals whether it sleeps or not: for stopping, from a signal handler.
    pub fn wake_always(&self) {
        self.signal.signal();
    }
}
