//! The token table: one slot an open exchange, with a state word that says who owns its letter and its reply.

use super::letter::Letter;
use super::pool::Pool;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, OwnedCell, fence, spin_loop};
use crate::request::{ingest_request, ingest_token};
use std::collections::VecDeque;
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, OnceLock};

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
const STATE_MASK: u64 = 0xFF;
const GENERATION_SHIFT: u32 = 32;

/// What a host asked for when it used its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyKind {
    Answer,
    /// Close the connection without an answer.
    #[default]
    Abandon,
    /// The right to answer had ended already; only the memory comes back.
    Release,
    /// It waited longer than `queue_age` for a consumer.
    Aged,
}

/// An answer, flattened by the thread that gave it.
#[derive(Debug, Default)]
pub struct Reply {
    pub kind: ReplyKind,
    pub status: u16,
    /// The host asked for the connection to be closed after it.
    pub close: bool,
    /// The host's fields bring a Date of their own.
    pub has_date: bool,
    /// Rendered field lines, the empty line that ends a head, then the body: as they stand on the wire.
    pub block: Vec<u8>,
    /// Where the body begins.
    pub body_at: usize,
}

/// What a slot carries; owned by whom the state word says.
#[derive(Debug, Default)]
struct Cargo {
    letter: Option<Letter>,
    reply: Reply,
    /// The seat that the answer belongs to, as its I/O thread names it.
    seat: u64,
}

