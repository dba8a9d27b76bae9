//! The engine: one completion-style trait. Operations are submitted, events are reaped; only here is the kernel asked.
#![deny(unsafe_code)]

pub mod clock;
mod deadlines;
pub mod epoll;
pub mod seats;
#[doc(hidden)]
pub mod sim;
pub mod spool;
pub mod sys;
pub mod timers;
mod transfer;

pub use seats::{Seat, SeatId, Seats};

use crate::memory::tail::Tail;
use crate::memory::wire::Wire;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use sys::listening::ListenSocket;
use sys::local::SocketFile;

/// Something that has arrived at a listener.
#[derive(Debug)]
pub enum Arrival {
    /// An accepted stream socket, non-blocking, and its peer (none for a unix socket).
    Stream(OwnedFd, Option<SocketAddr>),
}

impl Arrival {
    /// Whether the peer is a process of this machine, at the other end of a unix socket.
    pub fn is_local(&self) -> bool {
        matches!(self, Arrival::Stream(_, None))
    }
}

/// A listening socket as a thread gets it.
#[derive(Debug)]
pub struct Listening {
    /// Removed when the last thread that has the socket closes it: before the socket, so that nobody finds a file that is dead.
    pub file: Option<Arc<SocketFile>>,
    pub socket: ListenSocket,
    /// Other threads accept from the same socket.
    pub shared: bool,
}

/// Where the next octets of a seat should land.
#[derive(Debug)]
pub enum Landing {
    /// In the thread's slab: for what is parsed at once.
    Slab,
    /// At its front: for a head, since most of a body behind it has a better place to land.
    Front,
    /// Behind what this buffer holds, at most so many octets. The operation owns the buffer until it is reaped.
    Buffer(Vec<u8>, usize),
}

/// Where the octets of a completed receive are.
#[derive(Debug)]
pub enum Window {
    /// The first so many octets of the slab.
    Slab(usize),
    /// At the end of this buffer, so many octets.
    Buffer(Vec<u8>, usize),
}

/// Octets on their way out; the operation owns them until they are sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub first: Vec<u8>,
    /// What follows without being copied behind it.
    pub tail: Tail,
    /// Octets of both that the kernel has taken.
    pub sent: u64,
}

impl Outgoing {
    pub fn len(&self) -> u64 {
        self.first.len() as u64 + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn clear(&mut self) {
        self.first.clear();
        if !matches!(self.tail, Tail::None) {
            self.tail = Tail::None;
        }
        self.sent = 0;
    }
}

/// How a submitted send came out.
#[derive(Debug)]
pub enum Sending {
    /// All of it is with the kernel; the buffers are the caller's again.
    Done(Outgoing),
    /// The kernel took a part; `Event::Sent` follows.
    Pending,
    /// The connection is broken.
    Failed(Outgoing),
}

/// A completion.
#[derive(Debug)]
pub enum Event {
    /// Someone connected to listener number so-and-so.
    Arrived(u16, Arrival),
    /// A listener cannot accept: exhausted (paused, resumed by itself) or broken (never again).
    ListenerFailed(u16, io::Error),
    /// Octets came; `read_ns` is what the system call took if the seat was timed, else zero.
    Received { seat: SeatId, window: Window, read_ns: u64 },
    /// The peer sent FIN, while no octets are wanted: what came before it may still be unread.
    Finished(SeatId),
    /// Everything that the peer sent was received, and FIN after it.
    ReadClosed(SeatId),
    /// The connection is broken: reset, timed out, or failed.
    Broken(SeatId),
    /// A pending send is complete.
    Sent(SeatId, Outgoing),
    /// A pending send has moved on, but is not complete: so many octets of it are with the kernel.
    SendProgressed(SeatId, u64),
    /// A seat's deadline has passed.
    Expired(SeatId),
}

/// What one I/O thread uses to talk to the kernel. `B` is the baton that sits in a seat.
pub trait Engine<B> {
    /// The seats of this thread.
    fn seats(&mut self) -> &mut Seats<B>;
    /// Accepts on a listening socket from now on.
    fn listen(&mut self, listener: u16, listening: Listening) -> io::Result<()>;
    /// Accepts no more, and closes the listening sockets.
    fn close_listeners(&mut self);
    /// Stops accepting until `resume_listeners`.
    fn pause_listeners(&mut self);
    fn resume_listeners(&mut self);
    /// Stops accepting on one listener, or goes on; for engines that have several.
    fn hold_listener(&mut self, _listener: u16, _held: bool) {}
    /// Gives a stream a seat and registers it, once for its whole life; `is_local` says that it is a unix socket.
    fn seat(&mut self, stream: OwnedFd, is_local: bool, baton: Box<B>) -> Result<SeatId, (io::Error, Box<B>)>;
    /// Wants octets; completes with `Received`, `ReadClosed` or `Broken`. One at a time per seat.
    fn receive(&mut self, seat: SeatId, landing: Landing);
    /// Wants octets no more; the landing comes back if nothing was received into it.
    fn take_back(&mut self, seat: SeatId) -> Option<Landing>;
    /// While paused nothing is received, and TCP pushes back; broken connections are still reported.
    fn pause_receives(&mut self, paused: bool);
    /// Has the next receive timed.
    fn time_next_receive(&mut self, timed: bool);
    /// Sends; one at a time per seat.
    fn send(&mut self, seat: SeatId, outgoing: Outgoing) -> Sending;
    /// From now on files are sent in a way that raises no SIGPIPE: the thread belongs to a host that may not block it.
    fn avoid_sendfile(&mut self);
    /// A way to send to this seat for others than its thread; closing the seat is not enough to end it.
    fn wire(&mut self, seat: SeatId) -> Option<Arc<dyn Wire>>;
    /// Sends FIN behind what was sent.
    fn shutdown_write(&mut self, seat: SeatId);
    /// Gives the seat up; with `abort` the peer gets RST. The baton, if it is at home, is dropped.
    fn close(&mut self, seat: SeatId, abort: bool);
    /// `Expired` comes once the time is reached, unless it is moved before.
    fn set_deadline(&mut self, seat: SeatId, at_ms: u64);
    /// Octets that were sent and that the peer has not acknowledged yet, where that can be known.
    fn unacknowledged(&mut self, _seat: SeatId) -> u64 {
        0
    }
    /// What a kernel has taken and the peer does not acknowledge ends the connection after so long from now on; what an engine without
    /// one sends is always acknowledged.
    fn change_write_timeout(&mut self, _timeout_ms: u64) {}
    /// The descriptor that a host polls between turns; from now on `rest` keeps it honest about deadlines.
    fn outside(&mut self) -> io::Result<RawFd>;
    /// Before a host goes back to its own loop: the descriptor becomes readable when the next deadline is due, or at `alarm_ms`.
    fn rest(&mut self, now_ms: u64, alarm_ms: Option<u64>);
    /// Waits for events, at most so long (-1: for ever), less when a deadline is due before. A signal ends it with an error.
    fn wait(&mut self, now_ms: u64, timeout_ms: i32) -> io::Result<()>;
    /// Looks for events without waiting; what is found is kept for `reap`, and the next `wait` adds nothing.
    fn peek(&mut self) -> bool;
    /// Work is waiting that needs no `wait`.
    fn has_ready(&self) -> bool;
    /// The next completion of this tick. `slab` is where octets may land.
    fn reap(&mut self, now_ms: u64, slab: &mut [u8]) -> Option<Event>;
}
