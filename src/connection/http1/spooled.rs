//! A body that is too large for memory: written to a file as it comes, in the pieces that it comes in, and taken apart on the way.
#![forbid(unsafe_code)]

use super::{NEVER_ROOM, NO_MEMORY, Tools};
use crate::connection::exchange::{Open, Rest};
use crate::decode;
use crate::decode::multipart::Sorter;
use crate::engine::spool::Trouble;
use crate::journey::Timing;
use crate::limits::{BodyPolicy, Limits};
use crate::memory::letter::Letter;
use crate::memory::spooled::Spooled;
use crate::parse::refusal::Refusal;
use crate::request::INGEST_JOURNEY_EXACT;

const FULL: Refusal = Refusal::new(503, "too many large bodies at once, try again later");
const SCARCE: Refusal = Refusal::new(503, "no descriptor for a large body, try again later");
/// RFC 4918 section 11.5: the server cannot store what it needs to serve the request.
const STORAGE: Refusal = Refusal::new(507, "the body cannot be stored, try again later");

/// See the file's first line.
#[derive(Debug)]
pub struct Spill {
    file: Spooled,
    /// Takes a multipart body apart.
    sorter: Option<Box<Sorter>>,
}

fn refusal(trouble: Trouble) -> Refusal {
    match trouble {
        Trouble::Full => FULL,
        Trouble::Scarce => SCARCE,
        Trouble::Storage => STORAGE,
    }
}

/// Whether a body of so many octets, decoded, goes to a file.
#[inline]
pub(super) fn spills(octets: u64, limits: &Limits) -> bool {
    limits.body == BodyPolicy::Spool && octets > limits.body_buffer_max
}

/// A body that came whole with its head, and is too large for memory, goes the way of those that come later.
pub(super) fn left(rest: Option<Rest>, whole: usize, limits: &Limits) -> Option<Rest> {
    rest.or_else(|| spills(whole as u64, limits).then_some(Rest::Length(0)))
}

impl Spill {
    /// For a body of which so many octets are known of.
    fn begin(letter: &Letter, left_coded: bool, known: u64, tools: &Tools<'_>) -> Result<Spill, Refusal> {
        let content_type = letter.header(b"content-type").filter(|_| !left_coded);
        let sorter = content_type.map_or(Ok(None), |content_type| decode::sorter(content_type, tools.limits))?;
        if known > tools.spool.account().most() {
            return Err(NEVER_ROOM);
        }
        let file = tools.spool.begin(known).map_err(refusal)?;
        Ok(Spill { file, sorter: sorter.map(Box::new) })
    }

    fn take(&mut self, octets: &[u8], tools: &Tools<'_>) -> Result<(), Refusal> {
        if let Some(sorter) = &mut self.sorter {
            sorter.feed(octets, tools.limits)?;
        }
        fail_point!("spool");
        tools.spool.append(&mut self.file, octets).map_err(refusal)
    }

    /// Octets that are in the file.
    pub(super) fn length(&self) -> u64 {
        self.file.length()
    }

    /// Octets of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.sorter.as_ref().map_or(0, |sorter| sorter.held())
    }

    /// The body is complete: its letter gets the file, and what was found in it.
    pub(super) fn finish(self, letter: &mut Letter, tools: &mut Tools<'_>) -> Result<(), Refusal> {
        letter.attach_spooled(self.file);
        let Some(sorter) = self.sorter else { return Ok(()) };
        let contents = sorter.finish()?;
        if letter.attach_contents(tools.pool, &contents) { Ok(()) } else { Err(NO_MEMORY) }
    }
}

impl Open {
    /// Sends octets of the body on to its file; the first ones make it.
    pub(super) fn spill(&mut self, octets: &[u8], tools: &Tools<'_>) -> Result<(), Refusal> {
        let clock = self.clock(&tools.timing);
        let Some(letter) = &self.letter else { return Ok(()) };
        let began_ns = clock.map_or(0, |clock| clock());
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => {
                let left = if let Rest::Length(left) = self.rest { left } else { 0 };
                let known = octets.len() + if self.coded.is_some() { 0 } else { left };
                none.insert(Box::new(Spill::begin(letter, self.terms.left_coded, known as u64, tools)?))
            }
        };
        spill.take(octets, tools)?;
        if let (Some(clock), Some(journey)) = (clock, self.journey()) {
            journey.spool_ns += clock() - began_ns;
        }
        Ok(())
    }

    /// What is in the buffer goes to the file, if it has become too much or other octets went there before.
    pub(super) fn spill_buffer(&mut self, tools: &mut Tools<'_>) -> Result<(), Refusal> {
        // Octets that are streamed leave memory another way, whatever the policy is by now.
        if self.letter.is_none() || self.spill.is_none() && !spills(self.body.len() as u64, tools.limits) {
            return Ok(());
        }
        let mut body = std::mem::take(&mut self.body);
        let spilled = self.spill(&body, tools);
        if self.coded.is_some() {
            // The next that is decoded goes there.
            body.clear();
            self.body = body;
        } else {
            tools.pool.take_back_body(body);
        }
        spilled
    }

    /// The clock, if the steps of this request are timed.
    fn clock(&mut self, timing: &Timing) -> Option<fn() -> u64> {
        self.journey().filter(|journey| journey.flags & INGEST_JOURNEY_EXACT != 0).map(|_| timing.clock)
    }
}
