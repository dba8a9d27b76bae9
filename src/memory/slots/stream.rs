//! What the host says about a request piece by piece: interim answers, the head of a final one, octets, the end.
#![forbid(unsafe_code)]

use super::inlet::Inlet;
use super::{HELD, HELD_CLOSED, SPOKE, SlotTable, Word};
use crate::limits::STREAM_BUFFER_BYTES;
use crate::memory::reply::Reply;
use crate::memory::sync::Ordering;
use crate::memory::wire::Wire;
use crate::request::ingest_token;
use std::sync::Arc;

/// How far the host has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No final answer was begun; interim ones may have been sent.
    #[default]
    Interim,
    Begun,
    Ended,
}

/// How the octets stand on the wire; known once the head is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Not at all: the answer has no body (HEAD, 204, 304).
    #[default]
    Nothing,
    /// As they are: the length was announced, or the end of the connection is the end of the body.
    Plain,
    Chunked,
}

/// See the file's first line. Stands behind the slot's lock.
#[derive(Debug, Default)]
pub struct Stream {
    pub phase: Phase,
    /// Interim answers as they will stand on the wire.
    pub interim: Vec<u8>,
    /// The head of the final answer, until it is written.
    pub head: Option<Reply>,
    /// The announced length; `None` for unknown.
    pub length: Option<u64>,
    /// Octets of the body that the host has said.
    pub said: u64,
    /// Those of them that wait for the I/O thread.
    pub octets: Vec<u8>,
    /// Octets said and not yet with the kernel.
    pub unsent: usize,
    /// The host was told that the stream is busy, and waits to hear that it is not.
    pub is_busy: bool,
    /// Trailer fields as they will stand on the wire.
    pub trailers: Vec<u8>,
    pub form: Form,
    /// The connection closes behind it.
    pub close: bool,
    /// The head is with the outbox.
    pub head_written: bool,
    /// Much is said at once, so copying it would cost.
    pub is_large: bool,
    /// Lent by the I/O thread while nothing else is on its way: what is said may be sent at once.
    pub wire: Option<Arc<dyn Wire>>,
    /// Octets that may be sent that way before the I/O thread is to look after the others again.
    pub allowance: u64,
    /// The rest of what was begun to be sent that way, as it stands on the wire; it goes before `octets`.
    pub framed: Vec<u8>,
    /// Octets sent that way which nobody has counted yet.
    pub straight: u64,
    /// The request's body, if that is streamed.
    pub(super) inlet: Option<Inlet>,
    /// A buffer that was sent, for the octets to come.
    spare: Vec<u8>,
    /// The host has said something.
    spoke: bool,
    /// Stands in the mailbox.
    linked: bool,
}

/// What came of saying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<R> {
    pub result: R,
    /// The slot that has to be posted now, and where; `None` when it is in the mailbox already, or nothing was said.
    pub post: Option<(u16, u32)>,
}

/// Why nothing could be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unspoken {
    Gone,
    /// The right to answer has ended; the host still holds the memory.
    Closed,
}

impl Stream {
    /// The slot is to be posted: true when it does not stand in the mailbox yet.
    pub(super) fn link(&mut self) -> bool {
        !std::mem::replace(&mut self.linked, true)
    }

    pub(super) fn unlink(&mut self) {
        self.linked = false;
    }

    /// Nothing of it will be sent any more. It stays where it is, since it may stand in the mailbox.
    pub(super) fn silence(&mut self) {
        let mut inlet = self.inlet.take();
        if let Some(inlet) = &mut inlet {
            inlet.cut();
        }
        *self = Stream { phase: self.phase, spoke: self.spoke, linked: self.linked, inlet, ..Stream::default() };
    }

    /// Of a request whose body is streamed.
    pub(super) fn with_inlet() -> Self {
        Stream { inlet: Some(Inlet::default()), ..Stream::default() }
    }

    /// The host has said nothing, and was handed nothing of the body.
    pub(super) fn is_untouched(&self) -> bool {
        !self.spoke && self.inlet.as_ref().is_some_and(Inlet::is_untouched)
    }

    /// Octets of memory of the request's body that are on the I/O thread's account.
    pub(super) fn account(&self) -> usize {
        self.inlet.as_ref().map_or(0, Inlet::account)
    }

    /// Octets of memory of the request's body that the host has given back since the I/O thread last looked.
    pub(super) fn freed(&self) -> usize {
        self.inlet.as_ref().map_or(0, Inlet::freed)
    }

    /// Octets that may still be buffered.
    pub fn room(&self) -> usize {
        STREAM_BUFFER_BYTES.saturating_sub(self.unsent)
    }

    /// Buffers octets; the caller has looked at `room`. False without memory.
    pub fn push(&mut self, octets: &[u8]) -> bool {
        if self.octets.capacity() == 0 {
            self.octets = std::mem::take(&mut self.spare);
        }
        if self.octets.try_reserve(octets.len()).is_err() {
            return false;
        }
        self.octets.extend_from_slice(octets);
        self.unsent += octets.len();
        self.said += octets.len() as u64;
        true
    }

    /// Nothing of the answer waits to be sent.
    pub fn is_drained(&self) -> bool {
        self.octets.is_empty() && self.framed.is_empty()
    }

    /// So many octets are with the kernel. True when the host wants to hear that there is room again.
    pub fn sent(&mut self, octets: usize) -> bool {
        self.unsent = self.unsent.saturating_sub(octets);
        self.is_busy && self.unsent <= STREAM_BUFFER_BYTES / 2 && std::mem::take(&mut self.is_busy)
    }

    /// Keeps a buffer that was sent.
    pub fn keep(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() > self.spare.capacity() {
            self.spare = buffer;
        }
    }
}

impl SlotTable {
    /// Says something about a request that the host holds and may answer; `say` returns its result, and whether there is
    /// anything to carry home. What says nothing leaves no trace.
    pub fn speak<R>(&self, token: ingest_token, say: impl FnOnce(&mut Stream) -> (R, bool)) -> Result<Spoken<R>, Unspoken> {
        let (slot, index, home, generation) = self.find(token).map_err(|_| Unspoken::Gone)?;
        let mut guard = slot.stream.lock();
        let word = slot.word.load(Ordering::Acquire);
        if !word.is(generation, HELD) {
            return Err(if word.is(generation, HELD_CLOSED) { Unspoken::Closed } else { Unspoken::Gone });
        }
        if word & SPOKE != 0 {
            // Every claim of the host's takes the lock that we have; only the I/O thread may still close it.
            let stream = guard.get_or_insert_default();
            let (result, said) = say(stream);
            stream.spoke |= said;
            let post = (said && stream.link()).then_some((home, index));
            return Ok(Spoken { result, post });
        }
        let mut stream = Box::<Stream>::default();
        let (result, said) = say(&mut stream);
        if !said {
            return Ok(Spoken { result, post: None });
        }
        if slot.change(word, generation, HELD, |word| word | SPOKE).is_err() {
            // Answered, given back or closed meanwhile: nobody has heard it.
            return Err(if slot.is_held(generation) { Unspoken::Closed } else { Unspoken::Gone });
        }
        stream.spoke = true;
        stream.link();
        *guard = Some(stream);
        Ok(Spoken { result, post: Some((home, index)) })
    }
}
