//! The one I/O thread that fills and frees its own slots, and notes what the host should hear about them.

use super::{
    CHUNK, CHUNKS, Cargo, Chunk, FREE, GENERATION_MASK, GENERATION_SHIFT, HELD, HELD_CLOSED, POSTED, Phase, QUEUED, SPOKE, STATE_MASK,
    Slot, SlotTable, Stream, TAKING, TOLD, news, next_generation,
};
use crate::memory::letter::Letter;
use crate::memory::notices::Notices;
use crate::memory::pool::Pool;
use crate::memory::reply::{Reply, ReplyKind};
use crate::memory::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, OwnedCell, fence, spin_loop};
use crate::memory::tail::Tail;
use crate::request::{ingest_request, ingest_token};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

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

/// What a slot that was in the mailbox brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homing {
    /// What the host has done with its token; `None` while it goes on holding it.
    pub kind: Option<ReplyKind>,
    /// There is something on its stream.
    pub spoke: bool,
    /// The final answer was begun there.
    pub begun: bool,
    /// Octets of memory of a streamed body that the host has given back and nobody has taken off the account.
    pub freed: usize,
}

/// What came of using a reply.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    pub kind: ReplyKind,
    /// Octets that the letter held.
    pub charge: usize,
    /// What the host is to hear once the answer is sent; zero when the slot is free already.
    pub owes: u64,
}

/// See the file's first line.
#[derive(Debug)]
pub struct SlotOwner {
    table: Arc<SlotTable>,
    thread: u16,
    /// First in, first out, so that a generation comes round as late as possible.
    free: VecDeque<u32>,
    /// What the host wants to hear of.
    wanted: u64,
    /// Slots with news that nobody was told of yet.
    notices: Notices,
}

impl SlotOwner {
    pub fn new(table: Arc<SlotTable>, thread: u16) -> Self {
        SlotOwner { table, thread, free: VecDeque::new(), wanted: 0, notices: Notices::default() }
    }

    /// The host wants to hear of these kinds of news.
    pub fn wanting(mut self, marks: u64) -> Self {
        self.wanted = marks;
        self
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
        let generation = slot.word.load(Ordering::Relaxed) & GENERATION_MASK;
        let token = self.table.token(index, generation);
        letter.set_token(token);
        let request = letter.request();
        let letter_streams = letter.is_streamed();
        // Whoever sees the new pointer sees that the old token is stale.
        fence(Ordering::Release);
        slot.tag.store(0, Ordering::Relaxed);
        slot.read_closed.store(false, Ordering::Relaxed);
        slot.request.store(request.cast_mut(), Ordering::Relaxed);
        slot.seat.store(seat, Ordering::Relaxed);
        // SAFETY: in FREE the cargo belongs to the owning thread, and only slots in FREE are in `free`.
        unsafe {
            slot.cargo.with(|cargo| {
                cargo.letter = Some(letter);
                cargo.is_home = false;
            });
        }
        let streamed = if letter_streams {
            // Everything that is done with it goes by the lock, as if the host had spoken.
            *slot.stream.lock() = Some(Box::new(Stream::with_inlet()));
            SPOKE
        } else {
            0
        };
        slot.word.store(generation | streamed | if held { HELD } else { QUEUED }, Ordering::Release);
        Ok((index, token, request))
    }

