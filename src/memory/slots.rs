//! The token table: one slot an open exchange, with a state word that says who owns its letter and its reply.

mod inlet;
mod news;
mod owner;
mod stream;

pub use self::inlet::Flow;
pub use self::news::{BODY, GONE, News, READ_CLOSED, RELEASED, RESET, SENT, WRITABLE};
pub use self::owner::{Closed, Homing, Settled, SlotOwner};
pub use self::stream::{Form, Phase, Spoken, Stream, Unspoken};

use super::letter::Letter;
use super::reply::{Reply, ReplyKind};
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, OwnedCell, fence};
use super::tail::Tail;
use crate::request::{ingest_request, ingest_token};
use std::sync::OnceLock;
use std::sync::atomic::AtomicPtr;

/// Slots that are made at once. Small, so that a server with few open exchanges touches little memory.
#[cfg(not(loom))]
const CHUNK: usize = 256;
#[cfg(loom)]
const CHUNK: usize = 1;
#[cfg(not(loom))]
const CHUNKS: usize = crate::limits::SLOTS_MAX / CHUNK;
#[cfg(loom)]
const CHUNKS: usize = 4;

/// The I/O thread's; it may fill it.
const FREE: u64 = 0;
/// Waiting for a consumer; the letter is nobody's to change.
const QUEUED: u64 = 1;
/// A consumer is taking it and completes the journey.
const TAKING: u64 = 2;
/// The host may read the letter and has the right to answer.
const HELD: u64 = 3;
/// The right to answer has ended; the host may still read the letter.
const HELD_CLOSED: u64 = 4;
/// One host thread has used its right and is writing the reply.
const CLAIMED: u64 = 5;
/// The I/O thread's again: an answer, an abandon or a release, on its way home or there.
const POSTED: u64 = 6;
/// Answered and sent, its letter gone; only news is left for the host to hear.
const TOLD: u64 = 7;
const STATE_MASK: u64 = 0x7F;
/// The host has said something already: from here on the stream's lock stands before every change of the host's.
const SPOKE: u64 = 1 << 16;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MASK: u64 = !0 << GENERATION_SHIFT;

/// What a slot carries; owned by whom the state word says.
#[derive(Debug, Default)]
struct Cargo {
    letter: Option<Letter>,
    reply: Reply,
    /// It came home and was looked at: no mailbox will bring it again.
    is_home: bool,
}

#[derive(Debug)]
struct Slot {
    /// Generation in the upper half; below it `SPOKE`, the news that the host has not heard, and the state.
    word: AtomicU64,
    tag: AtomicU64,
    /// The peer has sent FIN; set by the I/O thread while the request is open.
    read_closed: AtomicBool,
    /// Stands on a list of slots with news.
    enlisted: AtomicBool,
    /// The letter's face, for those who have the token alone.
    request: AtomicPtr<ingest_request>,
    /// Mailbox link.
    next: AtomicU32,
    /// Link of a list of slots with news.
    next_notice: AtomicU32,
    /// The consumer that took the request last, and its stay; see `Taker`.
    taker: AtomicU64,
    taker_queue: AtomicU32,
    /// The seat that the answer belongs to, as its I/O thread names it. Only that thread writes and reads it.
    seat: AtomicU64,
    cargo: OwnedCell<Cargo>,
    /// What the host says piece by piece; most requests never need one.
    stream: Mutex<Option<Box<Stream>>>,
}

#[derive(Debug)]
struct Chunk {
    /// Which I/O thread answers go home to.
    owner: u16,
    slots: Box<[Slot; CHUNK]>,
}

/// Shared by every thread that knows a token.
#[derive(Debug)]
pub struct SlotTable {
    /// 1 to 2047; makes a token of another server foreign.
    server: u16,
    /// Generations start at a random value, so that a token of a past life of the process is foreign too.
    seed: u32,
    made: AtomicU32,
    chunks: Vec<OnceLock<Chunk>>,
}

/// The token has no open exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Gone,
    /// An answer was begun, and has to be ended first.
    Begun,
}

/// Who takes a request: news about it is given to nobody else while that consumer is busy with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taker {
    pub queue: u32,
    /// The kernel's number of the thread; zero when nobody asks for news.
    pub thread: u32,
    /// How often that thread had asked the queue.
    pub stay: u32,
}

/// What a consumer got.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub request: *const ingest_request,
    /// News came while it was in the queue, and wants to be announced.
    pub has_news: bool,
}

