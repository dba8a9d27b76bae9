//! How a body that is not coded comes: what of it is there with the head, the buffer for the rest, and what is charged for it.
#![forbid(unsafe_code)]

use super::NO_MEMORY;
use crate::connection::Memory;
use crate::connection::exchange::{Open, Rest};
use crate::limits::Limits;
use crate::memory::pool::Pool;
use crate::parse::chunked::Chunked;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Framing;

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

/// The buffer of a body that is not complete: reserved once for an announced length, and begun with what is there. None for one whose
/// octets go elsewhere.
pub(super) fn opening(there: Option<&[u8]>, rest: &Rest, pool: &mut Pool) -> Result<Vec<u8>, Refusal> {
    let Some(there) = there else { return Ok(Vec::new()) };
    let mut body = pool.lend_body(announced(there, rest)).ok_or(NO_MEMORY)?;
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
