//! Accepting from the listeners: a bounded number a wake-up, a pause when descriptors run out, and an end for one that was lost.
#![forbid(unsafe_code)]

use super::{EpollEngine, LISTENER, TIMER, WAKER};
use crate::engine::sys::{self, Interest, Poller};
use crate::engine::{Arrival, Event, Listening};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};

/// A paused listener is tried again after this long (limits, S01).
const PAUSE_MS: u64 = 100;
/// So many connections that died in the backlog are skipped one after the other; then it is taken for a pause (limits, S02).
const FAILURES_MAX: u32 = 64;
/// How often a thread that is awake looks whether its listeners are still there, and how often one wakes up for it.
const LOOK_MS: u64 = 1_000;
const LOOK_IDLE_MS: u64 = 10_000;

/// The listeners of one thread, and whether it accepts from them.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    per_wake: usize,
    /// Accepted sockets lie at or above this number.
    floor: RawFd,
    /// The listener that is being accepted on, and how many it may still accept in this tick.
    pub(super) accepting: Option<(usize, usize)>,
    pub(super) paused_by_owner: bool,
    pub(super) paused_until_ms: u64,
    /// Failures of accept one after the other that were a connection's, not ours.
    failures: u32,
    looked_at_ms: u64,
}

#[derive(Debug)]
struct Listener {
    number: u16,
    /// None once it is broken.
    listening: Option<Listening>,
    registered: bool,
    /// Nobody is accepted here for now, whatever the others do.
    held: bool,
}

impl Listening {
    fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn interest(&self) -> Interest {
        if self.shared { Interest::Shared } else { Interest::Level }
    }
}

impl Listeners {
    pub(super) fn new(per_wake: usize, floor: RawFd, now_ms: u64) -> Self {
        Listeners {
            all: Vec::new(),
            per_wake,
            floor,
            accepting: None,
            paused_by_owner: false,
            paused_until_ms: 0,
            failures: 0,
            looked_at_ms: now_ms,
        }
    }

    /// The kernel has news of this one.
    pub(super) fn begin(&mut self, index: usize) {
        self.accepting = Some((index, self.per_wake));
    }

    /// The sockets of those that are not lost.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.all.iter().filter_map(|listener| Some(listener.listening.as_ref()?.descriptor()))
    }

    /// Whether this one takes nobody for now.
    pub(super) fn hold(&mut self, number: u16, held: bool) {
        self.all.iter_mut().filter(|listener| listener.number == number).for_each(|listener| listener.held = held);
    }

    /// How long a wait may take at most for their sake.
    pub(super) fn patience_ms(&self, now_ms: u64) -> u64 {
        if self.paused_until_ms != 0 {
            return self.paused_until_ms.saturating_sub(now_ms);
        }
        if self.all.iter().any(|listener| listener.listening.is_some()) { LOOK_IDLE_MS } else { u64::MAX }
    }

    /// A descriptor is free again: no need to wait for the pause to end.
    pub(super) fn room(&mut self) {
        if self.paused_until_ms != 0 {
            self.paused_until_ms = 1;
        }
    }
}

impl<B> EpollEngine<B> {
    pub(super) fn add_listener(&mut self, number: u16, listening: Listening) -> io::Result<()> {
        sys::listening::may_accept()?;
        let index = self.listeners.all.len() as u64;
        self.poller.add(listening.descriptor(), listening.interest(), LISTENER | index)?;
        self.listeners.all.push(Listener { number, listening: Some(listening), registered: true, held: false });
        Ok(())
    }

    /// For good. Those that were made here are shut first, so that nobody waits in the backlog of a forked child's descriptor.
    pub(super) fn end_listeners(&mut self) {
        self.listeners.accepting = None;
        // By hand, since closing takes a descriptor out of the set only if it is the last one of its socket.
        self.set_listening(false);
        for listening in self.listeners.all.drain(..).filter_map(|listener| listener.listening) {
            listening.socket.shut();
        }
    }

