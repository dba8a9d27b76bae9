//! How a body that is not coded comes: what of it is there with the head, the buffer for the rest, and what is charged for it.
#![forbid(unsafe_code)]

use super::coded::Coded;
use super::upload::PIECE_BYTES;
use super::{Http1, NO_MEMORY, spooled};
use crate::connection::exchange::{Open, Rest, Terms};
use crate::connection::{Memory, Tools};
use crate::decode::content::Codings;
use crate::engine::Landing;
use crate::limits::{BODY_SPARE_BYTES, BodyPolicy, Limits, READ_PER_TICK_BYTES};
use crate::memory::letter::Letter;
use crate::memory::pool::Pool;
use crate::parse::chunked::Chunked;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Framing;

/// Room made for the next octets of a chunked body.
const CHUNKED_STEP_BYTES: usize = 16 * 1024;

/// What of a body stands behind its head, what is still to come, and how many octets of what stands there are done with.
pub(super) fn there<'a>(framing: Framing, behind: &'a mut [u8], limits: &Limits) -> Result<(&'a [u8], Option<Rest>, usize), Refusal> {
    Ok(match framing {
        Framing::None => (&behind[..0], None, 0),
        Framing::Length(length) => {
            let length = usize::try_from(length).map_err(|_| super::NEVER_ROOM)?;
            let there = length.min(behind.len());
            (&behind[..there], (there < length).then_some(Rest::Length(length - there)), there)
        }
        Framing::Chunked => {
            let mut chunked = Chunked::default();
            let compacted = chunked.compact(behind, limits)?;
            // A trailer section has its own memory, so a body with one goes the long way.
            let whole = compacted.complete && !chunked.has_trailers();
            let rest = if whole { None } else { Some(Rest::Chunked(chunked)) };
            (&behind[..compacted.kept], rest, compacted.consumed)
        }
    })
}

/// The length of a body as far as it is known.
pub(super) fn announced(there: &[u8], rest: &Rest) -> usize {
    match rest {
        Rest::Length(left) => there.len().saturating_add(*left),
        Rest::Chunked(_) => there.len(),
    }
}

/// Whether a body that is announced to be so long need not be in memory as a whole.
pub(super) fn leaves_memory(length: u64, limits: &Limits) -> bool {
    match limits.body {
        BodyPolicy::Buffer => false,
        BodyPolicy::Stream => length > limits.body_buffer_max,
        BodyPolicy::Spool => spooled::spills(length, limits),
    }
}

/// The buffer of a body that is not complete: reserved once for an announced length, and begun with what is there. None for one whose
/// octets go elsewhere.
pub(super) fn opening(there: Option<&[u8]>, rest: &Rest, pool: &mut Pool) -> Result<Vec<u8>, Refusal> {
    let Some(there) = there else { return Ok(Vec::new()) };
    let mut body = pool.lend_body(announced(there, rest).saturating_add(BODY_SPARE_BYTES)).ok_or(NO_MEMORY)?;
    body.extend_from_slice(there);
    Ok(body)
}

pub(super) fn append(body: &mut Vec<u8>, octets: &[u8]) -> Result<(), Refusal> {
    body.try_reserve(octets.len()).map_err(|_| NO_MEMORY)?;
    body.extend_from_slice(octets);
    Ok(())
}

impl Open {
    /// Octets of memory that the body holds now: it itself, and what decodes it.
    pub(super) fn holds(&self) -> usize {
        let beside = self.coded.as_ref().map_or(0, |coded| coded.held()) + self.spill.as_ref().map_or(0, |spill| spill.held());
        self.body.len() + beside
    }

    /// Charges what has been added since the last time; a length that was only announced costs nothing.
    pub(super) fn recharge(&mut self, memory: &mut Memory) -> Result<(), Refusal> {
        let holds = self.holds();
        if holds >= self.charged {
            memory.charge_body(holds - self.charged);
        } else {
            memory.release_body(self.charged - holds);
        }
        self.charged = holds;
        // What has arrived is here, whether there was room or not: reading stops then, and this body is refused if that lasts.
        if memory.shedding && memory.is_short() { Err(NO_MEMORY) } else { Ok(()) }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.rest.is_complete() && !self.coded.as_ref().is_some_and(|coded| coded.is_suspended())
    }
}

