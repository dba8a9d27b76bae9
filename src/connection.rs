//! The baton: one accepted peer and all it owns. Exactly one thread holds it at a time; it moves, it is never shared.
#![forbid(unsafe_code)]

pub mod contents;
pub mod exchange;
pub mod http1;
pub mod overdue;

use crate::accept::Peer;
use crate::accept::per_address::Place;
use crate::connection::http1::Http1;
use crate::decode::content::Decoders;
use crate::decrypt::Session;
use crate::engine::spool::Spool;
use crate::engine::{Landing, Outgoing};
use crate::journey::Timing;
use crate::limits::{FIRST_REQUEST_MS, Limits, READ_AHEAD_BYTES};
pub use crate::memory::budget::Memory;
use crate::memory::contents::Contents;
use crate::memory::pool::Pool;
use crate::parse::sketch::Sketch;
use crate::read::Inbox;
use crate::stats::Phase;

/// What a connection is about to do with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: it lives on.
    Open,
    /// Close politely once the outbox is empty.
    AfterFlush,
    /// FIN is sent; what still comes is read and thrown away, so that the peer can read our last words (RFC 9112 section 9.6).
    Lingering,
    /// Close at once; the peer gets RST.
    Abort,
}

/// See the file's first line.
#[derive(Debug)]
pub struct Connection {
    /// Which listener it came in by.
    pub listener: u16,
    pub peer: Peer,
    /// Its place among the connections of its address, where these are counted.
    pub place: Option<Box<Place>>,
    pub session: Session,
    pub inbox: Inbox,
    /// The protocol spoken here, with its open exchanges.
    pub protocol: Http1,
    /// Answers that are rendered and not yet sent.
    pub outbox: Outgoing,
    /// Plain octets of an answer that is sealed and sent in portions; `sent` says how many of them are sealed.
    pub sealing: Option<Box<Outgoing>>,
    /// Octets of a streamed answer that are on their way out: the slot, and how many.
    pub pulled: Option<(u32, usize)>,
    /// Slots that are told something once what is on its way out is with the kernel, and what.
    pub unsent: Vec<(u32, u64)>,
    /// Octets that the host's threads sent themselves, not counted yet.
    pub sent_straight: u64,
    /// An answer was begun and will not be ended.
    pub truncated: bool,
    /// The engine is sending what the outbox held; nothing may be added until it is done.
    pub sending: bool,
    /// The engine has been asked for octets.
    pub receiving: bool,
    /// The peer sent FIN; octets before it may still be unread.
    pub fin_seen: bool,
    /// All that the peer sent was received, and FIN after it.
    pub read_closed: bool,
    /// Stands on the list of connections to go on with in this tick.
    pub touched: bool,
    /// Stands on the list of connections whose octets are looked at in the next tick.
    pub resumes: bool,
    /// Stands on the list of those whose bodies wait for memory.
    pub hungry: bool,
    pub ending: Ending,
    /// When the present wait began: for octets, for the kernel to take some, or for FIN.
    pub since_ms: u64,
    /// When the engine began to send what it is sending now, and how much of that the kernel has taken.
    pub sending_since_ms: u64,
    pub sent: u64,
    /// When the kernel was last asked how much of it the peer has not acknowledged, and what it said.
    pub looked_ms: u64,
    pub unacknowledged: u64,
    /// How much the peer was seen to acknowledge since the engine began to send; the kernel may take nothing meanwhile.
    pub acknowledged: u64,
    /// Octets thrown away while lingering.
    pub lingered: u64,
    /// What accepting it cost, for the journey of its first request.
    pub accept_ns: u64,
    /// The octets of the inbox that are charged to the thread's memory.
    pub read_ahead: u32,
    /// What it is counted as among the thread's connections.
    pub counted: Phase,
}

/// What a step needs from the thread that runs it.
#[derive(Debug)]
pub struct Tools<'a> {
    pub limits: &'a Limits,
    pub sketch: &'a mut Sketch,
    pub contents: &'a mut Contents,
    pub pool: &'a mut Pool,
    pub memory: &'a mut Memory,
    pub decoders: &'a mut Decoders,
    pub spool: &'a Spool,
    pub timing: Timing,
    pub now_ns: u64,
    /// Octets of what is worked on that are charged as read ahead.
    pub ahead: usize,
    /// Requests with unsafe methods wait for earlier answers (`pipeline_unsafe=serial`).
    pub serial: bool,
}