/// A host's right to one exchange, used up: it may write the reply, then must post the slot.
#[derive(Debug)]
pub struct Claim<'a> {
    slot: &'a Slot,
    pub index: u32,
    /// The I/O thread that the slot goes home to.
    pub home: u16,
    /// False when the right to answer had ended: only the memory goes back.
    pub open: bool,
    spoke: bool,
    generation: u64,
}

impl SlotTable {
    pub fn new(server: u16, seed: u32) -> Self {
        SlotTable { server, seed, made: AtomicU32::new(0), chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    fn slot(&self, index: u32) -> Option<(&Slot, u16)> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.get()?;
        Some((&chunk.slots[index as usize % CHUNK], chunk.owner))
    }

    fn find(&self, token: ingest_token) -> Result<(&Slot, u32, u16, u64), Gone> {
        if token >> 52 != u64::from(self.server) {
            return Err(Gone);
        }
        let index = slot_of(token);
        let (slot, home) = self.slot(index).ok_or(Gone)?;
        Ok((slot, index, home, token << GENERATION_SHIFT))
    }

    fn token(&self, index: u32, word: u64) -> ingest_token {
        u64::from(self.server) << 52 | u64::from(index) << 32 | word >> GENERATION_SHIFT
    }

    /// A consumer takes a queued request. `accept` may write to the letter before the host sees it; when it says no, the
    /// request waits on as if nobody had looked, and the result is `None`. The owning thread may spin while `accept` runs.
    pub fn take(&self, token: ingest_token, taker: Taker, accept: impl FnOnce(&mut Letter) -> bool) -> Result<Option<Taken>, Gone> {
        let (slot, _, _, generation) = self.find(token)?;
        slot.change(generation | QUEUED, generation, QUEUED, |word| word ^ QUEUED ^ TAKING)?;
        // SAFETY: in TAKING the cargo belongs to the one who made it so, which is us.
        let request = unsafe {
            slot.cargo.with(|cargo| cargo.letter.as_mut().and_then(|letter| if accept(letter) { Some(letter.request()) } else { None }))
        };
        if taker.thread != 0 {
            slot.taker.store(taker.word(), Ordering::Relaxed);
            slot.taker_queue.store(taker.queue, Ordering::Relaxed);
        }
        // Exchanged rather than stored: news may have been noted meanwhile.
        let next = if request.is_some() { HELD } else { QUEUED };
        let before = slot.word.fetch_xor(TAKING ^ next, Ordering::Release);
        Ok(request.map(|request| Taken { request, has_news: news::has_any(before) }))
    }

    /// A consumer claims a queued request instead of taking it, to refuse it because of its age.
    pub fn claim_queued(&self, token: ingest_token) -> Result<Claim<'_>, Gone> {
        let (slot, index, home, generation) = self.find(token)?;
        let before = slot.change(generation | QUEUED, generation, QUEUED, |word| generation | word & SPOKE | CLAIMED)?;
        Ok(Claim { slot, index, home, open: true, spoke: before & SPOKE != 0, generation })
    }

    /// A consumer puts a request that it has not begun back among the queued ones, under a new token; the old one is stale
    /// from here on. Returns the new token, what the letter weighs, and until when its client waits (zero: for ever). One that was spoken to cannot go back. Of what the old
    /// token was told already, the new one hears `again`.
    pub fn requeue(&self, token: ingest_token, again: u64) -> Result<(ingest_token, usize, u64), Gone> {
        let (slot, index, _, generation) = self.find(token)?;
        let mut word = generation | HELD;
        // Of a streamed body nothing may have been handed out, and nothing may have been said.
        let stream = slot.stream.lock();
        let kept = if stream.as_ref().is_some_and(|stream| stream.is_untouched()) { SPOKE } else { 0 };
        while let Err(found) = slot.word.compare_exchange(word, word ^ HELD ^ TAKING, Ordering::Acquire, Ordering::Relaxed) {
            if !found.is(generation, HELD) || found & SPOKE & !kept != 0 {
                return Err(Gone);
            }
            word = found;
        }
        let generation = next_generation(generation);
        let token = self.token(index, generation);
        // SAFETY: in TAKING the cargo belongs to the one who made it so, which is us.
        let (weight, deadline_ns) = unsafe {
            slot.cargo.with(|cargo| {
                cargo.letter.as_mut().map_or((0, 0), |letter| {
                    letter.set_token(token);
                    (letter.charge(), letter.deadline_ns())
                })
            })
        };
        slot.tag.store(0, Ordering::Relaxed);
        // What the old token was not told yet is news for the new one. All in one exchange: from then on the request may be
        // closed, freed, and its slot opened for another.
        let mut word = slot.word.load(Ordering::Relaxed);
        let again = if slot.read_closed.load(Ordering::Relaxed) { again & READ_CLOSED } else { 0 };
        let next = |word: u64| generation | QUEUED | again | word & (news::ALL | SPOKE);
        while let Err(found) = slot.word.compare_exchange(word, next(word), Ordering::Release, Ordering::Relaxed) {
            word = found;
        }
        Ok((token, weight, deadline_ns))
    }