    /// Ends the right to answer.
    pub fn close(&mut self, index: u32) -> Closed {
        let Some((slot, _)) = self.table.slot(index) else { return Closed::OnItsWay };
        let mut word = slot.word.load(Ordering::Relaxed);
        loop {
            let (next, closed) = match word & STATE_MASK {
                QUEUED => (word & (GENERATION_MASK | SPOKE) | POSTED, Closed::Mine),
                HELD => (word ^ HELD ^ HELD_CLOSED, Closed::HeldByHost),
                TAKING => {
                    // A consumer is between two stores of `take`.
                    spin_loop();
                    word = slot.word.load(Ordering::Relaxed);
                    continue;
                }
                _ => return Closed::OnItsWay,
            };
            match slot.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if closed == Closed::HeldByHost => {
                    let mut streamed = false;
                    if word & SPOKE != 0 {
                        // Nobody will send what was said; the host may take its time to hear of that.
                        if let Some(stream) = slot.stream.lock().as_mut() {
                            stream.silence();
                            streamed = stream.inlet.is_some();
                        }
                    }
                    // Who waits for the rest of a body hears unasked that it will not come.
                    if streamed {
                        self.note_always(index, news::RESET);
                    } else {
                        self.note(index, news::RESET);
                    }
                    return closed;
                }
                Ok(_) => return closed,
                Err(found) => word = found,
            }
        }
    }

    /// The peer of this request has sent FIN.
    pub fn note_read_closed(&mut self, index: u32) {
        if let Some((slot, _)) = self.table.slot(index) {
            // Once a request; this thread alone sets it.
            if !slot.read_closed.load(Ordering::Relaxed) {
                slot.read_closed.store(true, Ordering::Relaxed);
                self.note(index, news::READ_CLOSED);
            }
        }
    }

    fn note(&mut self, index: u32, mark: u64) {
        if self.wanted & mark != 0 {
            self.note_always(index, mark);
        }
    }

    /// Notes something that the host hears of without asking for it.
    pub(super) fn note_always(&mut self, index: u32, mark: u64) {
        if self.table.note(index, mark) && self.table.enlist(index) {
            self.notices.push(&self.table, index);
        }
    }

    /// The next slot with news that nobody was told of yet. It is still enlisted.
    pub fn next_notice(&mut self) -> Option<u32> {
        self.notices.pop(&self.table)
    }

    /// Puts back what `next_notice` gave, for later.
    pub fn keep_notice(&mut self, index: u32) {
        self.notices.push(&self.table, index);
    }

    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether a queued request is still waiting for a consumer.
    pub fn is_queued(&self, index: u32) -> bool {
        self.table.slot(index).is_some_and(|(slot, _)| slot.word.load(Ordering::Relaxed) & STATE_MASK == QUEUED)
    }

    /// Slots that are not free, of a table that no other thread has slots in.
    pub fn taken(&self) -> usize {
        self.table.made.load(Ordering::Relaxed) as usize * CHUNK - self.free.len()
    }

    fn own(&self, index: u32) -> Option<&Slot> {
        self.table.slot(index).filter(|(_, owner)| *owner == self.thread).map(|(slot, _)| slot)
    }

    /// The seat that a slot belongs to.
    pub fn seat(&self, index: u32) -> u64 {
        self.own(index).map_or(u64::MAX, |slot| slot.seat.load(Ordering::Relaxed))
    }

    /// What a slot that was taken out of the mailbox brings; from here on it may be posted again.
    pub fn homing(&mut self, index: u32) -> Option<Homing> {
        let slot = self.own(index)?;
        let mut word = slot.word.load(Ordering::Acquire);
        let spoke = word & SPOKE != 0;
        let (mut begun, mut freed) = (false, 0);
        if spoke {
            let mut stream = slot.stream.lock();
            if let Some(stream) = stream.as_mut() {
                stream.unlink();
                begun = stream.phase != Phase::Interim;
                freed = stream.freed();
            }
            // What the host does from here on posts the slot again.
            word = slot.word.load(Ordering::Acquire);
        }
        let kind = match word & STATE_MASK {
            // SAFETY: in POSTED the cargo belongs to the owning thread, which is us: `&mut self`, and `own` compared.
            POSTED => Some(unsafe {
                slot.cargo.with(|cargo| {
                    cargo.is_home = true;
                    cargo.reply.kind
                })
            }),
            _ if spoke => None,
            _ => return None,
        };
        Some(Homing { kind, spoke, begun, freed })
    }

    /// Looks at what the host said so far; `None` when it has said nothing.
    pub fn stream<R>(&mut self, index: u32, look: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        self.own(index)?.stream.lock().as_deref_mut().map(look)
    }

    /// So many octets of a stream are with the kernel; the buffer that they were in may serve again.
    pub fn stream_sent(&mut self, index: u32, octets: usize, buffer: Vec<u8>) {
        let has_room = self.stream(index, |stream| {
            stream.keep(buffer);
            stream.sent(octets)
        });
        if has_room == Some(true) {
            self.note(index, news::WRITABLE);
        }
    }

    /// Makes a slot that came home free, without looking at its reply. Returns the octets that its letter held.
    pub fn free(&mut self, index: u32, pool: &mut Pool) -> usize {
        let settled = self.settle(index, pool, |reply| {
            let lent = reply.kind == ReplyKind::Answer && reply.tail.is_lent();
            (reply.kind, if lent { news::RELEASED } else { 0 })
        });
        if settled.owes != 0 {
            self.finish(index, settled.owes);
        }
        settled.charge
    }

    /// Uses the reply of a slot that came home, dissolves its letter and makes the slot free; its token is stale from here on.
    /// `write` also says what the host should hear once the answer is sent: if it wants to, the slot waits for `finish`.
    pub fn settle(&mut self, index: u32, pool: &mut Pool, write: impl FnOnce(&mut Reply) -> (ReplyKind, u64)) -> Settled {
        let nothing = Settled { kind: ReplyKind::Release, charge: 0, owes: 0 };
        let Some((slot, owner)) = self.table.slot(index) else { return nothing };
        let word = slot.word.load(Ordering::Acquire);
        if owner != self.thread || word & STATE_MASK != POSTED {
            debug_assert!(false, "only a slot that came home can be freed");
            return nothing;
        }
        // SAFETY: as in `homing`.
        let (kind, marks, letter) = unsafe {
            slot.cargo.with(|cargo| {
                let (kind, marks) = write(&mut cargo.reply);
                if !matches!(cargo.reply.tail, Tail::None) {
                    cargo.reply.tail = Tail::None;
                }
                if cargo.reply.block.capacity() > crate::limits::REPLY_KEPT_BYTES {
                    cargo.reply.block = Vec::new();
                }
                (kind, marks, cargo.letter.take())
            })
        };
        let mut charge = letter.map_or(0, |letter| {
            let charge = letter.charge();
            letter.dissolve(pool);
            charge
        });
        if word & SPOKE != 0 {
            // The right to read the body's octets has ended with the letter's.
            let inlet = slot.stream.lock().as_mut().and_then(|stream| stream.inlet.take());
            charge += inlet.map_or(0, |inlet| inlet.account());
        }
        let owes = marks & self.wanted;
        if owes == 0 {
            if word & SPOKE != 0 {
                *slot.stream.lock() = None;
            }
            slot.word.store(next_generation(word) | FREE, Ordering::Release);
            self.free.push_back(index);
        }
        Settled { kind, charge, owes }
    }

    /// Nothing is owed any more to a slot that was settled: its token is stale from here on, and the slot free. What the host
    /// wants to hear of it comes first.
    pub fn finish(&mut self, index: u32, marks: u64) {
        let marks = marks & self.wanted;
        let Some(slot) = self.own(index) else { return };
        let word = slot.word.load(Ordering::Acquire);
        if word & STATE_MASK != POSTED {
            return;
        }
        if word & SPOKE != 0 {
            *slot.stream.lock() = None;
        }
        if marks == 0 {
            slot.word.store(next_generation(word) | FREE, Ordering::Release);
            self.free.push_back(index);
            return;
        }
        // SAFETY: as in `homing`.
        unsafe { slot.cargo.with(|cargo| cargo.reply.kind = ReplyKind::Told) };
        slot.word.store(word & GENERATION_MASK | marks | TOLD, Ordering::Release);
        if self.table.enlist(index) {
            self.notices.push(&self.table, index);
        }
    }

    /// Ends every request of a seat whose connection was lost. Returns the octets that letters held. Slow: for faults alone.
    pub fn abandon_seat(&mut self, seat: u64, pool: &mut Pool) -> usize {
        let mut charge = 0;
        for index in 0..(self.table.made.load(Ordering::Relaxed) as usize * CHUNK) as u32 {
            let Some(slot) = self.own(index).filter(|slot| slot.seat.load(Ordering::Relaxed) == seat) else { continue };
            let state = slot.word.load(Ordering::Acquire) & STATE_MASK;
            // SAFETY: as in `homing`.
            let look = || unsafe { slot.cargo.with(|cargo| (cargo.letter.is_some(), cargo.is_home, cargo.reply.kind.is_sent())) };
            match (state == POSTED).then(look) {
                // Its answer was on the way; only RELEASED is still true.
                Some((false, _, true)) => self.finish(index, news::RELEASED),
                // Its answer waited for its turn.
                Some((true, true, _)) => charge += self.free(index, pool),
                // The others come home yet, or the host is still to hear of them.
                Some(_) => {}
                None if matches!(state, QUEUED | TAKING | HELD) && self.close(index) == Closed::Mine => charge += self.free(index, pool),
                None => {}
            }
        }
        charge
    }

    /// More slots; none when there are as many as there may be, or no memory for them.
    fn grow(&mut self) -> Option<u32> {
        let mut slots: Vec<Slot> = Vec::new();
        slots.try_reserve_exact(CHUNK).ok()?;
        self.free.try_reserve(CHUNK).ok()?;
        let chunk = self.table.made.fetch_add(1, Ordering::Relaxed) as usize;
        if chunk >= CHUNKS {
            self.table.made.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let first = (chunk * CHUNK) as u32;
        let mut mix = u64::from(self.table.seed) ^ (u64::from(first) << 32);
        slots.extend((0..CHUNK).map(|_| {
            // A step of splitmix64: neighbouring slots start at unrelated generations.
            mix = mix.wrapping_add(0x9E37_79B9_7F4A_7C15);
            Slot::new((mix ^ (mix >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> GENERATION_SHIFT << GENERATION_SHIFT)
        }));
        let made = Chunk { owner: self.thread, slots: slots.try_into().ok()? };
        self.table.chunks[chunk].set(made).ok()?;
        self.free.extend(first + 1..first + CHUNK as u32);
        Some(first)
    }
}

impl Slot {
    fn new(generation: u64) -> Self {
        Slot {
            word: AtomicU64::new(generation | FREE),
            tag: AtomicU64::new(0),
            read_closed: AtomicBool::new(false),
            enlisted: AtomicBool::new(false),
            request: AtomicPtr::new(std::ptr::null_mut()),
            next: AtomicU32::new(0),
            next_notice: AtomicU32::new(0),
            taker: AtomicU64::new(0),
            taker_queue: AtomicU32::new(0),
            seat: AtomicU64::new(0),
            cargo: OwnedCell::new(Cargo::default()),
            stream: Mutex::new(None),
        }
    }
}
