//! A streamed body between the I/O thread, which pours octets in, and the host, which is handed them and gives credit for them.

use super::stream::Unspoken;
use super::{HELD, HELD_CLOSED, SPOKE, SlotOwner, SlotTable, Word, news};
use crate::memory::sync::Ordering;
use crate::request::{ingest_slice, ingest_token};
use std::collections::VecDeque;

/// Pieces up to this size are joined while the host has not been handed them: octets that drip do not cost an allocation each.
const JOINED_BYTES: usize = 16 * 1024;
/// What a piece costs beside its octets.
const PIECE_OVERHEAD: usize = 64;

/// See the file's first line. Stands behind the slot's lock.
#[derive(Debug, Default)]
pub struct Inlet {
    /// Not handed out yet.
    waiting: VecDeque<Vec<u8>>,
    /// With the host, the oldest first.
    lent: VecDeque<Vec<u8>>,
    /// Octets that are lent and not credited.
    lent_octets: usize,
    /// Octets of the oldest piece that are credited already.
    credited: usize,
    waiting_octets: usize,
    /// Octets of memory that the pieces hold, and those that were freed since the I/O thread last looked.
    charged: usize,
    freed: usize,
    /// The whole body was poured in, and its trailer section with it.
    end: Option<Vec<u8>>,
    /// The host was told of the end.
    end_told: bool,
    /// The host was handed something, be it back already.
    handed: bool,
}

/// How a body stands after octets were poured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Octets that wait for the host or for its credit.
    pub owed: usize,
    /// Octets of memory that came on top, and that were given back meanwhile.
    pub charged: usize,
    pub freed: usize,
}

/// The next thing that the host hears of a body.
pub(super) enum Next {
    Piece(ingest_slice),
    End(ingest_slice),
}

fn weight(piece: &Vec<u8>) -> usize {
    piece.capacity() + PIECE_OVERHEAD
}

fn slice(octets: &[u8]) -> ingest_slice {
    ingest_slice { ptr: octets.as_ptr(), len: octets.len() }
}

impl Inlet {
    /// Adds octets. False without memory, and nothing was added.
    fn push(&mut self, mut octets: Vec<u8>) -> bool {
        let count = octets.len();
        if let Some(last) = self.waiting.back_mut().filter(|last| last.len() + count <= JOINED_BYTES) {
            let before = last.capacity();
            if last.try_reserve(count).is_err() {
                return false;
            }
            last.extend_from_slice(&octets);
            self.charged += last.capacity() - before;
        } else {
            // Room in both lists, so that handing out allocates nothing.
            let pieces = self.waiting.len() + 1;
            if self.waiting.try_reserve(1).is_err() || self.lent.try_reserve(pieces).is_err() {
                return false;
            }
            if octets.capacity() > 2 * count {
                octets.shrink_to_fit();
            }
            self.charged += weight(&octets);
            self.waiting.push_back(octets);
        }
        self.waiting_octets += count;
        true
    }

    /// There is something that the host has not heard.
    pub(super) fn has_next(&self) -> bool {
        !self.waiting.is_empty() || (self.end.is_some() && !self.end_told)
    }

    /// Hands out what comes next.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(piece) = self.waiting.pop_front() {
            self.waiting_octets -= piece.len();
            self.lent_octets += piece.len();
            let data = slice(&piece);
            self.lent.push_back(piece);
            self.handed = true;
            return Some(Next::Piece(data));
        }
        let trailers = self.end.as_ref().filter(|_| !self.end_told)?;
        (self.end_told, self.handed) = (true, true);
        Some(Next::End(if trailers.is_empty() { ingest_slice::NONE } else { slice(trailers) }))
    }

    /// The host is done with its oldest octets. False if it does not have so many.
    fn credit(&mut self, mut octets: usize) -> bool {
        if octets > self.lent_octets {
            return false;
        }
        self.lent_octets -= octets;
        while let Some(oldest) = self.lent.front() {
            let left = oldest.len() - self.credited;
            if octets < left {
                self.credited += octets;
                break;
            }
            octets -= left;
            self.credited = 0;
            let weight = weight(oldest);
            self.charged -= weight;
            self.freed += weight;
            self.lent.pop_front();
        }
        true
    }

    /// The body is cut short: what the host was not handed it will not be handed. What it has stays where it is.
    pub(super) fn cut(&mut self) {
        for piece in self.waiting.drain(..) {
            self.charged -= weight(&piece);
            self.freed += weight(&piece);
        }
        self.waiting_octets = 0;
        if !self.end_told {
            self.end = None;
        }
    }

    /// Octets of memory that the I/O thread still has on its account.
    pub(super) fn account(&self) -> usize {
        self.charged + self.freed
    }

    /// Octets of memory that were given back since the I/O thread last looked.
    pub(super) fn freed(&self) -> usize {
        self.freed
    }

    /// The host was handed nothing yet.
    pub(super) fn is_untouched(&self) -> bool {
        !self.handed
    }
}

impl SlotTable {
    /// The host gives octets of a streamed body back; `None` if it does not have so many. The slot that has to be posted, and where,
    /// if it does not stand in the mailbox yet. Allocates nothing.
    pub fn credit(&self, token: ingest_token, octets: usize) -> Result<Option<Option<(u16, u32)>>, Unspoken> {
        let (slot, index, home, generation) = self.find(token).map_err(|_| Unspoken::Gone)?;
        let mut guard = slot.stream.lock();
        let word = slot.word.load(Ordering::Acquire);
        if !word.is(generation, HELD) {
            return Err(if word.is(generation, HELD_CLOSED) { Unspoken::Closed } else { Unspoken::Gone });
        }
        let Some(stream) = guard.as_mut().filter(|_| word & SPOKE != 0) else { return Ok(None) };
        if !stream.inlet.as_mut().is_some_and(|inlet| inlet.credit(octets)) {
            return Ok(None);
        }
        Ok(Some((octets > 0 && stream.link()).then_some((home, index))))
    }
}

impl SlotOwner {
    /// Takes octets of memory off the account that the host has given back, of a body that is all here.
    #[cold]
    pub fn take_freed(&mut self, index: u32) -> usize {
        let freed = self.stream(index, |stream| stream.inlet.as_mut().map_or(0, |inlet| std::mem::take(&mut inlet.freed)));
        freed.unwrap_or(0)
    }

    /// Pours octets of a streamed body in, and its end, with the trailer section. `None` without memory.
    pub fn pour(&mut self, index: u32, octets: Vec<u8>, end: Option<Vec<u8>>) -> Option<Flow> {
        let (flow, has_next) = self.stream(index, |stream| {
            let Some(inlet) = stream.inlet.as_mut() else { return (Some(Flow::default()), false) };
            let before = inlet.charged;
            if !octets.is_empty() && !inlet.push(octets) {
                return (None, false);
            }
            if end.is_some() {
                inlet.end = end;
            }
            let owed = inlet.waiting_octets + inlet.lent_octets;
            let flow = Flow { owed, charged: inlet.charged - before, freed: std::mem::take(&mut inlet.freed) };
            (Some(flow), inlet.has_next())
        })?;
        let flow = flow?;
        if has_next {
            self.note_always(index, news::BODY);
        }
        Some(flow)
    }
}
