//! One run: clients, host and server on one thread and one clock, all drawn from a seed, with what must hold after every step.

use crate::answers::{Answer, shown};
use crate::client::{Client, Terms};
use crate::host::{Bounds, Callback, Host};
use crate::scenario::{Finale, Scenario};
use crate::script::Promise;
use ingest::connection::Connection;
use ingest::engine::sim::{self, Network, Random, SimEngine, now_ns};
use ingest::engine::sys::EventFd;
use ingest::limits::SLAB_BYTES;
use ingest::memory::waker::Waker;
use ingest::options::Delivery;
use ingest::server::Server;
use ingest::topology::segment::{Segment, Turned};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// More than any run needs; what goes on for longer goes round in circles.
const STEPS_MAX: usize = 60_000;
/// The last request for which there was room may take this much more than its octets: a letter's tables, and the room that a
/// chunked body's buffer has grown. So may the last read that was begun, a slab, which is kept if it has to wait. As much again as
/// the body comes on top, since buffers double.
const SPARE: u64 = 48 * 1024 + SLAB_BYTES as u64;

/// What came of a run: what the host saw of each request, and what each client read.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub delivered: BTreeMap<u32, Vec<u8>>,
    pub answers: Vec<Vec<Answer>>,
    pub turns: usize,
}

pub struct World {
    pub scenario: Scenario,
    random: Random,
    pub network: Network,
    pub server: Rc<Server>,
    waker: Arc<Waker<EventFd>>,
    segment: Option<Segment<SimEngine<Connection>>>,
    pub host: Arc<Mutex<Host>>,
    pub clients: Vec<Client>,
    /// When each turn began.
    pub turns: Vec<u64>,
    began_ms: u64,
    /// The server was told to stop, and has not had a turn since; then, until when it may go on.
    stop_grace_ms: Option<u64>,
    stop_due_ms: Option<u64>,
    largest_body: u64,
    pub head_began: BTreeMap<(usize, usize), u64>,
    trace: bool,
}

pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Runs a scenario; `split` decides how octets are cut and completions ordered, and when everyone acts.
pub fn run(scenario: Scenario, split: u64, trace: bool) -> Result<Outcome, String> {
    let mut world = World::new(scenario, split, trace)?;
    let ran = world.live().and_then(|()| world.end());
    let outcome = ran.map(|()| world.outcome());
    outcome.map_err(|wrong| format!("{wrong} (at {} ms, in turn {})", now_ms() - world.began_ms, world.turns.len()))
}

impl World {
    fn new(scenario: Scenario, split: u64, trace: bool) -> Result<World, String> {
        sim::rewind();
        let network = Network::new(Random::new(split, 1), scenario.chaos);
        let server = Server::with_clock(scenario.options.clone(), now_ns).map_err(|failure| failure.text)?;
        let limits = &scenario.options.limits;
        let promises: BTreeMap<u32, Promise> = scenario.clients.iter().flat_map(|client| client.promises(limits)).collect();
        let largest_body = promises.values().map(|promise| promise.expected.body.len() as u64).max().unwrap_or(0);
        let terms = Bounds { in_flight_max: limits.in_flight_max, window: limits.body_window, calm: scenario.calm };
        let host = Host::new(Random::new(split, 2), promises, scenario.plans.clone(), terms);
        let host = Arc::new(Mutex::new(host));
        if scenario.options.delivery == Delivery::Inline {
            server.on_events(Some(Box::new(Callback))).map_err(|failure| failure.text)?;
        }
        let (mut waker, net) = (None, network.clone());
        let segment = server.segment_on(|its| {
            waker = Some(Arc::clone(&its));
            SimEngine::new(net, its).expect("a descriptor can be had")
        });
        let segment = segment.map_err(|failure| failure.text)?;
        let server = Rc::new(server);
        Callback::set(&host, &server);
        let clients = scenario.clients.iter().cloned().enumerate().map(|(number, script)| Client::new(number, script)).collect();
        Ok(World {
            random: Random::new(split, 3),
            scenario,
            network,
            server,
            waker: waker.expect("the engine was made"),
            segment: Some(segment),
            host,
            clients,
            turns: Vec::new(),
            began_ms: now_ms(),
            stop_grace_ms: None,
            stop_due_ms: None,
            largest_body,
            head_began: BTreeMap::new(),
            trace,
        })
    }

