//! A home and a thread for handshakes side by side on one thread, so that a test decides where the baton is when something happens.
#![forbid(unsafe_code)]

use super::*;
use crate::connection::Memory;
use crate::decrypt::Keys;
use crate::decrypt::keys::{ClientAuth, Material, Named};
use crate::engine::Listening;
use crate::engine::epoll::EpollEngine;
use crate::engine::sys::{self, EventFd};
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Home, Outlet};
use crate::limits::Limits;
use crate::memory::budget::Budget;
use crate::memory::mailbox::Mailbox;
use crate::memory::queue::{Bounds, Queue};
use crate::memory::slots::{SlotOwner, SlotTable};
use crate::memory::waker::Waker;
use crate::options::{JourneyMode, Spin};
use crate::topology::orders::Orders;
use crate::topology::quarantine::Visit;
use crate::topology::serving::Serving;
use crate::topology::spinner::Spinner;
use crate::topology::trip::Belts;
use crate::topology::worker::Worker;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Only what hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The begin of a hello that never ends, and which no key is needed for.
const HALF: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

struct Stage {
    home: Segment<EpollEngine<Connection>>,
    far: Worker<Visit>,
    orders: Arc<Orders>,
    address: SocketAddr,
}

fn keys(handshake_timeout_ms: u64) -> Keys {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = |text: String| Named { name: "made".to_owned(), octets: text.into_bytes() };
    let pairs = vec![(pem(made.cert.pem()), pem(made.signing_key.serialize_pem()))];
    let (client_auth, alpn) = (ClientAuth::None, Vec::new());
    let (staples, now_s) = (Vec::new(), 1_800_000_000);
    let material = Material {
        pairs,
        staples,
        client_ca: None,
        client_auth,
        only_13: false,
        alpn,
        tickets: None,
        keylog: None,
        handshake_timeout_ms,
        now_s,
    };
    Keys::new(material).unwrap()
}

fn stage(handshake_timeout_ms: u64) -> Stage {
    let event = || EventFd::new().unwrap();
    let waker = Arc::new(Waker::new(event()));
    let homes = vec![Home { mailbox: Mailbox::new(), waker: Arc::clone(&waker), counters: Default::default() }];
    let (limits, slots) = (Limits::default(), Arc::new(SlotTable::new(1, 7)));
    let queues = vec![Queue::new(Bounds { entries: 64, bytes: 1 << 20 }, event())];
    let door = Arc::new(Door::new(Arc::clone(&slots), homes, queues, &limits, Default::default(), sys::monotonic_ns));
    let orders = Arc::new(Orders { max_connections: AtomicU64::new(64), ..Orders::default() });
    orders.keys.fill(std::iter::once(Some(keys(handshake_timeout_ms))));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut engine = EpollEngine::new(Arc::clone(&waker), 16, 0, sys::monotonic_ns() / 1_000_000).unwrap();
    engine.listen(0, Listening { file: None, socket: OwnedFd::from(listener).into(), shared: false }).unwrap();
    let memory = Memory::new(Arc::new(Budget::new(1 << 24)), 1);
    let outlet = Outlet::new(Way::Queues(0), 16);
    let serving = Serving::new(limits, outlet, memory, SlotOwner::new(slots, 0), true, JourneyMode::Steps, 1);
    let mut home = Segment::new(engine, door, Arc::clone(&orders), 0, serving, Spinner::new(Spin::Off));
    home.patience_ms = 0;
    let pass = Belts::lay(64, 1, &[waker], 0).unwrap();
    let far = Worker::new(Arc::clone(pass.belts()), Arc::clone(&orders), sys::monotonic_ns, 0);
    home.isolate_handshakes(pass);
    Stage { home, far, orders, address }
}

impl Stage {
    fn away(&self) -> usize {
        self.home.handshakes.ferry.away()
    }

    /// Ticks of the home until it is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Stage) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(self.home.tick(), "the home ended before: {what}");
            assert!(start.elapsed() < PATIENCE, "this never happened: {what}");
        }
    }

    /// A client that has sent this; its baton is out.
    fn begin(&mut self, octets: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.write_all(octets).unwrap();
        self.until("the baton leaves", |stage| stage.away() == 1);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn counters(&self) -> (u64, u64, u64, u64) {
        let counters = &self.home.home().counters;
        let (open, failures) = (counters.connections_open.get(), counters.handshake_failures.get());
        (open, counters.connections_in_handshake.get(), failures, counters.limit_handshake.get())
    }
}

