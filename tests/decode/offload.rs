//! Bodies that decode threads decode: the same comes of them as on the I/O threads, wherever these are, whoever leaves, and however it ends.

use crate::support::client::Client;
use crate::support::coders::{chunked, pipe, post, records};
use crate::support::host::{Delivery, Server, on_requests};
use crate::support::request_view::RequestView;
use crate::support::{Random, eventually};
use crate::{SUBJECTS, Subject, outcome, serve, told};
use ingest::status::{INGEST_E_OPTION, INGEST_OK};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// All that is coded goes there.
const ALL: [(&str, &str); 2] = [("decode_threads", "2"), ("decode_offload_bytes", "1")];
/// Chunked bodies change threads in their middle.
const LATE: [(&str, &str); 2] = [("decode_threads", "2"), ("decode_offload_bytes", "777")];

/// What is sent in the other tests of this folder, by what it is.
fn wires(subject: Subject) -> Vec<(String, Vec<u8>)> {
    let body = records(30_000);
    let coded = subject.encode(&body);
    let random = Random(7).bytes(128 << 10);
    let zeros = vec![0; 16 << 20];
    let mut bodies = vec![
        ("whole".to_owned(), coded.clone()),
        ("large".to_owned(), subject.encode(&records(5 << 20))),
        ("bomb".to_owned(), subject.encode(&zeros)),
        ("small zeros".to_owned(), subject.encode(&zeros[..1 << 20])),
        ("a harmless begin".to_owned(), subject.encode(&[&random[..], &zeros].concat())),
        ("a harmless end".to_owned(), subject.encode(&[&zeros[..], &random].concat())),
        ("trailing".to_owned(), [&coded[..], b"x"].concat()),
        ("twice".to_owned(), coded.repeat(2)),
        ("empty".to_owned(), Vec::new()),
        ("of nothing".to_owned(), subject.encode(b"")),
    ];
    let steps = coded.len() / 40;
    for place in (0..coded.len()).step_by(steps) {
        bodies.push((format!("cut at {place}"), coded[..place].to_vec()));
        let mut changed = coded.clone();
        changed[place] ^= 0x10;
        bodies.push((format!("changed at {place}"), changed));
    }
    let mut wires = Vec::new();
    for (what, body) in bodies {
        wires.push((format!("{what}, chunked"), chunked(subject.field, &body, 1000)));
        wires.push((what, post(subject.field, &body)));
    }
    wires
}

#[test]
fn the_same_comes_of_every_body() {
    let servers = [serve(&[]), serve(&ALL), serve(&LATE)];
    for subject in SUBJECTS {
        for (what, wire) in wires(subject) {
            let [here, there, late] = servers.each_ref().map(|server| outcome(server, &wire));
            assert!(here == there && here == late, "{}, {what}: here {here:?}, there {there:?}, changing {late:?}", subject.name);
        }
    }
    let [here, there, late] = servers.each_ref().map(|server| server.stats());
    assert_eq!(here.decodings_offloaded, 0);
    assert!(
        there.decodings_offloaded > 600 && late.decodings_offloaded > 300,
        "{} {}",
        there.decodings_offloaded,
        late.decodings_offloaded
    );
    for server in servers {
        assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "everything is given back");
        assert_eq!(server.stats().panics, 0);
        server.finish();
    }
}

/// What is large enough goes, and nothing else; but a window of br that is dear to fill does, however small the body is.
#[test]
fn only_large_bodies_go_and_large_windows_of_br() {
    let server = serve(&[("decode_threads", "1"), ("decode_offload_bytes", "4000")]);
    let body = Random(3).bytes(6000);
    let gone = |wire: &[u8], body: &[u8]| {
        let before = server.stats().decodings_offloaded;
        assert_eq!(outcome(&server, wire), (200, told(body)));
        server.stats().decodings_offloaded - before
    };
    let gzip = Subject::of("gzip");
    let (small, large) = (gzip.encode(&body[..3900]), gzip.encode(&body[..4000]));
    assert!(small.len() < 4000 && large.len() >= 4000);
    assert_eq!((gone(&post("gzip", &small), &body[..3900]), gone(&post("gzip", &large), &body[..4000])), (0, 1));
    for size in [1, 500, 100_000] {
        assert_eq!(gone(&chunked("gzip", &small, size), &body[..3900]), 0, "chunks of {size}");
        assert_eq!(gone(&chunked("gzip", &large, size), &body[..4000]), 1, "chunks of {size}");
    }
    for (bits, visits) in [("20", 0), ("21", 1), ("24", 1)] {
        let coded = pipe(&["brotli", "-c", "-w", bits], b"a few octets");
        assert_eq!(gone(&post("br", &coded), b"a few octets"), visits, "a window of {bits} bits");
    }
    server.finish();
}

