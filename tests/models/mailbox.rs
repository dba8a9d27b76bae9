//! Answers going home: taken exactly once, in each poster's order, and never slept through.

use super::{Flag, explore, letter};
use ingest::memory::mailbox::Mailbox;
use ingest::memory::pool::Pool;
use ingest::memory::slots::{ReplyKind, SlotOwner, SlotTable};
use ingest::memory::waker::{Signal, Waker};
use loom::thread;
use std::sync::Arc;

struct Home {
    table: Arc<SlotTable>,
    mailbox: Mailbox,
    waker: Waker<Flag>,
}

impl Home {
    /// What `respond::post` and `Door::send_home` do.
    fn answer(&self, token: u64, status: u16) {
        let claim = self.table.claim(token).expect("nobody else knows the token");
        let slot = claim.seal(|reply| {
            reply.kind = ReplyKind::Answer;
            reply.status = status;
        });
        self.mailbox.post(&self.table, slot);
        self.waker.wake();
    }
}

/// Opens that many held slots at a new home.
fn home(count: usize) -> (Arc<Home>, SlotOwner, Pool, Vec<u64>) {
    let table = Arc::new(SlotTable::new(1, 7));
    let mut owner = SlotOwner::new(Arc::clone(&table), 0);
    let mut pool = Pool::new();
    let tokens = (0..count).map(|seat| owner.open(letter(&mut pool), seat as u64, true).expect("a slot is free").1).collect();
    (Arc::new(Home { table, mailbox: Mailbox::new(), waker: Waker::new(Flag::new()) }), owner, pool, tokens)
}

/// The I/O thread's ticks, until it would sleep; the statuses in the order in which they came home.
fn ticks(home: &Home, owner: &mut SlotOwner, pool: &mut Pool, statuses: &mut Vec<u16>) {
    let mut taken = Vec::new();
    loop {
        home.mailbox.take(&home.table, &mut taken);
        for slot in taken.drain(..) {
            statuses.push(owner.reply(slot, |reply, _| reply.status).expect("what came home is the owner's"));
            assert!(owner.free(slot, pool) > 0, "its letter was still there");
        }
        home.waker.announce_sleep();
        // The last look, then the kernel's: it does not sleep while the descriptor is readable.
        if home.mailbox.is_empty() && !home.waker.signal().is_readable() {
            return;
        }
        home.waker.awake();
        home.waker.signal().reset();
    }
}

fn run(answers: [&'static [u16]; 2]) {
    let (home, mut owner, mut pool, tokens) = home(answers.iter().map(|statuses| statuses.len()).sum());
    let mut tokens = tokens.into_iter();
    let posters = answers.map(|statuses| {
        let home = Arc::clone(&home);
        let mine: Vec<(u64, u16)> = tokens.by_ref().zip(statuses.iter().copied()).take(statuses.len()).collect();
        thread::spawn(move || mine.into_iter().for_each(|(token, status)| home.answer(token, status)))
    });
    let mut statuses = Vec::new();
    ticks(&home, &mut owner, &mut pool, &mut statuses);
    for poster in posters {
        poster.join().unwrap();
    }
    // The owner sleeps since its last look. Whoever posted after that has signalled.
    assert!(home.mailbox.is_empty() || home.waker.signal().is_readable(), "the owner sleeps while something is posted");
    home.waker.awake();
    ticks(&home, &mut owner, &mut pool, &mut statuses);
    for mine in answers {
        let found: Vec<u16> = statuses.iter().copied().filter(|status| mine.contains(status)).collect();
        assert_eq!(found, mine, "each answer once, in its poster's order");
    }
    assert_eq!(statuses.len(), answers.iter().map(|mine| mine.len()).sum::<usize>());
    assert_eq!(pool.lent(), 0, "every letter is dissolved");
}

// Fails when: `wake` or `announce_sleep` has no fence, or announces after it; the exchange of `post` or the swap of `take` is
// Relaxed; `post` links once, before its loop; either loads and stores in place of its exchange; `wake` forgets to signal.
#[test]
fn two_posters_and_an_owner_that_sleeps() {
    explore(3, || run([&[200], &[500]]));
}

// Fails when: `take` does not reverse what it found.
#[test]
fn one_poster_keeps_its_order_beside_another() {
    explore(2, || run([&[200, 201], &[500]]));
}
