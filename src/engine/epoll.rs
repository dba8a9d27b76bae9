//! The engine on epoll: edge-triggered connections, level-triggered listeners, one eventfd for wake-ups.
#![forbid(unsafe_code)]

mod listening;
mod sending;

use self::listening::Listeners;
use super::deadlines::Deadlines;
use super::seats::{SeatId, Seats};
use super::sys::{self, EventFd, Interest, PollEvent, Poller, TimerFd};
use super::transfer::{Pushed, push_out, receive};
use super::{Engine, Event, Landing, Listening, Outgoing, Sending};
use crate::memory::waker::{Signal, Waker};
use crate::memory::wire::Wire;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Events taken from the kernel at once.
const EVENTS: usize = 512;
/// What the kernel hands back with an event of the waker and of a listener; seats have smaller generations in the upper half.
const WAKER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const LISTENER: u64 = 0xFFFF_FFFE << 32;

/// See the file's first line.
#[derive(Debug)]
pub struct EpollEngine<B> {
    poller: Poller,
    waker: Arc<Waker<EventFd>>,
    events: Vec<PollEvent>,
    /// The next of `events` to look at.
    next: usize,
    seats: Seats<B>,
    /// Seats that can be served without waiting: left over, or asked again while readable.
    ready: VecDeque<SeatId>,
    /// How many of `ready` belong to this tick; what is added meanwhile waits for the next.
    due: usize,
    /// Seats that have sent their share of a tick, though the kernel would take more.
    tired: VecDeque<SeatId>,
    tired_due: usize,
    /// Where files are read to when the kernel may not send them by itself.
    piecemeal: Option<Vec<u8>>,
    listeners: Listeners,
    deadlines: Deadlines,
    timed: bool,
    receives_paused: bool,
    /// Only for hosts that poll us: the next deadline as a descriptor, and what it is set to.
    alarm: Option<(TimerFd, u64)>,
    /// Descriptors are not to lie below this number.
    floor: RawFd,
}

/// What is to be done about an event of the kernel's.
enum Look {
    Nothing,
    /// Accept on `accepting`.
    Accept,
    /// Receive, if octets are wanted.
    Serve(SeatId),
    Report(Event),
}

impl<B> EpollEngine<B> {
    /// The waker is how other threads end a `wait`. All descriptors lie at or above `floor`.
    pub fn new(waker: Arc<Waker<EventFd>>, accepts_per_wake: usize, floor: RawFd, now_ms: u64) -> io::Result<Self> {
        let poller = Poller::new(floor)?;
        poller.add(waker.signal().descriptor(), Interest::Level, WAKER)?;
        Ok(EpollEngine {
            poller,
            waker,
            events: Vec::with_capacity(EVENTS),
            next: 0,
            seats: Seats::new(),
            ready: VecDeque::new(),
            due: 0,
            tired: VecDeque::new(),
            tired_due: 0,
            piecemeal: None,
            listeners: Listeners::new(accepts_per_wake, floor, now_ms),
            floor,
            deadlines: Deadlines::new(now_ms),
            timed: false,
            receives_paused: false,
            alarm: None,
        })
    }

    /// What one event of the kernel's asks for.
    fn look(&mut self, event: PollEvent) -> Look {
        let (events, word) = (event.events, event.u64);
        if word == WAKER {
            self.waker.signal().reset();
            return Look::Nothing;
        }
        if word == TIMER {
            if let Some((timer, at_ms)) = &mut self.alarm {
                timer.set(0);
                *at_ms = 0;
            }
            return Look::Nothing;
        }
        if word >= LISTENER {
            self.listeners.begin((word & 0xFFFF) as usize);
            return Look::Accept;
        }
        let id = SeatId::from_word(word);
        let Some(seat) = self.seats.get(id) else { return Look::Nothing };
        if events & (sys::READABLE | sys::ENDING) != 0 {
            seat.readable = true;
        }
        if events & sys::ENDING != 0 {
            seat.ending = true;
        }
        if events & sys::FINISHED != 0 {
            seat.finished = true;
        }
        if events & sys::BROKEN != 0 {
            seat.broken = true;
        }
        if seat.outgoing.is_some() && events & (sys::WRITABLE | sys::BROKEN) != 0 {
            if seat.readable && !seat.listed {
                seat.listed = true;
                self.ready.push_back(id);
            }
            return self.go_on_sending(id).map_or(Look::Nothing, Look::Report);
        }
        // What stands on the ready list is served from there: once a tick, whatever the kernel announces meanwhile. While receives
        // are paused that list waits, and only the end of a stream is news.
        if seat.readable && (!seat.listed || self.receives_paused) { Look::Serve(id) } else { Look::Nothing }
    }

