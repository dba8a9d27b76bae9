//! A body's decoders on their way to a thread that decodes and back: what they take along, what is done there, and what they bring home.
#![forbid(unsafe_code)]

use super::Http1;
use super::coded::{Coded, Stage};
use crate::connection::Memory;
use crate::connection::exchange::Open;
use crate::decode::content::{Chain, Place, Progress, Share};
use crate::limits::{DECODE_SHARE, ERRAND_SHARE, ERRAND_SHARE_LEAST};
use crate::parse::refusal::Refusal;
use crate::request::INGEST_JOURNEY_EXACT;

/// Everything that decoding needs. The connection stays where it is and waits, as it does for a turn.
#[derive(Debug)]
pub struct Errand {
    chain: Chain,
    octets: Vec<u8>,
    body: Vec<u8>,
    /// Octets of memory that windows may take, and the work that is done before it comes home.
    windows: usize,
    share: usize,
    /// What the home has charged for all of it.
    charged: usize,
    place: Place,
    is_timed: bool,
    /// What it took, if it is timed.
    took_ns: u64,
    /// There is more to decode.
    has_more: bool,
    refusal: Option<Refusal>,
}

impl Errand {
    /// Decodes until everything is decoded, or the share is used up, or it is too late.
    pub fn run(&mut self, clock: fn() -> u64, is_over: impl Fn() -> bool) {
        let began_ns = if self.is_timed { clock() } else { 0 };
        let outcome = self.decode(is_over);
        if let Err(refusal) = outcome {
            self.refusal = Some(refusal);
        }
        if self.is_timed {
            self.took_ns = clock() - began_ns;
        }
    }

    fn decode(&mut self, is_over: impl Fn() -> bool) -> Result<(), Refusal> {
        let (mut left, mut done, held) = (self.share, 0, self.chain.held());
        while left > 0 && !is_over() {
            let given = left.min(DECODE_SHARE);
            let windows = self.windows.saturating_sub(self.chain.held().saturating_sub(held));
            let mut share = Share::new(given, windows);
            let (used, progress) = self.chain.push(&self.octets[done..], &mut self.body, &mut share)?;
            done += used;
            left -= given - share.left();
            if progress == Progress::Hungry {
                self.has_more = false;
                break;
            }
        }
        self.octets.drain(..done);
        Ok(())
    }

    /// What was promised to it of the memory that there was.
    pub fn promised(&self) -> usize {
        self.windows + self.share
    }

    /// What the home has charged for it.
    pub fn charged(&self) -> usize {
        self.charged
    }
}

impl Open {
    fn stage(&self) -> Stage {
        self.coded.as_ref().map_or(Stage::Here, |coded| coded.stage)
    }
}

impl Http1 {
    fn stage(&self) -> Stage {
        self.open.as_ref().map_or(Stage::Here, |open| open.stage())
    }

    fn coded_now(&self) -> Option<&Coded> {
        self.open.as_ref()?.coded.as_deref()
    }

    /// A body is being decoded, and waits for a turn or a thread.
    pub fn is_suspended(&self) -> bool {
        self.coded_now().is_some_and(Coded::is_suspended)
    }

    /// There is something to decode here although no octets come.
    pub fn has_turn_to_come(&self) -> bool {
        self.is_suspended() && self.stage() == Stage::Here && self.refusal.is_none() && !self.is_full()
    }

    /// A body's decoders are to go to a decode thread.
    pub fn has_errand(&self) -> bool {
        self.stage() == Stage::Ready && self.refusal.is_none() && !self.is_full()
    }

    /// They are there, or on their way.
    pub fn is_on_errand(&self) -> bool {
        self.stage() == Stage::Away
    }

    /// Sends them: there is so much room for what they make and for their windows.
    pub fn begin_errand(&mut self, place: Place, room: usize) -> Option<Box<Errand>> {
        let open = self.open.as_deref_mut()?;
        let is_timed = open.journey().is_some_and(|journey| journey.flags & INGEST_JOURNEY_EXACT != 0);
        let coded = open.coded.as_deref_mut()?;
        let windows = coded.chain.may_grow().min(room);
        coded.stage = Stage::Away;
        let absent = coded.chain.absent();
        Some(Box::new(Errand {
            share: (room - windows).clamp(ERRAND_SHARE_LEAST, ERRAND_SHARE),
            chain: std::mem::replace(&mut coded.chain, absent),
            octets: std::mem::take(&mut coded.held),
            body: std::mem::take(&mut open.body),
            windows,
            charged: std::mem::take(&mut open.charged),
            place,
            is_timed,
            took_ns: 0,
            has_more: true,
            refusal: None,
        }))
    }

    /// The right to another errand that the last one has left here.
    pub fn kept_place(&mut self) -> Option<Place> {
        self.open.as_deref_mut()?.coded.as_deref_mut()?.place.take()
    }

    /// They are home again: the body is as far as it is, or is refused. An errand that nobody waits for any more comes back.
    pub fn end_errand(&mut self, errand: Box<Errand>, memory: &mut Memory) -> Result<(), Box<Errand>> {
        if !self.is_on_errand() {
            return Err(errand);
        }
        let Some(open) = self.open.as_deref_mut() else { return Err(errand) };
        let Some(coded) = open.coded.as_deref_mut() else { return Err(errand) };
        let Errand { chain, octets, body, charged, place, took_ns, has_more, refusal, .. } = *errand;
        (coded.chain, coded.held) = (chain, octets);
        // Where nothing more is to be done there, the next turn here sees what comes next.
        coded.stage = if has_more { Stage::Ready } else { Stage::Here };
        coded.place = has_more.then_some(place);
        (open.body, open.charged) = (body, charged);
        if took_ns > 0
            && let Some(journey) = open.journey()
        {
            journey.decode_ns += took_ns;
        }
        let recharged = open.recharge(memory);
        if let Some(refusal) = refusal.or(recharged.err()) {
            self.refuse(refusal);
        }
        Ok(())
    }
}
