//! News about a request: every piece is told once, or dropped because the host gave the request back; the slot goes home once.

use super::table::{Hosts, Io, open};
use super::{explore, letter};
use ingest::memory::queue::Asked;
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{Closed, GONE, News, READ_CLOSED, RELEASED, SENT};
use ingest::request::{INGEST_EVENT_GONE, INGEST_EVENT_RELEASED, INGEST_EVENT_SENT, INGEST_GONE_READ_CLOSED, INGEST_GONE_RESET};
use loom::thread;
use std::sync::Arc;

const FIN: (u16, u32) = (INGEST_EVENT_GONE, INGEST_GONE_READ_CLOSED);
const RST: (u16, u32) = (INGEST_EVENT_GONE, INGEST_GONE_RESET);
const WHOLE: (u16, u32) = (INGEST_EVENT_SENT, 0);
const BACK: (u16, u32) = (INGEST_EVENT_RELEASED, 0);

impl Hosts {
    /// `HostQueue::open`: a consumer takes the request, and has its queue bring what was noted before.
    fn take_with_news(&self, token: u64, asked: Asked) -> bool {
        let Ok(taken) = self.table.take(token, asked.taker, |_| true) else { return false };
        if taken.expect("it was not declined").has_news {
            let slot = self.table.index_of(token).expect("it is ours");
            if self.table.enlist(slot) {
                self.queue.add_notice(&self.table, slot);
            }
        }
        true
    }
}

impl Io {
    /// A consumer that asks until nothing is left.
    fn rest(&mut self, hosts: &Hosts, told: &mut Vec<News>) {
        self.tell(hosts);
        hosts.ask(1, 8, told);
        assert_eq!(hosts.queue.notices(), 0, "news is left that nobody will bring");
        assert!(!hosts.table.has_news(self.index), "news is left that stands on no list");
    }
}

fn kinds(told: &[News]) -> Vec<(u16, u32)> {
    told.iter().map(|news| (news.kind, news.reason)).collect()
}

