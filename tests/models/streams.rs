//! Answers that are said piece by piece: nothing said is lost, and the end comes home once.

use super::explore;
use super::table::{Hosts, Io, open};
use ingest::limits::STREAM_BUFFER_BYTES;
use ingest::memory::reply::ReplyKind;
use ingest::memory::slots::{Closed, Phase, Refused, Unspoken, WRITABLE};
use ingest::request::INGEST_EVENT_WRITABLE;
use loom::thread;
use std::sync::Arc;

impl Hosts {
    /// `respond::begin`; whether it was this call that began it.
    fn begin(&self, token: u64) -> Result<bool, Unspoken> {
        self.speak(token, |stream| {
            let fresh = stream.phase == Phase::Interim;
            if fresh {
                stream.phase = Phase::Begun;
            }
            (fresh, fresh)
        })
    }

    /// `respond::write`; false when the answer has ended.
    fn say(&self, token: u64, octet: u8) -> Result<bool, Unspoken> {
        self.speak(token, |stream| {
            let open = stream.phase == Phase::Begun;
            (open, open && stream.push(&[octet]))
        })
    }

    /// `respond::end`; how the memory went back, if it was this call that gave it back.
    fn end(&self, token: u64) -> Option<ReplyKind> {
        let ended = self.speak(token, |stream| {
            let open = stream.phase == Phase::Begun;
            if open {
                stream.phase = Phase::Ended;
            }
            (open, false)
        });
        match ended {
            Ok(true) => {
                let claim = self.table.claim(token, true).ok()?;
                let kind = if claim.open { ReplyKind::Streamed } else { ReplyKind::Release };
                Some(self.give_back(claim, kind))
            }
            Ok(false) | Err(Unspoken::Gone) => None,
            Err(Unspoken::Closed) => self.release(token).ok(),
        }
    }
}

/// What the I/O thread saw of one answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    octets: Vec<u8>,
    ends: Vec<ReplyKind>,
}

impl Io {
    /// One tick: `Serving::came_home`, and the connection takes what was said so far.
    fn tick(&mut self, hosts: &Hosts, seen: &mut Seen) {
        let Some(slot) = self.came_home(hosts) else { return };
        let homing = self.owner.homing(slot).expect("it is the owner's");
        assert!(homing.spoke && self.owner.seat(slot) == 5);
        self.owner.stream(slot, |stream| seen.octets.append(&mut stream.octets));
        if let Some(kind) = homing.kind {
            seen.ends.push(kind);
            assert_eq!(self.use_reply(0), kind);
        }
    }
}

// Fails when: `homing` does not unlink, unlinks after it has let go of the lock, or reads the state before it unlinks; `seal`
// posts although the slot is linked, or stores POSTED after it has let go of the lock; `speak` does not set SPOKE.
#[test]
fn one_thread_says_it_and_another_ends_it() {
    explore(3, || {
        let (hosts, mut io) = open(true, 0);
        let token = io.token;
        assert_eq!(hosts.begin(token), Ok(true));
        let speaker = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || [1, 2].into_iter().filter(|octet| hosts.say(token, *octet) == Ok(true)).collect::<Vec<u8>>())
        };
        let ender = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.end(token))
        };
        let mut seen = Seen::default();
        io.tick(&hosts, &mut seen);
        io.tick(&hosts, &mut seen);
        let said = speaker.join().unwrap();
        assert_eq!(ender.join().unwrap(), Some(ReplyKind::Streamed));
        io.tick(&hosts, &mut seen);
        assert_eq!(seen, Seen { octets: said, ends: vec![ReplyKind::Streamed] });
        assert_eq!(hosts.say(token, 3), Err(Unspoken::Gone));
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `homing` does not unlink, or reads the state before it unlinks; `seal` posts although the slot is linked, or stores
// POSTED after it has let go of the lock.
#[test]
fn of_two_ends_one_counts() {
    explore(3, || {
        let (hosts, mut io) = open(true, 0);
        let token = io.token;
        assert_eq!((hosts.begin(token), hosts.say(token, 1)), (Ok(true), Ok(true)));
        let enders = [(); 2].map(|()| {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.end(token))
        });
        let mut seen = Seen::default();
        io.tick(&hosts, &mut seen);
        let ends: Vec<ReplyKind> = enders.into_iter().filter_map(|ender| ender.join().unwrap()).collect();
        io.tick(&hosts, &mut seen);
        assert_eq!((ends, seen), (vec![ReplyKind::Streamed], Seen { octets: vec![1], ends: vec![ReplyKind::Streamed] }));
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `close` does not silence the stream; `speak` looks at the state before it locks; `claim_closed` drops SPOKE;
// `homing` does not unlink.
#[test]
fn what_is_said_to_a_peer_that_leaves_is_dropped() {
    explore(3, || {
        let (hosts, mut io) = open(true, 0);
        let token = io.token;
        assert_eq!(hosts.begin(token), Ok(true));
        let speaker = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let said = [hosts.say(token, 1), hosts.say(token, 2)];
                assert!(said.is_sorted_by(|first, second| first.is_ok() || second.is_err()), "{said:?}: closed and open again");
                assert!(said.iter().all(|said| matches!(said, Ok(true) | Err(Unspoken::Closed))), "{said:?}: the host still holds it");
            })
        };
        assert_eq!(io.owner.close(io.index), Closed::HeldByHost);
        assert_eq!(io.owner.stream(io.index, |stream| (stream.octets.len(), stream.unsent)), Some((0, 0)), "said to nobody");
        let mut seen = Seen::default();
        io.tick(&hosts, &mut seen);
        speaker.join().unwrap();
        assert_eq!(hosts.end(token), Some(ReplyKind::Release));
        io.tick(&hosts, &mut seen);
        assert_eq!(seen, Seen { octets: Vec::new(), ends: vec![ReplyKind::Release] });
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `silence` forgets that the slot is linked; `claim_closed` drops SPOKE; `claim_slowly` loads and stores in place of
// the exchange, or says `open` for both; `close` stores in place of the exchange, or does not silence.
#[test]
fn an_end_meets_the_end_of_the_right_to_answer() {
    explore(3, || {
        let (hosts, mut io) = open(true, 0);
        let token = io.token;
        assert_eq!(hosts.begin(token), Ok(true));
        let host = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                let said = hosts.say(token, 1).is_ok();
                (said, hosts.end(token).expect("nobody else ends it"))
            })
        };
        let mut seen = Seen::default();
        let closed = io.owner.close(io.index);
        io.tick(&hosts, &mut seen);
        let (said, end) = host.join().unwrap();
        io.tick(&hosts, &mut seen);
        match closed {
            Closed::HeldByHost => assert_eq!((end, seen), (ReplyKind::Release, Seen { octets: Vec::new(), ends: vec![end] })),
            Closed::OnItsWay => assert_eq!((said, end, seen), (true, ReplyKind::Streamed, Seen { octets: vec![1], ends: vec![end] })),
            Closed::Mine => panic!("the host held it"),
        }
        io.is_over(&hosts, &[token]);
    });
}