    /// For people: who will do what.
    fn introduce(&self) {
        let options = &self.scenario.options;
        println!("{:?}, {:?}\n{:?}\n{:?}", options.delivery, self.scenario.finale, options.limits, self.scenario.chaos);
        for client in &self.clients {
            println!(
                "client {}: {:?}, reads {}, window {}",
                client.number, client.script.manner, client.script.reads, client.script.window
            );
            for message in &client.script.messages {
                let plan = &self.scenario.plans[&message.id];
                println!("  {} {} ({} octets): {plan:?}", message.id, shown(&message.octets), message.octets.len());
            }
        }
    }

    /// Until everybody has had what they wanted, or the server was stopped.
    fn live(&mut self) -> Result<(), String> {
        if self.trace {
            self.introduce();
        }
        self.turn()?;
        for step in 0..STEPS_MAX {
            if self.segment.is_none() {
                return Ok(());
            }
            self.maybe_stop(step)?;
            let acted = self.act(false)?;
            let due = self.is_due();
            if due && self.random.chance(800) || self.random.chance(self.scenario.needless_turns) {
                self.turn()?;
            } else if !acted && !due && !self.act(true)? && !self.is_due() {
                if self.is_settled() || !self.sleep()? {
                    return Ok(());
                }
            } else {
                self.pass_time();
            }
        }
        let links = self.network.with(|net| {
            let open = net.links.iter().filter(|link| !link.closed);
            let shown = open.map(|link| format!("{} in, {} out, {link:?}", link.inbound.len(), link.outbound.len()));
            shown.map(|text| text.chars().take(600).collect::<String>()).collect::<Vec<_>>().join("; ")
        });
        let (ready, alarm_ms) = self.network.with(|net| (net.is_ready(), net.alarm_ms));
        let woken = self.waker.signal().wait(0);
        let stats = self.server.stats();
        Err(format!(
            "after {STEPS_MAX} steps there is still something to do: ready {ready}, alarm {alarm_ms:?}, woken {woken:?}, {stats:?}, {links}"
        ))
    }

    /// Clients and host do something, or not.
    fn act(&mut self, everyone: bool) -> Result<bool, String> {
        let mut acted = false;
        let elapsed_ms = now_ms() - self.began_ms;
        for client in &mut self.clients {
            if everyone || self.random.chance(600) {
                let random = &mut self.random;
                let before = client.progress();
                acted |= self.network.with(|net| client.act(net, random, elapsed_ms, everyone))?;
                if self.trace && client.progress() != before {
                    println!("  {}", client.shown());
                }
            }
        }
        let mut host = self.host.lock();
        if everyone || self.random.chance(500) {
            acted |= host.poll(&self.server, self.scenario.poll_at_once);
            acted |= host.act(&self.server, everyone);
        }
        if self.random.chance(50) {
            host.try_stale_tokens(&self.server);
        }
        drop(host);
        self.flush_trace();
        self.check()?;
        Ok(acted)
    }

    /// What a host that drives us would see on the descriptor.
    fn is_due(&self) -> bool {
        let alarm = self.network.with(|net| net.is_ready() || net.alarm_ms.is_some_and(|at_ms| at_ms <= now_ms()));
        alarm || self.waker.signal().wait(0).unwrap_or(true)
    }

