//! Plays the behaviour table against a host in every shape; for `behaviour.rs` and `sanitizers.rs`, which say how a host is started.

pub mod table;
pub mod trial;
pub mod wire;

use crate::runner::Server as Process;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use table::{Row, Server, WAYS};
use trial::{Ports, Report, Trial, tell};
use wire::Wire;

/// One way to run the server under test: the host's `--delivery` and `--consumers`, and what `--set` gets.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub delivery: &'static str,
    pub consumers: &'static str,
    pub options: &'static [&'static str],
}

const ONE: &[&str] = &["topology=inline", "io_threads=1", "handler_threads=3"];
/// The plan that only tests choose: other threads parse.
const CUT: &[&str] = &["topology=cut-each", "io_threads=2", "handler_threads=3"];
const SHARDS: &[&str] = &["topology=shards", "io_threads=2", "handler_threads=3"];
/// They differ from shards in how connections come to threads, so one delivery each is enough.
const SHARED: &[&str] = &["topology=shared", "io_threads=2"];
const ACCEPTOR: &[&str] = &["topology=acceptor", "io_threads=2"];

const fn shape(name: &'static str, delivery: &'static str, consumers: &'static str, options: &'static [&'static str]) -> Shape {
    Shape { name, delivery, consumers, options }
}

/// Every topology, with every delivery where that makes a difference.
pub const SHAPES: [Shape; 15] = [
    shape("inline", "inline", "1", ONE),
    shape("queue, one consumer", "queue", "1", ONE),
    shape("queue, four consumers", "queue", "4", ONE),
    shape("threads", "threads", "1", ONE),
    shape("inline on shards", "inline", "1", SHARDS),
    shape("queue, one consumer, shards", "queue", "1", SHARDS),
    shape("queue, four consumers, shards", "queue", "4", SHARDS),
    shape("threads on shards", "threads", "1", SHARDS),
    shape("inline, cut before parse", "inline", "1", CUT),
    shape("queue, four consumers, cut before parse", "queue", "4", CUT),
    shape("threads, cut before parse", "threads", "1", CUT),
    shape("inline behind an acceptor", "inline", "1", ACCEPTOR),
    shape("queue, four consumers, one shared socket", "queue", "4", SHARED),
    shape("turns with a callback", "turn", "1", ONE),
    shape("turns with a queue", "turn-queue", "1", ONE),
];

impl Shape {
    fn has_queue(&self) -> bool {
        self.delivery.ends_with("queue")
    }
}

/// What the library under test can do.
pub struct Library<'a> {
    pub has: &'a dyn Fn(&str) -> bool,
}

impl Library<'_> {
    fn can(&self, needs: &str) -> bool {
        needs == "-" || (self.has)(needs)
    }

    fn ways(&self, row: &Row) -> Vec<&'static str> {
        let needs = |way: &str| WAYS.iter().find(|(name, _)| *name == way).map_or("-", |(_, needs)| needs);
        row.ways.iter().copied().filter(|way| self.can(needs(way))).collect()
    }
}

/// The trials of one server: every row of it, way, method and place in a pipeline. A server without events plays what lives
/// in a pipeline only, and lends nothing.
fn trials(shape: &Shape, server: Server, library: &Library) -> Vec<Trial> {
    let mut trials = Vec::new();
    for row in table::read() {
        let borrowed = server == Server::Quiet && row.server == Server::Lives;
        if (row.server != server && !borrowed) || (row.queue_only && !shape.has_queue()) || !library.can(&row.needs) {
            continue;
        }
        if borrowed && row.needs == "lend" {
            continue;
        }
        for way in library.ways(&row) {
            for (is_post, is_piped) in [(false, false), (false, true), (true, false), (true, true)] {
                if !(borrowed && (way == "lend" || !is_piped)) {
                    let id = trials.len() + 1;
                    trials.push(Trial { id, row: row.clone(), way, is_post, is_piped });
                }
            }
        }
    }
    trials
}

