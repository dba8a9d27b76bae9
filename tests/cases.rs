//! Sends every case of `tests/cases/*.md` to a real server: whole, octet by octet, and cut in two at every position; the outcome is always the same.

#[path = "cases/compare.rs"]
mod compare;
#[path = "cases/secure.rs"]
mod secure;
mod support;

use compare::{Seen, check};
use secure::Wire;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::case_file::{After, Case};
use support::client::Client;
use support::host::{Delivery, Server, on_requests};
use support::request_view::Delivered;

/// Every rule that has to have a case of its own: R must be refused, A accepted, E one of both (our profile says which),
/// L limits, D decoding, K the connection.
const RULES: &str = "\
    R-LINE R-METHOD R-TARGET-CTL R-TARGET-FORM R-TARGET-HOST R-CONNECT R-VERSION R-VERSION-MAJOR R-HOST-MISSING R-HOST-DUP \
    R-HOST-INVALID R-NAME-WS R-NAME R-NO-COLON R-CL-INVALID R-CL-CONFLICT R-CL-HUGE R-TE-NOT-FINAL R-TE-UNKNOWN R-TE-PARAM R-TE-SYNTAX \
    R-CHUNK-SIZE R-CHUNK-HUGE R-CHUNK-EXT R-CHUNK-LF R-CHUNK-CRLF R-TRAILER A-LEAD-CRLF A-10-KEEPALIVE E-BARE-LF E-BARE-CR E-WS-LINE \
    E-LEAD-CRLF E-WS-FIRST E-OBS-FOLD E-VALUE-NUL E-VALUE-CTL E-HOST-EMPTY E-HOST-PORT E-TARGET-CHARS E-TARGET-PCT E-TARGET-USERINFO \
    E-TARGET-SCHEME E-TARGET-HTTPS E-HOST-FUTURE E-CT-DUP E-TARGET-STAR E-CONNECT E-VERSION-MINOR E-H2-PREFACE E-CL-DUP E-CL-TE E-TE-10 \
    E-TE-DUP E-TE-EMPTY E-TE-CODING E-TE-IDENTITY E-TRAILER-FRAMING E-CHUNK-BWS L-TARGET L-HEADER-COUNT L-HEADER-LINE L-HEADERS L-BODY \
    L-TRAILERS L-CHUNK-EXT L-CHUNK-DIGITS L-CHUNK-OVERHEAD D-PATH D-SLASH D-NUL D-MALFORMED D-DOTS D-EMPTY D-QUERY D-COOKIE K-PERSIST \
    K-PIPELINE K-HEAD K-EXPECT K-UPGRADE L-PAIRS";

/// Cases up to this length are cut at every position; longer ones as `tests/cases/README.md` says.
const EVERY_POSITION_UP_TO: usize = 600;
/// The request that shows that a connection still serves; it is not part of any case.
const PROBE: &[u8] = b"GET /probe-after-the-case HTTP/1.1\r\nHost: example.test\r\n\r\n";

#[test]
fn every_case_file_has_cases() {
    for (file, cases) in files() {
        assert!(!cases.is_empty(), "{file} has no case");
        let mut titles = BTreeSet::new();
        for case in cases {
            assert!(titles.insert(case.name.clone()), "{} stands there twice", case.name);
        }
    }
}