    /// Serves a readable seat that wants octets.
    fn serve(&mut self, id: SeatId, slab: &mut [u8]) -> Option<Event> {
        let timed = std::mem::take(&mut self.timed);
        let paused = self.receives_paused;
        let seat = self.seats.get(id)?;
        if !seat.readable {
            return None;
        }
        // Nobody will read as far as FIN for a while, but it is news already.
        let unread_end = seat.finished && !seat.finish_told && (paused || seat.landing.is_none());
        let paused = paused && seat.landing.is_some() && !seat.broken;
        if paused || (unread_end && !seat.broken) {
            seat.finish_told |= unread_end;
            if paused {
                // Looked at again when the pause is over.
                self.list(id);
            }
            return unread_end.then_some(Event::Finished(id));
        }
        let Some(landing) = seat.landing.take() else {
            // Nobody wants octets now. A broken stream is news all the same.
            return seat.broken.then_some(Event::Broken(id));
        };
        let stream = seat.stream.as_ref()?.as_raw_fd();
        let began = if timed { sys::monotonic_ns() } else { 0 };
        let (result, wanted, window) = receive(stream, landing, slab);
        let read_ns = if timed { sys::monotonic_ns() - began } else { 0 };
        self.timed = timed;
        match result {
            Ok(0) => Some(Event::ReadClosed(id)),
            Ok(count) => {
                // A short read empties the socket, unless the end was announced (then the end is still to be read), or it is
                // a unix socket, which also stops where a message with descriptors or credentials ends.
                if count < wanted && !seat.ending && !seat.is_local {
                    seat.readable = false;
                }
                self.timed = false;
                let ends = seat.finished && !seat.finish_told;
                if ends {
                    // Looked at again, since nobody may come to read as far as FIN.
                    self.list(id);
                }
                Some(Event::Received { seat: id, window: window.filled(count), read_ns })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                seat.readable = false;
                seat.landing = Some(window.landing(wanted));
                None
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                seat.landing = Some(window.landing(wanted));
                self.list(id);
                None
            }
            Err(_) => Some(Event::Broken(id)),
        }
    }

    fn list(&mut self, id: SeatId) {
        if let Some(seat) = self.seats.get(id) {
            if !seat.listed {
                seat.listed = true;
                self.ready.push_back(id);
            }
        }
    }
}

impl<B> Engine<B> for EpollEngine<B> {
    fn seats(&mut self) -> &mut Seats<B> {
        &mut self.seats
    }

    fn listen(&mut self, listener: u16, listening: Listening) -> io::Result<()> {
        self.add_listener(listener, listening)
    }

    fn close_listeners(&mut self) {
        self.end_listeners();
    }

    fn pause_listeners(&mut self) {
        self.listeners.paused_by_owner = true;
        self.set_listening(false);
    }

    fn resume_listeners(&mut self) {
        if std::mem::take(&mut self.listeners.paused_by_owner) && self.listeners.paused_until_ms == 0 {
            self.set_listening(true);
        }
    }

    fn hold_listener(&mut self, listener: u16, held: bool) {
        self.listeners.hold(listener, held);
        self.set_listening(!self.listeners.paused_by_owner && self.listeners.paused_until_ms == 0);
    }