#[test]
fn wherever_the_connection_lives() {
    let body = records(3 << 20);
    let gzip = Subject::of("gzip").encode(&body);
    let br = Subject::of("br").encode(&body);
    let handler = || {
        on_requests(|host, request: RequestView| {
            assert_eq!(host.text(request.0.token, told(request.body()).as_bytes()), INGEST_OK);
        })
    };
    for topology in ["inline", "shards", "shared", "acceptor", "dispatch", "cut", "cut-each"] {
        for delivery in [Delivery::Inline, Delivery::Threads] {
            let threads = if ["inline", "cut"].contains(&topology) { "1" } else { "2" };
            let options = [&[("topology", topology), ("io_threads", threads)], &ALL[..]].concat();
            let server = Server::serve(&options, delivery, handler());
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut client = server.connect();
                        for wire in [post("gzip", &gzip), chunked("br", &br, 5000), post("br", &br)] {
                            client.send(&wire);
                            assert_eq!(client.answer().text(), told(&body), "{topology}");
                            assert_eq!(client.get("/").text(), told(b""), "{topology}");
                        }
                    });
                }
            });
            assert!(server.stats().decodings_offloaded >= 12, "{topology}");
            assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "{topology}");
            server.finish();
        }
    }
}

/// More bodies than may be decoded at once wait, and all of them are served.
#[test]
fn limits_decode_states_max_holds_for_bodies_that_are_elsewhere() {
    let server = serve(&[&ALL[..], &[("decode_states_max", "1")]].concat());
    let body = records(4 << 20);
    let wire = post("gzip", &Subject::of("gzip").encode(&body));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(outcome(&server, &wire), (200, told(&body))));
        }
    });
    assert!(eventually(|| server.stats().memory_bodies_bytes == 0));
    server.finish();
}

/// Clients that leave while their bodies are elsewhere cost nothing that is not given back, and a stop waits for no whole body.
#[test]
fn whoever_leaves_or_ends_meanwhile() {
    let body = records(8 << 20);
    let wire = post("gzip", &Subject::of("gzip").encode(&body));
    for ends in [false, true] {
        let server = serve(&[&ALL[..], &[("topology", "shards"), ("io_threads", "2")]].concat());
        let mut clients: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        for client in &mut clients {
            let _ = client.try_send(&wire);
        }
        assert!(eventually(|| server.stats().decodings_offloaded > 4), "they are on their way");
        if !ends {
            drop(clients);
            assert!(eventually(|| server.stats().connections_open == 0));
            assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "{} octets", server.stats().memory_bodies_bytes);
            assert_eq!(outcome(&server, &wire), (200, told(&body)), "others are served");
        }
        let began = Instant::now();
        server.finish();
        assert!(began.elapsed() < Duration::from_secs(20), "a stop is bounded");
    }
}

/// A drain lets a body that is elsewhere be finished and answered.
#[test]
fn a_drain_waits_for_what_is_elsewhere() {
    let server = serve(&ALL);
    let body = records(8 << 20);
    let mut client = server.connect();
    client.send(post("gzip", &Subject::of("gzip").encode(&body)));
    assert!(eventually(|| server.stats().decodings_offloaded > 0));
    assert_eq!(server.drain(20_000), INGEST_OK);
    assert_eq!(client.answer().text(), told(&body));
    server.finish();
}

/// The journey has what the decode thread took.
#[test]
fn the_journey_counts_the_time_of_the_decode_thread() {
    let took = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&took);
    let answer = on_requests(move |host, request: RequestView| {
        noted.lock().unwrap().push(request.journey().expect("it is kept").decode_ns);
        assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK);
    });
    let server = Server::serve(&[&ALL[..], &[("journey", "steps")]].concat(), Delivery::Inline, answer);
    // Ten mebibytes are inflated by no processor in less than a millisecond.
    let body = records(10 << 20);
    assert_eq!(outcome(&server, &post("gzip", &Subject::of("gzip").encode(&body))).0, 200);
    let took = took.lock().unwrap().clone();
    assert!(took.len() == 1 && took[0] > 1_000_000, "{took:?} ns");
    server.finish();
}

#[test]
fn n16_bombs_and_broken_bodies_that_are_elsewhere_are_refused_and_others_are_served() {
    let server = serve(&ALL);
    let mut other = server.connect();
    let served = AtomicU64::new(0);
    for subject in SUBJECTS {
        let coded = subject.encode(&records(2000));
        let bomb = subject.encode(&vec![0; 16 << 20]);
        assert_eq!(subject.try_on(&server, &bomb).0, 413, "{subject:?}");
        assert_eq!(subject.try_on(&server, &coded[..coded.len() - 1]).0, 400, "{subject:?}");
        assert_eq!(subject.try_on(&server, &[&coded[..], b"x"].concat()).0, 400, "{subject:?}");
        assert_eq!(other.get("/").text(), told(b""));
        served.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(outcome(&server, &post("compress", b"x")).0, 415);
    assert_eq!(server.stats().refused_415, 1);
    assert!(eventually(|| server.stats().memory_bodies_bytes == 0), "everything is given back");
    assert_eq!((server.stats().panics, served.into_inner()), (0, 6));
    server.finish();
}

/// A server without threads has none for this either.
#[test]
fn a_server_that_is_driven_by_turns_refuses_decode_threads() {
    let server = ingest::server::Server::new({
        let mut options = ingest::options::Options::default();
        options.set("topology", "inline").unwrap();
        options.set("decode_threads", "1").unwrap();
        options
    });
    let server = server.unwrap_or_else(|failure| panic!("{failure:?}"));
    server.listen("http://127.0.0.1:0", None).unwrap();
    assert_eq!(server.turn(0), INGEST_E_OPTION);
}
