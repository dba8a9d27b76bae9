//! Answers going home: taken exactly once, in each poster's order, and never slept through.

use super::{Flag, explore, letter};
use ingest::memory::mailbox::Mailbox;
use ingest::memory::pool::Pool;
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{SlotOwner, SlotTable};
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
        let claim = self.table.claim(token, false).expect("nobody else knows the token");
        let slot = claim.seal(|reply| {
            reply.kind = ReplyKind::Answer;
            reply.status = status;
        });
        assert!(self.mailbox.post(&self.table, slot.expect("nothing was said before, so it stands in no mailbox")), "nobody has closed it");
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
            let homing = owner.homing(slot).expect("what came home is the owner's");
            assert_eq!((homing.kind, homing.spoke), (Some(ReplyKind::Answer), false));
            let settled = owner.settle(slot, pool, |reply| {
                statuses.push(reply.status);
                (reply.kind, 0)
            });
            assert!(settled.charge > 0, "its letter was still there");
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

// Fails when: `close` loads and stores in place of its exchange; `post` does not look for CLOSED in its loop.
#[test]
fn what_is_posted_after_the_last_look_stays_with_its_poster() {
    explore(3, || {
        let (home, mut owner, mut pool, tokens) = home(2);
        let posters: Vec<_> = tokens
            .into_iter()
            .map(|token| {
                let home = Arc::clone(&home);
                thread::spawn(move || {
                    let claim = home.table.claim(token, false).expect("nobody else knows the token");
                    let slot = claim.seal(|reply| reply.begin(ReplyKind::Answer)).expect("nothing was said before");
                    // `Door::send_home`.
                    let posted = home.mailbox.post(&home.table, slot);
                    if !posted {
                        let (kind, charge) = home.table.retire(slot).expect("it was given back");
                        assert!(kind == ReplyKind::Answer && charge > 0, "its letter was gone already");
                    }
                    (slot, posted)
                })
            })
            .collect();
        let mut taken = Vec::new();
        home.mailbox.take(&home.table, &mut taken);
        home.mailbox.close(&home.table, &mut taken);
        let posted = posters.into_iter().map(|poster| poster.join().unwrap());
        let mut posted: Vec<u32> = posted.filter_map(|(slot, posted)| posted.then_some(slot)).collect();
        for slot in &taken {
            assert!(owner.free(*slot, &mut pool) > 0, "its letter was still there");
        }
        taken.sort_unstable();
        posted.sort_unstable();
        assert_eq!(taken, posted, "lost, or with two owners");
    });
}