    /// The host uses its token: exactly one caller gets the claim, everyone else hears `Gone`. One whose answer was begun
    /// can be claimed only by those who end that, and say so with `begun`.
    pub fn claim(&self, token: ingest_token, begun: bool) -> Result<Claim<'_>, Refused> {
        let (slot, index, home, generation) = self.find(token).map_err(|Gone| Refused::Gone)?;
        let claim = |open, spoke| Claim { slot, index, home, open, spoke, generation };
        match slot.word.compare_exchange(generation | HELD, generation | CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(claim(true, false)),
            Err(found) => slot.claim_slowly(found, generation, begun).map(|(open, spoke)| claim(open, spoke)),
        }
    }

    /// As `claim`, for a request whose right to answer has ended: only its memory goes back. With `spoken` also if the host has
    /// said something about it before.
    pub fn claim_closed(&self, token: ingest_token, spoken: bool) -> Result<Claim<'_>, Gone> {
        let (slot, index, home, generation) = self.find(token)?;
        // Nothing can be said any more once it is closed, so this stays as it is.
        if !spoken && slot.word.load(Ordering::Acquire) & SPOKE != 0 {
            // With a streamed body it is set from the beginning.
            if !slot.stream.lock().as_ref().is_some_and(|stream| stream.is_untouched()) {
                return Err(Gone);
            }
        }
        let before = slot.change(generation | HELD_CLOSED, generation, HELD_CLOSED, |word| generation | word & SPOKE | CLAIMED)?;
        Ok(Claim { slot, index, home, open: false, spoke: before & SPOKE != 0, generation })
    }

    /// 2: the answer can still be given. 1: so it can, but the peer asks nothing more. 0: it cannot.
    pub fn alive(&self, token: ingest_token) -> i32 {
        match self.find(token) {
            Ok((slot, _, _, generation)) if slot.word.load(Ordering::Acquire).is(generation, HELD) => {
                if slot.read_closed.load(Ordering::Relaxed) { 1 } else { 2 }
            }
            _ => 0,
        }
    }

    /// Whether the peer of a token that was not looked at since has sent FIN.
    pub fn has_read_closed(&self, token: ingest_token) -> bool {
        self.find(token).is_ok_and(|(slot, ..)| slot.read_closed.load(Ordering::Relaxed))
    }

    /// Whether a request still waits for a consumer.
    pub fn is_waiting(&self, token: ingest_token) -> bool {
        self.find(token).is_ok_and(|(slot, _, _, generation)| slot.word.load(Ordering::Relaxed).is(generation, QUEUED))
    }

    /// The request of a token that the host holds.
    pub fn request(&self, token: ingest_token) -> Option<*const ingest_request> {
        let (slot, _, _, generation) = self.find(token).ok()?;
        let request = slot.request.load(Ordering::Relaxed);
        // Looked at afterwards: if the token is still held, the pointer was its own.
        fence(Ordering::Acquire);
        slot.is_held(generation).then_some(request.cast_const())
    }

    /// Sets the host's own word. `Gone` when the host does not hold the token.
    pub fn set_tag(&self, token: ingest_token, tag: u64) -> Result<(), Gone> {
        let (slot, _, _, generation) = self.find(token)?;
        if !slot.is_held(generation) {
            return Err(Gone);
        }
        slot.tag.store(tag, Ordering::Relaxed);
        Ok(())
    }

    /// A slot did not get into the mailbox, since its I/O thread has ended: if the host is done with it, frees what it carries.
    /// Returns what the host wanted, and the octets that the letter held.
    pub fn retire(&self, index: u32) -> Option<(ReplyKind, usize)> {
        let (slot, _) = self.slot(index)?;
        let mut word = slot.word.load(Ordering::Acquire);
        let mut held = 0;
        if word & SPOKE != 0 {
            let mut stream = slot.stream.lock();
            if let Some(stream) = stream.as_mut() {
                stream.unlink();
            }
            // Whoever ends it from here on finds that it is in no mailbox, and comes here itself.
            word = slot.word.load(Ordering::Acquire);
            if word & STATE_MASK == POSTED {
                held = stream.take().map_or(0, |stream| stream.account());
            }
        }
        if word & STATE_MASK != POSTED {
            return None;
        }
        // SAFETY: in POSTED the cargo belongs to the owning thread; that has ended, and the slot is not in its mailbox, so the
        // one who tried to post it is the last who knows it.
        Some(unsafe {
            slot.cargo.with(|cargo| {
                cargo.reply.tail = Tail::None;
                (cargo.reply.kind, held + cargo.letter.take().map_or(0, |letter| letter.charge()))
            })
        })
    }

    pub(super) fn set_next(&self, index: u32, next: u32) {
        if let Some((slot, _)) = self.slot(index) {
            slot.next.store(next, Ordering::Relaxed);
        }
    }

    pub(super) fn next(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |(slot, _)| slot.next.load(Ordering::Relaxed))
    }
}

