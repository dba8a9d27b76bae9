//! A home and a far segment side by side on one thread, so that a test decides where the baton is when something happens.
#![forbid(unsafe_code)]

use super::*;
use crate::connection::Memory;
use crate::engine::Listening;
use crate::engine::epoll::EpollEngine;
use crate::engine::sys::{self, EventFd};
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Home, HostQueue, Outlet};
use crate::limits::Limits;
use crate::memory::budget::Budget;
use crate::memory::mailbox::Mailbox;
use crate::memory::queue::{Bounds, Queue};
use crate::memory::slots::{SlotOwner, SlotTable};
use crate::memory::waker::Waker;
use crate::options::{JourneyMode, Options, Spin};
use crate::respond;
use crate::status::{INGEST_E_GONE, INGEST_OK};
use crate::topology::beyond::Beyond;
use crate::topology::orders::Orders;
use crate::topology::serving::Serving;
use crate::topology::spinner::Spinner;
use crate::topology::trip::Belts;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Only what hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stage {
    home: Segment<EpollEngine<Connection>>,
    far: Beyond,
    door: Arc<Door>,
    orders: Arc<Orders>,
    queue: HostQueue,
    address: SocketAddr,
}

fn stage() -> Stage {
    let now_ms = sys::monotonic_ns() / 1_000_000;
    let event = || EventFd::new().unwrap();
    let waker = Arc::new(Waker::new(event()));
    let homes = vec![Home { mailbox: Mailbox::new(), waker: Arc::clone(&waker), counters: Default::default() }];
    let limits = Limits { in_flight_max: 64, queue_age_ms: 60_000, ..Limits::default() };
    let queues = vec![Queue::new(Bounds { entries: 64, bytes: 1 << 20 }, event())];
    let slots = Arc::new(SlotTable::new(1, 7));
    let door = Arc::new(Door::new(Arc::clone(&slots), homes, queues, &limits, crate::options::Events::default(), sys::monotonic_ns));
    let orders = Arc::new(Orders { max_connections: AtomicU64::new(64), ..Orders::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut engine = EpollEngine::new(Arc::clone(&waker), 16, 0, now_ms).unwrap();
    engine.listen(0, Listening { file: None, socket: OwnedFd::from(listener).into(), shared: false }).unwrap();
    let mut options = Options::default();
    options.journey = JourneyMode::Steps;
    let outlet = Outlet::new(Way::Queues(0), 16);
    let memory = Memory::new(Arc::new(Budget::new(1 << 24)), 1);
    let serving = Serving::new(options.limits.clone(), outlet, memory, SlotOwner::new(slots, 0), true, options.journey, 1);
    let mut home = Segment::new(engine, Arc::clone(&door), Arc::clone(&orders), 0, serving, Spinner::new(Spin::Off));
    home.patience_ms = 0;
    let pass = Belts::lay(64, 1, &[waker], 0).unwrap();
    let far = Beyond::new(&options, Arc::clone(pass.belts()), Arc::clone(&orders), 0);
    home.cut(pass, false);
    let queue = HostQueue::new(Arc::clone(&door), 0, 1024, 0);
    Stage { home, far, door, orders, queue, address }
}

impl Stage {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn away(&self) -> usize {
        self.home.cut.as_ref().map_or(0, |cut| cut.ferry.away())
    }

    fn connections(&self) -> u64 {
        let open = self.home.home().counters.connections_open.get();
        assert_eq!(open, self.orders.connections.load(Ordering::Relaxed));
        open
    }

    /// Ticks of the home until it is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Stage) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(self.home.tick(), "the home ended before: {what}");
            assert!(start.elapsed() < PATIENCE, "this never happened: {what}");
        }
    }

    /// Sends a request and waits until its baton is out.
    fn ask(&mut self, client: &mut TcpStream, path: &str) {
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        self.until("the baton leaves", |stage| stage.away() == 1);
    }

    /// Lets the far segment work and the baton come home.
    fn bring_home(&mut self) {
        assert!(self.far.serve_round(), "nothing was on the belt");
        self.until("the baton comes home", |stage| stage.away() == 0);
    }

    /// Takes the one request that waits in the queue.
    fn token(&mut self) -> u64 {
        self.until("a request is delivered", |stage| stage.queue.depth() == 1);
        let mut events = Vec::with_capacity(1);
        assert_eq!(self.queue.wait_into(&mut events, &mut None), 1);
        events[0].token
    }

    fn answer(&self, token: u64, body: &[u8]) -> i32 {
        respond::post_typed(&self.door, token, 200, None, body)
    }

    /// What has come until the octets end so.
    fn read_until(&mut self, client: &mut TcpStream, end: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        self.until("an answer comes", |_| {
            read_some(client, &mut seen);
            seen.ends_with(end)
        });
        seen
    }
}