    fn seat(&mut self, stream: OwnedFd, is_local: bool, baton: Box<B>) -> Result<SeatId, (io::Error, Box<B>)> {
        let fd = stream.as_raw_fd();
        let id = self.seats.sit(stream, baton);
        if let Some(seat) = self.seats.get(id) {
            seat.is_local = is_local;
        }
        match self.poller.add(fd, Interest::Edge, id.word()) {
            Ok(()) => Ok(id),
            Err(error) => match self.seats.leave(id) {
                Some((_, Some(baton))) => Err((error, baton)),
                _ => unreachable!("the baton was put there three lines above"),
            },
        }
    }

    fn receive(&mut self, id: SeatId, landing: Landing) {
        let Some(seat) = self.seats.get(id) else { return };
        seat.landing = Some(landing);
        if seat.readable && !seat.listed {
            seat.listed = true;
            self.ready.push_back(id);
        }
    }

    fn pause_receives(&mut self, paused: bool) {
        self.receives_paused = paused;
    }

    fn time_next_receive(&mut self, timed: bool) {
        self.timed = timed;
    }

    fn send(&mut self, id: SeatId, mut outgoing: Outgoing) -> Sending {
        let Some(seat) = self.seats.get(id) else { return Sending::Failed(outgoing) };
        let Some(stream) = seat.stream.as_ref() else { return Sending::Failed(outgoing) };
        let pushed = push_out(stream.as_raw_fd(), &mut outgoing, self.piecemeal.as_mut());
        match pushed {
            Ok(Pushed::All) => return Sending::Done(outgoing),
            Err(_) => return Sending::Failed(outgoing),
            Ok(Pushed::Blocked | Pushed::Tired) => seat.outgoing = Some(Box::new(outgoing)),
        }
        if matches!(pushed, Ok(Pushed::Tired)) {
            self.tire(id);
        }
        Sending::Pending
    }

    fn wire(&mut self, id: SeatId) -> Option<Arc<dyn Wire>> {
        let stream = Arc::clone(self.seats.get(id)?.stream.as_ref()?);
        Some(stream)
    }

    fn avoid_sendfile(&mut self) {
        self.piecemeal = Some(Vec::new());
    }

    fn unacknowledged(&mut self, id: SeatId) -> u64 {
        let stream = self.seats.get(id).and_then(|seat| seat.stream.as_ref());
        stream.map_or(0, |stream| sys::tcp::unacknowledged(stream.as_raw_fd()))
    }

    fn take_back(&mut self, id: SeatId) -> Option<Landing> {
        self.seats.get(id)?.landing.take()
    }

    fn change_write_timeout(&mut self, timeout_ms: u64) {
        let listeners = self.listeners.descriptors();
        for socket in listeners.chain(self.seats.descriptors()) {
            // Unix sockets have nothing of the kind.
            let _ = sys::tcp::set_user_timeout(socket, timeout_ms);
        }
    }

    fn shutdown_write(&mut self, id: SeatId) {
        if let Some(stream) = self.seats.get(id).and_then(|seat| seat.stream.as_ref()) {
            sys::shutdown_write(stream.as_raw_fd());
        }
    }

    fn close(&mut self, id: SeatId, abort: bool) {
        if let Some((stream, _baton)) = self.seats.leave(id) {
            // A forked child may have a descriptor of it too, which must not keep the peer waiting.
            if abort {
                sys::abort(stream.as_raw_fd());
            } else {
                sys::shutdown_both(stream.as_raw_fd());
            }
            // Closing takes it out of the epoll set unless there is such a child; then its last event finds the seat given up.
            drop(stream);
            self.listeners.room();
        }
    }

    fn set_deadline(&mut self, id: SeatId, at_ms: u64) {
        self.deadlines.set(&mut self.seats, id, at_ms);
    }

