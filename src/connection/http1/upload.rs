//! A body that is streamed: its request is with the host already, and what comes is drawn off at home, piece by piece.
#![forbid(unsafe_code)]

use super::coded::Coded;
use super::{Http1, Step};
use crate::connection::exchange::{Open, Pending, Rest, Terms, UNPLACED};
use crate::connection::{Memory, Tools};
use crate::decode::content::Codings;
use crate::limits::{BodyPolicy, Limits, UNREAD_BYTES};
use crate::memory::letter::Letter;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Framing;

/// What is received at once where it stays, and so the usual size of a piece.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// Stands for the slot of a request that was answered before its body had come.
const ANSWERED: u32 = UNPLACED - 1;

/// See the file's first line.
#[derive(Debug)]
pub struct Upload {
    /// The slot of its request.
    slot: u32,
    /// The client waits for `100 Continue`, unless octets of the body are here already.
    pub(super) owes_continue: bool,
    /// All of it is here.
    pub(super) is_whole: bool,
    /// The host has as much as it may have without giving credit.
    is_full: bool,
    /// Since when it is full, and how long it was so before, in milliseconds.
    full_since_ms: u64,
    full_ms: u64,
    /// Octets drawn off.
    drawn: u64,
}

/// What was drawn off.
pub struct Drawn {
    pub octets: Vec<u8>,
    /// The trailer section, once all of the body is here.
    pub end: Option<Vec<u8>>,
}

/// Whether a body is streamed. The head alone says so, not how much of the body happens to be here (limits.md, rule 10).
pub(super) fn is_streamed(framing: Framing, codings: &Codings, limits: &Limits) -> bool {
    let is_large = match framing {
        Framing::None => false,
        Framing::Length(length) => length > limits.body_buffer_max || !codings.is_empty(),
        Framing::Chunked => true,
    };
    limits.body == BodyPolicy::Stream && is_large
}

impl Upload {
    pub(super) fn begin(owes_continue: bool) -> Self {
        Upload { slot: UNPLACED, owes_continue, is_whole: false, is_full: false, full_since_ms: 0, full_ms: 0, drawn: 0 }
    }
}

impl Http1 {
    /// The head of a request is complete whose body is streamed: it is delivered at once.
    pub(super) fn begin_upload(
        &mut self,
        mut letter: Letter,
        terms: Terms,
        codings: Codings,
        tools: &mut Tools<'_>,
    ) -> Result<Step, Refusal> {
        let framing = tools.sketch.framing;
        let is_coded = !codings.is_empty();
        letter.note_streamed(if let Framing::Length(length) = framing { length } else { 0 }, is_coded);
        if is_coded {
            letter.note_decoded(codings.names(), if let Framing::Length(length) = framing { length } else { 0 });
        }
        let coded = is_coded.then(|| Box::new(Coded::begin(codings, framing, tools)));
        let rest = Rest::of(framing);
        self.open =
            Some(Box::new(Open { letter: None, terms, body: Vec::new(), rest, coded, spill: None, head_at_ns: tools.now_ns, charged: 0 }));
        self.upload = Some(Box::new(Upload::begin(tools.sketch.expects_continue)));
        Ok(self.complete(letter, terms, tools.memory))
    }

    pub fn has_upload(&self) -> bool {
        self.upload.is_some()
    }

    /// The slot of the request whose body is streamed; `None` if that was answered before.
    pub fn upload_slot(&self) -> Option<u32> {
        self.upload.as_ref().map(|upload| upload.slot).filter(|slot| *slot != ANSWERED)
    }

    /// The rest of it will not come, or is not wanted.
    pub fn is_upload_broken(&self) -> bool {
        self.upload.is_some() && (self.open.is_none() || self.refusal.is_some())
    }

