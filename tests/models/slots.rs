//! The token table: of all who reach for a request exactly one gets it, and its slot is freed once.

use super::{explore, letter};
use ingest::memory::mailbox::Mailbox;
use ingest::memory::pool::Pool;
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{Closed, Gone, Refused, SlotOwner, SlotTable, Taker};
use loom::thread;
use std::sync::Arc;

/// What the host's threads know.
struct Hosts {
    table: Arc<SlotTable>,
    mailbox: Mailbox,
}

/// What only the I/O thread has.
struct Io {
    owner: SlotOwner,
    pool: Pool,
    index: u32,
    token: u64,
}

fn open(held: bool) -> (Arc<Hosts>, Io) {
    let table = Arc::new(SlotTable::new(1, 7));
    let mut owner = SlotOwner::new(Arc::clone(&table), 0);
    let mut pool = Pool::new();
    let (index, token, _) = owner.open(letter(&mut pool), 5, held).expect("a slot is free");
    (Arc::new(Hosts { table, mailbox: Mailbox::new() }), Io { owner, pool, index, token })
}

impl Hosts {
    /// `respond::post`: the right to answer if it still stands, else only the memory goes back.
    fn answer(&self, token: u64, status: u16) -> Result<ReplyKind, Refused> {
        let claim = self.table.claim(token, false)?;
        let kind = if claim.open { ReplyKind::Answer } else { ReplyKind::Release };
        let slot = claim.seal(|reply| {
            reply.kind = kind;
            reply.status = status;
        });
        self.post(slot);
        Ok(kind)
    }

    /// A consumer takes the request, whatever it is.
    fn take(&self, token: u64) -> Result<(), Gone> {
        // The letter is the consumer's to change until the host sees it.
        let taken = self.table.take(token, Taker::default(), |letter| {
            letter.set_token(token);
            true
        })?;
        assert!(taken.is_some_and(|taken| !taken.has_news), "it was not declined, and nobody has noted anything");
        Ok(())
    }

    /// A consumer takes the request and answers it at once.
    fn consume(&self, token: u64) -> Result<ReplyKind, Gone> {
        self.take(token)?;
        Ok(self.answer(token, 200).expect("nobody else holds it"))
    }

    /// `respond::refuse_aged`.
    fn refuse(&self, token: u64) -> Result<ReplyKind, Gone> {
        let slot = self.table.claim_queued(token)?.seal(|reply| reply.kind = ReplyKind::Aged);
        self.post(slot);
        Ok(ReplyKind::Aged)
    }

    fn post(&self, slot: Option<u32>) {
        let slot = slot.expect("nothing was said before, so it stands in no mailbox");
        assert!(self.mailbox.post(&self.table, slot), "nobody has closed it");
    }
}

impl Io {
    /// What came home: at most one answer, and then the slot is free.
    fn settle(&mut self, hosts: &Hosts) -> Option<(ReplyKind, u16)> {
        let mut taken = Vec::new();
        hosts.mailbox.take(&hosts.table, &mut taken);
        assert!(taken.len() <= 1, "the slot was posted twice");
        let slot = taken.pop()?;
        let homing = self.owner.homing(slot).expect("it is the owner's");
        assert_eq!((slot, self.owner.seat(slot), homing.spoke), (self.index, 5, false));
        let mut status = 0;
        let settled = self.owner.settle(slot, &mut self.pool, |reply| {
            status = reply.status;
            (reply.kind, 0)
        });
        assert_eq!((homing.kind, settled.owes), (Some(settled.kind), 0));
        assert!(settled.charge > 0, "the letter was gone already");
        assert_eq!(self.pool.lent(), 0);
        Some((settled.kind, status))
    }

    fn free(&mut self) {
        assert!(self.owner.free(self.index, &mut self.pool) > 0, "the letter was gone already");
        assert_eq!(self.pool.lent(), 0);
    }

    /// The token is over, and the slot's next request has another.
    fn is_over(&mut self, hosts: &Hosts) {
        let table = &hosts.table;
        assert_eq!((table.claim(self.token, true).err(), table.claim_closed(self.token, true).err()), (Some(Refused::Gone), Some(Gone)));
        assert_eq!((hosts.take(self.token), table.claim_queued(self.token).err()), (Err(Gone), Some(Gone)));
        assert_eq!(table.requeue(self.token, 0), Err(Gone));
        assert_eq!((table.alive(self.token), table.request(self.token), table.set_tag(self.token, 1)), (0, None, Err(Gone)));
        let (index, token, _) = self.owner.open(letter(&mut self.pool), 6, true).expect("the slot is free again");
        assert!(index == self.index && token != self.token, "the slot is not free, or its token not new");
        assert_eq!((table.alive(token), table.alive(self.token)), (2, 0));
    }
}

// Fails when: `claim` loads and stores in place of the exchange; `free` keeps the generation.
#[test]
fn of_two_answers_one_counts() {
    explore(3, || {
        let (hosts, mut io) = open(true);
        let threads = [200, 500].map(|status| {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.answer(token, status).map(|_| status))
        });
        let answers: Vec<u16> = threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
        assert_eq!(answers.len(), 1, "one of the two is given");
        assert_eq!(io.settle(&hosts), Some((ReplyKind::Answer, answers[0])));
        io.is_over(&hosts);
    });
}