#[derive(Debug)]
struct Slot {
    /// Generation in the upper half, state in the lower.
    word: AtomicU64,
    tag: AtomicU64,
    /// The peer has sent FIN; set by the I/O thread while the request is open.
    read_closed: AtomicBool,
    /// The letter's face, for those who have the token alone.
    request: AtomicPtr<ingest_request>,
    /// Mailbox link.
    next: AtomicU32,
    cargo: OwnedCell<Cargo>,
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

/// A host's right to one exchange, used up: it may write the reply, then must post the slot.
#[derive(Debug)]
pub struct Claim<'a> {
    slot: &'a Slot,
    pub index: u32,
    /// The I/O thread that the slot goes home to.
    pub home: u16,
    /// False when the right to answer had ended: only the memory goes back.
    pub open: bool,
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
        let index = (token >> 32) as u32 & 0xF_FFFF;
        let (slot, home) = self.slot(index).ok_or(Gone)?;
        Ok((slot, index, home, token << GENERATION_SHIFT))
    }

    fn token(&self, index: u32, word: u64) -> ingest_token {
        u64::from(self.server) << 52 | u64::from(index) << 32 | word >> GENERATION_SHIFT
    }

    /// A consumer takes a queued request; `complete` may write to the letter before the host sees it.
    pub fn take(&self, token: ingest_token, complete: impl FnOnce(&mut Letter)) -> Result<*const ingest_request, Gone> {
        let (slot, _, _, generation) = self.find(token)?;
        slot.word.compare_exchange(generation | QUEUED, generation | TAKING, Ordering::Acquire, Ordering::Relaxed).map_err(|_| Gone)?;
        // SAFETY: in TAKING the cargo belongs to the one who made it so, which is us.
        let request = unsafe {
            slot.cargo.with(|cargo| {
                cargo.letter.as_mut().map(|letter| {
                    complete(letter);
                    letter.request()
                })
            })
        };
        slot.word.store(generation | HELD, Ordering::Release);
        request.ok_or(Gone)
    }

    /// As `take`, for a consumer that may find the request too large when it sees it: with `accept` saying no the request
    /// waits on as if nobody had looked, and the result is `None`. The owning thread may spin while `accept` runs.
    pub fn take_if(&self, token: ingest_token, accept: impl FnOnce(&mut Letter) -> bool) -> Result<Option<*const ingest_request>, Gone> {
        let (slot, _, _, generation) = self.find(token)?;
        slot.word.compare_exchange(generation | QUEUED, generation | TAKING, Ordering::Acquire, Ordering::Relaxed).map_err(|_| Gone)?;
        // SAFETY: as in `take`.
        let request = unsafe {
            slot.cargo.with(|cargo| cargo.letter.as_mut().and_then(|letter| if accept(letter) { Some(letter.request()) } else { None }))
        };
        let state = if request.is_some() { HELD } else { QUEUED };
        slot.word.store(generation | state, Ordering::Release);
        Ok(request)
    }

    /// A consumer claims a queued request instead of taking it, to refuse it because of its age.
    pub fn claim_queued(&self, token: ingest_token) -> Result<Claim<'_>, Gone> {
        let (slot, index, home, generation) = self.find(token)?;
        slot.word.compare_exchange(generation | QUEUED, generation | CLAIMED, Ordering::Acquire, Ordering::Relaxed).map_err(|_| Gone)?;
        Ok(Claim { slot, index, home, open: true, generation })
    }

    /// The host uses its token: exactly one caller gets the claim, everyone else hears `Gone`.
    pub fn claim(&self, token: ingest_token) -> Result<Claim<'_>, Gone> {
        let (slot, index, home, generation) = self.find(token)?;
        let mut state = HELD;
        loop {
            match slot.word.compare_exchange(generation | state, generation | CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(Claim { slot, index, home, open: state == HELD, generation }),
                Err(found) if state == HELD && found == generation | HELD_CLOSED => state = HELD_CLOSED,
                Err(_) => return Err(Gone),
            }
        }
    }

    /// 2: the answer can still be given. 1: so it can, but the peer asks nothing more. 0: it cannot.
    pub fn alive(&self, token: ingest_token) -> i32 {
        match self.find(token) {
            Ok((slot, _, _, generation)) if slot.word.load(Ordering::Acquire) == generation | HELD => {
                if slot.read_closed.load(Ordering::Relaxed) { 1 } else { 2 }
            }
            _ => 0,
        }
    }

    /// Whether a request still waits for a consumer.
    pub fn is_waiting(&self, token: ingest_token) -> bool {
        self.find(token).is_ok_and(|(slot, _, _, generation)| slot.word.load(Ordering::Relaxed) == generation | QUEUED)
    }

    /// The request of a token that the host holds.
    pub fn request(&self, token: ingest_token) -> Option<*const ingest_request> {
        let (slot, _, _, generation) = self.find(token).ok()?;
        let request = slot.request.load(Ordering::Relaxed);
        // Looked at afterwards: if the token is still held, the pointer was its own.
        fence(Ordering::Acquire);
        self.is_held(slot, generation).then_some(request.cast_const())
    }

    fn is_held(&self, slot: &Slot, generation: u64) -> bool {
        let word = slot.word.load(Ordering::Acquire);
        word == generation | HELD || word == generation | HELD_CLOSED
    }

    /// Sets the host's own word. `Gone` when the host does not hold the token.
    pub fn set_tag(&self, token: ingest_token, tag: u64) -> Result<(), Gone> {
        let (slot, _, _, generation) = self.find(token)?;
        if !self.is_held(slot, generation) {
            return Err(Gone);
        }
        slot.tag.store(tag, Ordering::Relaxed);
        Ok(())
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

impl Claim<'_> {
    /// Puts the request back among the queued ones, under a new token; the old one is stale from here on. Returns the token
    /// and what the letter weighs.
    pub fn requeue(self, home: &SlotTable) -> (ingest_token, usize) {
        let generation = next_generation(self.generation);
        let token = home.token(self.index, generation);
        // SAFETY: in CLAIMED the cargo belongs to the one who made it so, which is us.
        let weight = unsafe {
            self.slot.cargo.with(|cargo| {
                cargo.letter.as_mut().map_or(0, |letter| {
                    letter.set_token(token);
                    letter.charge()
                })
            })
        };
        self.slot.tag.store(0, Ordering::Relaxed);
        self.slot.word.store(generation | QUEUED, Ordering::Release);
        (token, weight)
    }

    /// Writes the reply and makes the slot the I/O thread's; it still has to be posted in that thread's mailbox.
    pub fn seal(self, write: impl FnOnce(&mut Reply)) -> u32 {
        // SAFETY: in CLAIMED the cargo belongs to the one who made it so, which is us.
        unsafe { self.slot.cargo.with(|cargo| write(&mut cargo.reply)) };
        self.slot.word.store(self.generation | POSTED, Ordering::Release);
        self.index
    }
}

