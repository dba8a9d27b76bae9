//! One request and the slot for its answer, from the end of its head until it is answered.
#![forbid(unsafe_code)]

use super::http1::coded::Coded;
use super::http1::spooled::Spill;
use crate::accept::Peer;
use crate::decrypt::Session;
use crate::memory::letter::Letter;
use crate::parse::chunked::Chunked;
use crate::request::ingest_journey;

/// A complete, sealed request, ready for handoff.
#[derive(Debug)]
pub struct Exchange {
    pub letter: Letter,
    pub terms: Terms,
}

/// What the answer has to know about its request.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub http_version: u16,
    /// GET, HEAD, OPTIONS, TRACE: may be answered out of turn (RFC 9110 section 9.2.1).
    pub safe: bool,
    /// HEAD: no body is sent.
    pub head_only: bool,
    pub keep_alive: bool,
    /// The body is delivered with the content-codings that it came with, so nothing looks into it.
    pub left_coded: bool,
    /// The request is delivered before its body, which follows in events.
    pub streamed: bool,
    pub deadline: Deadline,
}

/// Until when the client waits for the answer, as it has said itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(u64);

impl Deadline {
    /// It has not said so.
    pub const NONE: Deadline = Deadline(u64::MAX);
    /// It has, in a way that is not understood.
    pub const UNREAD: Deadline = Deadline(u64::MAX - 1);

    /// In milliseconds of the server's clock.
    pub fn at(at_ms: u64) -> Self {
        Deadline(at_ms.min(Self::UNREAD.0 - 1))
    }

    /// The time; for one that is none, no time that ever comes.
    pub fn at_ms(self) -> u64 {
        self.0
    }

    pub fn is_set(self) -> bool {
        self.0 < Self::UNREAD.0
    }

    pub fn has_passed(self, now_ms: u64) -> bool {
        self.0 <= now_ms
    }

    /// How long it is until then; `u64::MAX` is for ever.
    pub fn patience_ms(self, now_ms: u64) -> u64 {
        if self.is_set() { self.0.saturating_sub(now_ms) } else { u64::MAX }
    }

    /// As the host sees it: nanoseconds, zero for none.
    pub fn face_ns(self) -> u64 {
        if self.is_set() { self.0.saturating_mul(1_000_000) } else { 0 }
    }
}

/// What of a connection, beside its protocol, goes into a letter.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub listener: u16,
    pub peer: &'a Peer,
    pub session: &'a Session,
    pub accept_ns: u64,
}

/// A request whose head is sealed and whose body is still coming.
#[derive(Debug)]
pub struct Open {
    /// `None` when the body is streamed: the letter has been delivered.
    pub letter: Option<Letter>,
    pub terms: Terms,
    pub body: Vec<u8>,
    pub rest: Rest,
    /// Present when the body has content-codings that are undone.
    pub coded: Option<Box<Coded>>,
    /// Present when the body goes to a file.
    pub spill: Option<Box<Spill>>,
    /// When the head was complete.
    pub head_at_ns: u64,
    /// Octets charged to the thread's memory.
    pub charged: usize,
}

impl Open {
    /// The journey so far; `None` without one, and once the request is with the host.
    pub fn journey(&mut self) -> Option<&mut ingest_journey> {
        self.letter.as_mut()?.journey()
    }
}

/// What of the body is still to come.
#[derive(Debug)]
pub enum Rest {
    /// So many octets.
    Length(usize),
    Chunked(Chunked),
}

impl Rest {
    pub fn is_complete(&self) -> bool {
        match self {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(chunked) => chunked.is_complete(),
        }
    }
}

/// Stands for the slot of a request that was completed on a far segment and has none yet; no slot has this number.
pub const UNPLACED: u32 = u32::MAX;

/// A request that the host has, or will have, and whose answer is owed in order.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub slot: u32,
    pub terms: Terms,
    /// The answer is in the slot and waits for its turn.
    pub answered: bool,
    /// It was given up instead.
    pub cut: bool,
    /// The host answers piece by piece, or has sent interim answers.
    pub speaking: bool,
    /// The final answer was begun: the host takes the time it needs.
    pub begun: bool,
    /// The head of the final answer is with the outbox.
    pub head_written: bool,
    /// Waits for the host, and has not been seen to be with it.
    pub queued: bool,
    /// When it was handed over.
    pub at_ms: u64,
}

impl Pending {
    /// A request that was completed on a far segment; its home writes slot, queue and time into it.
    pub fn unplaced(terms: Terms) -> Self {
        Pending::new(UNPLACED, terms, 0)
    }

    pub fn new(slot: u32, terms: Terms, at_ms: u64) -> Self {
        Pending { slot, terms, answered: false, cut: false, speaking: false, begun: false, head_written: false, queued: true, at_ms }
    }
}
