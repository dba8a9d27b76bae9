//! Every way that a body comes: it is in memory up to the bound, in a file above it, and the same octets in both.

use super::support::Random;
use super::support::coders::encode;
use super::support::host::abi::*;
use super::support::host::{Delivery, Server, on_requests};
use super::support::{alone, eventually, secured};
use super::{IN_MEMORY, SPOOL, ask, chunked, is_clean, post, telling, told};
use ingest::status::*;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

/// Sends the same body in every framing, whole and in pieces, and sees where it was.
fn in_every_framing(options: &[(&str, &str)], body: &[u8], place: &str) {
    let server = Server::serve(options, Delivery::Queue(1), telling());
    let mut client = server.connect();
    let wires = [post("", body), chunked("", body, 70_000), chunked("", body, 1 + body.len() / 40)];
    for wire in wires {
        for pieces in [1, 3, 11] {
            for piece in wire.chunks(wire.len().div_ceil(pieces)) {
                client.send(piece);
            }
            assert_eq!(client.answer().text(), told(place, body), "{options:?}, {pieces} pieces");
        }
    }
    drop(client);
    assert!(is_clean(&server), "{:?}", server.stats());
    server.finish();
}

#[test]
fn up_to_the_bound_in_memory_and_above_in_a_file() {
    let bytes = Random(7).bytes(900_000);
    for place in [SPOOL, IN_MEMORY] {
        in_every_framing(&place, &bytes[..65_536], "memory");
        in_every_framing(&place, &bytes[..65_537], "file");
        in_every_framing(&place, &bytes, "file");
        in_every_framing(&[&place[..], &[("body_buffer_max", "10")]].concat(), &bytes[..10], "memory");
        in_every_framing(&[&place[..], &[("body_buffer_max", "10")]].concat(), &bytes[..11], "file");
        in_every_framing(&[&place[..], &[("body_buffer_max", "0")]].concat(), &bytes[..1], "file");
    }
    in_every_framing(&[("body", "buffer")], &bytes, "memory");
}

#[test]
fn beyond_a_cut_and_over_tls() {
    let bytes = Random(8).bytes(700_000);
    for topology in ["cut", "cut-each"] {
        in_every_framing(&[&SPOOL[..], &[("topology", topology), ("io_threads", "2")]].concat(), &bytes, "file");
    }
    in_every_framing(&[&SPOOL[..], &secured::options()].concat(), &bytes, "file");
}

#[test]
fn coded_bodies_are_in_a_file_decoded() {
    let body = Random(9).bytes(300_000).repeat(3);
    for options in [SPOOL.to_vec(), [&SPOOL[..], &[("topology", "cut")]].concat()] {
        let server = Server::serve(&options, Delivery::Queue(1), telling());
        let mut client = server.connect();
        for coding in ["gzip", "zstd"] {
            let coded = encode(coding, &body);
            let field = format!("Content-Encoding: {coding}\r\n");
            for wire in [post(&field, &coded), chunked(&field, &coded, 5_000)] {
                assert_eq!(ask(&mut client, wire).text(), told("file", &body));
            }
            let small = encode(coding, &body[..60_000]);
            assert_eq!(ask(&mut client, post(&field, &small)).text(), told("memory", &body[..60_000]));
        }
        drop(client);
        assert!(is_clean(&server));
        server.finish();
    }
}