/// Wraps within the upper half; the token 0 cannot arise, since server numbers start at 1.
fn next_generation(word: u64) -> u64 {
    (word >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT
}

/// How an I/O thread's wish to end an exchange came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nobody had taken it; the slot is the thread's again and must be freed.
    Mine,
    /// The host still reads it; its token comes home when the host gives the memory back.
    HeldByHost,
    /// An answer is on its way; it will be found in the mailbox.
    OnItsWay,
}

/// The one I/O thread that fills and frees its own slots.
#[derive(Debug)]
pub struct SlotOwner {
    table: Arc<SlotTable>,
    thread: u16,
    /// First in, first out, so that a generation comes round as late as possible.
    free: VecDeque<u32>,
}

impl SlotOwner {
    pub fn new(table: Arc<SlotTable>, thread: u16) -> Self {
        SlotOwner { table, thread, free: VecDeque::new() }
    }

    /// Which I/O thread this is.
    pub fn thread(&self) -> usize {
        self.thread.into()
    }

    /// Puts a letter into a free slot and gives it a token. With `held` it goes straight to the host, else into a queue.
    /// The letter comes back when there is no slot left.
    pub fn open(&mut self, mut letter: Letter, seat: u64, held: bool) -> Result<(u32, ingest_token, *const ingest_request), Letter> {
        let Some(index) = self.free.pop_front().or_else(|| self.grow()) else { return Err(letter) };
        let Some((slot, _)) = self.table.slot(index) else { return Err(letter) };
        let generation = slot.word.load(Ordering::Relaxed) & !STATE_MASK;
        let token = self.table.token(index, generation);
        letter.set_token(token);
        let request = letter.request();
        // Whoever sees the new pointer sees that the old token is stale.
        fence(Ordering::Release);
        slot.tag.store(0, Ordering::Relaxed);
        slot.read_closed.store(false, Ordering::Relaxed);
        slot.request.store(request.cast_mut(), Ordering::Relaxed);
        // SAFETY: in FREE the cargo belongs to the owning thread, and only slots in FREE are in `free`.
        unsafe {
            slot.cargo.with(|cargo| {
                cargo.letter = Some(letter);
                cargo.seat = seat;
            });
        }
        slot.word.store(generation | if held { HELD } else { QUEUED }, Ordering::Release);
        Ok((index, token, request))
    }

    /// Ends the right to answer.
    pub fn close(&mut self, index: u32) -> Closed {
        let Some((slot, _)) = self.table.slot(index) else { return Closed::OnItsWay };
        let mut word = slot.word.load(Ordering::Relaxed);
        loop {
            let (next, closed) = match word & STATE_MASK {
                QUEUED => (POSTED, Closed::Mine),
                HELD => (HELD_CLOSED, Closed::HeldByHost),
                TAKING => {
                    // A consumer is between two stores of `take`.
                    spin_loop();
                    word = slot.word.load(Ordering::Relaxed);
                    continue;
                }
                _ => return Closed::OnItsWay,
            };
            match slot.word.compare_exchange(word, word & !STATE_MASK | next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return closed,
                Err(found) => word = found,
            }
        }
    }

