//! A body that comes coded: decoded as it arrives, in bounded steps. What came over the wire is not kept.
#![forbid(unsafe_code)]

use super::{Http1, NO_MEMORY, Step};
use crate::connection::Tools;
use crate::connection::exchange::Rest;
use crate::decode::content::{Caps, Chain, Codings, Place, Progress, Share};
use crate::limits::{ERRAND_BYTES, Limits};
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
    pub(super) chain: Chain,
    codings: Codings,
    /// Octets that were taken from the wire and not decoded yet.
    pub(super) held: Vec<u8>,
    /// Octets of the body as it came, its transfer coding undone.
    wire: u64,
    /// The turn is over, and there is more to decode.
    is_suspended: bool,
    /// The right to go on with the next turn.
    pub(super) place: Option<Place>,
    /// Since when it is suspended, and how long it was before: nothing was received meanwhile, so it is not the client's time.
    suspended_at_ns: u64,
    rested_ns: u64,
    /// Other threads decode it from here on.
    is_large: bool,
    pub(super) stage: Stage,
}

/// Where the decoders of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Here,
    /// To be sent to a decode thread, which the thread that owns the connection does.
    Ready,
    Away,
}

impl Coded {
    pub fn begin(codings: Codings, framing: Framing, tools: &mut Tools<'_>) -> Self {
        let chain = Chain::begin(codings, Caps::of(tools.limits), tools.decoders);
        let is_large = matches!(framing, Framing::Length(length) if length >= threshold(tools.limits));
        Coded {
            chain,
            codings,
            held: Vec::new(),
            wire: 0,
            is_suspended: false,
            place: None,
            suspended_at_ns: 0,
            rested_ns: 0,
            is_large,
            stage: Stage::Here,
        }
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

    /// How long it has waited for its turns.
    pub fn rested_ns(&self) -> u64 {
        self.rested_ns
    }

    /// A turn is over at this time.
    fn count_rest(&mut self, was_suspended: bool, now_ns: u64) {
        match (was_suspended, self.is_suspended) {
            (false, true) => self.suspended_at_ns = now_ns,
            (true, false) => self.rested_ns += now_ns.saturating_sub(self.suspended_at_ns),
            _ => {}
        }
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
        if self.is_large {
            // What was elsewhere is here again, and all of it is decoded.
            self.is_suspended = false;
        } else if self.is_suspended {
            let (used, progress) = self.chain.push(&self.held, body, share)?;
            self.held.drain(..used);
            self.is_suspended = progress == Progress::Suspended;
        }
        let threshold = threshold(limits);
        while !self.is_suspended && done < bytes.len() && !rest.is_complete() {
            let mut end = bytes.len().min(done + TAKEN_BYTES);
            if !self.is_large && threshold > self.wire {
                // Not an octet more is decoded here, whatever pieces they come in.
                end = end.min(done.saturating_add(usize::try_from(threshold - self.wire).unwrap_or(usize::MAX)));
            }
            let (consumed, kept) = rest.take(&mut bytes[done..end], limits)?;
            let data = &bytes[done..done + kept];
            done += consumed;
            if self.becomes_large(data, threshold) {
                self.wire += kept as u64;
                self.gather(data)?;
                continue;
            }
            self.wire += kept as u64;
            let (used, progress) = self.chain.push(data, body, share)?;
            self.is_suspended = progress == Progress::Suspended;
            if used < kept {
                self.held.try_reserve_exact(kept - used).map_err(|_| NO_MEMORY)?;
                self.held.extend_from_slice(&data[used..]);
            }
        }
        if self.is_large && rest.is_complete() && !self.held.is_empty() {
            self.make_ready();
        }
        Ok(done)
    }

    /// Whether other threads decode it from here on: so much of it has come, or a step of it may take too long for a thread that serves.
    fn becomes_large(&mut self, data: &[u8], threshold: u64) -> bool {
        let has_threads = threshold != u64::MAX;
        self.is_large |=
            self.wire >= threshold || (has_threads && self.wire == 0 && data.first().is_some_and(|first| self.chain.is_heavy(*first)));
        self.is_large
    }

    /// Keeps octets for a decode thread; with enough of them they are to go.
    fn gather(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.held.try_reserve(data.len()).map_err(|_| NO_MEMORY)?;
        self.held.extend_from_slice(data);
        if self.held.len() >= ERRAND_BYTES {
            self.make_ready();
        }
        Ok(())
    }

    fn make_ready(&mut self) {
        (self.is_suspended, self.stage) = (true, Stage::Ready);
    }
}

/// From how many octets on a body is decoded by other threads; there are never so many if there are no such threads.
fn threshold(limits: &Limits) -> u64 {
    if limits.decode_threads > 0 { limits.decode_offload_bytes } else { u64::MAX }
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
    pub(super) fn take(&mut self, bytes: &mut [u8], limits: &Limits) -> Result<(usize, usize), Refusal> {
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
    /// Consumes octets of a coded body, and goes on with what of it is held.
    pub(super) fn coded(&mut self, bytes: &mut [u8], at: &mut usize, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        let Some(open) = self.open.as_deref_mut() else { return Ok(Step::Wait) };
        let Some(coded) = open.coded.as_deref_mut() else { return Ok(Step::Wait) };
        if coded.stage != Stage::Here {
            return Ok(Step::Wait);
        }
        if coded.is_suspended && !coded.is_large && coded.place.is_none() {
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
        let was_suspended = coded.is_suspended;
        let done = coded.work(&mut open.body, &mut open.rest, &mut bytes[*at..], tools.limits, &mut share);
        tools.decoders.spent(given, &share);
        coded.count_rest(was_suspended, tools.now_ns);
        if let (true, Some(journey)) = (is_exact, open.letter.as_mut().and_then(|letter| letter.journey())) {
            journey.decode_ns += (tools.timing.clock)() - began_ns;
        }
        *at += done?;
        if !coded.is_suspended {
            coded.place = None;
        }
        open.spill_buffer(tools)?;
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