impl Http1 {
    /// Where the octets of a body should land: where they stay. `None` when no body is under way.
    pub fn body_landing(&mut self) -> Option<Landing> {
        if self.refusal.is_some() {
            return None;
        }
        if self.upload.as_ref().is_some_and(|upload| upload.is_whole) || self.is_full() {
            return None;
        }
        let streamed = self.upload.is_some();
        let open = self.open.as_deref_mut()?;
        if let Some(coded) = &open.coded {
            // What comes is not kept, so it has no place to stay.
            return (!coded.is_suspended()).then_some(Landing::Slab);
        }
        if open.spill.is_some() {
            return Some(Landing::Slab);
        }
        let mut body = std::mem::take(&mut open.body);
        let most = match open.rest {
            Rest::Length(left) if streamed => {
                let _ = body.try_reserve_exact(left.min(PIECE_BYTES));
                (body.capacity() - body.len()).min(left)
            }
            // The receive that brings the last of it comes back short, so nobody asks the kernel once more whether there is anything left.
            Rest::Length(left) => (left + BODY_SPARE_BYTES).min(READ_PER_TICK_BYTES),
            Rest::Chunked(_) => {
                // Doubling keeps the copying linear. Without memory nothing can be received, which the caller sees.
                let step = if streamed { PIECE_BYTES } else { CHUNKED_STEP_BYTES };
                if body.capacity() - body.len() < step {
                    let _ = body.try_reserve(step);
                }
                (body.capacity() - body.len()).min(READ_PER_TICK_BYTES)
            }
        };
        Some(Landing::Buffer(body, most))
    }

    /// The engine gives a landing back that it has received nothing into.
    pub fn put_body_back(&mut self, landing: Landing) {
        if let (Some(open), Landing::Buffer(buffer, _)) = (&mut self.open, landing) {
            open.body = buffer;
        }
    }

    /// How large the body that is coming will be; nobody knows of a chunked or coded one.
    pub fn body_whole(&self) -> Option<u64> {
        self.open.as_ref().map(|open| match open.rest {
            // What has come of it does not stay here.
            _ if self.upload.is_some() => open.charged as u64,
            // What is to come goes to its file.
            _ if open.spill.is_some() => open.charged as u64,
            _ if open.coded.is_some() => u64::MAX,
            Rest::Length(left) => (open.charged + left) as u64,
            Rest::Chunked(_) => u64::MAX,
        })
    }
}

impl Http1 {
    /// A body begins that is not whole, or may not stay as it is: with what of it is there.
    pub(super) fn open_body(
        &mut self,
        letter: Letter,
        terms: Terms,
        (body, rest): (&[u8], Rest),
        codings: Codings,
        tools: &mut Tools<'_>,
    ) -> Result<(), Refusal> {
        let framing = tools.sketch.framing;
        let is_coded = !codings.is_empty();
        let spills = !is_coded && spooled::spills(announced(body, &rest) as u64, tools.limits);
        let in_memory = if spills { None } else { Some(body) };
        let buffer = if is_coded { Coded::room(framing, tools.pool).ok_or(NO_MEMORY) } else { opening(in_memory, &rest, tools.pool) };
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(refusal) => {
                letter.dissolve(tools.pool);
                return Err(refusal);
            }
        };
        let charged = buffer.len();
        tools.memory.charge_body(charged);
        let coded = is_coded.then(|| Box::new(Coded::begin(codings, framing, tools)));
        let (letter, head_at_ns) = (Some(letter), tools.now_ns);
        let open = self.open.insert(Box::new(Open { letter, terms, body: buffer, rest, coded, spill: None, head_at_ns, charged }));
        if is_coded {
            // Decoders are charged at once, since a client may send nothing more for long.
            open.recharge(tools.memory)
        } else if spills {
            open.spill(body, tools)
        } else {
            Ok(())
        }
    }
}
