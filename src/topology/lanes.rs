//! What joins the thread that accepts with those that serve: a conveyor of newcomers to each of them, which they travel once.
#![forbid(unsafe_code)]

use super::balance::{Balance, Load};
use super::conveyor::Conveyor;
use crate::connection::Connection;
use crate::engine::sys::EventFd;
use crate::memory::waker::Waker;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A connection that was admitted and has no seat yet. Whoever drops it closes it.
#[derive(Debug)]
pub struct Newcomer {
    pub stream: OwnedFd,
    pub is_local: bool,
    pub baton: Box<Connection>,
}

/// The way to one thread that serves.
#[derive(Debug)]
struct Lane {
    belt: Conveyor<Newcomer, EventFd>,
    /// Connections that were sent this way and are not over.
    open: AtomicUsize,
    /// The thread has as many handshakes under way as it may have.
    shut: AtomicBool,
}

/// The ways to all of them.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    /// The gate is closed: nobody will come any more.
    over: AtomicBool,
}

/// The right to send newcomers. The threads that serve look for them until it is dropped, so that each is served or closed by the
/// thread that it was given to, also when the server stops, a start fails, or the thread that accepts ends by a panic.
#[derive(Debug)]
pub struct Gate {
    lanes: Arc<Lanes>,
    balance: Balance,
    /// Threads that were sent somebody and not yet told.
    untold: Vec<bool>,
}

impl Gate {
    /// Conveyors with room for every connection there can be, to the threads that these wakers wake.
    pub fn open(connections: usize, wakers: impl Iterator<Item = Arc<Waker<EventFd>>>, seed: u64) -> io::Result<Gate> {
        let lane = |waker| Ok(Lane { belt: Conveyor::new(connections, waker)?, open: AtomicUsize::new(0), shut: AtomicBool::new(false) });
        let lanes = Lanes { lanes: wakers.map(lane).collect::<io::Result<_>>()?, over: AtomicBool::new(false) };
        let untold = vec![false; lanes.lanes.len()];
        Ok(Gate { lanes: Arc::new(lanes), balance: Balance::new(seed), untold })
    }

    pub fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Gives a newcomer to one of the threads, which hears of it with `tell`.
    pub fn send(&mut self, newcomer: Newcomer) {
        let lanes = &self.lanes.lanes;
        let load = |index: usize| {
            // A thread that has its hands full is for nobody while there is another.
            let waiting = if lanes[index].shut.load(Ordering::Relaxed) { usize::MAX } else { lanes[index].belt.len() };
            Load { open: lanes[index].open.load(Ordering::Relaxed), waiting }
        };
        let chosen = self.balance.choose(lanes.len(), load);
        lanes[chosen].open.fetch_add(1, Ordering::Relaxed);
        lanes[chosen].belt.put(newcomer);
        self.untold[chosen] = true;
    }

    /// Tells the threads that were sent somebody: once a tick, and with a system call only those that sleep. Returns how many did.
    pub fn tell(&mut self) -> u64 {
        let lanes = self.lanes.lanes.iter().zip(&mut self.untold);
        lanes.map(|(lane, untold)| u64::from(std::mem::take(untold) && lane.belt.wake())).sum()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.lanes.over.store(true, Ordering::Release);
        self.lanes.lanes.iter().for_each(|lane| lane.belt.wake_always());
    }
}

impl Lanes {
    /// Takes newcomers in the order in which they came, at most so many.
    pub fn take(&self, number: usize, newcomers: &mut VecDeque<Newcomer>, most: usize) {
        self.lanes[number].belt.take(newcomers, most);
    }

    /// Notes whether a thread has as many handshakes under way as it may have.
    pub fn shut(&self, number: usize, shut: bool) {
        self.lanes[number].shut.store(shut, Ordering::Release);
    }

    /// None of the threads may begin another handshake.
    pub fn are_shut(&self) -> bool {
        self.lanes.iter().all(|lane| lane.shut.load(Ordering::Acquire))
    }

    /// Whether somebody waits to be let in.
    pub fn is_awaited(&self, number: usize) -> bool {
        !self.lanes[number].belt.is_empty()
    }

    /// Nobody is there and nobody will come.
    pub fn is_over(&self, number: usize) -> bool {
        // In this order: what was sent before the gate was closed is then seen.
        self.over.load(Ordering::Acquire) && !self.is_awaited(number)
    }

    /// Sleeps until somebody comes, or until the gate is closed.
    pub fn wait(&self, number: usize) {
        self.lanes[number].belt.wait();
    }

    /// A connection that was given to this thread is over.
    pub fn left(&self, number: usize) {
        self.lanes[number].open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::accept::Peer;
    use crate::decrypt::Session;

    fn gate(threads: usize) -> Gate {
        let wakers = (0..threads).map(|_| Arc::new(Waker::new(EventFd::new().unwrap())));
        Gate::open(16, wakers, 1).unwrap()
    }

    fn newcomer() -> (Newcomer, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let baton = Box::new(Connection::new(0, Peer::unnamed(), Session::Plain, 0));
        (Newcomer { stream: ours.into(), is_local: true, baton }, theirs)
    }

    #[test]
    fn newcomers_are_spread_and_those_that_left_make_room() {
        let mut gate = gate(2);
        let lanes = Arc::clone(gate.lanes());
        let mut peers = Vec::new();
        for _ in 0..8 {
            let (newcomer, peer) = newcomer();
            peers.push(peer);
            gate.send(newcomer);
        }
        let mut taken = [VecDeque::new(), VecDeque::new()];
        (0..2).for_each(|number| lanes.take(number, &mut taken[number], 100));
        assert_eq!([taken[0].len(), taken[1].len()], [4, 4], "two are always compared with each other");
        (0..3).for_each(|_| lanes.left(1));
        for _ in 0..3 {
            let (newcomer, peer) = newcomer();
            peers.push(peer);
            gate.send(newcomer);
            lanes.take(1, &mut taken[1], 100);
        }
        assert_eq!([taken[0].len(), taken[1].len()], [4, 7]);
        assert!(!lanes.is_awaited(0));
    }

    #[test]
    fn it_is_not_over_before_the_last_newcomer_is_taken() {
        let mut gate = gate(1);
        let lanes = Arc::clone(gate.lanes());
        let (newcomer, mut peer) = newcomer();
        gate.send(newcomer);
        assert!(lanes.is_awaited(0) && !lanes.is_over(0));
        drop(gate);
        assert!(!lanes.is_over(0), "one is still to be taken");
        // Returns at once, and the next one too: closing the gate wakes, whoever sleeps or not.
        lanes.wait(0);
        let mut taken = VecDeque::new();
        lanes.take(0, &mut taken, 100);
        assert!(taken.len() == 1 && lanes.is_over(0));
        drop(taken);
        assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0, "who drops a newcomer closes it");
    }

    #[test]
    fn a_thread_that_waits_for_newcomers_hears_that_there_will_be_none() {
        let gate = gate(2);
        let lanes = Arc::clone(gate.lanes());
        let sleeper = std::thread::spawn(move || {
            while !lanes.is_over(1) {
                lanes.wait(1);
            }
        });
        drop(gate);
        sleeper.join().unwrap();
    }
}
