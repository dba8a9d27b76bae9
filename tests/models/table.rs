//! What the models of the token table share: the host's side, the I/O thread's side, and what came home from one to the other.

use super::{Flag, letter};
use ingest::memory::letter::Letter;
use ingest::memory::mailbox::Mailbox;
use ingest::memory::pool::Pool;
use ingest::memory::queue::{Asked, Asker, Bounds, Heard, Queue};
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{Claim, Gone, News, Refused, SlotOwner, SlotTable, Spoken, Stream, Unspoken};
use std::sync::{Arc, Mutex};

/// The number of the event that a queue says at the very end.
pub const LAST: u16 = 31;

/// What the host's threads know.
pub struct Hosts {
    pub table: Arc<SlotTable>,
    pub mailbox: Mailbox,
    pub queue: Queue<Flag>,
    /// What came back after the I/O thread had ended.
    pub retired: Mutex<Vec<ReplyKind>>,
}

/// What only the I/O thread has.
pub struct Io {
    pub owner: SlotOwner,
    pub pool: Pool,
    pub index: u32,
    pub token: u64,
}

/// One request, in the host's hands or waiting for it; the host wants to hear of these marks.
pub fn open(held: bool, wanted: u64) -> (Arc<Hosts>, Io) {
    let mut pool = Pool::new();
    let letter = letter(&mut pool);
    open_with(letter, pool, held, wanted)
}

/// As `open`, of which the body comes in events, and nothing else is to be told; and what its letter weighs.
pub fn open_streamed(held: bool) -> (Arc<Hosts>, Io, usize) {
    let mut pool = Pool::new();
    let mut letter = letter(&mut pool);
    letter.note_streamed(0, false);
    let weight = letter.charge();
    let (hosts, io) = open_with(letter, pool, held, 0);
    (hosts, io, weight)
}

fn open_with(letter: Letter, pool: Pool, held: bool, wanted: u64) -> (Arc<Hosts>, Io) {
    let table = Arc::new(SlotTable::new(1, 7));
    let mut owner = SlotOwner::new(Arc::clone(&table), 0).wanting(wanted);
    let (index, token, _) = owner.open(letter, 5, held).expect("a slot is free");
    let queue = Queue::new(Bounds { entries: 8, bytes: 1_000_000 }, Flag::new());
    (Arc::new(Hosts { table, mailbox: Mailbox::new(), queue, retired: Mutex::default() }), Io { owner, pool, index, token })
}

impl Hosts {
    /// `respond::post`: the right to answer if it still stands, else only the memory goes back.
    pub fn answer(&self, token: u64) -> Result<ReplyKind, Refused> {
        let claim = self.table.claim(token, false)?;
        let kind = if claim.open { ReplyKind::Answer } else { ReplyKind::Release };
        Ok(self.give_back(claim, kind))
    }

    /// `respond::give_up_memory`.
    pub fn release(&self, token: u64) -> Result<ReplyKind, Gone> {
        Ok(self.give_back(self.table.claim_closed(token, true)?, ReplyKind::Release))
    }

    /// `respond::give_back`.
    pub fn give_back(&self, claim: Claim<'_>, kind: ReplyKind) -> ReplyKind {
        if let Some(slot) = claim.seal(|reply| reply.begin(kind)) {
            self.send_home(slot);
        }
        kind
    }

    /// `Door::send_home`.
    pub fn send_home(&self, slot: u32) {
        if self.mailbox.post(&self.table, slot) {
            return;
        }
        if let Some((kind, charge)) = self.table.retire(slot) {
            assert!(charge > 0, "its letter was gone already");
            self.retired.lock().expect("loom stops at the first panic").push(kind);
        }
    }

    /// `respond::speak`.
    pub fn speak<R>(&self, token: u64, say: impl FnOnce(&mut Stream) -> (R, bool)) -> Result<R, Unspoken> {
        let Spoken { result, post } = self.table.speak(token, say)?;
        if let Some((home, slot)) = post {
            assert_eq!(home, 0);
            self.send_home(slot);
        }
        Ok(result)
    }

    /// `HostQueue::hear`: one consumer, by the number of its thread, asks for so much news.
    pub fn ask(&self, thread: u32, most: usize, told: &mut Vec<News>) -> Asked {
        self.queue.ask(&self.table, Asker { queue: 0, thread, lives: |_| true, impatient: false }, most, LAST, &mut |heard| match heard {
            Heard::Token(slot, news) => {
                told.push(news);
                if news.goes_home {
                    self.send_home(slot);
                }
            }
            Heard::Server(_) | Heard::Stray(_) => unreachable!("{heard:?}: nothing was said about the server, and there is one queue"),
        })
    }
}

impl Io {
    /// `Outlet::tell`.
    pub fn tell(&mut self, hosts: &Hosts) {
        while let Some(slot) = self.owner.next_notice() {
            hosts.queue.add_notice(&hosts.table, slot);
        }
    }

    /// The slot, if it came home: it can stand in the mailbox once, since there is but one.
    pub fn came_home(&mut self, hosts: &Hosts) -> Option<u32> {
        let mut taken = Vec::new();
        hosts.mailbox.take(&hosts.table, &mut taken);
        assert!(taken.len() <= 1, "the slot stood in the mailbox twice");
        assert!(taken.first().is_none_or(|slot| *slot == self.index));
        taken.pop()
    }

    /// Takes what a request came home with, which was not spoken to; its slot is free then, or first tells of these marks.
    pub fn settle(&mut self, hosts: &Hosts, marks: u64) -> Option<ReplyKind> {
        let slot = self.came_home(hosts)?;
        let homing = self.owner.homing(slot).expect("it is the owner's");
        assert_eq!((self.owner.seat(slot), homing.spoke), (5, false));
        if homing.kind == Some(ReplyKind::Told) {
            self.owner.finish(slot, 0);
        } else {
            assert_eq!(Some(self.use_reply(marks)), homing.kind);
        }
        homing.kind
    }

    /// The connection takes what it needs of the reply, and the letter goes. The slot is free then, or waits to tell of these.
    pub fn use_reply(&mut self, marks: u64) -> ReplyKind {
        let settled = self.owner.settle(self.index, &mut self.pool, |reply| (reply.kind, marks));
        assert!(settled.charge > 0, "the letter was gone already");
        assert_eq!(self.pool.lent(), 0);
        if settled.owes != 0 {
            self.owner.finish(self.index, settled.owes);
        }
        settled.kind
    }

    /// What was never delivered is freed without the mailbox.
    pub fn free(&mut self) {
        assert!(self.owner.free(self.index, &mut self.pool) > 0, "the letter was gone already");
        assert_eq!(self.pool.lent(), 0);
    }

    /// The slot is free, was freed once, and its next request has another token than these.
    pub fn is_over(&mut self, hosts: &Hosts, tokens: &[u64]) {
        for &token in tokens {
            assert_eq!((hosts.table.alive(token), hosts.table.claim(token, true).err()), (0, Some(Refused::Gone)));
        }
        assert!(self.came_home(hosts).is_none());
        let (index, token, _) = self.owner.open(letter(&mut self.pool), 6, true).expect("a slot is free");
        assert_eq!(index, self.index, "the slot is not free");
        assert!(!tokens.contains(&token), "the token is not new: {token:x} of {tokens:x?}");
        assert_eq!(hosts.table.alive(token), 2);
        let (other, ..) = self.owner.open(letter(&mut self.pool), 7, true).expect("there are more slots");
        assert!(other != self.index, "the slot was freed twice");
    }
}
