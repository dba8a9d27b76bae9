//! The engine in memory: octets between simulated peers, in pieces, orders and failures that one seed decides. It knows no protocol.
#![forbid(unsafe_code)]

mod network;
mod random;
mod seating;

pub use network::{Chaos, Link, LinkId, Net, Network};
pub use random::Random;

use super::deadlines::Deadlines;
use super::sys::EventFd;
use super::{Arrival, Engine, Event, Landing, Listening, Outgoing, SeatId, Seats, Sending};
use crate::memory::waker::{Signal, Waker};
use crate::memory::wire::Wire;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A paused listener is tried again after this long, as in the engine on epoll.
const LISTENER_PAUSE_MS: u64 = 100;
/// Where time begins: not at zero, which means "never" in many places.
const BEGINNING_NS: u64 = 1_000_000_000_000;

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(BEGINNING_NS) };
}

/// The simulated time of this thread; it moves when `advance` is called.
pub fn now_ns() -> u64 {
    NOW_NS.get()
}

/// Lets so much time pass.
pub fn advance(nanoseconds: u64) {
    NOW_NS.set(NOW_NS.get() + nanoseconds);
}

/// As if nothing had been: every run begins at the same time.
pub fn rewind() {
    NOW_NS.set(BEGINNING_NS);
}

/// What a tick may complete.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept,
    Look(SeatId),
}

/// See the file's first line.
#[derive(Debug)]
pub struct SimEngine<B> {
    network: Network,
    waker: Arc<Waker<EventFd>>,
    seats: Seats<B>,
    deadlines: Deadlines,
    /// The link of each seat, by the seat's index.
    links: Vec<Option<LinkId>>,
    /// Links that were accepted and have no seat yet, by the number of the descriptor that stands for them.
    arriving: Vec<(RawFd, LinkId)>,
    /// Where the descriptors of the seats come from; nobody reads from them.
    nothing: File,
    plan: Vec<Step>,
    paused_by_owner: bool,
    paused_until_ms: u64,
    receives_paused: bool,
    timed: bool,
}

impl<B> SimEngine<B> {
    pub fn new(network: Network, waker: Arc<Waker<EventFd>>) -> io::Result<Self> {
        network.set_listening(true);
        Ok(SimEngine {
            network,
            waker,
            seats: Seats::new(),
            deadlines: Deadlines::new(now_ns() / 1_000_000),
            links: Vec::new(),
            arriving: Vec::new(),
            nothing: File::open("/dev/null")?,
            plan: Vec::new(),
            paused_by_owner: false,
            paused_until_ms: 0,
            receives_paused: false,
            timed: false,
        })
    }

    /// The link of a seat that is taken.
    fn link(&mut self, id: SeatId) -> Option<LinkId> {
        self.seats.get(id)?;
        self.links.get(id.index as usize).copied().flatten()
    }

    /// What this tick may complete, in an order of its own; some of it is left for a later tick, some is looked at twice.
    fn draw_plan(&mut self) {
        self.plan.clear();
        self.plan.extend(self.seats.ids().into_iter().map(Step::Look));
        self.network.with(|net| {
            let left_out = net.chaos.left_out;
            self.plan.retain(|_| !net.random.chance(left_out));
            for at in 0..self.plan.len() {
                if net.random.chance(net.chaos.twice) {
                    self.plan.push(self.plan[at]);
                }
            }
            let accepts = net.backlog.len().min(net.random.below(4) as usize + 1);
            self.plan.extend(std::iter::repeat_n(Step::Accept, accepts));
            net.random.shuffle(&mut self.plan);
        });
    }

    fn accept_one(&mut self, now_ms: u64) -> Option<Event> {
        if self.paused_by_owner || self.paused_until_ms != 0 {
            return None;
        }
        let failure = self.network.with(|net| {
            if !net.listening || net.backlog.is_empty() {
                return None;
            }
            net.random.chance(net.chaos.accept_fails).then(|| io::Error::from_raw_os_error(EMFILE))
        });
        if let Some(error) = failure {
            self.paused_until_ms = now_ms + LISTENER_PAUSE_MS;
            self.publish();
            return Some(Event::ListenerFailed(0, error));
        }
        let (link, address) = self.network.with(|net| net.accept(now_ms))?;
        let stream = OwnedFd::from(self.nothing.try_clone().ok()?);
        self.arriving.push((stream.as_raw_fd(), link));
        Some(Event::Arrived(0, Arrival::Stream(stream, address)))
    }

    /// Says what this engine would be woken for, so that the world knows when a turn is due.
    fn publish(&mut self) {
        let accepting = !self.paused_by_owner && self.paused_until_ms == 0;
        let paused = self.receives_paused;
        for id in self.seats.ids() {
            let Some(link) = self.link(id) else { continue };
            let Some(seat) = self.seats.get(id) else { continue };
            let (receiving, sending, told) = (seat.landing.is_some() && !paused, seat.outgoing.is_some(), seat.finish_told);
            self.network.with(|net| {
                let link = net.link_mut(link);
                (link.receiving, link.sending, link.finish_told) = (receiving, sending, told);
            });
        }
        self.network.with(|net| net.accepting = accepting);
    }
}

/// The number of "too many open files".
const EMFILE: i32 = 24;