    pub fn is_upload_whole(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_whole)
    }

    /// The host has to give credit before more is read.
    pub fn is_full(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_full)
    }

    /// The peer is waited for: there is room, and nothing of it is to be decoded first.
    pub fn upload_comes(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.is_full && !upload.is_whole) && self.open.is_some() && !self.is_suspended()
    }

    /// The request whose body is streamed has got its slot.
    pub(super) fn place_upload(&mut self, pending: &Pending) {
        if let (true, Some(upload)) = (pending.terms.streamed, &mut self.upload) {
            upload.slot = pending.slot;
        }
    }

    /// Takes what has come of a streamed body.
    pub fn draw(&mut self, memory: &mut Memory) -> Drawn {
        let (Some(upload), Some(open)) = (&mut self.upload, &mut self.open) else { return Drawn { octets: Vec::new(), end: None } };
        let octets = if open.body.is_empty() { Vec::new() } else { std::mem::take(&mut open.body) };
        upload.drawn += octets.len() as u64;
        let end = upload.is_whole.then(|| match &mut open.rest {
            Rest::Chunked(chunked) => chunked.take_trailers().bytes,
            Rest::Length(_) => Vec::new(),
        });
        // A shortage was said when the octets came.
        let _ = open.recharge(memory);
        Drawn { octets, end }
    }

    /// So many octets are with the host now, or wait for it. True when the peer is waited for again.
    pub fn note_owed(&mut self, owed: usize, moved: bool, window: u64, now_ms: u64) -> bool {
        let Some(upload) = &mut self.upload else { return false };
        let was_full = upload.is_full;
        // Half of it has to be free again, so that not every credit asks for a few octets.
        let mark = if was_full { window / 2 } else { window.saturating_sub(1) };
        upload.is_full = owed as u64 > mark;
        if upload.is_full && !was_full {
            upload.full_since_ms = now_ms;
            if let Some(open) = &mut self.open {
                // Others may decode while this one waits for the host.
                open.coded.as_mut().into_iter().for_each(|coded| coded.step_aside());
            }
        } else if was_full && !upload.is_full {
            upload.full_ms += now_ms.saturating_sub(upload.full_since_ms);
        }
        let slot = upload.slot;
        let comes_again = was_full && !upload.is_full;
        if moved {
            self.renew(slot, now_ms);
        }
        comes_again
    }

    /// The host's time for its answer begins anew: it, or the peer, has moved.
    fn renew(&mut self, slot: u32, now_ms: u64) {
        if let Some(pending) = self.pending_of(slot, 0).filter(|pending| !pending.queued) {
            pending.at_ms = now_ms;
        }
    }

    /// Nothing more of it comes, or is of interest.
    pub fn end_upload(&mut self, memory: &mut Memory) {
        self.upload = None;
        let _ = self.drop_body(memory);
    }

    /// Its request is answered. True when the connection cannot go on behind the answer, since too much of the body is still to come:
    /// a little is read and thrown away.
    pub fn leave_upload(&mut self, slot: u32) -> bool {
        let Some(upload) = self.upload.as_mut().filter(|upload| upload.slot == slot) else { return false };
        let rest = match &self.open {
            _ if upload.is_whole => 0,
            Some(open) if open.coded.is_none() => match open.rest {
                Rest::Length(left) => left,
                Rest::Chunked(_) => usize::MAX,
            },
            _ => usize::MAX,
        };
        upload.slot = ANSWERED;
        upload.is_full = false;
        rest > UNREAD_BYTES
    }

    /// Whether a body is coming whose request has this slot.
    pub fn awaits_body_of(&self, slot: u32) -> bool {
        self.upload_slot() == Some(slot) && !self.is_upload_whole()
    }

    /// Of a streamed body: how long the host has kept it from coming, and the octets drawn off.
    pub(super) fn upload_so_far(&self) -> (u64, u64) {
        self.upload.as_ref().map_or((0, 0), |upload| (upload.full_ms, upload.drawn))
    }

    /// Forgets a refusal: what was refused belongs to a request that is answered already.
    pub fn forgive(&mut self) {
        self.refusal = None;
    }

    /// The request of this slot is owed an answer, as far as is known here.
    pub fn pending_mut(&mut self, slot: u32) -> Option<&mut Pending> {
        self.pending_of(slot, 0)
    }

    /// It is owed none any more.
    pub fn remove_pending(&mut self, slot: u32) {
        if let Some(at) = self.pending.iter().position(|pending| pending.slot == slot) {
            if let Some(pending) = self.pending.remove(at) {
                self.answered -= u32::from(pending.answered);
            }
            if self.pending.is_empty() {
                self.blocked = false;
            }
        }
    }
}
