//! What joins two segments: a belt that batons ride on, which cannot fill, and whose far end is woken only if it sleeps.
#![forbid(unsafe_code)]

use crate::engine::sys::EventFd;
use crate::limits::LOOK_UP_MS;
use crate::memory::sync::{AtomicUsize, Mutex, Ordering};
use crate::memory::waker::{Signal, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Many put, one takes. There is room for everything that can ever be on it, since a baton is in one place only: putting cannot
/// fail, and no circle of threads can wait for each other. A lock for a few instructions, since the room is only set aside
/// and not written to, whereas a ring of slots is written to when it is made: a megabyte and more with many connections.
#[derive(Debug)]
pub struct Conveyor<T, S> {
    belt: Mutex<VecDeque<T>>,
    /// How much is on the belt, for who only wants to look.
    waiting: AtomicUsize,
    /// Who sleeps at the far end.
    waker: Arc<Waker<S>>,
}

impl<T, S: Signal> Conveyor<T, S> {
    /// With room for so much. It fails only when memory cannot be had.
    pub fn new(room: usize, waker: Arc<Waker<S>>) -> io::Result<Self> {
        let mut belt = VecDeque::new();
        belt.try_reserve_exact(room).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Conveyor { belt: Mutex::new(belt), waiting: AtomicUsize::new(0), waker })
    }

    /// Puts one on. Nobody is woken yet: who puts several tells the far end once, with `wake`.
    pub fn put(&self, cargo: T) {
        let mut belt = self.belt.lock();
        belt.push_back(cargo);
        self.waiting.store(belt.len(), Ordering::Relaxed);
    }

    /// Wakes the far end if it sleeps. Returns whether that took a system call.
    pub fn wake(&self) -> bool {
        self.waker.wake()
    }

    /// Wakes the far end whatever it does.
    pub fn wake_always(&self) {
        self.waker.wake_always();
    }

    /// How much was on the belt a moment ago.
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether there is nothing to take. After `announce_sleep` on the same waker nothing that was put before a `wake` is missed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends what was put first to `taken`, at most so many, in the order in which they were put.
    pub fn take(&self, taken: &mut VecDeque<T>, most: usize) {
        if self.is_empty() {
            return;
        }
        let mut belt = self.belt.lock();
        let count = belt.len().min(most);
        taken.extend(belt.drain(..count));
        self.waiting.store(belt.len(), Ordering::Relaxed);
    }
}

impl<T> Conveyor<T, EventFd> {
    /// Sleeps until something is on the belt, or until someone woke whoever is at its end.
    pub fn wait(&self) {
        self.waker.announce_sleep();
        if self.is_empty() {
            // It fails only for a signal, and library threads block those; then the belt is looked at once more. So it is after a while,
            // since whoever closes our descriptors takes the wake-up with them.
            let _ = self.waker.signal().wait(LOOK_UP_MS.into());
        }
        self.waker.awake();
        self.waker.signal().reset();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn conveyor(room: usize) -> Conveyor<u32, EventFd> {
        Conveyor::new(room, Arc::new(Waker::new(EventFd::new().unwrap()))).unwrap()
    }

    #[test]
    fn brings_everything_in_order_and_no_more_than_is_wanted() {
        let conveyor = conveyor(8);
        let mut taken = VecDeque::new();
        conveyor.take(&mut taken, 8);
        assert!(taken.is_empty() && conveyor.is_empty());
        (0..8).for_each(|number| conveyor.put(number));
        conveyor.take(&mut taken, 3);
        assert!(!conveyor.is_empty());
        conveyor.take(&mut taken, 100);
        assert!(conveyor.is_empty());
        assert_eq!(taken, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn wakes_only_who_sleeps() {
        let conveyor = conveyor(1);
        conveyor.put(1);
        assert!(!conveyor.wake(), "nobody sleeps");
        conveyor.waker.announce_sleep();
        assert!(conveyor.wake(), "someone sleeps");
        assert!(!conveyor.wake(), "it was woken before");
        conveyor.wait();
        assert!(!conveyor.is_empty());
    }

    #[test]
    fn the_room_is_there_from_the_start() {
        let conveyor = conveyor(1000);
        let before = conveyor.belt.lock().capacity();
        (0..1000).for_each(|number| conveyor.put(number));
        assert_eq!(conveyor.belt.lock().capacity(), before);
        assert!(Conveyor::<u32, EventFd>::new(usize::MAX, Arc::clone(&conveyor.waker)).is_err());
    }
}
