//! What lies between simulated peers and the engine: links with octets under way, a backlog, and how much goes wrong.
#![forbid(unsafe_code)]

use super::{Random, now_ns};
use crate::memory::wire::Wire;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

/// Names a link; never used again.
pub type LinkId = usize;

/// How often things go wrong, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos {
    /// A seat is not looked at in this tick.
    pub left_out: u32,
    /// A seat is looked at twice.
    pub twice: u32,
    /// A wait is ended by a signal.
    pub interrupted: u32,
    pub accept_fails: u32,
    /// An accepted stream cannot be watched.
    pub seat_fails: u32,
    /// A receive brings a piece of what is there.
    pub short_reads: u32,
    /// A send takes a piece although there is room.
    pub short_sends: u32,
}

/// One connection, between the peer and the engine.
#[derive(Debug, Default)]
pub struct Link {
    /// On its way to the server, which has not read it.
    pub inbound: VecDeque<u8>,
    /// The peer's FIN stands behind that.
    pub inbound_finished: bool,
    /// Taken from the server, and not yet read by the peer.
    pub outbound: VecDeque<u8>,
    /// The server's FIN stands behind that.
    pub outbound_finished: bool,
    /// The peer reads no more: what is sent to it is answered by a reset.
    pub left: bool,
    /// Reset by either side.
    pub reset: bool,
    /// The server has given it up.
    pub closed: bool,
    /// Octets that the server's side takes before the peer has read some.
    pub window: usize,
    pub accepted_ms: Option<u64>,
    /// Octets that the server has read, and when it last did.
    pub received: u64,
    pub received_ms: u64,
    /// Octets that the server has sent, and when it last did.
    pub sent: u64,
    pub sent_ms: u64,
    /// When the server sent FIN.
    pub finished_ms: u64,
    /// What the engine waits for here.
    pub receiving: bool,
    pub sending: bool,
    pub finish_told: bool,
    address: Option<SocketAddr>,
    wire: Weak<SimWire>,
}

/// See the file's first line. Every copy is the same network.
#[derive(Clone, Debug)]
pub struct Network(Arc<Mutex<Net>>);

/// The network itself, for the one who holds its lock.
#[derive(Debug)]
pub struct Net {
    pub random: Random,
    pub chaos: Chaos,
    pub links: Vec<Link>,
    pub backlog: VecDeque<LinkId>,
    /// There are listeners.
    pub listening: bool,
    /// They are not paused.
    pub accepting: bool,
    /// When the engine's descriptor becomes readable without anything coming.
    pub alarm_ms: Option<u64>,
    /// What the engine was asked that it should not have been asked.
    pub complaints: Vec<String>,
}

impl Network {
    pub fn new(random: Random, chaos: Chaos) -> Self {
        Network(Arc::new(Mutex::new(Net {
            random,
            chaos,
            links: Vec::new(),
            backlog: VecDeque::new(),
            listening: false,
            accepting: true,
            alarm_ms: None,
            complaints: Vec::new(),
        })))
    }

    /// Looks at it, or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Net) -> R) -> R {
        look(&mut self.0.lock())
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.with(|net| {
            net.listening = listening;
            if !listening {
                for link in std::mem::take(&mut net.backlog) {
                    net.links[link].reset = true;
                }
            }
        });
    }

    pub(super) fn complain(&self, text: &str) {
        self.with(|net| net.complaints.push(text.to_owned()));
    }

    pub(super) fn lend_wire(&self, link: LinkId) -> Arc<dyn Wire> {
        let wire = Arc::new(SimWire { network: self.clone(), link });
        self.with(|net| {
            if net.links[link].wire.strong_count() > 0 {
                net.complaints.push("a second wire of one link was lent".to_owned());
            }
            net.links[link].wire = Arc::downgrade(&wire);
        });
        wire
    }
}

/// What peers do.
impl Net {
    /// A peer connects; `None` when nobody listens.
    pub fn connect(&mut self, window: usize, is_local: bool) -> Option<LinkId> {
        if !self.listening {
            return None;
        }
        let id = self.links.len();
        let address = (!is_local).then(|| SocketAddr::from((Ipv4Addr::new(192, 0, 2, (id % 250) as u8 + 1), 1024 + (id % 60_000) as u16)));
        self.links.push(Link { window, address, ..Link::default() });
        self.backlog.push_back(id);
        Some(id)
    }

    /// A peer sends; how much was taken. Nothing arrives at an end that has gone.
    pub fn write(&mut self, id: LinkId, octets: &[u8]) -> usize {
        let link = &mut self.links[id];
        if link.closed || link.reset {
            link.reset = true;
            return octets.len();
        }
        link.inbound.extend(octets);
        octets.len()
    }