#[test]
fn every_rule_has_a_case() {
    let known: BTreeSet<&str> = RULES.split_whitespace().collect();
    let cases = all_cases();
    let used: BTreeSet<&str> = cases.iter().flat_map(|case| case.rules.iter().map(String::as_str)).collect();
    let without: Vec<_> = known.difference(&used).collect();
    assert!(without.is_empty(), "these rules have no case in tests/cases: {without:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "these rules are not in the list of tests/cases.rs: {unknown:?}");
}

#[test]
fn every_case_holds_for_every_split() {
    run("every split, inline", Wire::Plain, &[("topology", "inline")], Delivery::Inline, 3, cuts);
}

#[test]
fn every_case_holds_on_shards_with_a_queue() {
    let halves = |length: usize| vec![vec![], vec![length / 2]];
    run("whole and halves, shards", Wire::Plain, &[("topology", "shards"), ("io_threads", "2")], Delivery::Queue(1), 1, halves);
}

#[test]
fn every_case_holds_however_connections_come_to_threads() {
    for topology in ["shared", "acceptor"] {
        run(&format!("halves, {topology}"), Wire::Plain, &[("topology", topology), ("io_threads", "2")], Delivery::Inline, 1, |length| {
            vec![vec![length / 2]]
        });
    }
}

#[test]
fn every_case_holds_where_parse_is_on_another_thread() {
    let some = |length: usize| vec![vec![], (1..length.min(EVERY_POSITION_UP_TO)).collect(), vec![length / 2]];
    run("whole, octet by octet and halves, cut before parse", Wire::Plain, &[("topology", "cut")], Delivery::Inline, 2, some);
}

fn files() -> Vec<(String, Vec<Case>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("tests/cases is there") {
        let name = entry.expect("a folder can be listed").file_name().into_string().expect("names are ASCII");
        if name.ends_with(".md") && name != "README.md" {
            let text = std::fs::read_to_string(format!("{folder}/{name}")).expect("a case file can be read");
            let cases = support::case_file::read(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            files.push((name, cases));
        }
    }
    assert!(!files.is_empty(), "no case files in tests/cases");
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

fn all_cases() -> Vec<Case> {
    files().into_iter().flat_map(|(_, cases)| cases).collect()
}

/// Where a message of this length is cut: not at all, everywhere, and at each position alone.
fn cuts(length: usize) -> Vec<Vec<usize>> {
    let few = |head: usize, tail: usize| -> Vec<usize> {
        (1..length).filter(|at| length <= EVERY_POSITION_UP_TO || *at <= head || *at + tail >= length || at % 499 == 0).collect()
    };
    let mut plans = vec![vec![], few(200, 100)];
    plans.extend(few(200, 100).into_iter().map(|at| vec![at]));
    plans
}

/// What was delivered, by the peer's address and port.
type Record = Arc<Mutex<HashMap<String, Vec<Delivered>>>>;

/// A server whose answers name the request, and the record of what it was handed.
struct Bench {
    server: Server,
    record: Record,
    wire: Wire,
    /// With TLS, how many there were.
    connections: Cell<u64>,
}

impl Bench {
    fn new(wire: Wire, options: &[(&'static str, &str)], delivery: Delivery) -> Bench {
        let record = Record::default();
        let writer = Arc::clone(&record);
        let handler = on_requests(move |host, request| {
            let delivered = request.to_owned();
            let body = compare::answer_to(&delivered);
            let token = delivered.token;
            writer.lock().expect("no panic while held").entry(delivered.peer.clone()).or_default().push(delivered);
            host.text(token, &body);
        });
        let mut options = options.to_vec();
        options.extend(wire.options());
        Bench { server: Server::serve(&options, delivery, handler), record, wire, connections: Cell::new(0) }
    }

    /// Sends the octets, cut at these positions, and gathers everything that can be seen of it.
    fn play(&self, case: &Case, cuts: &[usize]) -> std::io::Result<Seen> {
        let mut client = Client::connect(self.server.port());
        let peer = client.local().to_string();
        self.record.lock().expect("no panic while held").remove(&peer);
        let mut seen = Seen { each_part_was_read: true, ..Seen::default() };
        let pieces = self.wire.pieces(&client, &case.octets, cuts);
        let mut stream = client.writer().stream;
        let mut target = self.received_before(&client);
        for (index, piece) in pieces.iter().enumerate() {
            // A refusal may come before the last octet was sent, so a failing send is no failure of the case.
            if stream.write_all(piece).is_err() {
                seen.each_part_was_read = false;
                break;
            }
            target += piece.len() as u64;
            if seen.each_part_was_read && index + 1 < pieces.len() {
                seen.each_part_was_read = self.has_read(target);
            }
        }
        if case.refusal.is_none() && case.after != After::Close {
            if case.after == After::KeepAlive && cuts.is_empty() {
                seen.probed = client.try_send(PROBE).is_ok();
            }
            client.finish_sending();
        }
        self.gather(case, &mut client, &mut seen)?;
        seen.delivered = self.record.lock().expect("no panic while held").remove(&peer).unwrap_or_default();
        Ok(seen)
    }

    /// How many octets the server has read so far. A handshake has to be over, since its last octets are read after the client is done with it.
    fn received_before(&self, client: &Client) -> u64 {
        if client.tls().is_some() {
            self.connections.set(self.connections.get() + 1);
            assert!(support::eventually(|| self.server.stats().handshakes == self.connections.get()), "a handshake is not completed");
        }
        self.server.stats().bytes_received
    }

    fn gather(&self, case: &Case, client: &mut Client, seen: &mut Seen) -> std::io::Result<()> {
        loop {
            let head = case.requests.get(seen.answers.len()).is_some_and(|request| request.method.as_deref() == Some(b"HEAD"));
            match client.read_any(head)? {
                None => return Ok(()),
                Some(answer) if answer.status < 200 => seen.interims.push(answer.status),
                Some(answer) => seen.answers.push(answer),
            }
        }
    }

    /// Waits until the server has read so many octets in all, so that a cut is one for the server, too. It stops reading
    /// after a refusal, hence the short patience.
    fn has_read(&self, target: u64) -> bool {
        let start = Instant::now();
        let mut looks = 0u32;
        while self.server.stats().bytes_received < target {
            looks += 1;
            if looks > 200 {
                std::thread::yield_now();
            }
            if start.elapsed() > Duration::from_millis(20) {
                return false;
            }
        }
        true
    }
}

fn run(
    what: &str,
    wire: Wire,
    options: &[(&'static str, &str)],
    delivery: Delivery,
    threads: usize,
    plan: impl Fn(usize) -> Vec<Vec<usize>> + Sync,
) {
    let wanted = std::env::var("INGEST_CASE").unwrap_or_default();
    let cases: Vec<Case> = all_cases().into_iter().filter(|case| case.name.contains(&wanted)).filter_map(|case| wire.case(case)).collect();
    let next = AtomicUsize::new(0);
    let (connections, unseen) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Each thread has a server of its own, so that its count of octets read is about its own connection.
                let bench = Bench::new(wire, options, delivery);
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for cuts in plan(wire.length(case.octets.len())) {
                        connections.fetch_add(1, Ordering::Relaxed);
                        let result = bench.play(case, &cuts).map_err(|error| format!("the connection broke: {error}"));
                        let result = result.and_then(|seen| {
                            unseen.fetch_add(usize::from(!seen.each_part_was_read), Ordering::Relaxed);
                            check(case, wire.visible(&cuts), &seen)
                        });
                        if let Err(error) = result {
                            let how = describe(&cuts);
                            failures.lock().expect("no panic while held").push(format!("{} ({how}): {error}", case.name));
                            break;
                        }
                    }
                }
                bench.server.finish();
            });
        }
    });
    let failures = failures.into_inner().expect("no panic while held");
    eprintln!(
        "{what}: {} cases on {} connections in {:.1?}, {} of them with a part that the server did not read by itself",
        cases.len(),
        connections.into_inner(),
        start.elapsed(),
        unseen.into_inner(),
    );
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn describe(cuts: &[usize]) -> String {
    match cuts {
        [] => "whole".to_string(),
        [at] => format!("cut at {at}"),
        _ => "octet by octet".to_string(),
    }
}