    fn wait(&mut self, now_ms: u64, timeout_ms: i32) -> io::Result<()> {
        let mut limit = if timeout_ms < 0 { u64::MAX } else { timeout_ms as u64 };
        if self.has_ready() {
            limit = 0;
        }
        if let Some(next) = self.deadlines.next_in_ms(now_ms) {
            limit = limit.min(next.max(1));
        }
        limit = limit.min(self.listeners.patience_ms(now_ms));
        let limit = if limit == u64::MAX { -1 } else { limit.min(60_000) as i32 };
        self.due = if self.receives_paused { 0 } else { self.ready.len() };
        self.tired_due = self.tired.len();
        if self.next < self.events.len() {
            return Ok(());
        }
        self.next = 0;
        self.poller.wait(&mut self.events, limit)
    }

    fn outside(&mut self) -> io::Result<RawFd> {
        if self.alarm.is_none() {
            let timer = TimerFd::new(self.floor)?;
            self.poller.add(timer.descriptor(), Interest::Level, TIMER)?;
            self.alarm = Some((timer, 0));
        }
        Ok(self.poller.descriptor())
    }

    fn rest(&mut self, now_ms: u64, alarm_ms: Option<u64>) {
        let until_ms = self.listeners.paused_until_ms;
        let paused = (until_ms != 0).then(|| until_ms.saturating_sub(now_ms));
        let alarm = alarm_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
        let next = self.deadlines.next_in_ms(now_ms).into_iter().chain(paused).chain(alarm).min();
        let Some((timer, set)) = &mut self.alarm else { return };
        let at_ms = next.map_or(0, |left| now_ms + left.max(1));
        // Setting it is a system call; deadlines that only move back leave the wheel, and so this, as it is.
        if at_ms != *set {
            timer.set(at_ms);
            *set = at_ms;
        }
    }

    fn peek(&mut self) -> bool {
        if self.next >= self.events.len() {
            self.next = 0;
            if self.poller.wait(&mut self.events, 0).is_err() {
                self.events.clear();
            }
        }
        self.next < self.events.len()
    }

    fn has_ready(&self) -> bool {
        (!self.ready.is_empty() && !self.receives_paused) || !self.tired.is_empty() || self.seats.has_replayed()
    }

    fn reap(&mut self, now_ms: u64, slab: &mut [u8]) -> Option<Event> {
        if self.listeners.paused_until_ms != 0 && now_ms >= self.listeners.paused_until_ms {
            self.listeners.paused_until_ms = 0;
            if !self.listeners.paused_by_owner {
                self.set_listening(true);
            }
        }
        if self.seats.has_replayed() {
            return self.seats.next_replayed();
        }
        loop {
            if self.listeners.accepting.is_some() {
                if let Some(event) = self.accept_one(now_ms) {
                    return Some(event);
                }
                continue;
            }
            if let Some(event) = self.next_io(slab) {
                return Some(event);
            }
            if self.listeners.accepting.is_some() {
                continue;
            }
            return self.deadlines.next(&mut self.seats, now_ms).or_else(|| self.next_lost_listener(now_ms));
        }
    }
}

impl<B> EpollEngine<B> {
    /// Completions of what the kernel announced, then of what was left over from the tick before.
    fn next_io(&mut self, slab: &mut [u8]) -> Option<Event> {
        while self.next < self.events.len() {
            let event = self.events[self.next];
            self.next += 1;
            match self.look(event) {
                Look::Serve(id) => {
                    if let Some(event) = self.serve(id, slab) {
                        return Some(event);
                    }
                }
                Look::Report(event) => return Some(event),
                Look::Accept => return None,
                Look::Nothing => {}
            }
        }
        while self.tired_due > 0 {
            self.tired_due -= 1;
            let Some(id) = self.tired.pop_front() else { break };
            if let Some(seat) = self.seats.get(id) {
                seat.tired = false;
                if let Some(event) = self.go_on_sending(id) {
                    return Some(event);
                }
            }
        }
        while self.due > 0 {
            self.due -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(seat) = self.seats.get(id) {
                seat.listed = false;
                if let Some(event) = self.serve(id, slab) {
                    return Some(event);
                }
            }
        }
        None
    }
}
