//! Accepting from the listeners: a bounded number a wake-up, and a pause when descriptors run out.
#![forbid(unsafe_code)]

use super::{EpollEngine, LISTENER, LISTENER_PAUSE_MS, Listener};
use crate::engine::sys::{self, Interest};
use crate::engine::{Arrival, Event};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};

impl Listener {
    pub(super) fn descriptor(&self) -> RawFd {
        self.listening.socket.as_raw_fd()
    }

    pub(super) fn interest(&self) -> Interest {
        if self.listening.shared { Interest::Shared } else { Interest::Level }
    }
}

impl<B> EpollEngine<B> {
    pub(super) fn accept_one(&mut self, now_ms: u64) -> Option<Event> {
        let (index, left) = self.accepting?;
        let listener = self.listeners.get(index).filter(|listener| listener.registered);
        let (Some(listener), true) = (listener, left > 0) else {
            self.accepting = None;
            return None;
        };
        let number = listener.number;
        match sys::accept(listener.descriptor()) {
            Ok((stream, peer)) => {
                self.accepting = Some((index, left - 1));
                Some(Event::Arrived(number, Arrival::Stream(stream, peer)))
            }
            Err(error) if sys::accept_exhausted(&error) => {
                self.accepting = None;
                self.set_listening(false);
                self.paused_until_ms = now_ms + LISTENER_PAUSE_MS;
                Some(Event::ListenerFailed(number, error))
            }
            Err(error) if sys::accept_broken(&error) => {
                self.accepting = None;
                let _ = self.poller.remove(self.listeners[index].descriptor());
                self.listeners[index].registered = false;
                Some(Event::ListenerFailed(number, error))
            }
            Err(error) => {
                // WouldBlock ends the round; a connection that died in the backlog (limits, S02) is skipped.
                self.accepting = (error.kind() != ErrorKind::WouldBlock).then_some((index, left - 1));
                None
            }
        }
    }

    pub(super) fn set_listening(&mut self, on: bool) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.registered == on {
                continue;
            }
            let socket = listener.descriptor();
            let word = LISTENER | index as u64;
            let changed = if on { self.poller.add(socket, listener.interest(), word) } else { self.poller.remove(socket) };
            if changed.is_ok() {
                listener.registered = on;
            }
        }
    }
}
