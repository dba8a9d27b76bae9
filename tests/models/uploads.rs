//! A body that comes in events: octets are told in order and once, credit that is given wakes the I/O thread, and the end is told once.

use super::explore;
use super::table::{Hosts, Io, open_streamed};
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{Closed, Flow, News, Unspoken};
use ingest::request::{INGEST_EVENT_BODY, INGEST_EVENT_BODY_END, INGEST_EVENT_GONE, INGEST_GONE_RESET};
use loom::thread;
use std::sync::Arc;

const PIECE: u16 = INGEST_EVENT_BODY;
const END: u16 = INGEST_EVENT_BODY_END;
/// Longer than what is joined with others, so that each is a piece of its own.
const LONG: usize = 17 * 1024;

impl Hosts {
    /// `respond::credit`; whether there was so much to give back.
    fn credit(&self, token: u64, octets: usize) -> Result<bool, Unspoken> {
        let credited = self.table.credit(token, octets)?;
        if let Some(Some((home, slot))) = credited {
            assert_eq!(home, 0);
            self.send_home(slot);
        }
        Ok(credited.is_some())
    }

    /// `respond::abandon`: the right to answer if it still stands, else only the memory goes back.
    fn abandon(&self, token: u64) -> ReplyKind {
        let claim = self.table.claim(token, true).expect("nobody else ends it");
        let kind = if claim.open { ReplyKind::Abandon } else { ReplyKind::Release };
        self.give_back(claim, kind)
    }
}

/// What the I/O thread has on its account, beside the letter.
#[derive(Default)]
struct Account {
    charged: usize,
    owed: usize,
}

impl Io {
    /// `Serving::pour`: octets that have come, or none to hear of credit.
    fn pour(&mut self, account: &mut Account, octets: Vec<u8>, end: bool) {
        let Flow { owed, charged, freed } = self.owner.pour(self.index, octets, end.then(Vec::new)).expect("there is memory");
        account.charged = account.charged + charged - freed;
        account.owed = owed;
    }

    /// One tick: what came home is looked at, and if the host goes on the body does.
    fn look(&mut self, hosts: &Hosts, account: &mut Account) -> Option<ReplyKind> {
        let slot = self.came_home(hosts)?;
        let homing = self.owner.homing(slot).expect("it is the owner's");
        assert!(homing.spoke, "a streamed body goes by the lock");
        if homing.kind.is_none() {
            self.pour(account, Vec::new(), false);
        }
        homing.kind
    }

    /// The request is over: nothing of its body is left on the account, or held.
    fn settles(&mut self, kind: ReplyKind, letter: usize, account: &Account) {
        let settled = self.owner.settle(self.index, &mut self.pool, |reply| (reply.kind, 0));
        assert_eq!((settled.kind, settled.charge), (kind, letter + account.charged), "what was charged is not what comes back");
        assert_eq!(self.pool.lent(), 0);
    }
}

/// Lengths of the pieces in the order told, and how often the end and GONE were.
fn heard(told: &[News]) -> (Vec<usize>, usize, usize) {
    let pieces = told.iter().filter(|news| news.kind == PIECE).map(|news| news.data.1).collect();
    let ends = told.iter().filter(|news| news.kind == END).count();
    let gone = told.iter().filter(|news| (news.kind, news.reason) == (INGEST_EVENT_GONE, INGEST_GONE_RESET)).count();
    (pieces, ends, gone)
}