/// Reads what is there; false when the connection has ended.
fn read_some(client: &mut TcpStream, seen: &mut Vec<u8>) -> bool {
    let mut room = [0; 65_536];
    match client.read(&mut room) {
        Ok(count) => {
            seen.extend_from_slice(&room[..count]);
            count > 0
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn nothing_is_read_while_the_baton_is_away() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    let read = stage.home.home().counters.bytes_received.get();
    client.write_all(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    for _ in 0..8 {
        stage.home.tick();
    }
    assert_eq!((stage.home.home().counters.bytes_received.get(), stage.queue.depth()), (read, 0));
    stage.bring_home();
    assert_eq!(stage.queue.depth(), 1);
    stage.until("the next octets are read", |stage| stage.away() == 1);
    stage.bring_home();
    assert_eq!((stage.home.home().counters.bytes_received.get(), stage.queue.depth()), (2 * read, 2));
}

#[test]
fn an_answer_waits_for_its_baton() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    stage.bring_home();
    let first = stage.token();
    stage.ask(&mut client, "/2");
    assert_eq!(stage.answer(first, b"one"), INGEST_OK);
    for _ in 0..8 {
        stage.home.tick();
    }
    let mut seen = Vec::new();
    assert!(read_some(&mut client, &mut seen) && seen.is_empty(), "the answer overtook its baton");
    assert_eq!(stage.door.in_flight(), 1, "it has not been settled");
    stage.bring_home();
    stage.read_until(&mut client, b"\r\n\r\none");
    assert_eq!(stage.door.in_flight(), 0);
    let second = stage.token();
    assert_eq!(stage.answer(second, b"two"), INGEST_OK);
    stage.read_until(&mut client, b"\r\n\r\ntwo");
    drop(client);
    stage.until("the connection ends", |stage| stage.connections() == 0);
    assert_eq!(stage.home.serving.memory.used, 0);
}

#[test]
fn a_peer_that_breaks_off_is_noticed_when_the_baton_is_home() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    let id = stage.home.engine.seats().ids()[0];
    sys::abort(client.as_raw_fd());
    drop(client);
    stage.until("the end is parked", |stage| matches!(stage.home.engine.seats().parked(id), [Event::Broken(_)]));
    assert_eq!(stage.connections(), 1);
    assert!(stage.home.serving.memory.used > 0, "what is under way is charged");
    stage.bring_home();
    assert_eq!((stage.connections(), stage.home.serving.memory.used, stage.home.engine.seats().taken()), (0, 0, 0));
}

#[test]
fn a_send_that_ends_while_the_baton_is_away_is_told_when_it_is_home() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    stage.bring_home();
    let first = stage.token();
    let mut large = vec![b'a'; 8 << 20];
    large.push(b'\n');
    assert_eq!(stage.answer(first, &large), INGEST_OK);
    stage.until("the answer is begun", |stage| stage.door.in_flight() == 0);
    stage.ask(&mut client, "/2");
    let id = stage.home.engine.seats().ids()[0];
    let seen = stage.read_until(&mut client, b"a\n");
    assert!(seen.len() > large.len());
    stage.until("the end of the send is parked", |stage| matches!(stage.home.engine.seats().parked(id), [Event::Sent(..)]));
    stage.bring_home();
    let second = stage.token();
    assert_eq!(stage.answer(second, b"two"), INGEST_OK);
    stage.read_until(&mut client, b"\r\n\r\ntwo");
    assert!(stage.home.home().counters.bytes_sent.get() as usize > seen.len(), "the first answer was not counted");
}