// Fails when: `claim_slowly` lets go of the lock before its exchange; `speak` does not set SPOKE; `seal` posts although the slot
// is linked.
#[test]
fn a_whole_answer_meets_one_that_is_begun() {
    for interim in [false, true] {
        explore(3, move || {
            let (hosts, mut io) = open(true, 0);
            let token = io.token;
            if interim {
                assert_eq!(hosts.speak(token, |stream| (stream.phase, true)), Ok(Phase::Interim));
            }
            let beginner = {
                let hosts = Arc::clone(&hosts);
                thread::spawn(move || hosts.begin(token))
            };
            let answer = hosts.answer(token);
            let begun = beginner.join().unwrap();
            match answer {
                Ok(_) => assert_eq!((answer, begun), (Ok(ReplyKind::Answer), Err(Unspoken::Gone))),
                Err(_) => {
                    assert_eq!((answer, begun), (Err(Refused::Begun), Ok(true)));
                    assert_eq!(hosts.end(token), Some(ReplyKind::Streamed));
                }
            }
            let slot = io.came_home(&hosts).expect("one of the two was given");
            let homing = io.owner.homing(slot).expect("it is the owner's");
            let kind = if answer.is_ok() { ReplyKind::Answer } else { ReplyKind::Streamed };
            assert_eq!((homing.kind, homing.begun), (Some(kind), answer.is_err()));
            assert_eq!(io.use_reply(0), kind);
            io.is_over(&hosts, &[token]);
        });
    }
}

// Fails when: `retire` takes the letter of a request that the host still holds; it leaves the slot linked (the letter is never
// freed); it looks at the state before it unlinks.
#[test]
fn what_is_said_after_the_last_look_frees_nothing_that_is_held() {
    explore(3, || {
        let (hosts, mut io) = open(true, 0);
        let token = io.token;
        let mut seen = Seen::default();
        assert_eq!(hosts.begin(token), Ok(true));
        io.tick(&hosts, &mut seen);
        let speaker = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.say(token, 1).is_ok())
        };
        let ender = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || hosts.end(token).expect("nobody else ends it"))
        };
        // `Segment::end`.
        io.owner.close(io.index);
        let mut taken = Vec::new();
        hosts.mailbox.close(&hosts.table, &mut taken);
        assert!(taken.len() <= 1, "the slot stood in the mailbox twice");
        let mut ends = Vec::new();
        for slot in taken {
            if let Some(kind) = io.owner.homing(slot).expect("it is the owner's").kind {
                assert_eq!(io.use_reply(0), kind);
                ends.push(kind);
            }
        }
        speaker.join().unwrap();
        let end = ender.join().unwrap();
        ends.extend(hosts.retired.lock().expect("loom stops at the first panic").iter());
        assert_eq!(ends, [end], "the letter was freed twice, or never");
    });
}

// Fails when: `sent` forgets `is_busy`, or tells everyone; `stream_sent` notes nothing.
#[test]
fn whoever_was_told_busy_hears_of_room() {
    explore(3, || {
        let (hosts, mut io) = open(true, WRITABLE);
        let token = io.token;
        hosts.begin(token).expect("it is open");
        // As if so much had been said and taken by the connection.
        hosts.speak(token, |stream| (stream.unsent = STREAM_BUFFER_BYTES, false)).expect("it is open");
        let speaker = {
            let hosts = Arc::clone(&hosts);
            thread::spawn(move || {
                hosts.speak(token, |stream| {
                    stream.is_busy = stream.room() == 0;
                    (stream.is_busy, false)
                })
            })
        };
        io.owner.stream_sent(io.index, STREAM_BUFFER_BYTES, Vec::new());
        let busy = speaker.join().unwrap().expect("it is open");
        io.tell(&hosts);
        let mut told = Vec::new();
        hosts.ask(1, 8, &mut told);
        let kinds: Vec<u16> = told.iter().map(|news| news.kind).collect();
        assert_eq!(kinds, if busy { vec![INGEST_EVENT_WRITABLE] } else { Vec::new() });
    });
}