/// The slot that a token names, whether it is stale or not.
pub fn slot_of(token: ingest_token) -> u32 {
    (token >> 32) as u32 & 0xF_FFFF
}

/// What a state word says.
trait Word {
    /// This generation, in this state.
    fn is(self, generation: u64, state: u64) -> bool;
}

impl Word for u64 {
    fn is(self, generation: u64, state: u64) -> bool {
        self & (GENERATION_MASK | STATE_MASK) == generation | state
    }
}

impl Slot {
    fn is_held(&self, generation: u64) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word.is(generation, HELD) || word.is(generation, HELD_CLOSED)
    }

    /// Changes the word if it has this generation and state, whatever news it carries. `guess` is what it mostly is.
    fn change(&self, guess: u64, generation: u64, state: u64, next: impl Fn(u64) -> u64) -> Result<u64, Gone> {
        let mut word = guess;
        loop {
            match self.word.compare_exchange(word, next(word), Ordering::Acquire, Ordering::Relaxed) {
                Ok(before) => return Ok(before),
                Err(found) if found.is(generation, state) => word = found,
                Err(_) => return Err(Gone),
            }
        }
    }

    /// A claim on a word that is not plainly HELD: closed, with news, or spoken to. What the host has not heard yet it will
    /// not hear any more. Returns whether the right to answer stood, and whether something was said before.
    #[cold]
    fn claim_slowly(&self, found: u64, generation: u64, begun: bool) -> Result<(bool, bool), Refused> {
        let mut word = found;
        loop {
            let open = word.is(generation, HELD);
            if !open && !word.is(generation, HELD_CLOSED) {
                return Err(Refused::Gone);
            }
            let spoke = word & SPOKE;
            // Without the lock a piece could be said after the claim, or an answer begun.
            let stream = (spoke != 0).then(|| self.stream.lock());
            let is_begun = stream.as_ref().and_then(|stream| stream.as_ref()).is_some_and(|stream| stream.phase != Phase::Interim);
            if open && is_begun && !begun {
                return Err(Refused::Begun);
            }
            match self.word.compare_exchange(word, generation | spoke | CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok((open, spoke != 0)),
                Err(found) => word = found,
            }
        }
    }
}

impl Taker {
    fn word(self) -> u64 {
        u64::from(self.thread) << 32 | u64::from(self.stay)
    }
}

impl Claim<'_> {
    /// Writes the reply and makes the slot the I/O thread's. It still has to be posted in that thread's mailbox, if there is
    /// a slot in the result; else it is there already.
    pub fn seal(self, write: impl FnOnce(&mut Reply)) -> Option<u32> {
        // SAFETY: in CLAIMED the cargo belongs to the one who made it so, which is us.
        unsafe { self.slot.cargo.with(|cargo| write(&mut cargo.reply)) };
        if !self.spoke {
            self.slot.word.store(self.generation | POSTED, Ordering::Release);
            return Some(self.index);
        }
        let mut stream = self.slot.stream.lock();
        self.slot.word.store(self.generation | SPOKE | POSTED, Ordering::Release);
        let unlinked = stream.as_mut().is_none_or(|stream| stream.link());
        unlinked.then_some(self.index)
    }
}

/// Wraps within the upper half; the token 0 cannot arise, since server numbers start at 1.
fn next_generation(word: u64) -> u64 {
    (word >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT
}

// SAFETY: every access to a cell goes through the state word; see the comment on each state.
unsafe impl Sync for Slot {}
// SAFETY: a slot's content is owned data.
unsafe impl Send for Slot {}