#[test]
fn nothing_is_read_while_the_baton_is_away_and_all_of_it_after() {
    let mut stage = stage(60_000);
    let mut client = stage.begin(HALF);
    client.write_all(&[0; 100]).unwrap();
    (0..8).for_each(|_| assert!(stage.home.tick()));
    let received = |stage: &Stage| stage.home.home().counters.bytes_received.get();
    assert_eq!((received(&stage), stage.counters()), (HALF.len() as u64, (1, 1, 0, 0)));
    assert_eq!(stage.home.serving.memory.read_ahead, HALF.len() as u64, "what travels is charged");
    assert!(stage.far.serve_one() && !stage.far.serve_one());
    stage.until("the rest is read", |stage| received(stage) == HALF.len() as u64 + 100 && stage.away() == 1);
    assert!(stage.far.serve_one());
    stage.until("it is home", |stage| stage.away() == 0);
    assert_eq!(stage.counters(), (1, 1, 0, 0));
}

#[test]
fn a_deadline_that_passes_while_the_baton_is_away_is_kept_and_nothing_is_begun_any_more() {
    let mut stage = stage(30);
    // What it brings would be refused at once, if anybody looked at it.
    let mut client = stage.begin(&[0xff; 16]);
    std::thread::sleep(Duration::from_millis(40));
    (0..8).for_each(|_| assert!(stage.home.tick()));
    assert_eq!(stage.counters(), (1, 1, 0, 0), "it is away");
    assert!(stage.far.serve_one());
    stage.until("it is too late", |stage| stage.counters().3 == 1);
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "closed, without an alert");
}

#[test]
fn a_reset_while_the_baton_is_away_ends_it_when_it_is_home() {
    let mut stage = stage(60_000);
    let client = stage.begin(HALF);
    sys::abort(std::os::fd::AsRawFd::as_raw_fd(&client));
    drop(client);
    (0..8).for_each(|_| assert!(stage.home.tick()));
    assert_eq!(stage.counters(), (1, 1, 0, 0));
    assert!(stage.far.serve_one());
    stage.until("it is over", |stage| stage.counters() == (0, 0, 1, 0));
    assert_eq!(stage.home.serving.memory.used, 0);
}

#[test]
fn a_fin_while_the_baton_is_away_ends_it_when_it_is_home() {
    let mut stage = stage(60_000);
    let mut client = stage.begin(HALF);
    client.shutdown(Shutdown::Write).unwrap();
    (0..8).for_each(|_| assert!(stage.home.tick()));
    assert_eq!(stage.counters(), (1, 1, 0, 0));
    assert!(stage.far.serve_one());
    stage.until("it is over", |stage| stage.counters() == (0, 0, 1, 0));
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn what_is_found_wrong_beyond_is_said_at_home() {
    let mut stage = stage(60_000);
    let mut client = stage.begin(&[0xff; 16]);
    assert!(stage.far.serve_one());
    stage.until("it is refused", |stage| stage.counters().2 == 1);
    let mut alert = [0; 16];
    assert_eq!(client.read(&mut alert).unwrap(), 7);
    assert_eq!(alert[0], 21);
}

#[test]
fn plain_http_is_refused_without_a_trip() {
    let mut stage = stage(60_000);
    let mut client = TcpStream::connect(stage.address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.set_nonblocking(true).unwrap();
    let mut seen = [0; 12];
    stage.until("it is answered", |stage| {
        assert_eq!(stage.away(), 0);
        !matches!(client.read(&mut seen), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert_eq!(&seen, b"HTTP/1.1 400");
}

#[test]
fn once_the_server_is_to_end_nothing_is_begun_any_more() {
    for drained in [false, true] {
        let mut stage = stage(60_000);
        let _client = stage.begin(HALF);
        if drained {
            stage.orders.drain.store(true, Ordering::Release);
            stage.orders.drain_until_ms.store(1, Ordering::Relaxed);
        } else {
            stage.orders.stop.store(true, Ordering::Release);
        }
        assert!(stage.far.serve_one());
        let visit = stage.home.handshakes.ferry.next_home(0).unwrap();
        assert!(visit.opened.is_none() && !visit.fault);
        stage.home.return_from(visit, true);
        stage.home.tick();
        assert_eq!((stage.counters().0, stage.home.serving.memory.used), (0, 0));
    }
}

#[test]
fn the_last_tick_waits_for_who_is_out() {
    let mut stage = stage(60_000);
    let mut client = stage.begin(&[0xff; 16]);
    stage.orders.stop.store(true, Ordering::Release);
    let Stage { mut home, far, orders, .. } = stage;
    let thread = std::thread::spawn(move || far.run());
    assert!(!home.tick());
    home.end();
    thread.join().unwrap();
    assert_eq!(orders.connections.load(Ordering::Relaxed), 0);
    assert!(!matches!(client.read(&mut [0; 16]), Ok(count) if count > 0), "it is closed, without an alert");
}