/// Plays the whole table in one shape and returns how many trials there were, or panics with all that was wrong.
pub fn play(shape: &Shape, host: &dyn Fn() -> Command, library: &Library) -> usize {
    let mut played = 0;
    let mut wrong = Vec::new();
    for server in [Server::Lives, Server::Quiet, Server::Short, Server::Stopped, Server::Freed] {
        let with_events = server != Server::Quiet && (library.has)("events");
        if server == Server::Quiet && !(library.has)("events") {
            continue;
        }
        let trials = trials(shape, server, library);
        played += trials.len();
        let began = Instant::now();
        let found = on_one_server(shape, server, with_events, host, &trials);
        println!("{}, {server:?}: {} trials, {} wrong, {:?}", shape.name, trials.len(), found.len(), began.elapsed());
        wrong.extend(found.into_iter().map(|found| format!("{server:?}, {found}")));
    }
    let shown = wrong.len().min(40);
    assert!(wrong.is_empty(), "{} of {played} trials went wrong with {}:\n{}", wrong.len(), shape.name, wrong[..shown].join("\n"));
    played
}

fn command(shape: &Shape, server: Server, with_events: bool, host: &dyn Fn() -> Command) -> Command {
    let mut command = host();
    command.args(["--delivery", shape.delivery, "--consumers", shape.consumers]);
    if with_events {
        command.arg("--events");
    }
    for option in shape.options {
        command.args(["--set", option]);
    }
    if server == Server::Short {
        command.args(["--set", "response_timeout=400ms"]);
    }
    command
}

/// The port of the client that played its part, and what the host said then.
type Played = (Result<u16, String>, Result<Report, String>);

/// Plays the trials beside each other and returns what was wrong.
fn on_one_server(shape: &Shape, server: Server, with_events: bool, host: &dyn Fn() -> Command, trials: &[Trial]) -> Vec<String> {
    let process = Process::start(&mut command(shape, server, with_events, host), 2);
    let port = |at: usize| crate::runner::port_of(&process.urls[at]);
    let ports = Ports { subject: port(0), control: port(1) };
    // Where the server ends in the middle, all must be held at once.
    let at_once = if matches!(server, Server::Stopped | Server::Freed | Server::Short) { trials.len() } else { 16 };
    let results: Vec<Mutex<Option<Played>>> = trials.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let mut wrong = Vec::new();
    let mut command = |path: &str, wanted: &str| match Wire::connect(ports.control).and_then(|mut control| tell(&mut control, path)) {
        Ok(answer) if answer.body == wanted.as_bytes() => {}
        other => wrong.push(format!(
            "{path} was answered {:?}, not {wanted:?}",
            other.map(|answer| String::from_utf8_lossy(&answer.body).into_owned())
        )),
    };
    let held = trials.iter().filter(|trial| trial.row.server == Server::Freed).count();
    let events = usize::from(with_events);
    let end = format!("free=INGEST_OK held={held} draining={events} stopped={events} strays=0");
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What must come without an end of the server is looked at before it, and once more after it.
                    let played = (trial.play(ports), trial.report(ports, with_events));
                    *results[trial.id - 1].lock().expect("no holder panics") = Some(played);
                }
            });
        }
        if matches!(server, Server::Stopped | Server::Freed) {
            // One that is not ready in time is found again below.
            trials.iter().for_each(|trial| drop(trial.until_ready(ports)));
            match server {
                Server::Stopped => command("/stop", "stop=INGEST_OK"),
                _ => command("/end", &end),
            }
        }
    });
    if server != Server::Freed {
        command("/end", &end);
    }
    for (trial, played) in trials.iter().zip(results) {
        let (result, report) = played.into_inner().expect("no holder panics").expect("every trial was played");
        let found = result.and_then(|port| {
            let report = report?;
            trial.check(&report, port, with_events)?;
            // Once the server is gone nothing but an event that may be missing can have come.
            let last = trial.report(ports, with_events)?;
            trial.check(&last, port, with_events).map_err(|what| format!("after the end of the server {what}"))
        });
        if let Err(what) = found {
            let method = if trial.is_post { "POST" } else { "GET" };
            let place = if trial.is_piped { "in a pipeline" } else { "alone" };
            wrong.push(format!("{} by {}, {method} {place}: {what}", trial.row.name, trial.way));
        }
    }
    // Said now, since a host that has died ends the test in the next line.
    wrong.iter().take(3).for_each(|found| println!("{}, {server:?}: {found}", shape.name));
    process.stop_cleanly(Duration::from_secs(60));
    wrong
}

/// Compares the rows of the table with those that the host knows, both ways.
pub fn compare_rows(host: &mut Command) {
    let ended = crate::runner::run(host.arg("--rows"));
    assert!(ended.status.success(), "{}", ended.stderr);
    let mut known = ended.stdout;
    let mut listed: Vec<String> = table::read().into_iter().map(|row| row.name).collect();
    known.sort();
    listed.sort();
    assert_eq!(listed, known, "README.md lists the rows on the left, the host knows those on the right");
}
