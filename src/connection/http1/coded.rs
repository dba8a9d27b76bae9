//! A body that comes coded: decoded as it arrives, in bounded steps. What came over the wire is not kept.
#![forbid(unsafe_code)]

use super::{Http1, NO_MEMORY, Step};
use crate::connection::Tools;
use crate::connection::exchange::Rest;
use crate::decode::content::{Caps, Chain, Codings, Place, Progress, Share};
use crate::limits::Limits;
use crate::memory::pool::Pool;
use crate::parse::chunked::Chunked;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Framing;
use crate::request::INGEST_JOURNEY_EXACT;

/// What is taken from the wire at once, and so the most that is held when a decoder stops in the middle of it.
const TAKEN_BYTES: usize = 16 * 1024;
/// The first room for what is decoded is between these, as the length that was announced suggests.
const FIRST_LEAST_BYTES: u64 = 4 * 1024;
const FIRST_MOST_BYTES: u64 = 256 * 1024;
/// Text mostly shrinks to a quarter.
const USUAL_RATIO: u64 = 4;
/// More than this is not left unused at the end of a body.
const WASTE_BYTES: usize = 64 * 1024;

/// See the file's first line.
#[derive(Debug)]
pub struct Coded {
    chain: Chain,
    codings: Codings,
    /// Octets that were taken from the wire and not decoded yet.
    held: Vec<u8>,
    /// Octets of the body as it came, its transfer coding undone.
    wire: u64,
    /// The turn is over, and there is more to decode.
    is_suspended: bool,
    /// The right to go on with the next turn.
    place: Option<Place>,
}

impl Coded {
    pub fn begin(codings: Codings, tools: &mut Tools<'_>) -> Self {
        let chain = Chain::begin(codings, Caps::of(tools.limits), tools.decoders);
        Coded { chain, codings, held: Vec::new(), wire: 0, is_suspended: false, place: None }
    }

    /// An empty buffer for what a body will decode to: a guess, that costs little when it is wrong.
    pub fn room(framing: Framing, pool: &mut Pool) -> Option<Vec<u8>> {
        let wire = if let Framing::Length(length) = framing { length } else { 0 };
        let guess = wire.saturating_mul(USUAL_RATIO).clamp(FIRST_LEAST_BYTES, FIRST_MOST_BYTES);
        pool.lend_body(guess as usize)
    }

    pub fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    pub fn wire(&self) -> u64 {
        self.wire
    }

    /// Lets others decode while this one waits for something else.
    pub fn step_aside(&mut self) {
        self.place = None;
    }

    /// Octets of memory beside the body.
    pub(super) fn held(&self) -> usize {
        self.held.capacity() + self.chain.held()
    }

    /// Decodes until the octets or the share are used up: how many of `bytes` are done with.
    fn work(
        &mut self,
        body: &mut Vec<u8>,
        rest: &mut Rest,
        bytes: &mut [u8],
        limits: &Limits,
        share: &mut Share,
    ) -> Result<usize, Refusal> {
        let mut done = 0;
        if self.is_suspended {
            let (used, progress) = self.chain.push(&self.held, body, share)?;
            self.held.drain(..used);
            self.is_suspended = progress == Progress::Suspended;
        }
        while !self.is_suspended && done < bytes.len() && !rest.is_complete() {
            let end = bytes.len().min(done + TAKEN_BYTES);
            let (consumed, kept) = rest.take(&mut bytes[done..end], limits)?;
            let data = &bytes[done..done + kept];
            done += consumed;
            self.wire += kept as u64;
            let (used, progress) = self.chain.push(data, body, share)?;
            self.is_suspended = progress == Progress::Suspended;
            if used < kept {
                self.held.try_reserve_exact(kept - used).map_err(|_| NO_MEMORY)?;
                self.held.extend_from_slice(&data[used..]);
            }
        }
        Ok(done)
    }
}

impl Rest {
    pub fn of(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Rest::Chunked(Chunked::default()),
            Framing::Length(length) => Rest::Length(usize::try_from(length).unwrap_or(usize::MAX)),
            Framing::None => Rest::Length(0),
        }
    }

    /// Undoes the framing of what comes next, in place: octets that are done with, and octets of the body at their front.
    fn take(&mut self, bytes: &mut [u8], limits: &Limits) -> Result<(usize, usize), Refusal> {
        match self {
            Rest::Length(left) => {
                let count = bytes.len().min(*left);
                *left -= count;
                Ok((count, count))
            }
            Rest::Chunked(chunked) => chunked.compact(bytes, limits).map(|compacted| (compacted.consumed, compacted.kept)),
        }
    }
}

impl Http1 {
    /// There is something to decode although no octets come.
    pub fn is_suspended(&self) -> bool {
        self.open.as_ref().and_then(|open| open.coded.as_ref()).is_some_and(|coded| coded.is_suspended)
    }

    /// Consumes octets of a coded body, and goes on with what of it is held.
    pub(super) fn coded(&mut self, bytes: &mut [u8], at: &mut usize, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        let Some(open) = self.open.as_deref_mut() else { return Ok(Step::Wait) };
        let Some(coded) = open.coded.as_deref_mut() else { return Ok(Step::Wait) };
        if coded.is_suspended && coded.place.is_none() {
            coded.place = tools.decoders.place(tools.limits.decode_states_max);
            if coded.place.is_none() {
                return Ok(Step::Wait);
            }
        }
        fail_point!("decode");
        let is_exact =
            open.letter.as_mut().and_then(|letter| letter.journey()).is_some_and(|journey| journey.flags & INGEST_JOURNEY_EXACT != 0);
        let began_ns = if is_exact { (tools.timing.clock)() } else { 0 };
        let mut share = tools.decoders.share(tools.memory.room_for_windows());
        let given = share.left();
        let done = coded.work(&mut open.body, &mut open.rest, &mut bytes[*at..], tools.limits, &mut share);
        tools.decoders.spent(given, &share);
        if let (true, Some(journey)) = (is_exact, open.letter.as_mut().and_then(|letter| letter.journey())) {
            journey.decode_ns += (tools.timing.clock)() - began_ns;
        }
        *at += done?;
        if !coded.is_suspended {
            coded.place = None;
        }
        open.recharge(tools.memory)?;
        if !open.is_complete() {
            return Ok(Step::Wait);
        }
        self.end_coded(tools)
    }

    /// All octets of a coded body are decoded: it is complete if it ends where its codings do.
    fn end_coded(&mut self, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        let Some(open) = self.open.as_deref_mut() else { return Ok(Step::Wait) };
        if let Some(coded) = open.coded.take() {
            let Coded { chain, codings, wire, .. } = *coded;
            chain.finish()?;
            chain.dissolve(tools.decoders);
            if let Some(letter) = &mut open.letter {
                letter.note_decoded(codings.names(), wire);
            }
            if open.body.capacity() - open.body.len() > WASTE_BYTES {
                open.body.shrink_to_fit();
            }
        }
        self.finish(tools)
    }
}
