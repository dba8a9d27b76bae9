//! Blocks that no sane host would send, and consumers that compete: nothing crashes, nothing is lost.

use crate::block::{Answers, Block, Reply, answers};
use crate::fill_queue;
use crate::support::host::{Server, blank_event};
use crate::support::{PATIENCE, Random};
use ingest::status::{INGEST_E_ARGUMENT, INGEST_E_SPACE, INGEST_E_STOPPED};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Small numbers, large ones, and those at which arithmetic turns.
fn number(random: &mut Random, length: usize) -> u32 {
    match random.next() % 6 {
        0 => random.next() as u32,
        1 => u32::MAX - (random.next() % 64) as u32,
        2 => (random.next() % 64) as u32,
        3 => i32::MAX as u32 + (random.next() % 3) as u32,
        _ => (random.next() % (length as u64 + 16)) as u32,
    }
}

fn mutate(random: &mut Random, block: &mut Vec<u8>) {
    for _ in 0..1 + random.next() % 4 {
        let length = block.len();
        let at = random.next() as usize % length;
        match random.next() % 4 {
            0 => block[at] = random.next() as u8,
            1 if length > 40 && random.next() % 8 == 0 => block.truncate(at.max(8)),
            _ => {
                let number = number(random, length);
                let at = (at & !3).min(length.saturating_sub(4) & !3);
                if let Some(place) = block.get_mut(at..at + 4) {
                    place.copy_from_slice(&number.to_ne_bytes());
                }
            }
        }
    }
}

#[test]
fn random_blocks_do_no_harm() {
    let server = Server::queued(&[]);
    let queue = server.queue();
    let mut client = server.connect();
    client.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    fill_queue(queue, 1);
    let mut held = Block::new(4096);
    assert_eq!(held.poll(queue), 1);
    let stale = [
        Reply { content_type: Some("text/plain"), headers: &[("A", "b"), ("Cc", "dd")], ..Reply::new(1, 200, b"one") },
        Reply { close: true, headers: &[("Eee", "")], ..Reply::new(2, 404, b"") },
        Reply::new(3, 500, b"a longer body at the end"),
    ];
    let good = answers(&stale);
    assert_eq!(good.respond(*server), 0);
    let mut random = Random(0x9A57_ED01);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..100_000 {
        let mut bad = good.clone();
        mutate(&mut random, &mut bad.0);
        match bad.respond(*server) {
            0 => read += 1,
            INGEST_E_ARGUMENT => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(read > 1000 && refused > 10_000, "{read} read, {refused} refused");
    for length in [0, 1, 8, 31, 32, 33, 100, 1000] {
        for _ in 0..200 {
            assert_eq!(Answers(random.bytes(length)).respond(*server), INGEST_E_ARGUMENT);
        }
    }
    assert_eq!(answers(&[Reply::new(held.token(0), 200, b"still here")]).respond(*server), 1);
    assert_eq!(client.answer().text(), "still here");
    assert_eq!(server.stats().panics, 0);
    server.finish();
}

/// Each record may be larger than we know: the host's own words stand behind it.
#[test]
fn records_may_be_wider() {
    let server = Server::queued(&[]);
    let narrow = answers(&[Reply::new(5, 200, b"")]);
    let mut wide = narrow.clone();
    wide.0.resize(32 + 2 * 56, 0xFF);
    wide.0[72..88].fill(0xEE);
    wide.0[88..128].copy_from_slice(&narrow.0[32..72]);
    let used = wide.0.len() as u32;
    for (at, number) in [(8, used), (12, 2), (16, 56)] {
        wide.0[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    assert_eq!(wide.respond(*server), 0);
    wide.0[16..20].copy_from_slice(&39_u32.to_ne_bytes());
    assert_eq!(wide.respond(*server), INGEST_E_ARGUMENT);
    server.finish();
}

/// One consumer whose block is often too small, and two that wait: what the first puts back is heard by the others.
#[test]
fn consumers_of_both_kinds_share_a_queue() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 150;
    let server = Server::queued(&[]);
    let (host, queue) = (*server, server.queue());
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut batch = [blank_event(); 8];
                while served.load(Ordering::Relaxed) < CLIENTS * ROUNDS * 4 {
                    let got = queue.wait(&mut batch, 50);
                    assert!(got >= 0, "{got}");
                    for event in &batch[..got as usize] {
                        assert_eq!(host.text(event.token, b"waited"), 0);
                    }
                    served.fetch_add(got as usize, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let mut blocks = [Block::new(64), Block::new(640), Block::new(1024)];
            for turn in 0.. {
                if served.load(Ordering::Relaxed) >= CLIENTS * ROUNDS * 4 {
                    return;
                }
                let block = &mut blocks[turn % 3];
                let got = block.poll(queue);
                assert!(got >= 0 || got == INGEST_E_SPACE && got != INGEST_E_STOPPED, "{got}");
                for index in 0..got.max(0) as usize {
                    assert_eq!(answers(&[Reply::new(block.token(index), 200, b"packed")]).respond(host), 1);
                }
                served.fetch_add(got.max(0) as usize, Ordering::Relaxed);
                if got == 0 {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.connect();
                client.set_patience(PATIENCE);
                for _ in 0..ROUNDS {
                    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n".repeat(4));
                    for _ in 0..4 {
                        assert_eq!(client.answer().status, 200);
                    }
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed), CLIENTS * ROUNDS * 4);
    server.finish();
}
