//! What the seeds have found in the library, each told once more without chance.

use ingest::connection::Connection;
use ingest::engine::sim::{self, Chaos, LinkId, Network, Random, SimEngine, now_ns};
use ingest::engine::sys::EventFd;
use ingest::memory::waker::Waker;
use ingest::options::{Delivery, Options};
use ingest::request::ingest_event;
use ingest::server::Server;
use ingest::topology::segment::{Segment, Turned};
use std::mem::MaybeUninit;
use std::sync::Arc;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: simulated.test\r\n\r\n";

struct Stage {
    network: Network,
    server: Server,
    segment: Segment<SimEngine<Connection>>,
    waker: Arc<Waker<EventFd>>,
}

fn stage(options: &[(&str, &str)]) -> Stage {
    sim::rewind();
    let mut chosen = Options::default();
    chosen.delivery = Delivery::Queue;
    options.iter().for_each(|(name, value)| chosen.set(name, value).expect("the option is known"));
    let server = Server::with_clock(chosen, now_ns).expect("a server can be made");
    let network = Network::new(Random::new(1, 1), Chaos::default());
    let mut waker = None;
    let segment = server.segment_on(|its| {
        waker = Some(Arc::clone(&its));
        SimEngine::new(network.clone(), its).expect("a descriptor can be had")
    });
    Stage { network, segment: segment.expect("it can be driven"), server, waker: waker.expect("the engine was made") }
}

impl Stage {
    fn connect(&self) -> LinkId {
        self.network.with(|net| net.connect(1 << 16, false)).expect("the server listens")
    }

    /// Turns as long as the descriptor would be readable; how many.
    fn settle(&mut self) -> usize {
        let mut turns = 0;
        while self.network.with(|net| net.is_ready()) || self.is_woken() {
            assert_ne!(self.segment.turn(0), Turned::Over);
            turns += 1;
            assert!(turns < 100, "the descriptor stays readable");
        }
        turns
    }

    fn is_woken(&self) -> bool {
        self.waker.signal().wait(0).expect("no signal comes")
    }

    fn poll(&self) -> i32 {
        let mut events = [MaybeUninit::<ingest_event>::uninit(); 4];
        self.server.queue(0).expect("there is a queue").poll(&mut events)
    }
}

/// The thread that closes a connection at the cap has paused its listeners itself, and nobody else wakes it.
#[test]
fn at_the_cap_the_next_client_is_accepted_as_soon_as_one_leaves() {
    let mut stage = stage(&[("max_connections", "1")]);
    let first = stage.connect();
    stage.segment.turn(0);
    stage.settle();
    let second = stage.connect();
    stage.settle();
    assert!(stage.network.with(|net| net.links[second].accepted_ms.is_none()), "the cap is one");
    stage.network.with(|net| net.finish(first));
    stage.settle();
    assert!(stage.network.with(|net| net.links[first].closed), "who has left is let go");
    assert!(stage.network.with(|net| net.links[second].accepted_ms.is_some()), "the second waits although there is room");
    stage.segment.end();
}

/// A consumer reserves a place before it looks into the queue, and gives it back when there is nothing: that is no news for anyone.
#[test]
fn a_poll_of_an_empty_queue_wakes_nobody() {
    let mut stage = stage(&[("in_flight_max", "1")]);
    stage.segment.turn(0);
    stage.settle();
    assert_eq!(stage.poll(), 0);
    assert!(!stage.is_woken(), "the server was woken");
    let descriptor = stage.server.queue(0).map(ingest::handoff::HostQueue::waiting);
    assert_eq!(descriptor, Some(0));
    assert_eq!(stage.server.stats().wakeups_sent, 0);
    // What really comes back is still news.
    let link = stage.connect();
    stage.network.with(|net| net.write(link, &[REQUEST, REQUEST].concat()));
    stage.settle();
    assert_eq!(stage.poll(), 1, "one may be held");
    assert_eq!(stage.poll(), 0);
    stage.segment.end();
}

/// The end of a drain is no connection's deadline, but a host that sleeps on the descriptor has to hear of it.
#[test]
fn the_end_of_a_drain_makes_the_descriptor_readable() {
    let mut stage = stage(&[("drain_timeout", "300ms")]);
    let link = stage.connect();
    stage.network.with(|net| net.write(link, REQUEST));
    stage.segment.turn(0);
    stage.settle();
    assert_eq!(stage.poll(), 1, "the host holds a request");
    stage.server.stop();
    let stopped_ms = now_ns() / 1_000_000;
    stage.settle();
    let alarm_ms = stage.network.with(|net| net.alarm_ms).expect("an alarm is set");
    assert!((stopped_ms..=stopped_ms + 301).contains(&alarm_ms), "the alarm is {} ms away", alarm_ms - stopped_ms);
    sim::advance((alarm_ms - stopped_ms) * 1_000_000);
    assert_eq!(stage.segment.turn(0), Turned::Over);
    stage.segment.end();
}
