//! A thread beyond a cut: it holds parse and decode for batons that other threads send, and sends each home again.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::stations::{self, Exit, Work};
use super::tell;
use super::trip::{Belts, Luggage, Trip};
use crate::connection::http1::NO_MEMORY;
use crate::connection::{Connection, Ending, Tools};
use crate::decode::content::Decoders;
use crate::decrypt::Opened;
use crate::engine::spool::Spool;
use crate::engine::sys;
use crate::journey::Timing;
use crate::limits::Limits;
use crate::memory::contents::Contents;
use crate::memory::pool::Pool;
use crate::options::{JourneyMode, Options, PipelineUnsafe};
use crate::parse::sketch::Sketch;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Batons that are served before their homes are told.
const ROUND: usize = 32;

/// See the file's first line.
#[derive(Debug)]
pub struct Beyond {
    number: usize,
    belts: Arc<Belts>,
    orders: Arc<Orders>,
    round: VecDeque<Trip>,
    /// Homes that were sent a baton and not yet told.
    untold: Vec<bool>,
    bench: Bench,
}

/// What parsing and decoding need that belongs to the thread.
#[derive(Debug)]
struct Bench {
    limits: Limits,
    limits_known: u64,
    sketch: Sketch,
    decoders: Decoders,
    spool: Arc<Spool>,
    contents: Contents,
    pool: Pool,
    /// What is opened here, when ciphertext travels.
    plain: Vec<u8>,
    /// The server ends: nobody waits for a handshake any more.
    is_over: bool,
    mode: JourneyMode,
    serial: bool,
    clock: fn() -> u64,
}

impl Beyond {
    pub fn new(options: &Options, belts: Arc<Belts>, orders: Arc<Orders>, number: usize) -> Self {
        let bench = Bench {
            limits: options.limits.clone(),
            limits_known: 0,
            sketch: Sketch::roomy(),
            decoders: Decoders::default(),
            spool: Arc::clone(&orders.spool),
            contents: Contents::default(),
            pool: Pool::new(),
            plain: Vec::new(),
            is_over: false,
            mode: options.journey,
            serial: options.pipeline_unsafe == PipelineUnsafe::Serial,
            clock: sys::monotonic_ns,
        };
        let untold = vec![false; belts.homeward.len()];
        Beyond { number, belts, orders, round: VecDeque::with_capacity(ROUND), untold, bench }
    }

    /// Runs until nobody is left who could send a baton.
    pub fn run(mut self) {
        loop {
            // Looked at before the belt: whatever was sent before the last pass was dropped is then on it.
            let over = self.belts.is_over();
            if self.serve_round() {
                continue;
            }
            if over {
                return;
            }
            self.belts.outward[self.number].wait();
        }
    }

    /// Serves the batons that are here, and sends them home. False when there is none.
    pub(super) fn serve_round(&mut self) -> bool {
        self.belts.outward[self.number].take(&mut self.round, ROUND);
        if self.round.is_empty() {
            return false;
        }
        if let Some(limits) = self.orders.changed_limits(&mut self.bench.limits_known) {
            self.bench.limits = (*limits).clone();
        }
        self.bench.is_over = self.orders.is_over(sys::monotonic_ns() / 1_000_000);
        while let Some(mut trip) = self.round.pop_front() {
            let home = usize::from(trip.luggage.home);
            // A panic costs the connection that was worked on. Its baton goes home all the same, to be closed there.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.bench.serve(&mut trip))) {
                tell::fault(&self.orders.log, "a thread that parses", &*payload);
                trip.luggage.fault = true;
                trip.baton.ending = Ending::Abort;
            }
            self.belts.homeward[home].put(trip);
            self.untold[home] = true;
        }
        for (conveyor, untold) in self.belts.homeward.iter().zip(&mut self.untold) {
            if std::mem::take(untold) {
                conveyor.wake();
            }
        }
        true
    }

    /// Has the clock that times the steps replaced, by one that fails for instance.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, clock: fn() -> u64) {
        self.bench.clock = clock;
    }
}

impl Bench {
    fn serve(&mut self, trip: &mut Trip) {
        fail_point!("far");
        let Trip { baton, luggage } = trip;
        self.pool.unpack(&mut luggage.freight);
        self.decoders.begin_tick();
        let landed = luggage.landed.take();
        let mut octets = std::mem::take(&mut luggage.octets);
        match landed {
            Some((buffer, count)) => stations::body(self.work(luggage), baton, buffer, count),
            None if luggage.sealed => self.unseal(baton, luggage, &mut octets),
            None if octets.is_empty() => stations::inbox(self.work(luggage), baton),
            None => stations::window(self.work(luggage), baton, &mut octets),
        }
        luggage.octets = octets;
    }

    /// Opens ciphertext and goes on with what it showed. What else comes of it is the home's to do.
    fn unseal(&mut self, baton: &mut Connection, luggage: &mut Luggage, octets: &mut [u8]) {
        let Some(secure) = baton.session.secure() else { return };
        let timed = luggage.read_ns > 0;
        let handshaking = !secure.is_established();
        if handshaking && self.is_over {
            return;
        }
        let mut plain = std::mem::take(&mut self.plain);
        let began_ns = if timed { (self.clock)() } else { 0 };
        fail_point!("handshake");
        let opened = secure.open(octets, &mut plain, luggage.now_ns);
        luggage.decrypt_ns = if timed { (self.clock)() - began_ns } else { 0 };
        if opened == Opened::Failed {
            plain.clear();
        }
        luggage.opened = Some((opened, handshaking, !plain.is_empty()));
        if !plain.is_empty() {
            fail_point!("decrypt");
            if baton.inbox.is_empty() {
                stations::window(self.work(luggage), baton, &mut plain);
            } else if baton.inbox.carry(&plain) {
                stations::inbox(self.work(luggage), baton);
            } else {
                baton.protocol.refuse(NO_MEMORY);
            }
        }
        plain.clear();
        self.plain = plain;
    }

    fn work<'a>(&'a mut self, luggage: &'a mut Luggage) -> Work<'a> {
        let tools = Tools {
            limits: &self.limits,
            sketch: &mut self.sketch,
            contents: &mut self.contents,
            pool: &mut self.pool,
            memory: &mut luggage.memory,
            decoders: &mut self.decoders,
            spool: &self.spool,
            timing: Timing { mode: self.mode, clock: self.clock, exact: false, read_ns: luggage.read_ns, decrypt_ns: luggage.decrypt_ns },
            now_ns: luggage.now_ns,
            ahead: 0,
            serial: self.serial,
        };
        Work { tools, sampler: &mut luggage.sampler, exit: Exit::Luggage(&mut luggage.exchanges) }
    }
}
