//! The thread ahead of the home: it accepts, and gives each connection to one of the threads that serve.
#![forbid(unsafe_code)]

use super::lanes::{Gate, Lanes, Newcomer};
use super::orders::Orders;
use super::tell;
use crate::accept::{self, Unadmitted};
use crate::connection::Connection;
use crate::engine::clock::Clock;
use crate::engine::{Arrival, Engine, Event, sys};
use crate::handoff::{Door, Home};
use crate::limits::LOOK_UP_MS;
use crate::options::JourneyMode;
use crate::request::INGEST_EVENT_FAULT;
use std::any::Any;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// See the file's first line.
pub struct Acceptor<E> {
    /// It has listeners and no seats.
    engine: E,
    gate: Gate,
    door: Arc<Door>,
    orders: Arc<Orders>,
    /// By which it is reached from outside.
    number: usize,
    clock: Clock,
    journeys: bool,
    /// `max_connections` is reached.
    paused: bool,
    /// No thread that serves may begin another handshake: listeners with TLS accept nobody.
    shut: bool,
    limits_known: u64,
    /// The engine cannot wait any more: the thread ends.
    engine_is_broken: bool,
}

impl<E: Engine<Connection>> Acceptor<E> {
    pub fn new(engine: E, gate: Gate, door: Arc<Door>, orders: Arc<Orders>, number: usize, journey: JourneyMode) -> Self {
        let clock = Clock::new(door.clock());
        Acceptor {
            engine,
            gate,
            door,
            orders,
            number,
            clock,
            journeys: journey != JourneyMode::Off,
            paused: false,
            shut: false,
            limits_known: 0,
            engine_is_broken: false,
        }
    }

    /// The ways to the threads that serve.
    pub fn lanes(&self) -> Arc<Lanes> {
        Arc::clone(self.gate.lanes())
    }

