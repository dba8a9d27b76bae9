//! The stations parse and decode over the octets of one connection, the same for whichever segment holds them, and what follows.
#![forbid(unsafe_code)]

use crate::connection::exchange::{Deadline, Exchange, Origin, Pending};
use crate::connection::http1::{NO_MEMORY, Step};
use crate::connection::{Connection, Ending, Memory, Tools};
use crate::engine::SeatId;
use crate::handoff::Outlet;
use crate::journey::Sampler;
use crate::memory::letter::Letter;
use crate::memory::pool::Pool;
use crate::memory::slots::SlotOwner;
use crate::parse::refusal::Refusal;
use crate::respond::{LATE, encode};

const NO_SLOT: Refusal = Refusal::new(503, "too many open requests, try again later");

/// What one connection's octets are worked on with. The same type for every segment, so that there is one copy of `advance` with
/// the whole parser inlined into it: two cost 170 instructions a request where nothing is cut.
pub struct Work<'a> {
    pub tools: Tools<'a>,
    pub sampler: &'a mut Sampler,
    pub exit: Exit<'a>,
}

/// Where a complete request goes.
pub enum Exit<'a> {
    /// The next station is here, too.
    Handoff(Handoff<'a>),
    /// It is at home, where the baton brings these.
    Luggage(&'a mut Vec<Exchange>),
}

/// Requests whose clients said how long they wait: those that waited no longer when all of it was here, and those that said it in a way that
/// is not understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hurried {
    pub late: u64,
    pub unread: u64,
}

/// The last station, where the slots are.
pub struct Handoff<'a> {
    pub slots: &'a mut SlotOwner,
    pub outlet: &'a mut Outlet,
    pub delivered: &'a mut u64,
    pub hurried: &'a mut Hurried,
    pub seat: SeatId,
    pub now_ns: u64,
}

/// Octets that belong to nobody yet: what is not used of them is carried over in the inbox.
pub fn window(work: Work<'_>, connection: &mut Connection, octets: &mut [u8]) {
    let used = advance(work, connection, octets);
    if used < octets.len() && connection.ending == Ending::Open && !connection.inbox.carry(&octets[used..]) {
        connection.protocol.refuse(NO_MEMORY);
    }
}

/// Octets that were carried over, perhaps with new ones behind them.
pub fn inbox(mut work: Work<'_>, connection: &mut Connection) {
    work.tools.ahead = connection.read_ahead as usize;
    let mut inbox = std::mem::take(&mut connection.inbox);
    let used = advance(work, connection, inbox.octets());
    inbox.consume(used);
    connection.inbox = inbox;
}

/// A body's own buffer, with `count` new octets at its end.
pub fn body(work: Work<'_>, connection: &mut Connection, buffer: Vec<u8>, count: usize) {
    let Work { mut tools, sampler, mut exit } = work;
    let mut beyond = Vec::new();
    fail_point!("body");
    match connection.protocol.received(buffer, count, &mut beyond, &mut tools) {
        Ok(Step::Deliver(exchange)) => {
            exit.complete(connection, exchange, tools.memory, tools.pool);
            sampler.delivered(1);
        }
        Ok(Step::Wait | Step::Continue) => {}
        Err(refusal) => connection.protocol.refuse(refusal),
    }
    if !beyond.is_empty() && !connection.inbox.carry(&beyond) {
        connection.protocol.refuse(NO_MEMORY);
    }
}

/// Runs the protocol over the octets; returns how many are done with.
fn advance(work: Work<'_>, connection: &mut Connection, octets: &mut [u8]) -> usize {
    let Work { mut tools, sampler, mut exit } = work;
    let mut at = 0;
    loop {
        let origin =
            Origin { listener: connection.listener, peer: &connection.peer, session: &connection.session, accept_ns: connection.accept_ns };
        tools.timing.exact = sampler.wants_next();
        match connection.protocol.step(octets, &mut at, origin, &mut tools) {
            Ok(Step::Deliver(exchange)) => {
                exit.complete(connection, exchange, tools.memory, tools.pool);
                sampler.delivered(1);
            }
            Ok(Step::Continue) => connection.outbox.first.extend_from_slice(encode::CONTINUE),
            Ok(Step::Wait) => return at,
            Err(refusal) => {
                connection.protocol.refuse(refusal);
                return octets.len();
            }
        }
        // The receive is the first request's.
        (tools.timing.read_ns, tools.timing.decrypt_ns) = (0, 0);
    }
}

impl Exit<'_> {
    /// A request is complete: on to the next station.
    #[inline(always)]
    fn complete(&mut self, connection: &mut Connection, exchange: Exchange, memory: &mut Memory, pool: &mut Pool) {
        match self {
            Exit::Handoff(handoff) => {
                if let Some(letter) = handoff.hand_in(connection, exchange) {
                    lose(letter, memory, pool);
                }
            }
            Exit::Luggage(exchanges) => {
                // It has its place in the order of answers; the home gives it a slot.
                connection.protocol.push_pending(Pending::unplaced(exchange.terms));
                exchanges.push(exchange);
            }
        }
    }
}

impl Handoff<'_> {
    /// Gives what completed on a far segment its slots, in order. What is `lost`, or finds no slot, never reaches the host.
    pub fn place(
        mut self,
        connection: &mut Connection,
        exchanges: &mut Vec<Exchange>,
        mut lost: bool,
        memory: &mut Memory,
        pool: &mut Pool,
    ) {
        connection.protocol.drop_unplaced();
        for mut exchange in exchanges.drain(..) {
            if lost {
                lose(exchange.letter, memory, pool);
                continue;
            }
            if let Some(journey) = exchange.letter.journey() {
                journey.delivered_at_ns = self.now_ns;
            }
            if let Some(letter) = self.hand_in(connection, exchange) {
                lose(letter, memory, pool);
                lost = true;
            }
        }
    }

    /// A request whose client says how long it waits: whether it does not any more.
    #[cold]
    fn comes_late(&mut self, deadline: Deadline) -> bool {
        let is_late = deadline.has_passed(self.now_ns / 1_000_000);
        self.hurried.unread += u64::from(!deadline.is_set());
        self.hurried.late += u64::from(is_late);
        is_late
    }

    /// Gives a complete request a slot and puts it into the tick's batch. The letter comes back when there is no slot left.
    #[inline(never)]
    fn hand_in(&mut self, connection: &mut Connection, exchange: Exchange) -> Option<Letter> {
        let Exchange { letter, terms } = exchange;
        if terms.deadline != Deadline::NONE && self.comes_late(terms.deadline) {
            connection.protocol.refuse(LATE);
            return Some(letter);
        }
        let charge = letter.charge();
        match self.slots.open(letter, self.seat.word(), self.outlet.is_inline()) {
            Ok((slot, token, request)) => {
                let at_ms = self.now_ns / 1_000_000;
                connection.protocol.push_pending(Pending::new(slot, terms, at_ms));
                if connection.fin_seen {
                    self.slots.note_read_closed(slot);
                }
                self.outlet.add(token, request, charge, self.now_ns, terms.deadline.patience_ms(at_ms));
                *self.delivered += 1;
                fail_point!("handoff");
                None
            }
            Err(letter) => {
                connection.protocol.refuse(NO_SLOT);
                Some(letter)
            }
        }
    }
}

/// A request that was completed never reaches the host.
fn lose(letter: Letter, memory: &mut Memory, pool: &mut Pool) {
    memory.release(letter.charge());
    letter.dissolve(pool);
}