    fn turn(&mut self) -> Result<(), String> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        self.turns.push(now_ms());
        let patience_ms = *self.random.pick(&[0, 0, -1, 50]);
        {
            let mut host = self.host.lock();
            (host.turn, host.in_turn, host.posts) = (self.turns.len() - 1, true, false);
        }
        let turned = segment.turn(patience_ms);
        self.host.lock().in_turn = false;
        self.say(|world| format!("turn {} at {} ms: {turned:?}", world.turns.len(), now_ms() - world.began_ms));
        self.flush_trace();
        self.check()?;
        if turned != Turned::Over {
            self.check_deadlines()?;
        }
        // The first turn that hears of it sets the end.
        if let Some(grace_ms) = self.stop_grace_ms.take() {
            self.stop_due_ms = Some(now_ms() + grace_ms + 1000);
        }
        if turned != Turned::Over && self.stop_due_ms.is_some_and(|due_ms| now_ms() > due_ms) {
            return Err("the server goes on after drain_timeout and a second".into());
        }
        if turned == Turned::Over {
            if let Some(segment) = self.segment.take() {
                segment.end();
            }
            self.server.shutdown();
        }
        Ok(())
    }

    /// The moment has come to drain, or to stop.
    fn maybe_stop(&mut self, step: usize) -> Result<(), String> {
        let (at, twice) = match self.scenario.finale {
            Finale::Rest => return Ok(()),
            Finale::Drain { at_step } => (at_step, false),
            Finale::Stop { at_step } => (at_step, true),
        };
        if step == at {
            self.say(|_| format!("stop, twice: {twice}"));
            self.server.stop();
            if twice {
                self.server.stop();
            }
            let grace_ms = if twice { 0 } else { self.scenario.options.limits.drain_timeout_ms };
            self.stop_grace_ms = Some(grace_ms);
        }
        Ok(())
    }

    /// Nothing happens until a time comes: the clock goes there. False when only the host could end what is under way.
    fn sleep(&mut self) -> Result<bool, String> {
        if self.host.lock().posts {
            return Err("the host has said something, and nobody was woken to take it".into());
        }
        let alarm = self.network.with(|net| net.alarm_ms);
        let hosts = self.host.lock().next_ms();
        let begins = |client: &Client| (client.link.is_none() && !client.refused).then(|| self.began_ms + client.script.connects_after_ms);
        let next = self.clients.iter().filter_map(begins).chain(alarm).chain(hosts).filter(|at_ms| *at_ms > now_ms()).min();
        match next {
            Some(at_ms) => {
                let more_ms = if self.random.chance(self.scenario.oversleeps) { self.random.below(30_000) } else { 0 };
                sim::advance((at_ms - now_ms() + more_ms) * 1_000_000);
                Ok(true)
            }
            None if self.host.lock().keeps_some() => Ok(false),
            None => Err("nothing will ever happen again, though something is under way: a wake-up was lost".into()),
        }
    }

    fn pass_time(&mut self) {
        let jumps = self.scenario.clock_jumps;
        let nanoseconds = if self.random.chance(jumps) {
            self.random.below(70_000_000_000)
        } else if self.random.chance(jumps * 5) {
            self.random.below(3_000_000_000)
        } else {
            self.random.below(2_000_000)
        };
        sim::advance(nanoseconds);
    }

    /// Every client is done with, and the host has nothing that it means to deal with.
    fn is_settled(&self) -> bool {
        let closed = |client: &Client| match client.link {
            Some(link) => self.network.with(|net| net.links[link].closed || net.links[link].accepted_ms.is_none()),
            None => client.refused,
        };
        self.clients.iter().all(|client| (client.is_over() || client.script.reads == 0) && closed(client))
            && self.host.lock().next_ms().is_none()
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(complaint) = self.network.with(|net| net.complaints.pop()) {
            return Err(complaint);
        }
        if let Some(fault) = self.host.lock().faults.pop() {
            return Err(fault);
        }
        let stats = self.server.stats();
        let limits = &self.scenario.options.limits;
        if stats.panics > 0 {
            return Err("a panic was caught".into());
        }
        if stats.in_flight > limits.in_flight_max {
            return Err(format!("{} requests are in flight, {} are allowed", stats.in_flight, limits.in_flight_max));
        }
        // What the host gives back has its place, whatever came meanwhile.
        let returned = self.host.lock().records.values().filter(|record| record.returned).count() as u64;
        if stats.queued > limits.queue_max + returned {
            return Err(format!("{} requests are queued, {} are allowed", stats.queued, limits.queue_max));
        }
        if stats.memory_bytes > limits.memory_max.saturating_add(SPARE + self.largest_body) {
            return Err(format!("{} octets are used, {} are allowed", stats.memory_bytes, limits.memory_max));
        }
        let host = self.host.lock();
        let terms = Terms { response_timeout_ms: limits.response_timeout_ms };
        self.clients.iter().try_for_each(|client| client.check(&host, terms, &self.turns))
    }

    /// Everybody goes, everything comes back, the server stops.
    fn end(&mut self) -> Result<(), String> {
        let rested = self.segment.is_some();
        self.host.lock().gives_up = true;
        self.network.with(|net| self.clients.iter_mut().for_each(|client| client.go(net)));
        for _ in 0..4_000 {
            let mut host = self.host.lock();
            host.poll(&self.server, 64);
            host.act(&self.server, true);
            drop(host);
            if self.segment.is_some() {
                self.turn()?;
            }
            // Long enough for those who wait for memory to be refused.
            sim::advance(5_000_000);
            self.flush_trace();
            self.check()?;
            let empty = self.segment.as_mut().is_none_or(|segment| segment.holdings() == (0, 0, 0));
            if empty && self.server.stats().in_flight == 0 && self.host.lock().next_ms().is_none() {
                break;
            }
        }
        if let Some(segment) = &mut self.segment {
            let (seats, slots, blocks) = segment.holdings();
            if (seats, slots, blocks) != (0, 0, 0) {
                return Err(format!("not everything came back: {seats} seats, {slots} slots, {blocks} octets of blocks"));
            }
            self.server.stop();
            self.stop_grace_ms = Some(0);
            while self.segment.is_some() {
                self.turn()?;
                sim::advance(1_000_000);
            }
        }
        let mut host = self.host.lock();
        sim::advance(2_000_000_000);
        while host.poll(&self.server, 64) {}
        let events = !self.scenario.options.events.is_empty();
        host.check_told(events);
        if events && !host.stopped_told && self.scenario.options.delivery == Delivery::Queue {
            return Err("the host was not told that the server has stopped".into());
        }
        drop(host);
        self.check()?;
        let stats = self.server.stats();
        if self.network.with(|net| net.wires_left()) > 0 {
            return Err("a wire is still lent though its connection is closed".into());
        }
        let left = (stats.memory_bytes, stats.in_flight, stats.queued, stats.connections_open, stats.spool_files, stats.spool_bytes);
        if left != (0, 0, 0, 0, 0, 0) {
            return Err(format!("at the end memory, requests in flight, queued, connections, files and their octets are {left:?}"));
        }
        let host = self.host.lock();
        self.network.with(|net| self.clients.iter().try_for_each(|client| client.check_end(&host, net, rested && self.scenario.calm)))
    }

    fn outcome(&self) -> Outcome {
        let host = self.host.lock();
        let delivered = host.records.iter().map(|(id, record)| (*id, record.delivered.body.clone())).collect();
        let answers = self.clients.iter().map(|client| client.reader.answers.clone());
        Outcome { delivered, answers: answers.collect(), turns: self.turns.len() }
    }

    fn say(&self, text: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{}", text(self));
        }
    }

    fn flush_trace(&self) {
        let lines = std::mem::take(&mut self.host.lock().trace);
        if self.trace {
            lines.iter().for_each(|line| println!("{line}"));
        }
    }
}
