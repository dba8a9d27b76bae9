//! HTTP/1 on one connection: head, body, next head; which requests may go to the host at once, and which answers are owed.
#![forbid(unsafe_code)]

mod body;
pub mod coded;
pub mod errand;
pub mod spooled;
mod terms;
mod upload;

use self::body::{append, leaves_memory, there};
use self::upload::{Upload, is_streamed};
use super::contents;
use super::exchange::{Exchange, Open, Origin, Pending, Rest, Terms, UNPLACED};
use super::{Memory, Tools};
use crate::decode::rules::Charset;
use crate::decode::{self, content};
use crate::journey::{Before, Steps};
use crate::limits::Limits;
use crate::memory::budget::body_share;
use crate::memory::letter::{Letter, Parts};
use crate::parse::head::HeadScan;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Framing;
use crate::parse::{self, known};
use std::collections::VecDeque;
use std::ops::Range;

/// There is no room within `memory_max`, and there was none for a while.
pub const NO_MEMORY: Refusal = Refusal::new(503, "memory limit reached, try again later");
const NEVER_ROOM: Refusal = Refusal::new(413, "body too large");

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// More octets, or an answer, are needed first.
    Wait,
    /// A request is complete.
    Deliver(Exchange),
    /// The client waits for `100 Continue`.
    Continue,
}

/// See the file's first line.
#[derive(Debug, Default)]
pub struct Http1 {
    scan: HeadScan,
    /// When the first octet of the present head came; zero when none has.
    head_began_ns: u64,
    open: Option<Box<Open>>,
    /// The body that is coming is streamed.
    upload: Option<Box<Upload>>,
    pending: VecDeque<Pending>,
    /// How many of `pending` are answered.
    answered: u32,
    /// The next request must wait until nothing is pending.
    blocked: bool,
    /// Octets are waiting that could not be looked at because of what is pending.
    stalled: bool,
    /// A request is here that there is no memory for.
    starved: bool,
    /// The last request that this connection serves has been taken.
    last: bool,
    serial: bool,
    served: u64,
    /// Refused what came; answered once nothing is pending any more.
    refusal: Option<Refusal>,
}