// Fails when: `next` takes the newest.
#[test]
fn a_body_is_told_in_order_while_it_comes() {
    explore(3, || {
        let (hosts, mut io, letter) = open_streamed(true);
        let token = io.token;
        let consumer = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(1, 8, &mut told);
                told
            })
        };
        let mut account = Account::default();
        io.pour(&mut account, vec![1; LONG], false);
        io.tell(&hosts);
        io.pour(&mut account, vec![2; LONG + 1], true);
        io.tell(&hosts);
        let mut told = consumer.join().unwrap();
        hosts.ask(1, 8, &mut told);
        assert_eq!(heard(&told), (vec![LONG, LONG + 1], 1, 0));
        assert_eq!(told.last().map(|news| news.kind), Some(END));
        assert!(told.iter().all(|news| news.token == token && !news.goes_home));
        assert_eq!((account.owed, hosts.queue.notices()), (2 * LONG + 1, 0));
        assert_eq!(hosts.abandon(token), ReplyKind::Abandon);
        assert_eq!(io.look(&hosts, &mut account), Some(ReplyKind::Abandon));
        io.settles(ReplyKind::Abandon, letter, &account);
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `credit` posts nothing.
#[test]
fn credit_meets_octets_that_come() {
    explore(3, || {
        let (hosts, mut io, letter) = open_streamed(true);
        let token = io.token;
        let mut account = Account::default();
        io.pour(&mut account, vec![1; LONG], false);
        io.tell(&hosts);
        let mut told = Vec::new();
        hosts.ask(1, 8, &mut told);
        assert_eq!(heard(&told).0, [LONG]);
        let giver = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                assert_eq!(hosts.credit(token, LONG + 1), Ok(false), "more than it was handed");
                assert_eq!((hosts.credit(token, LONG - 1), hosts.credit(token, 1)), (Ok(true), Ok(true)));
            })
        };
        io.pour(&mut account, vec![2; LONG], false);
        io.look(&hosts, &mut account);
        giver.join().unwrap();
        // Whatever was given after the last look has posted the slot.
        io.look(&hosts, &mut account);
        assert_eq!(account.owed, LONG, "credit was lost");
        assert_eq!(hosts.abandon(token), ReplyKind::Abandon);
        assert_eq!(io.look(&hosts, &mut account), Some(ReplyKind::Abandon));
        io.settles(ReplyKind::Abandon, letter, &account);
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `close` does not note RESET unasked.
#[test]
fn a_body_is_cut_short_while_it_is_taken_and_paid_for() {
    explore(3, || {
        let (hosts, mut io, letter) = open_streamed(true);
        let token = io.token;
        let mut account = Account::default();
        io.pour(&mut account, vec![1; LONG], false);
        io.tell(&hosts);
        let host = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(1, 8, &mut told);
                let octets: usize = heard(&told).0.iter().sum();
                let credited = if octets > 0 { hosts.credit(token, octets) } else { Ok(true) };
                assert!(matches!(credited, Ok(true) | Err(Unspoken::Closed)), "{credited:?}");
                told
            })
        };
        io.pour(&mut account, vec![2; LONG], false);
        io.tell(&hosts);
        assert_eq!(io.owner.close(io.index), Closed::HeldByHost);
        io.tell(&hosts);
        let mut told = host.join().unwrap();
        hosts.ask(1, 8, &mut told);
        let (pieces, ends, gone) = heard(&told);
        assert!(pieces.len() <= 2 && (ends, gone) == (0, 1), "{told:?}");
        assert_eq!(told.last().map(|news| news.kind), Some(INGEST_EVENT_GONE), "something came behind the end");
        assert_eq!(hosts.credit(token, 1), Err(Unspoken::Closed));
        // Credit may have posted it before.
        assert_eq!(hosts.abandon(token), ReplyKind::Release);
        assert_eq!(io.look(&hosts, &mut account), Some(ReplyKind::Release));
        io.settles(ReplyKind::Release, letter, &account);
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `next_of_body` does not look at the word again under the lock; `requeue` takes back what was handed out.
#[test]
fn a_host_gives_up_while_another_of_its_threads_takes_a_piece() {
    for returns in [false, true] {
        explore(3, move || {
            let (hosts, mut io, letter) = open_streamed(true);
            let token = io.token;
            let mut account = Account::default();
            let other = {
                let hosts = Arc::clone(&hosts);
                thread::spawn(move || {
                    let mut told = Vec::new();
                    hosts.ask(1, 8, &mut told);
                    told
                })
            };
            let ender = {
                let hosts = Arc::clone(&hosts);
                thread::spawn(move || {
                    if returns {
                        return hosts.table.requeue(token, 0).ok();
                    }
                    hosts.abandon(token);
                    None
                })
            };
            io.pour(&mut account, vec![1; LONG], true);
            io.tell(&hosts);
            let told = other.join().unwrap();
            let back = ender.join().unwrap();
            let (pieces, ends, gone) = heard(&told);
            assert!((pieces.len() <= 1, ends <= pieces.len(), gone) == (true, true, 0), "{told:?}");
            if let Some((new, ..)) = back {
                assert!(told.is_empty(), "what was handed out went back to the queue");
                assert_eq!(io.owner.close(io.index), Closed::Mine);
                assert_eq!(io.owner.free(io.index, &mut io.pool), letter + account.charged);
                io.is_over(&hosts, &[token, new]);
                return;
            }
            if returns {
                assert!(!told.is_empty(), "nothing was handed out, and it cannot go back");
                hosts.abandon(token);
            }
            assert_eq!(io.look(&hosts, &mut account), Some(ReplyKind::Abandon));
            io.settles(ReplyKind::Abandon, letter, &account);
            io.is_over(&hosts, &[token]);
        });
    }
}