    pub(super) fn accept_one(&mut self, now_ms: u64) -> Option<Event> {
        let (index, left) = self.listeners.accepting?;
        let Some(listener) = self.listeners.all.get(index) else {
            self.listeners.accepting = None;
            return None;
        };
        let Some(listening) = &listener.listening else {
            // It was lost, and what others still have of its socket is in our set under a number that is not ours.
            self.listeners.accepting = None;
            let _ = self.renew_poller();
            return None;
        };
        if left == 0 || !listener.registered {
            self.listeners.accepting = None;
            return None;
        }
        let number = listener.number;
        match sys::accept(listening.descriptor(), self.listeners.floor) {
            Ok((stream, peer)) => {
                self.listeners.failures = 0;
                self.listeners.accepting = Some((index, left - 1));
                Some(Event::Arrived(number, Arrival::Stream(stream, peer)))
            }
            Err(error) if sys::accept_exhausted(&error) => {
                self.pause_accepting(now_ms);
                Some(Event::ListenerFailed(number, error))
            }
            Err(error) if sys::accept_broken(&error) => Some(self.lose_listener(index, error)),
            Err(error) => {
                // WouldBlock ends the round; a connection that died in the backlog (limits, S02) is skipped.
                let round_ends = error.kind() == ErrorKind::WouldBlock;
                self.listeners.accepting = (!round_ends).then_some((index, left - 1));
                if !round_ends && error.kind() != ErrorKind::Interrupted {
                    self.listeners.failures += 1;
                    if self.listeners.failures >= FAILURES_MAX {
                        // What fails every time, such as a call that is forbidden, must not be tried without end.
                        self.pause_accepting(now_ms);
                        return Some(Event::ListenerFailed(number, error));
                    }
                }
                None
            }
        }
    }

    fn pause_accepting(&mut self, now_ms: u64) {
        self.listeners.accepting = None;
        self.listeners.failures = 0;
        self.set_listening(false);
        self.listeners.paused_until_ms = now_ms + PAUSE_MS;
    }

    /// The listener is none any more: it is given up for good, and the others go on.
    fn lose_listener(&mut self, index: usize, error: io::Error) -> Event {
        self.listeners.accepting = None;
        let listener = &mut self.listeners.all[index];
        listener.registered = false;
        if let Some(listening) = listener.listening.take() {
            let _ = self.poller.remove(listening.descriptor());
        }
        Event::ListenerFailed(self.listeners.all[index].number, error)
    }

    /// A socket that somebody closed says nothing, so it is asked for now and then.
    pub(super) fn next_lost_listener(&mut self, now_ms: u64) -> Option<Event> {
        if now_ms < self.listeners.looked_at_ms + LOOK_MS {
            return None;
        }
        for index in 0..self.listeners.all.len() {
            let looked = self.listeners.all[index].listening.as_ref().map(|listening| listening.socket.look());
            if let Some(Err(error)) = looked {
                return Some(self.lose_listener(index, error));
            }
        }
        self.listeners.looked_at_ms = now_ms;
        None
    }

    pub(super) fn set_listening(&mut self, on: bool) {
        let mut failed = false;
        for (index, listener) in self.listeners.all.iter_mut().enumerate() {
            let on = on && !listener.held;
            let Some(listening) = listener.listening.as_ref().filter(|_| listener.registered != on) else { continue };
            let socket = listening.descriptor();
            let word = LISTENER | index as u64;
            let changed = if on { self.poller.add(socket, listening.interest(), word) } else { self.poller.remove(socket) };
            match changed {
                Ok(()) => listener.registered = on,
                Err(_) => failed = true,
            }
        }
        if on && failed {
            // The kernel had no room in the set: not for ever, so it is asked again.
            self.listeners.paused_until_ms = sys::monotonic_ns() / 1_000_000 + PAUSE_MS;
        }
    }

    /// Something in the set can no longer be taken out, since its number is another's by now: a new set without it.
    fn renew_poller(&mut self) -> io::Result<()> {
        let poller = Poller::new(self.listeners.floor)?;
        poller.add(self.waker.signal().descriptor(), Interest::Level, WAKER)?;
        if let Some((timer, _)) = &self.alarm {
            poller.add(timer.descriptor(), Interest::Level, TIMER)?;
        }
        for (index, listener) in self.listeners.all.iter().enumerate().filter(|(_, listener)| listener.registered) {
            if let Some(listening) = &listener.listening {
                poller.add(listening.descriptor(), listening.interest(), LISTENER | index as u64)?;
            }
        }
        for id in self.seats.ids() {
            if let Some(stream) = self.seats.get(id).and_then(|seat| seat.stream.as_ref()) {
                poller.add(stream.as_raw_fd(), Interest::Edge, id.word())?;
            }
        }
        self.poller.become_other(poller)
    }
}
