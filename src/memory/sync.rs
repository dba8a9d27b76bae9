//! The synchronisation primitives of the hand-overs: the real ones, or loom's when `--cfg loom` explores every interleaving.

#[cfg(loom)]
pub use loom::hint::spin_loop;
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub use std::hint::spin_loop;
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// A lock that cannot be poisoned.
#[derive(Debug)]
pub struct Mutex<T> {
    #[cfg(not(loom))]
    inner: parking_lot::Mutex<T>,
    #[cfg(loom)]
    inner: loom::sync::Mutex<T>,
}

#[cfg(not(loom))]
impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Mutex { inner: parking_lot::Mutex::new(value) }
    }

    pub fn lock(&self) -> parking_lot::MutexGuard<'_, T> {
        self.inner.lock()
    }
}

#[cfg(loom)]
impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Mutex { inner: loom::sync::Mutex::new(value) }
    }

    pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.inner.lock().expect("loom stops at the first panic")
    }
}

/// A cell whose owner is decided by a state word next to it; loom checks that the state word really excludes the others.
#[derive(Debug)]
pub struct OwnedCell<T> {
    #[cfg(not(loom))]
    inner: std::cell::UnsafeCell<T>,
    #[cfg(loom)]
    inner: loom::cell::UnsafeCell<T>,
}

impl<T> OwnedCell<T> {
    pub fn new(value: T) -> Self {
        #[cfg(not(loom))]
        return OwnedCell { inner: std::cell::UnsafeCell::new(value) };
        #[cfg(loom)]
        return OwnedCell { inner: loom::cell::UnsafeCell::new(value) };
    }

    /// Lends the content to the one who owns the cell now.
    ///
    /// # Safety
    /// The caller has taken the cell's ownership (a state change or a lock), and gives it on only after `use_it` returns.
    pub unsafe fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(loom))]
        // SAFETY: the caller owns the cell, so this is the only reference.
        return use_it(unsafe { &mut *self.inner.get() });
        #[cfg(loom)]
        // SAFETY: the caller owns the cell, so this is the only reference; loom checks it.
        return self.inner.with_mut(|content| use_it(unsafe { &mut *content }));
    }
}