impl Connection {
    pub fn new(listener: u16, peer: Peer, session: Session, now_ms: u64) -> Self {
        Connection {
            listener,
            peer,
            place: None,
            session,
            inbox: Inbox::default(),
            protocol: Http1::default(),
            outbox: Outgoing::default(),
            sealing: None,
            pulled: None,
            unsent: Vec::new(),
            sent_straight: 0,
            truncated: false,
            sending: false,
            receiving: false,
            fin_seen: false,
            read_closed: false,
            touched: false,
            resumes: false,
            hungry: false,
            ending: Ending::Open,
            since_ms: now_ms,
            sending_since_ms: now_ms,
            sent: 0,
            looked_ms: 0,
            unacknowledged: 0,
            acknowledged: 0,
            lingered: 0,
            accept_ns: 0,
            read_ahead: 0,
            counted: Phase::Nowhere,
        }
    }

    /// Where the next octets should land; `None` while none are wanted, which is how TCP learns to push back.
    pub fn landing(&mut self, limits: &Limits) -> Option<Landing> {
        if self.read_closed || self.receiving {
            return None;
        }
        match self.ending {
            Ending::Lingering => return Some(Landing::Slab),
            Ending::Open => {}
            Ending::AfterFlush | Ending::Abort => return None,
        }
        if self.session.is_secure() {
            if self.session.is_waiting() {
                // What is here already is looked at first, so that it is bounded by one read.
                return None;
            }
            // A body comes sealed, so it has no place to be received into.
            let wanted = if self.protocol.in_body() {
                !self.protocol.is_refused() && !self.protocol.is_suspended() && !self.protocol.is_full()
            } else {
                self.has_room(limits)
            };
            return wanted.then_some(Landing::Slab);
        }
        if let Some(landing) = self.protocol.body_landing() {
            return Some(landing);
        }
        if !self.has_room(limits) {
            return None;
        }
        Some(self.inbox.landing())
    }

    /// Whether more may be read although nothing waits for it.
    fn has_room(&self, limits: &Limits) -> bool {
        // A head may be larger than what is read ahead of an answer.
        let most = READ_AHEAD_BYTES.max(usize::try_from(limits.headers_max).unwrap_or(usize::MAX).saturating_add(1));
        self.protocol.may_begin(limits) && self.inbox.len() < most
    }

    /// Nothing is under way: no octet of a request, no answer owed.
    pub fn is_idle(&self) -> bool {
        let nothing_came = self.inbox.is_empty() && self.session.carried() == 0;
        self.protocol.is_idle() && nothing_came && self.outbox.is_empty() && self.sealing.is_none() && !self.sending
    }

    /// Until when a drain leaves it open although it is idle: the peer has connected and asked nothing yet.
    pub fn may_begin_until_ms(&self) -> Option<u64> {
        let is_new = self.protocol.served() == 0 && self.ending == Ending::Open && !self.fin_seen;
        (is_new && self.is_idle()).then(|| self.since_ms.saturating_add(FIRST_REQUEST_MS))
    }

    /// What it is about, for the gauges.
    #[inline]
    pub fn phase(&self) -> Phase {
        match () {
            () if self.ending == Ending::Lingering => Phase::Lingering,
            () if self.session.is_in_handshake() => Phase::Handshake,
            () if self.sending => Phase::Sending,
            () if self.protocol.owed() > 0 => Phase::Exchange,
            () if self.protocol.in_body() => Phase::Body,
            () if self.protocol.head_began_ms().is_some() => Phase::Head,
            () => Phase::Idle,
        }
    }

    /// Something may have to be written, or its end decided: mostly not, when a request has just come in.
    pub fn has_output(&self) -> bool {
        self.read_closed
            || !self.outbox.is_empty()
            || !self.unsent.is_empty()
            || self.sealing.is_some()
            || self.session.has_pending()
            || self.ending != Ending::Open
            || self.protocol.has_something_to_say()
    }
}