    pub fn finish(&mut self, id: LinkId) {
        self.links[id].inbound_finished = true;
    }

    /// The peer goes away, politely at first.
    pub fn leave(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        link.inbound_finished = true;
        link.left = true;
        // A close with unread octets is a reset at once.
        link.reset |= !link.outbound.is_empty();
    }

    pub fn reset(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        link.reset = true;
        link.left = true;
    }

    /// What the peer reads, at most so much.
    pub fn read(&mut self, id: LinkId, most: usize) -> Vec<u8> {
        let link = &mut self.links[id];
        let count = link.outbound.len().min(most);
        link.outbound.drain(..count).collect()
    }

    /// Links that were given up, though a wire of theirs is still lent.
    pub fn wires_left(&self) -> usize {
        self.links.iter().filter(|link| link.closed && link.wire.strong_count() > 0).count()
    }

    /// Something has happened that the engine waits for.
    pub fn is_ready(&self) -> bool {
        let arrives = self.listening && self.accepting && !self.backlog.is_empty();
        arrives || self.links.iter().any(Link::is_ready)
    }
}

/// What the engine does.
impl Net {
    pub(super) fn link_mut(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id]
    }

    pub(super) fn accept(&mut self, now_ms: u64) -> Option<(LinkId, Option<SocketAddr>)> {
        if !self.listening {
            return None;
        }
        let id = self.backlog.pop_front()?;
        let link = &mut self.links[id];
        (link.accepted_ms, link.received_ms, link.sent_ms) = (Some(now_ms), now_ms, now_ms);
        Some((id, link.address))
    }

    pub(super) fn server_reads(&mut self, id: LinkId, most: usize) -> Vec<u8> {
        let link = &mut self.links[id];
        let mut count = link.inbound.len().min(most);
        if self.random.chance(self.chaos.short_reads) {
            count = self.random.piece(count);
        }
        link.received += count as u64;
        link.received_ms = now_ns() / 1_000_000;
        link.inbound.drain(..count).collect()
    }

    /// How much the server's side takes now; `None` when the link is broken.
    pub(super) fn server_room(&mut self, id: LinkId) -> Option<usize> {
        let link = &mut self.links[id];
        if link.reset {
            return None;
        }
        if link.outbound_finished || link.closed {
            self.complaints.push("octets were sent behind a FIN".to_owned());
            return None;
        }
        let room = link.window.saturating_sub(link.outbound.len());
        Some(if self.random.chance(self.chaos.short_sends) { self.random.piece(room) } else { room })
    }

    pub(super) fn server_writes(&mut self, id: LinkId, octets: &[u8]) {
        let link = &mut self.links[id];
        link.sent += octets.len() as u64;
        link.sent_ms = now_ns() / 1_000_000;
        if link.left {
            link.reset = true;
        } else {
            link.outbound.extend(octets);
        }
    }

    pub(super) fn server_finishes(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        link.outbound_finished = true;
        link.finished_ms = now_ns() / 1_000_000;
    }

    /// The server gives a link up. What it had not read makes the kernel send a reset, and a reset may overtake what was sent.
    pub(super) fn server_closes(&mut self, id: LinkId, abort: bool) {
        let link = &mut self.links[id];
        link.closed = true;
        (link.receiving, link.sending) = (false, false);
        if abort || !link.inbound.is_empty() {
            link.reset = true;
            let kept = self.random.piece(link.outbound.len() + 1) - 1;
            link.outbound.truncate(kept);
        } else if !link.reset {
            link.outbound_finished = true;
        }
    }
}

impl Link {
    fn is_ready(&self) -> bool {
        if self.accepted_ms.is_none() || self.closed {
            return false;
        }
        let readable = self.receiving && (!self.inbound.is_empty() || self.inbound_finished);
        let writable = self.sending && self.outbound.len() < self.window;
        let finished = self.inbound_finished && !self.receiving && !self.finish_told;
        readable || writable || finished || self.reset
    }
}

/// A way to a peer that the engine lends.
#[derive(Debug)]
struct SimWire {
    network: Network,
    link: LinkId,
}

impl Wire for SimWire {
    fn send(&self, pieces: [&[u8]; 3]) -> Option<usize> {
        self.network.with(|net| {
            if net.links[self.link].closed {
                net.complaints.push("a wire was used after its link was closed".to_owned());
                return None;
            }
            if net.links[self.link].sending {
                net.complaints.push("a wire was used while the engine was sending".to_owned());
            }
            let room = net.server_room(self.link)?;
            let mut octets = pieces.concat();
            octets.truncate(room);
            if octets.is_empty() {
                return None;
            }
            net.server_writes(self.link, &octets);
            Some(octets.len())
        })
    }
}