impl<B> Engine<B> for SimEngine<B> {
    fn seats(&mut self) -> &mut Seats<B> {
        &mut self.seats
    }

    fn listen(&mut self, _listener: u16, _listening: Listening) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn close_listeners(&mut self) {
        self.network.set_listening(false);
    }

    fn pause_listeners(&mut self) {
        self.paused_by_owner = true;
    }

    fn resume_listeners(&mut self) {
        self.paused_by_owner = false;
    }

    fn seat(&mut self, stream: OwnedFd, is_local: bool, baton: Box<B>) -> Result<SeatId, (io::Error, Box<B>)> {
        let number = stream.as_raw_fd();
        let Some(at) = self.arriving.iter().position(|(arriving, _)| *arriving == number) else {
            return Err((ErrorKind::NotFound.into(), baton));
        };
        let (_, link) = self.arriving.swap_remove(at);
        if self.network.with(|net| net.random.chance(net.chaos.seat_fails)) {
            self.network.with(|net| net.server_closes(link, false));
            return Err((ErrorKind::OutOfMemory.into(), baton));
        }
        let id = self.seats.sit(stream, baton);
        if let Some(seat) = self.seats.get(id) {
            seat.is_local = is_local;
        }
        let index = id.index as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, None);
        }
        self.links[index] = Some(link);
        Ok(id)
    }

    fn receive(&mut self, id: SeatId, landing: Landing) {
        let Some(seat) = self.seats.get(id) else { return };
        if seat.landing.replace(landing).is_some() {
            self.network.complain("a seat was asked to receive twice at once");
        }
    }

    fn pause_receives(&mut self, paused: bool) {
        self.receives_paused = paused;
    }

    fn time_next_receive(&mut self, timed: bool) {
        self.timed = timed;
    }

    fn send(&mut self, id: SeatId, mut outgoing: Outgoing) -> Sending {
        let Some(link) = self.link(id) else { return Sending::Failed(outgoing) };
        let Some(seat) = self.seats.get(id) else { return Sending::Failed(outgoing) };
        if seat.outgoing.is_some() {
            self.network.complain("a seat was asked to send twice at once");
        }
        match seating::push_out(&self.network, link, &mut outgoing) {
            Ok(true) => Sending::Done(outgoing),
            Ok(false) => {
                seat.outgoing = Some(Box::new(outgoing));
                self.network.with(|net| net.link_mut(link).sending = true);
                Sending::Pending
            }
            Err(_) => Sending::Failed(outgoing),
        }
    }

    fn avoid_sendfile(&mut self) {}

    fn wire(&mut self, id: SeatId) -> Option<Arc<dyn Wire>> {
        let link = self.link(id)?;
        Some(self.network.lend_wire(link))
    }

    fn shutdown_write(&mut self, id: SeatId) {
        if let Some(link) = self.link(id) {
            self.network.with(|net| net.server_finishes(link));
        }
    }

    fn close(&mut self, id: SeatId, abort: bool) {
        let Some(link) = self.link(id) else { return };
        if self.seats.leave(id).is_some() {
            self.links[id.index as usize] = None;
            self.network.with(|net| net.server_closes(link, abort));
            // A descriptor is free again: no need to wait for the pause to end.
            self.paused_until_ms = self.paused_until_ms.min(1);
        }
    }

    fn take_back(&mut self, id: SeatId) -> Option<Landing> {
        self.seats.get(id)?.landing.take()
    }

    fn set_deadline(&mut self, id: SeatId, at_ms: u64) {
        self.deadlines.set(&mut self.seats, id, at_ms);
    }

    fn outside(&mut self) -> io::Result<RawFd> {
        Ok(self.waker.signal().descriptor())
    }

    fn rest(&mut self, now_ms: u64, alarm_ms: Option<u64>) {
        let paused = (self.paused_until_ms != 0).then(|| self.paused_until_ms.saturating_sub(now_ms));
        let alarm = alarm_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
        let next = self.deadlines.next_in_ms(now_ms).into_iter().chain(paused).chain(alarm).min();
        self.network.with(|net| net.alarm_ms = next.map(|left| now_ms + left.max(1)));
        self.publish();
    }

    fn wait(&mut self, _now_ms: u64, _timeout_ms: i32) -> io::Result<()> {
        // The world lets time pass between turns, and only calls for one that is due, or to see that none is needed.
        self.waker.signal().reset();
        if self.network.with(|net| net.random.chance(net.chaos.interrupted)) {
            self.plan.clear();
            return Err(ErrorKind::Interrupted.into());
        }
        self.draw_plan();
        Ok(())
    }

    fn peek(&mut self) -> bool {
        false
    }

    fn has_ready(&self) -> bool {
        self.seats.has_replayed()
    }

    fn reap(&mut self, now_ms: u64, slab: &mut [u8]) -> Option<Event> {
        if self.paused_until_ms != 0 && now_ms >= self.paused_until_ms {
            self.paused_until_ms = 0;
        }
        if self.seats.has_replayed() {
            return self.seats.next_replayed();
        }
        while let Some(step) = self.plan.pop() {
            let event = match step {
                Step::Accept => self.accept_one(now_ms),
                Step::Look(id) => self.look(id, slab),
            };
            if event.is_some() {
                return event;
            }
        }
        self.deadlines.next(&mut self.seats, now_ms)
    }
}