#[test]
fn every_split_of_a_small_spooled_request() {
    let options = [&SPOOL[..], &[("body_buffer_max", "5")]].concat();
    let server = Server::serve(&options, Delivery::Inline, telling());
    let mut client = server.connect();
    let body = b"0123456789";
    for wire in [post("", body), chunked("", body, 3)] {
        for cut in 1..wire.len() {
            client.send(&wire[..cut]);
            client.send(&wire[cut..]);
            assert_eq!(client.answer().text(), told("file", body), "cut at {cut}");
        }
        // Two in one go, and what follows the first is not lost.
        client.send([&wire[..], &wire[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert_eq!([client.answer().text(), client.answer().text()], [told("file", body), told("file", body)]);
        assert_eq!(client.answer().text(), told("memory", b""));
    }
    drop(client);
    assert!(is_clean(&server));
    server.finish();
}

#[test]
fn what_the_host_sees_of_a_spooled_body() {
    let body = Random(11).bytes(200_000);
    let kept: Arc<Mutex<Option<std::fs::File>>> = Arc::default();
    let (expected, keeps) = (body.clone(), Arc::clone(&kept));
    let handler = on_requests(move |host, request| {
        let face = request.0;
        assert!(face.body.ptr.is_null() && face.body_fd > 2);
        assert_eq!((face.body_len, face.encoded_len), (200_000, 200_000));
        // SAFETY: the descriptor is open while the request is held.
        let fd = unsafe { BorrowedFd::borrow_raw(face.body_fd) };
        *keeps.lock().expect("nobody panics with it") = Some(fd.try_clone_to_owned().expect("a number is free").into());
        let mut read = vec![0u8; 70_001];
        let mut at = 0u64;
        loop {
            // SAFETY: the server lives, and the buffer has the length that is said.
            let count = unsafe { ingest_request_body_read(host.0, face.token, at, read.as_mut_ptr().cast(), read.len()) };
            assert!(count >= 0, "{count}");
            let count = count as usize;
            assert_eq!(&read[..count], &expected[at as usize..][..count]);
            at += count as u64;
            if count < read.len() {
                break;
            }
        }
        assert_eq!(at, 200_000);
        for offset in [200_000, 200_001, u64::MAX] {
            // SAFETY: as above.
            assert_eq!(unsafe { ingest_request_body_read(host.0, face.token, offset, read.as_mut_ptr().cast(), read.len()) }, 0);
        }
        let mut value = ingest::request::ingest_slice::NONE;
        // SAFETY: request, pointer and value are good for the call.
        assert_eq!(unsafe { ingest_request_json(face, c"".as_ptr(), 0, &mut value) }, INGEST_E_UNSUPPORTED);
        assert_eq!(host.text(face.token, b"seen"), INGEST_OK);
    });
    let server = Server::serve(&SPOOL, Delivery::Queue(1), handler);
    assert_eq!(ask(&mut server.connect(), post("", &body)).text(), "seen");
    assert!(is_clean(&server), "it is given back with the answer");
    assert_eq!(server.stats().bodies_spooled, 1);
    server.finish();
    // The host's own descriptor outlives request and server.
    let file = kept.lock().expect("nobody panics with it").take().expect("it was seen");
    let mut read = vec![0; 200_000];
    file.read_exact_at(&mut read, 0).expect("all of it is there");
    assert_eq!(read, body);
}

#[test]
fn the_descriptor_is_closed_on_exec_above_the_floor_and_gone_with_the_request() {
    alone("bodies::the_descriptor_is_closed_on_exec_above_the_floor_and_gone_with_the_request", || {
        // Above a floor it is another number of the file that was made.
        for (place, floor) in [(SPOOL, "0"), (IN_MEMORY, "0"), (SPOOL, "300"), (IN_MEMORY, "300")] {
            let server = Server::queued(&[&place[..], &[("fd_floor", floor)]].concat());
            let mut client = server.connect();
            client.send(post("", &[7; 100_000]));
            let mut events = server.queue().take(1);
            let event = events.pop().expect("one was taken");
            // SAFETY: the request is held.
            let fd = unsafe { (*event.request).body_fd };
            assert!(fd >= floor.parse().expect("a number"), "{fd}");
            let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("it is open");
            let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).expect("they are told").trim();
            assert_ne!(u32::from_str_radix(flags, 8).expect("octal") & 0o2000000, 0, "O_CLOEXEC");
            assert_eq!(server.text(event.token, b"x"), INGEST_OK);
            assert_eq!(client.answer().status, 200);
            assert!(eventually(|| std::fs::metadata(format!("/proc/self/fd/{fd}")).is_err()), "{fd} is still open");
            server.finish();
        }
    });
}

#[test]
fn a_packed_block_leaves_a_spooled_body_to_be_read() {
    let server = Server::queued(&[&SPOOL[..], &[("body_buffer_max", "4")]].concat());
    let mut client = server.connect();
    client.send(post("", b"0123456789"));
    let mut block = vec![0u8; 65_536];
    // SAFETY: the queue lives, and the block has the length that is said.
    let count = || unsafe { ingest_queue_poll_packed(server.queue().0, block.as_mut_ptr().cast(), block.len()) };
    let mut count = count;
    assert!(eventually(|| count() == 1));
    let word = |at: usize| u64::from_ne_bytes(block[at..at + 8].try_into().expect("eight octets"));
    let record = 32;
    assert_eq!((word(record + 144), word(record + 152)), (0, 10), "no body in the block, and its length");
    let mut read = [0u8; 32];
    // SAFETY: the server lives, and the buffer has the length that is said.
    assert_eq!(unsafe { ingest_request_body_read(server.host.0, word(record), 0, read.as_mut_ptr().cast(), read.len()) }, 10);
    assert_eq!(&read[..10], b"0123456789");
    assert_eq!(server.text(word(record), b"x"), INGEST_OK);
    assert_eq!(client.answer().status, 200);
    server.finish();
}

#[test]
fn a_body_that_is_cut_short_is_never_delivered_and_its_file_is_gone() {
    let server = Server::serve(&SPOOL, Delivery::Queue(1), telling());
    let body = Random(12).bytes(300_000);
    let gzip = encode("gzip", &body);
    for wire in [post("", &body), chunked("", &body, 9_000), post("Content-Encoding: gzip\r\n", &gzip)] {
        let mut client = server.connect();
        client.send(&wire[..wire.len() - 1]);
        assert!(eventually(|| server.stats().spool_files == 1), "{:?}", server.stats());
        client.finish_sending();
        assert!(client.read_to_end().is_ok_and(|rest| rest.is_empty()));
        assert!(is_clean(&server));
    }
    assert_eq!(server.stats().requests_delivered, 0);
    // A stop in the middle of one leaves nothing either.
    let mut client = server.connect();
    client.send(&post("", &body)[..200_000]);
    assert!(eventually(|| server.stats().spool_files == 1));
    server.finish();
}

#[test]
fn the_policy_changes_while_it_serves() {
    let server = Server::serve(&[("spool_dir", "/tmp")], Delivery::Queue(1), telling());
    let mut client = server.connect();
    let body = vec![5; 100_000];
    for (policy, place) in [("buffer", "memory"), ("spool", "file"), ("buffer", "memory")] {
        server.set("body", policy).expect("it is live");
        // The threads take it on in their next tick.
        assert!(eventually(|| ask(&mut client, post("", &body)).text() == told(place, &body)), "{policy}");
    }
    server.finish();
}

#[test]
fn writing_is_timed() {
    let times: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&times);
    let handler = on_requests(move |host, request| {
        let journey = request.journey().expect("it is on");
        assert!(journey.spool_ns <= journey.body_wait_ns);
        seen.lock().expect("nobody panics with it").push(journey.spool_ns);
        assert_eq!(host.text(request.0.token, b"x"), INGEST_OK);
    });
    let server = Server::serve(&[&SPOOL[..], &[("journey", "steps")]].concat(), Delivery::Queue(1), handler);
    let mut client = server.connect();
    for body in [vec![1; 500_000], vec![1; 10]] {
        let wire = post("", &body);
        client.send(&wire[..40]);
        client.send(&wire[40..]);
        assert_eq!(client.answer().status, 200);
    }
    let times = times.lock().expect("nobody panics with it");
    assert!(times[0] > 0 && times[1] == 0, "{times:?}");
    drop(times);
    server.finish();
}

#[test]
fn a_host_that_takes_turns_gets_files_too() {
    let body = Random(13).bytes(400_000);
    let mut server = Server::unstarted(&[&SPOOL[..], &[("topology", "inline"), ("delivery", "inline")]].concat());
    server.call_back(telling());
    server.listen("http://127.0.0.1:0").expect("a port is free");
    // SAFETY: the server lives.
    assert!(unsafe { ingest_server_fd(server.host.0) } >= 0);
    let mut client = server.connect();
    let wire = post("", &body);
    let sender = std::thread::spawn(move || {
        client.send(&wire);
        client.answer().text()
    });
    while !sender.is_finished() {
        // SAFETY: the server lives, and this is the only thread that takes turns.
        assert!(unsafe { ingest_server_turn(server.host.0, 20) } >= 0);
    }
    assert_eq!(sender.join().expect("it got its answer"), told("file", &body));
    server.finish();
}

#[test]
fn a_place_that_cannot_be_used_is_an_error_at_the_start() {
    let refused = |options: &[(&str, &str)]| {
        let mut server = Server::unstarted(&[&[("body", "spool"), ("delivery", "queue")], options].concat());
        server.listen("http://127.0.0.1:0").expect("a port is free");
        let refused = server.start().expect_err("it cannot start");
        assert!(refused.text.contains("spool_dir") && refused.status == INGEST_E_SYSTEM, "{refused:?}");
        refused.text
    };
    assert!(refused(&[("spool_dir", "/nowhere/at/all")]).contains("cannot keep bodies in /nowhere/at/all: No such file"));
    let file = std::env::temp_dir().join(format!("ingest-spool-file-{}", std::process::id()));
    std::fs::write(&file, b"x").expect("it can be written");
    assert!(refused(&[("spool_dir", file.to_str().expect("text"))]).contains("Not a directory"));
    std::fs::remove_file(&file).expect("it was written");
    assert!(refused(&[("spool_dir", "/proc")]).contains("cannot keep bodies in /proc"));
    // Nobody looks at a place that is not used, until it is.
    let server = Server::serve(&[("spool_dir", "/nowhere")], Delivery::Queue(1), telling());
    assert!(server.set("body", "spool").is_err_and(|refused| refused.text.contains("/nowhere")));
    assert_eq!(ask(&mut server.connect(), post("", &[1; 100_000])).text(), told("memory", &[1; 100_000]));
    server.finish();
}

/// The descriptor is where the library says, as the kernel shows it.
#[test]
fn a_file_in_a_folder_has_no_name_and_one_in_memory_is_in_memory() {
    for (place, shown) in [(SPOOL, "/tmp/"), (IN_MEMORY, "/memfd:ingest-spool")] {
        let server = Server::queued(&place);
        let mut client = server.connect();
        client.send(post("", &[7; 100_000]));
        let event = server.queue().take(1).pop().expect("one was taken");
        // SAFETY: the request is held.
        let fd = unsafe { BorrowedFd::borrow_raw((*event.request).body_fd) };
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("it is open");
        let link = link.to_string_lossy();
        assert!(link.starts_with(shown) && link.ends_with(" (deleted)"), "{link}");
        assert_eq!(server.text(event.token, b"x"), INGEST_OK);
        assert_eq!(client.answer().status, 200);
        server.finish();
    }
}