impl Http1 {
    /// Consumes octets from `at` on, up to the next thing that the caller has to know.
    pub fn step(&mut self, bytes: &mut [u8], at: &mut usize, origin: Origin<'_>, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        if self.open.is_some() {
            return self.body(bytes, at, tools);
        }
        if *at == bytes.len() {
            return Ok(Step::Wait);
        }
        self.stalled = !self.may_begin(tools.limits);
        if self.stalled {
            return Ok(Step::Wait);
        }
        if self.head_began_ns == 0 {
            self.head_began_ns = tools.now_ns;
        }
        let mut steps = Steps::begin(&mut tools.timing);
        let window = &bytes[*at..];
        fail_point!("parse");
        let Some(range) = parse::advance(&mut self.scan, window, tools.limits, origin.session.is_secure(), tools.sketch)? else {
            // A head that is not whole asks nobody for room, and while memory is short there may be many of them.
            let is_shed = tools.memory.shedding && !tools.memory.has_room(window.len().saturating_sub(tools.ahead));
            return if is_shed { Err(NO_MEMORY) } else { Ok(Step::Wait) };
        };
        steps.parsed();
        let safe = known::is_safe(tools.sketch.method_id);
        let must_wait = (tools.serial && !safe) || tools.sketch.expects_continue;
        if must_wait && !self.pending.is_empty() {
            // Delivered alone, after all earlier answers (RFC 9112 section 9.3.2). It is parsed again then: once, and rarely.
            self.blocked = true;
            self.stalled = true;
            return Ok(Step::Wait);
        }
        self.serial = tools.serial;
        let range = *at + range.start..*at + range.end;
        fail_point!("decode");
        decode::finish(tools.sketch, &bytes[range.clone()])?;
        if tools.limits.rules.judge_targets() {
            decode::judge(tools.sketch, &bytes[range.clone()], &tools.limits.rules)?;
        }
        steps.decoded();
        self.begin(bytes, at, range, safe, steps, origin, tools)
    }

    /// The head is complete: seals it, with as much of the body as is there.
    #[allow(clippy::too_many_arguments)]
    fn begin(
        &mut self,
        bytes: &mut [u8],
        at: &mut usize,
        range: Range<usize>,
        safe: bool,
        steps: Steps,
        origin: Origin<'_>,
        tools: &mut Tools<'_>,
    ) -> Result<Step, Refusal> {
        let here = bytes.len();
        let (head, behind) = bytes.split_at_mut(range.end);
        let head = &head[range.start..];
        let codings = content::read(tools.sketch, head, tools.limits)?;
        // Before anything is changed: what finds no room is looked at again.
        if !self.finds_room(head.len(), behind.len(), tools)? {
            return Ok(Step::Wait);
        }
        let framing = tools.sketch.framing;
        let streamed = is_streamed(framing, &codings, tools.limits);
        // A body that may be converted has a buffer of its own, so that no second copy of it stays.
        let is_apart = streamed || !codings.is_empty() || (tools.limits.rules.charset != Charset::Keep && framing != Framing::None);
        let (body, rest, used) = if is_apart { (&[][..], Some(Rest::of(framing)), 0) } else { there(framing, behind, tools.limits)? };
        let rest = spooled::left(rest, body.len(), tools.limits);
        let before = (self.served == 0).then(|| Before::of(origin.accept_ns, origin.session));
        let journey = tools.timing.journey(&steps, tools.now_ns, self.head_began_ns, before);
        let framed = framing != Framing::None;
        let sealed_body: &[u8] = if rest.is_none() { body } else { &[] };
        let peer = origin.peer.view();
        let terms = Terms { streamed, ..self.terms(safe, head, tools) };
        let parts = Parts {
            sketch: tools.sketch,
            head,
            body: sealed_body,
            has_body: framed && !streamed,
            scheme: origin.session.scheme(),
            listener: origin.listener,
            peer,
            tls: origin.session.view(),
            journey: journey.as_ref(),
            deadline_ns: terms.deadline.face_ns(),
        };
        let letter = Letter::seal(tools.pool, &parts).ok_or(NO_MEMORY)?;
        self.head_began_ns = 0;
        *at = range.end + used;
        let Some(rest) = rest else {
            return if framed { self.unfold(letter, terms, tools) } else { Ok(self.complete(letter, terms, tools.memory)) };
        };
        if tools.memory.refuses_more_bodies() {
            letter.dissolve(tools.pool);
            return Err(NO_MEMORY);
        }
        if streamed {
            return self.begin_upload(letter, terms, codings, tools);
        }
        let is_coded = !codings.is_empty();
        let nothing_yet = used == 0 && *at == here;
        self.open_body(letter, terms, (body, rest), codings, tools)?;
        if is_coded && (!nothing_yet || framing == Framing::Length(0)) {
            return self.coded(bytes, at, tools);
        }
        if matches!(&self.open, Some(open) if open.is_complete()) {
            return self.finish(tools);
        }
        if is_apart && !nothing_yet {
            return self.body(bytes, at, tools);
        }
        if tools.sketch.expects_continue && nothing_yet { Ok(Step::Continue) } else { Ok(Step::Wait) }
    }

    /// Whether there is room for a request with so many octets of body here. One that finds none waits, until it is refused.
    fn finds_room(&mut self, head: usize, behind: usize, tools: &mut Tools<'_>) -> Result<bool, Refusal> {
        let body = match tools.sketch.framing {
            Framing::None => 0,
            Framing::Length(length) if length > body_share(tools.limits.memory_max) && !leaves_memory(length, tools.limits) => {
                return Err(NEVER_ROOM);
            }
            Framing::Length(length) => usize::try_from(length).map_or(behind, |length| length.min(behind)),
            Framing::Chunked => behind,
        };
        // What was read ahead is charged already.
        self.starved = !tools.memory.has_room((head + body).saturating_sub(tools.ahead));
        self.stalled |= self.starved;
        if self.starved && tools.memory.shedding { Err(NO_MEMORY) } else { Ok(!self.starved) }
    }

    /// Consumes body octets that came through the inbox.
    fn body(&mut self, bytes: &mut [u8], at: &mut usize, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        if let Some(upload) = &mut self.upload {
            if upload.is_whole {
                self.stalled = true;
                return Ok(Step::Wait);
            }
            if std::mem::take(&mut upload.owes_continue) && *at == bytes.len() {
                return Ok(Step::Continue);
            }
        }
        let Some(open) = &mut self.open else { return Ok(Step::Wait) };
        if open.coded.is_some() {
            return self.coded(bytes, at, tools);
        }
        let input = &mut bytes[*at..];
        if input.is_empty() {
            return Ok(Step::Wait);
        }
        let (consumed, kept) = open.rest.take(input, tools.limits)?;
        *at += consumed;
        if open.spill.is_some() {
            open.spill(&input[..kept], tools)?;
        } else {
            append(&mut open.body, &input[..kept])?;
            open.spill_buffer(tools)?;
        }
        open.recharge(tools.memory)?;
        if open.is_complete() { self.finish(tools) } else { Ok(Step::Wait) }
    }

    /// Takes back a body buffer that `count` octets were received into. What lies behind the body's end goes to `beyond`.
    pub fn received(&mut self, mut buffer: Vec<u8>, count: usize, beyond: &mut Vec<u8>, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        let Some(open) = &mut self.open else { return Ok(Step::Wait) };
        let start = buffer.len() - count;
        let (kept, used) = match &mut open.rest {
            Rest::Length(left) => {
                let kept = count.min(*left);
                *left -= kept;
                (kept, kept)
            }
            Rest::Chunked(chunked) => {
                // Compacted where they landed: the octets are not copied again.
                let compacted = chunked.compact(&mut buffer[start..], tools.limits)?;
                (compacted.kept, compacted.consumed)
            }
        };
        beyond.extend_from_slice(&buffer[start + used..]);
        // The next request is here already, and no further read may come to look at it.
        self.stalled = !beyond.is_empty();
        buffer.truncate(start + kept);
        open.body = buffer;
        open.spill_buffer(tools)?;
        open.recharge(tools.memory)?;
        if open.is_complete() { self.finish(tools) } else { Ok(Step::Wait) }
    }

    fn finish(&mut self, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        if let Some(upload) = &mut self.upload {
            // What lies behind it is looked at once its last piece is drawn off.
            upload.is_whole = true;
            self.stalled = true;
            return Ok(Step::Wait);
        }
        let Some(open) = self.open.take() else { return Ok(Step::Wait) };
        let Open { letter: Some(mut letter), terms, body, rest, head_at_ns, charged, spill, .. } = *open else { return Ok(Step::Wait) };
        tools.memory.release_body(charged);
        let is_spooled = spill.is_some();
        match spill {
            None => letter.attach_body(body),
            Some(spill) => {
                if let Err(refusal) = spill.finish(&mut letter, tools) {
                    letter.dissolve(tools.pool);
                    return Err(refusal);
                }
            }
        }
        if let Rest::Chunked(mut chunked) = rest {
            let trailers = chunked.take_trailers();
            letter.attach_trailers(trailers.bytes, &trailers.pairs);
        }
        if let Some(journey) = letter.journey() {
            journey.body_wait_ns = tools.now_ns.saturating_sub(head_at_ns);
            journey.delivered_at_ns = tools.now_ns;
        }
        if is_spooled { Ok(self.complete(letter, terms, tools.memory)) } else { self.unfold(letter, terms, tools) }
    }

    /// A request with a body is complete. Apart, so that those without one pay nothing for it.
    #[inline(never)]
    fn unfold(&mut self, letter: Letter, terms: Terms, tools: &mut Tools<'_>) -> Result<Step, Refusal> {
        let letter = if terms.left_coded { letter } else { contents::unfold(letter, tools)? };
        Ok(self.complete(letter, terms, tools.memory))
    }

    #[inline(always)]
    fn complete(&mut self, letter: Letter, terms: Terms, memory: &mut Memory) -> Step {
        memory.charge(letter.charge());
        self.served += 1;
        self.last |= !terms.keep_alive;
        Step::Deliver(Exchange { letter, terms })
    }

    /// Whether another request may be begun: there is room in the pipeline, and no unsafe one is under way.
    pub fn may_begin(&self, limits: &Limits) -> bool {
        if self.last || self.refusal.is_some() || self.open.is_some() {
            return false;
        }
        match self.pending.front() {
            None => true,
            Some(front) => {
                let alone = self.serial && !front.terms.safe;
                !self.blocked && !alone && (self.pending.len() as u64) < limits.pipeline_max
            }
        }
    }

    /// A delivered request's answer is owed from now on.
    pub fn push_pending(&mut self, pending: Pending) {
        self.place_upload(&pending);
        self.pending.push_back(pending);
    }

    /// Forgets the requests that were completed on a far segment and have no slot yet: their home adds them again, with one.
    pub fn drop_unplaced(&mut self) {
        while self.pending.back().is_some_and(|pending| pending.slot == UNPLACED) {
            self.pending.pop_back();
        }
    }

    /// The answer to a slot's request is there, or will never be (`cut`). False when this connection does not wait for it.
    pub fn mark_answered(&mut self, slot: u32, cut: bool) -> bool {
        // Answers mostly come in the order of the requests, so the next one is looked at first.
        let guess = self.answered as usize;
        let Some(pending) = self.pending_of(slot, guess) else { return false };
        pending.answered = true;
        pending.cut = cut;
        self.answered += 1;
        true
    }

    /// The host said something about a slot's request.
    pub fn mark_speaking(&mut self, slot: u32, begun: bool) {
        if let Some(pending) = self.pending_of(slot, 0) {
            pending.speaking = true;
            pending.begun |= begun;
        }
    }

    fn pending_of(&mut self, slot: u32, guess: usize) -> Option<&mut Pending> {
        let at = match self.pending.get(guess) {
            Some(pending) if pending.slot == slot => guess,
            _ => self.pending.iter().position(|pending| pending.slot == slot)?,
        };
        self.pending.get_mut(at)
    }

    /// How many answers are owed.
    pub fn owed(&self) -> usize {
        self.pending.len()
    }

    /// The request whose answer is due next.
    pub fn oldest(&self) -> Option<&Pending> {
        self.pending.front()
    }

    pub fn oldest_mut(&mut self) -> Option<&mut Pending> {
        self.pending.front_mut()
    }

    /// Its answer has been written, or never will be.
    pub fn pop_pending(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.answered -= u32::from(pending.answered);
        if self.pending.is_empty() {
            self.blocked = false;
        }
        Some(pending)
    }

    /// The slots of every request that is owed an answer.
    pub fn pending_slots(&self) -> impl Iterator<Item = u32> {
        self.pending.iter().map(|pending| pending.slot)
    }

    /// What came was refused; the refusal may still wait for earlier answers.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// The refusal, once every earlier answer is written.
    pub fn due_refusal(&mut self) -> Option<Refusal> {
        if self.pending.is_empty() { self.refusal } else { None }
    }

    /// Gives up a body that will not be completed.
    pub fn drop_body(&mut self, memory: &mut Memory) -> Option<Letter> {
        let open = self.open.take()?;
        memory.release_body(open.charged);
        open.letter
    }

    /// A request waits for memory.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Octets wait for earlier answers to leave.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// An answer's or a refusal's turn has come.
    pub fn has_something_to_say(&self) -> bool {
        match self.pending.front() {
            Some(front) => front.answered || front.speaking,
            None => self.refusal.is_some(),
        }
    }

    pub fn no_more(&mut self) {
        self.last = true;
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.open.is_none() && self.refusal.is_none()
    }

    pub fn in_body(&self) -> bool {
        self.open.is_some()
    }

    /// Octets of a body that is coming which are charged to the thread's memory.
    #[inline]
    pub fn body_charged(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.charged)
    }

    /// Of a body that is coming: when its head was complete, in milliseconds and later by what it waited for its turns, and how many octets
    /// of it are here.
    pub fn body_so_far(&self) -> Option<(u64, u64)> {
        let (full_ms, drawn) = self.upload_so_far();
        let plain = |open: &Open| open.spill.as_ref().map_or(open.charged as u64 + drawn, |spill| spill.length());
        // Of a coded body what came over the wire counts, drawn off or not.
        let arrived = |open: &Open| open.coded.as_ref().map_or_else(|| plain(open), |coded| coded.wire());
        let rested_ns = |open: &Open| open.coded.as_ref().map_or(0, |coded| coded.rested_ns());
        self.open.as_ref().map(|open| ((open.head_at_ns + rested_ns(open)) / 1_000_000 + full_ms, arrived(open)))
    }

    /// When the head that is coming began, in milliseconds; `None` when none is.
    pub fn head_began_ms(&self) -> Option<u64> {
        (self.head_began_ns > 0).then_some(self.head_began_ns / 1_000_000)
    }

    /// Requests taken so far.
    pub fn served(&self) -> u64 {
        self.served
    }
}