// Fails when: `note` marks a request that was just given back, or loads and stores; `finish` enlists before it stores, does not
// enlist, or frees at once; `ask` delists after it has looked at the news, or never; `next_news` loads and stores, or never says
// `goes_home`.
#[test]
fn a_request_is_answered_while_news_about_it_arrives() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE | SENT);
        let token = io.token;
        let answering = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.answer(token))
        };
        let asking = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(1, 8, &mut told);
                told
            })
        };
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        let settled = io.settle(&hosts, SENT);
        io.tell(&hosts);
        assert_eq!(answering.join().unwrap(), Ok(ReplyKind::Answer));
        let mut told = asking.join().unwrap();
        if settled.is_none() {
            assert_eq!(io.settle(&hosts, SENT), Some(ReplyKind::Answer));
        }
        io.rest(&hosts, &mut told);
        assert!(kinds(&told) == [FIN, WHOLE] || kinds(&told) == [WHOLE], "{told:?}");
        assert!(told.iter().all(|news| news.token == token && news.goes_home == (news.kind == INGEST_EVENT_SENT)), "{told:?}");
        assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Told), "the slot did not go home");
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `note` does nothing in TAKING or QUEUED, or loads and stores; `take` stores HELD in place of the exchange; `ask`
// never delists; `close` treats TAKING as QUEUED.
#[test]
fn news_about_a_request_that_is_just_being_taken_is_told_once() {
    explore(3, || {
        let (hosts, mut io) = open(false, GONE);
        let token = io.token;
        let consumer = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                let asked = hosts.ask(1, 8, &mut told);
                assert!(told.is_empty(), "told before it was taken: {told:?}");
                let taken = hosts.take_with_news(token, asked);
                hosts.ask(1, 8, &mut told);
                (taken, told)
            })
        };
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        let closed = io.owner.close(io.index);
        io.tell(&hosts);
        let (taken, mut told) = consumer.join().unwrap();
        io.rest(&hosts, &mut told);
        if taken {
            assert_eq!((closed, kinds(&told)), (Closed::HeldByHost, vec![FIN, RST]));
            assert_eq!(hosts.answer(token), Ok(ReplyKind::Release));
            assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Release));
        } else {
            assert_eq!((closed, kinds(&told)), (Closed::Mine, Vec::new()));
            io.free();
        }
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `finish` enlists before it stores, or does not enlist; `ask` delists after it has looked at the news, or never, or
// drops what it had no room for; `next_news` says `goes_home` while a mark is left, or never.
#[test]
fn what_is_told_after_the_answer_sends_the_slot_home_once() {
    explore(3, || {
        let (hosts, mut io) = open(true, READ_CLOSED | SENT | RELEASED);
        let token = io.token;
        // The slot stands on the queue's list with news that nobody will hear any more.
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        assert_eq!((hosts.table.set_tag(token, 77), hosts.answer(token)), (Ok(()), Ok(ReplyKind::Answer)));
        let asking = [1, 2].map(|number| {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(number, 1, &mut told);
                told
            })
        });
        assert_eq!(io.settle(&hosts, SENT | RELEASED), Some(ReplyKind::Answer));
        io.tell(&hosts);
        // Each asks for one piece at most; the same thread hears both, unless it has asked again.
        let mut told: Vec<News> = asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect();
        assert!(told.len() <= 1, "two consumers were told at once: {told:?}");
        hosts.ask(1, 8, &mut told);
        hosts.ask(2, 8, &mut told);
        io.rest(&hosts, &mut told);
        assert_eq!(kinds(&told), [WHOLE, BACK]);
        assert!(told.iter().all(|news| (news.token, news.tag) == (token, 77)), "{told:?}");
        assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Told), "the slot did not go home");
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `take` does not store the taker, does not say that there is news, or goes to HELD Relaxed; `note` says for TAKING
// that the host wants to be told; `is_busy` is always false.
#[test]
fn news_waits_until_the_taker_asks_again() {
    explore(3, || {
        let (hosts, mut io) = open(false, GONE);
        let token = io.token;
        let taker = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let asked = hosts.ask(1, 8, &mut Vec::new());
                assert!(hosts.take_with_news(token, asked), "nobody else takes it");
            })
        };
        let other = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(2, 8, &mut told);
                assert!(told.is_empty(), "its taker is busy with it: {told:?}");
            })
        };
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        taker.join().unwrap();
        other.join().unwrap();
        assert!(hosts.queue.descriptor().is_readable(), "unreadable while news waits");
        let mut told = Vec::new();
        io.rest(&hosts, &mut told);
        assert_eq!(kinds(&told), [FIN]);
        assert_eq!(hosts.answer(token), Ok(ReplyKind::Answer));
        assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Answer));
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `requeue` drops what was noted; `note` does nothing in TAKING or QUEUED; `take` does not say that there is news.
#[test]
fn news_about_a_request_that_goes_back_is_told_to_its_next_taker() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE);
        let token = io.token;
        let host = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                let (new, ..) = hosts.table.requeue(token, 0).expect("nobody else knows it");
                let asked = hosts.ask(1, 8, &mut told);
                assert!(hosts.take_with_news(new, asked));
                hosts.ask(1, 8, &mut told);
                (new, told)
            })
        };
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        let (new, mut told) = host.join().unwrap();
        io.rest(&hosts, &mut told);
        assert_eq!((kinds(&told), told[0].token), (vec![FIN], new));
        assert_eq!(hosts.answer(new), Ok(ReplyKind::Answer));
        assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Answer));
        io.is_over(&hosts, &[token, new]);
    });
}

// Fails when: `next_news` loads the tag after its exchange.
#[test]
fn news_has_the_tag_of_its_own_request() {
    explore(3, || {
        let (hosts, mut io) = open(true, GONE);
        let token = io.token;
        hosts.table.set_tag(token, 77).expect("it is held");
        io.owner.note_read_closed(io.index);
        io.tell(&hosts);
        let asking = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let mut told = Vec::new();
                hosts.ask(1, 8, &mut told);
                told
            })
        };
        assert_eq!(hosts.answer(token), Ok(ReplyKind::Answer));
        assert_eq!(io.settle(&hosts, 0), Some(ReplyKind::Answer));
        let (_, next, _) = io.owner.open(letter(&mut io.pool), 5, true).expect("the slot is free again");
        hosts.table.set_tag(next, 88).expect("it is held");
        let told = asking.join().unwrap();
        assert!(told.iter().all(|news| (news.token, news.tag) == (token, 77)), "{told:?}");
    });
}