// Fails when: `close` stores in place of the exchange; `claim` does not try HELD_CLOSED after HELD; `claim` says `open` for both.
#[test]
fn an_answer_meets_the_end_of_the_right_to_answer() {
    explore(3, || {
        let (hosts, mut io) = open(true);
        let threads = [200, 500].map(|status| {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.answer(token, status))
        });
        let closed = io.owner.close(io.index);
        let given: Vec<ReplyKind> = threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
        match closed {
            Closed::HeldByHost => assert_eq!(given, [ReplyKind::Release]),
            Closed::OnItsWay => assert_eq!(given, [ReplyKind::Answer]),
            Closed::Mine => panic!("the host held it"),
        }
        assert_eq!(io.settle(&hosts).map(|reply| reply.0), given.first().copied());
        io.is_over(&hosts);
    });
}

// Fails when: `close` treats TAKING as QUEUED; `take` or `claim_queued` load and store in place of the
// exchange; `close` stores in place of the exchange.
#[test]
fn a_queued_request_is_taken_or_refused_or_closed() {
    explore(3, || {
        let (hosts, mut io) = open(false);
        let consumer = {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.consume(token))
        };
        let refuser = {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.refuse(token))
        };
        let closed = io.owner.close(io.index);
        if closed == Closed::Mine {
            // The thread frees it at once, while the others may still reach for it.
            io.free();
        }
        let given: Vec<ReplyKind> = [consumer, refuser].into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
        match closed {
            Closed::Mine => assert!(given.is_empty(), "{given:?} of a request that was freed"),
            Closed::HeldByHost => assert_eq!(given, [ReplyKind::Release]),
            Closed::OnItsWay => assert!(given == [ReplyKind::Answer] || given == [ReplyKind::Aged], "{given:?}"),
        }
        assert_eq!(io.settle(&hosts).map(|reply| reply.0), given.first().copied());
        io.is_over(&hosts);
    });
}

// Fails when: `close` does not wait until TAKING is over.
#[test]
fn a_request_that_is_just_being_taken_is_closed_all_the_same() {
    explore(3, || {
        let (hosts, mut io) = open(false);
        let consumer = {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.take(token).is_ok())
        };
        let closed = io.owner.close(io.index);
        let taken = consumer.join().unwrap();
        assert_eq!(closed, if taken { Closed::HeldByHost } else { Closed::Mine });
        assert_eq!(hosts.table.alive(io.token), 0);
        if taken {
            assert_eq!(hosts.answer(io.token, 200), Ok(ReplyKind::Release));
            assert_eq!(io.settle(&hosts), Some((ReplyKind::Release, 200)));
        } else {
            io.free();
        }
        io.is_over(&hosts);
    });
}

// Fails when: `claim` exchanges Relaxed; `take` stores HELD Relaxed, or before the letter is complete.
#[test]
fn a_thread_that_only_knows_the_token_answers_after_the_taker() {
    explore(3, || {
        let (hosts, mut io) = open(false);
        let other = {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || hosts.answer(token, 200))
        };
        hosts.take(io.token).expect("nobody else can take it");
        let early = other.join().unwrap();
        if early.is_err() {
            assert_eq!(hosts.answer(io.token, 200), Ok(ReplyKind::Answer), "it was not taken yet, so nobody has answered");
        }
        assert_eq!(io.settle(&hosts), Some((ReplyKind::Answer, 200)));
        io.is_over(&hosts);
    });
}

// Fails when: `free` keeps the generation.
#[test]
fn a_late_token_does_not_reach_the_next_request() {
    explore(3, || {
        let (hosts, mut io) = open(true);
        let late = io.token;
        hosts.answer(late, 200).expect("the first answer counts");
        let stranger = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                assert_eq!(hosts.answer(late, 500), Err(Refused::Gone));
                assert_eq!(hosts.consume(late), Err(Gone));
                assert_eq!(hosts.refuse(late), Err(Gone));
                assert_eq!(hosts.table.alive(late), 0);
            })
        };
        assert_eq!(io.settle(&hosts), Some((ReplyKind::Answer, 200)));
        let (index, token, _) = io.owner.open(letter(&mut io.pool), 5, true).expect("the slot is free again");
        assert_eq!(index, io.index);
        assert_eq!(hosts.answer(token, 201), Ok(ReplyKind::Answer));
        stranger.join().unwrap();
        assert_eq!(io.settle(&hosts), Some((ReplyKind::Answer, 201)));
    });
}

// Fails when: `request` borrows the cargo for writing.
#[test]
fn several_threads_look_at_a_request_that_they_hold() {
    explore(3, || {
        let (hosts, mut io) = open(true);
        let threads = [(); 2].map(|()| {
            let (hosts, token) = (Arc::clone(&hosts), io.token);
            thread::spawn(move || assert!(hosts.table.request(token).is_some()))
        });
        assert_eq!(io.owner.close(io.index), Closed::HeldByHost);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(hosts.answer(io.token, 200), Ok(ReplyKind::Release));
        assert_eq!(io.settle(&hosts), Some((ReplyKind::Release, 200)));
        io.is_over(&hosts);
    });
}