    /// The peer of this request has sent FIN.
    pub fn note_read_closed(&mut self, index: u32) {
        if let Some((slot, _)) = self.table.slot(index) {
            slot.read_closed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a queued request is still waiting for a consumer.
    pub fn is_queued(&self, index: u32) -> bool {
        self.table.slot(index).is_some_and(|(slot, _)| slot.word.load(Ordering::Relaxed) & STATE_MASK == QUEUED)
    }

    /// Looks at the reply of a slot that came home, and at the seat that it belongs to.
    pub fn reply<R>(&mut self, index: u32, look: impl FnOnce(&mut Reply, u64) -> R) -> Option<R> {
        let (slot, owner) = self.table.slot(index)?;
        if owner != self.thread || slot.word.load(Ordering::Acquire) & STATE_MASK != POSTED {
            return None;
        }
        // SAFETY: in POSTED the cargo belongs to the owning thread, which is us: `&mut self`, and `owner` was compared.
        Some(unsafe { slot.cargo.with(|cargo| look(&mut cargo.reply, cargo.seat)) })
    }

    /// Makes a slot that came home free, without looking at its reply. Returns the octets that its letter held.
    pub fn free(&mut self, index: u32, pool: &mut Pool) -> usize {
        self.settle(index, pool, |_| ReplyKind::Release).1
    }

    /// Uses the reply of a slot that came home, dissolves its letter and makes the slot free; its token is stale from here
    /// on. Returns what `write` said, and the octets that the letter held.
    pub fn settle(&mut self, index: u32, pool: &mut Pool, write: impl FnOnce(&mut Reply) -> ReplyKind) -> (ReplyKind, usize) {
        let Some((slot, owner)) = self.table.slot(index) else { return (ReplyKind::Release, 0) };
        let word = slot.word.load(Ordering::Acquire);
        if owner != self.thread || word & STATE_MASK != POSTED {
            debug_assert!(false, "only a slot that came home can be freed");
            return (ReplyKind::Release, 0);
        }
        // SAFETY: as in `reply`.
        let (kind, letter) = unsafe {
            slot.cargo.with(|cargo| {
                let kind = write(&mut cargo.reply);
                if cargo.reply.block.capacity() > crate::limits::REPLY_KEPT_BYTES {
                    cargo.reply.block = Vec::new();
                }
                (kind, cargo.letter.take())
            })
        };
        let charge = letter.map_or(0, |letter| {
            let charge = letter.charge();
            letter.dissolve(pool);
            charge
        });
        slot.word.store(next_generation(word) | FREE, Ordering::Release);
        self.free.push_back(index);
        (kind, charge)
    }

    fn grow(&mut self) -> Option<u32> {
        let chunk = self.table.made.fetch_add(1, Ordering::Relaxed) as usize;
        if chunk >= CHUNKS {
            self.table.made.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let first = (chunk * CHUNK) as u32;
        let mut mix = u64::from(self.table.seed) ^ (u64::from(first) << 32);
        let slots = (0..CHUNK).map(|_| {
            // A step of splitmix64: neighbouring slots start at unrelated generations.
            mix = mix.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let generation = (mix ^ (mix >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> GENERATION_SHIFT << GENERATION_SHIFT;
            Slot {
                word: AtomicU64::new(generation | FREE),
                tag: AtomicU64::new(0),
                read_closed: AtomicBool::new(false),
                request: AtomicPtr::new(std::ptr::null_mut()),
                next: AtomicU32::new(0),
                cargo: OwnedCell::new(Cargo::default()),
            }
        });
        let slots: Vec<Slot> = slots.collect();
        let made = Chunk { owner: self.thread, slots: slots.try_into().ok()? };
        self.table.chunks[chunk].set(made).ok()?;
        self.free.extend(first + 1..first + CHUNK as u32);
        Some(first)
    }
}

// SAFETY: every access to a cell goes through the state word; see the comment on each state.
unsafe impl Sync for Slot {}
// SAFETY: a slot's content is owned data.
unsafe impl Send for Slot {}