#[test]
fn a_stop_waits_for_the_batons_that_are_out() {
    let mut stage = stage();
    let mut clients: Vec<_> = (0..3).map(|_| stage.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stage.until("the batons leave", |stage| stage.away() == at + 1);
    }
    let Stage { mut home, far, door, orders, queue, .. } = stage;
    let far = std::thread::spawn(move || far.run());
    home.call_home();
    assert_eq!((home.serving.memory.used, home.engine.seats().taken()), (0, 0));
    home.end();
    assert_eq!((orders.connections.load(Ordering::Relaxed), door.homes()[0].counters.connections_open.get()), (0, 0));
    assert_eq!(queue.depth(), 0, "a request was delivered after the stop");
    far.join().unwrap();
    for client in &mut clients {
        client.set_nonblocking(false).unwrap();
        let mut seen = Vec::new();
        assert!(!read_some(client, &mut seen) && seen.is_empty());
    }
}

#[test]
fn a_drain_answers_what_was_away_and_ends_then() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    stage.orders.drain.store(true, Ordering::Release);
    for _ in 0..8 {
        assert!(stage.home.tick(), "a request is still under way");
    }
    stage.bring_home();
    let token = stage.token();
    assert_eq!(stage.answer(token, b"last"), INGEST_OK);
    let seen = stage.read_until(&mut client, b"\r\n\r\nlast");
    assert!(String::from_utf8_lossy(&seen).contains("\r\nConnection: close\r\n"));
    drop(client);
    let start = Instant::now();
    while stage.home.tick() {
        assert!(start.elapsed() < PATIENCE, "the drain never ends");
    }
    assert_eq!(stage.connections(), 0);
}

#[test]
fn a_panic_beyond_the_cut_costs_the_connection_that_was_worked_on() {
    let mut stage = stage();
    let (mut unlucky, mut lucky) = (stage.connect(), stage.connect());
    stage.ask(&mut unlucky, "/1");
    stage.far.set_clock(|| panic!("a clock of this test stands still"));
    stage.bring_home();
    stage.until("the connection is closed", |stage| stage.connections() == 1);
    let mut seen = Vec::new();
    stage.until("the client sees it", |_| !read_some(&mut unlucky, &mut seen));
    assert!(seen.is_empty());
    assert_eq!((stage.home.home().counters.panics.get(), stage.home.serving.memory.used), (1, 0));
    let told = stage.orders.log.next().unwrap().text;
    assert!(told.ends_with("a clock of this test stands still"), "{told}");
    stage.far.set_clock(sys::monotonic_ns);
    stage.ask(&mut lucky, "/2");
    stage.bring_home();
    let token = stage.token();
    assert_eq!(stage.answer(token, b"two"), INGEST_OK);
    stage.read_until(&mut lucky, b"\r\n\r\ntwo");
}

#[test]
fn a_baton_whose_seat_was_given_up_is_dissolved() {
    let mut stage = stage();
    let mut client = stage.connect();
    stage.ask(&mut client, "/1");
    stage.bring_home();
    let first = stage.token();
    stage.ask(&mut client, "/2");
    let id = stage.home.engine.seats().ids()[0];
    // As after a panic at home.
    stage.home.engine.close(id, true);
    stage.home.one_less();
    stage.bring_home();
    assert_eq!((stage.connections(), stage.queue.depth()), (0, 0));
    assert_eq!(stage.answer(first, b"late"), INGEST_E_GONE);
    stage.until("the host's request is given back", |stage| stage.home.serving.memory.used == 0);
}