    /// Runs until the server drains or stops. A panic in a tick costs the connection that was being accepted, no more.
    pub fn run(mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.tick())) {
                Ok(true) => {}
                Ok(false) => break,
                Err(payload) => self.recover(&*payload),
            }
        }
        if !self.orders.failed.load(Ordering::Relaxed) {
            // Before the gate: when the threads that serve hear that nobody will come any more, nobody can. After a start that has
            // failed the next one has the same sockets.
            self.engine.close_listeners();
        }
    }

    fn home(&self) -> &Home {
        &self.door.homes()[self.number]
    }

    /// One round: tell, wait, accept. False when the thread is to end.
    fn tick(&mut self) -> bool {
        self.sleep();
        self.clock.read();
        if self.engine_is_broken || self.orders.stop.load(Ordering::Acquire) || self.orders.drain.load(Ordering::Acquire) {
            return false;
        }
        if let Some(limits) = self.orders.changed_limits(&mut self.limits_known) {
            // What it accepts from now on inherits this.
            self.engine.change_write_timeout(limits.write_timeout_ms);
        }
        if self.paused && self.orders.has_room() {
            self.paused = false;
            self.engine.resume_listeners();
        } else if !self.orders.has_room() {
            self.stop_accepting();
        }
        self.mind_the_door();
        while let Some(event) = self.engine.reap(self.clock.now_ms(), &mut []) {
            match event {
                Event::Arrived(listener, arrival) => self.arrived(listener, arrival),
                // The engine pauses an exhausted listener by itself and tries again.
                Event::ListenerFailed(listener, error) => {
                    self.home().counters.accepts_failed.add(1);
                    tell::listener_failed(&self.orders.log, listener, &error);
                    if sys::accept_broken(&error) {
                        self.orders.faults_unsaid.fetch_add(1, Ordering::Relaxed);
                        self.door.wake_homes();
                    }
                }
                _ => debug_assert!(false, "it has no seats, so nothing else can happen"),
            }
        }
        true
    }

    fn sleep(&mut self) {
        // Here, since it is done after a tick that ended by a panic, too.
        let woken = self.gate.tell();
        if woken > 0 {
            self.door.woke(woken);
        }
        self.home().waker.announce_sleep();
        // The last look: whoever makes room after it sees that we sleep.
        let may_again = (self.paused && self.orders.has_room()) || (self.shut && !self.gate.lanes().are_shut());
        let timeout_ms = if may_again { 0 } else { LOOK_UP_MS };
        // Library threads block signals, but whoever traces them may interrupt. Any other failure is for ever.
        if let Err(error) = self.engine.wait(self.clock.now_ms(), timeout_ms)
            && error.kind() != ErrorKind::Interrupted
        {
            self.engine_is_broken = true;
            tell::engine_failed(&self.orders.log, &error);
            self.door.say(INGEST_EVENT_FAULT);
        }
        self.home().waker.awake();
    }

    fn arrived(&mut self, listener: u16, arrival: Arrival) {
        let began_ns = if self.journeys { self.clock.fresh_ns() } else { 0 };
        fail_point!("accept");
        let is_local = arrival.is_local();
        let keys = self.orders.keys.of(listener);
        let admitted = accept::admit(arrival, listener, self.orders.per_address.as_ref(), keys.as_ref(), self.clock.now_ns());
        let (stream, mut baton) = match admitted {
            Ok(admitted) => admitted,
            Err(Unadmitted::NoSession) => return self.home().counters.accepts_failed.add(1),
            Err(Unadmitted::Crowded(peer)) => {
                self.home().counters.limit_connections_per_ip.add(1);
                return tell::crowded(&self.orders.log, peer);
            }
        };
        // From here on it is the gate's, then a thread's that serves, which counts it out again.
        let open = self.orders.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.home().counters.connections_accepted.add(1);
        if began_ns > 0 {
            baton.accept_ns = self.clock.fresh_ns() - began_ns;
        }
        self.gate.send(Newcomer { stream, is_local, baton });
        if open >= self.orders.max_connections() {
            self.stop_accepting();
        }
    }

    /// Lets nobody in who would begin a handshake while no thread may have another.
    fn mind_the_door(&mut self) {
        let shut = self.gate.lanes().are_shut();
        if shut != self.shut {
            self.shut = shut;
            for listener in self.orders.keys.listeners() {
                self.engine.hold_listener(listener, shut);
            }
        }
    }

    fn stop_accepting(&mut self) {
        if !self.paused {
            self.paused = true;
            self.engine.pause_listeners();
            self.home().counters.limit_max_connections.add(1);
            tell::full(&self.orders.log, self.orders.max_connections());
        }
    }

    fn recover(&self, payload: &(dyn Any + Send)) {
        tell::fault(&self.orders.log, "the thread that accepts", payload);
        self.door.say(INGEST_EVENT_FAULT);
        self.home().counters.panics.add(1);
        if self.orders.faults.note(self.clock.now_ms()) {
            tell::unhealthy(&self.orders.log);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::Listening;
    use crate::engine::epoll::EpollEngine;
    use crate::engine::sys::{self, EventFd};
    use crate::limits::Limits;
    use crate::log::{LogSink, Record};
    use crate::memory::mailbox::Mailbox;
    use crate::memory::queue::{Bounds, Queue};
    use crate::memory::slots::SlotTable;
    use crate::memory::waker::Waker;
    use std::collections::VecDeque;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    /// One that takes one connection, and one thread that serves.
    fn acceptor() -> (Acceptor<EpollEngine<Connection>>, SocketAddr) {
        let waker = || Arc::new(Waker::new(EventFd::new().unwrap()));
        let home = || Home { mailbox: Mailbox::new(), waker: waker(), counters: Default::default() };
        let queues = vec![Queue::new(Bounds { entries: 64, bytes: 1 << 20 }, EventFd::new().unwrap())];
        let (slots, homes) = (Arc::new(SlotTable::new(1, 7)), vec![home(), home()]);
        let door = Arc::new(Door::new(slots, homes, queues, &Limits::default(), Default::default(), sys::monotonic_ns));
        let orders = Arc::new(Orders { max_connections: AtomicU64::new(1), ..Orders::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut engine = EpollEngine::new(Arc::clone(&door.homes()[1].waker), 16, 0, sys::monotonic_ns() / 1_000_000).unwrap();
        engine.listen(0, Listening { file: None, socket: OwnedFd::from(listener).into(), shared: false }).unwrap();
        let gate = Gate::open(1, [Arc::clone(&door.homes()[0].waker)].into_iter(), 1).unwrap();
        (Acceptor::new(engine, gate, door, orders, 1, JourneyMode::Steps), address)
    }

    fn taken(lanes: &Lanes) -> VecDeque<Newcomer> {
        let mut newcomers = VecDeque::new();
        lanes.take(0, &mut newcomers, 16);
        newcomers
    }

    #[test]
    fn it_does_not_sleep_when_room_was_made_while_it_stopped_accepting() {
        let (mut acceptor, address) = acceptor();
        let lanes = acceptor.lanes();
        let _first = TcpStream::connect(address).unwrap();
        assert!(acceptor.tick());
        let newcomers = taken(&lanes);
        assert!(newcomers.len() == 1 && newcomers[0].baton.accept_ns > 0 && acceptor.paused);
        // Nobody is woken, since nobody sleeps.
        assert!(acceptor.orders.one_less());
        let _second = TcpStream::connect(address).unwrap();
        let (door, start) = (Arc::clone(&acceptor.door), Instant::now());
        let rescue = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_secs(5));
            door.homes()[1].waker.wake_always();
        });
        assert!(acceptor.tick(), "goes on, and accepts again");
        assert!(start.elapsed() < Duration::from_secs(4), "it slept although there was room");
        rescue.thread().unpark();
        assert!(acceptor.tick());
        assert_eq!(taken(&lanes).len(), 1);
        rescue.join().unwrap();
    }

    /// Fails when it is told that the cap is reached, as no host's function can.
    struct Failing;

    impl LogSink for Failing {
        fn take(&self, record: &Record) {
            assert!(!record.text.starts_with("max_connections"), "for the test");
        }
    }

    #[test]
    fn a_panic_is_told_and_it_goes_on() {
        let (acceptor, address) = acceptor();
        acceptor.orders.log.set_sink(Some(Arc::new(Failing)));
        let (lanes, door, orders) = (acceptor.lanes(), Arc::clone(&acceptor.door), Arc::clone(&acceptor.orders));
        let thread = std::thread::spawn(move || acceptor.run());
        let _first = TcpStream::connect(address).unwrap();
        let start = Instant::now();
        while door.homes()[1].counters.panics.get() == 0 && start.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        // It had been sent, and is neither lost nor counted twice.
        while !lanes.is_awaited(0) && start.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert_eq!((taken(&lanes).len(), orders.connections.load(Ordering::Relaxed)), (1, 1));
        assert!(orders.one_less());
        door.wake_homes();
        let _second = TcpStream::connect(address).unwrap();
        while !lanes.is_awaited(0) && start.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert_eq!((taken(&lanes).len(), orders.connections.load(Ordering::Relaxed)), (1, 1));
        assert!(!lanes.is_over(0));
        orders.drain.store(true, Ordering::Release);
        door.homes()[1].waker.wake_always();
        thread.join().unwrap();
        assert!(lanes.is_over(0));
        assert!(TcpStream::connect(address).is_err(), "its listeners are closed");
    }
}
