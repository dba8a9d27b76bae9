//! A trip over a cut: the baton, and in its luggage what it takes to the far segment and what it brings home.
#![forbid(unsafe_code)]

use super::conveyor::Conveyor;
use crate::connection::exchange::Exchange;
use crate::connection::{Connection, Memory};
use crate::decrypt::Opened;
use crate::engine::SeatId;
use crate::engine::sys::EventFd;
use crate::journey::Sampler;
use crate::memory::pool::Freight;
use crate::memory::waker::Waker;
use crate::options::JourneyMode;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room for octets that luggage keeps for its next trip.
const CHUNK_KEPT_BYTES: usize = 16 * 1024;

/// One baton under way. Whoever holds the trip holds the baton.
#[derive(Debug)]
pub struct Trip {
    pub baton: Box<Connection>,
    pub luggage: Box<Luggage>,
}

/// What crosses a cut is owned by the baton: octets lie here, never in a thread's slab. Luggage is used again for other trips.
#[derive(Debug)]
pub struct Luggage {
    /// The thread that owns the descriptor, and the seat there.
    pub home: u16,
    pub seat: SeatId,
    /// Octets that were just read, when nothing was carried in the inbox.
    pub octets: Vec<u8>,
    /// They are as they were received, and the session opens them on the far thread.
    pub sealed: bool,
    /// What came of that, if the session was not established before, and whether it showed anything plain.
    pub opened: Option<(Opened, bool, bool)>,
    /// A body's own buffer with so many new octets at its end.
    pub landed: Option<(Vec<u8>, usize)>,
    /// What the receive took, and opening what it brought, if they were timed; and which requests are timed at every step.
    pub read_ns: u64,
    pub decrypt_ns: u64,
    pub sampler: Sampler,
    /// The home's time.
    pub now_ns: u64,
    /// What the home held when the baton left; what is charged and released under way is changed here.
    pub memory: Memory,
    /// Octets that the home has charged for the time of the trip.
    pub reserved: usize,
    /// Requests that were completed, in order; their places among the pending ones are kept.
    pub exchanges: Vec<Exchange>,
    /// Blocks on their way back to the pool that lends.
    pub freight: Freight,
    /// The far segment panicked over it.
    pub fault: bool,
}

impl Luggage {
    pub fn new() -> Self {
        Luggage {
            home: 0,
            seat: SeatId { index: 0, generation: 0 },
            octets: Vec::new(),
            sealed: false,
            opened: None,
            landed: None,
            read_ns: 0,
            decrypt_ns: 0,
            sampler: Sampler::new(JourneyMode::Off, 1),
            now_ns: 0,
            memory: Memory::empty(),
            reserved: 0,
            exchanges: Vec::new(),
            freight: Freight::default(),
            fault: false,
        }
    }

    /// Brings what was charged and released under way to the home's account, and takes the reservation off it.
    pub fn account(&mut self, memory: &mut Memory) {
        memory.release(std::mem::take(&mut self.reserved));
        memory.settle(&mut self.memory);
    }

    /// Empties it for the next trip.
    pub fn clear(&mut self) {
        debug_assert!(self.exchanges.is_empty(), "what was completed is handed over or dissolved");
        self.octets.clear();
        if self.octets.capacity() > CHUNK_KEPT_BYTES {
            self.octets = Vec::new();
        }
        (self.sealed, self.opened, self.landed) = (false, None, None);
        self.fault = false;
    }
}

impl Default for Luggage {
    fn default() -> Self {
        Self::new()
    }
}

/// Every conveyor of a server that has a cut: one to each thread of the far segment, one to each home.
#[derive(Debug)]
pub struct Belts<T = Trip> {
    pub outward: Vec<Conveyor<T, EventFd>>,
    pub homeward: Vec<Conveyor<T, EventFd>>,
    /// Passes that are out.
    passes: AtomicUsize,
}

/// The right to send batons out. The threads of the far segment run until the last pass is dropped, so whoever holds one gets
/// every baton back, also when the server stops, a start fails, or a home ends by a panic.
#[derive(Debug)]
pub struct Pass<T = Trip> {
    belts: Arc<Belts<T>>,
}

impl<T> Belts<T> {
    /// Conveyors with room for every connection there can be: to so many far threads, and to the homes that these wakers wake.
    pub fn lay(connections: usize, far_threads: usize, homes: &[Arc<Waker<EventFd>>], floor: RawFd) -> io::Result<Pass<T>> {
        let outward = (0..far_threads).map(|_| Conveyor::new(connections, Arc::new(Waker::new(EventFd::above(floor)?))));
        let homeward = homes.iter().map(|waker| Conveyor::new(connections, Arc::clone(waker)));
        let belts = Belts {
            outward: outward.collect::<io::Result<_>>()?,
            homeward: homeward.collect::<io::Result<_>>()?,
            passes: AtomicUsize::new(1),
        };
        Ok(Pass { belts: Arc::new(belts) })
    }

    /// Nobody can send anything out any more.
    pub fn is_over(&self) -> bool {
        self.passes.load(Ordering::Acquire) == 0
    }
}

impl<T> Pass<T> {
    pub fn belts(&self) -> &Arc<Belts<T>> {
        &self.belts
    }
}

impl<T> Clone for Pass<T> {
    fn clone(&self) -> Self {
        self.belts.passes.fetch_add(1, Ordering::Relaxed);
        Pass { belts: Arc::clone(&self.belts) }
    }
}

impl<T> Drop for Pass<T> {
    fn drop(&mut self) {
        if self.belts.passes.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.belts.outward.iter().for_each(Conveyor::wake_always);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_far_threads_end_after_the_last_pass() {
        let pass = Belts::<Trip>::lay(4, 1, &[Arc::new(Waker::new(EventFd::new().unwrap()))], 0).unwrap();
        let belts = Arc::clone(pass.belts());
        let second = pass.clone();
        drop(pass);
        assert!(!belts.is_over());
        let sleeper = std::thread::spawn({
            let belts = Arc::clone(&belts);
            move || {
                while !belts.is_over() {
                    belts.outward[0].wait();
                }
            }
        });
        drop(second);
        sleeper.join().unwrap();
        assert!(belts.is_over());
    }
}
