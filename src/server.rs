//! A server's life: new, listen, start, drain, stop, join.
#![forbid(unsafe_code)]

mod ahead;
mod answers;
mod driven;
mod far;
mod files;
mod live;
mod pinned;
mod posts;
mod secure;
mod spool;
mod watch;
mod workers;

pub use self::answers::Head;

use self::driven::Driven;
use self::posts::Post;
use self::secure::{Secured, Vault};
use crate::accept::address::Place;
use crate::accept::{Address, Listener, PerAddress};
use crate::connection::Connection;
use crate::engine::clock::Source;
use crate::engine::sys::{self, EventFd};
use crate::engine::{Engine, Listening};
use crate::handoff::host_queue::about_server;
use crate::handoff::outlet::Way;
use crate::handoff::{Door, EventSink, Home, HostQueue};
use crate::limits::{Limits, UNLIMITED};
use crate::log::{LogSink, Record};
use crate::memory::fork_mark;
use crate::memory::mailbox::Mailbox;
use crate::memory::queue::{Bounds, Queue};
use crate::memory::slots::SlotTable;
use crate::memory::waker::Waker;
use crate::options::{Delivery, Options};
use crate::request::{INGEST_EVENT_STOPPED, ingest_request, ingest_token};
use crate::stats::Counters;
use crate::status::{
    Failure, INGEST_E_ADDRESS, INGEST_E_ARGUMENT, INGEST_E_BUSY, INGEST_E_GONE, INGEST_E_OPTION, INGEST_E_STATE, INGEST_OK, ingest_status,
};
use crate::topology::acceptor::Acceptor;
use crate::topology::orders::Orders;
use crate::topology::plans::{self, Chosen};
use crate::topology::tell;
use crate::topology::threads::{self, Roll, ThreadHook, Threads};
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Tells the tokens of one server from those of the others in this process: eleven bits, never zero.
static NUMBERS: AtomicU16 = AtomicU16::new(0);
const NUMBER_MAX: u16 = 2047;

/// See the file's first line.
pub struct Server {
    options: Options,
    /// The same with what was changed since.
    live: Mutex<Options>,
    /// How many connections the conveyors can carry that batons ride on; zero without any.
    carried: AtomicU64,
    door: Arc<Door>,
    queues: Arc<Vec<HostQueue>>,
    orders: Arc<Orders>,
    roll: Arc<Roll>,
    /// How often `stop` was called.
    stops: AtomicU32,
    life: Mutex<Life>,
    vault: Arc<Vault>,
    /// Held through a turn, so that a nested one is noticed.
    driven: Mutex<Driven>,
}

struct Life {
    started: bool,
    listeners: Vec<Listener>,
    sink: Option<Arc<dyn EventSink>>,
    threads: Threads,
}

impl Server {
    /// Makes everything that needs no thread: descriptors of the queues and of the wake-ups come first, so they are small.
    pub fn new(options: Options) -> Result<Server, Failure> {
        Server::with_clock(options, sys::monotonic_ns)
    }

    /// As `new`; the time of its deadlines is what this clock says.
    pub fn with_clock(options: Options, clock: Source) -> Result<Server, Failure> {
        fork_mark::set();
        let no_event = |error: std::io::Error| {
            Failure::system(&error, "cannot make an eventfd (raise the descriptor limit above fd_floor and what is open)")
        };
        let floor = options.descriptor_floor();
        let limits = &options.limits;
        let count = options.queues as usize;
        let queues = (0..count)
            .map(|_| Ok(Queue::new(Bounds::of(limits), EventFd::new().map_err(no_event)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let home = || {
            let waker = Waker::new(EventFd::above(floor).map_err(no_event)?);
            Ok(Home { mailbox: Mailbox::new(), waker: Arc::new(waker), counters: Counters::default() })
        };
        let homes = (0..plans::reachable(&options)).map(|_| home()).collect::<Result<Vec<_>, Failure>>()?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed) % NUMBER_MAX + 1;
        let seed = RandomState::new().hash_one(number) as u32;
        let slots = Arc::new(SlotTable::new(number, seed));
        let door = Arc::new(Door::new(slots, homes, queues, limits, options.events, clock));
        let per_address = (limits.max_connections_per_ip != UNLIMITED).then(|| PerAddress::new(limits.max_connections_per_ip));
        let orders = Arc::new(Orders { per_address, ..Orders::default() });
        orders.change_limits(limits.clone());
        orders.max_connections.store(connections_max(limits, floor), Ordering::Relaxed);
        let threads = Threads::new(Arc::clone(&orders));
        Ok(Server {
            queues: Arc::new((0..count).map(|index| HostQueue::new(Arc::clone(&door), index, options.packed_inline_max, floor)).collect()),
            live: Mutex::new(options.clone()),
            carried: AtomicU64::new(0),
            options,
            door,
            vault: Arc::new(Vault::new(Arc::clone(&orders))),
            orders,
            roll: Arc::new(Roll::default()),
            stops: AtomicU32::new(0),
            life: Mutex::new(Life { started: false, listeners: Vec::new(), sink: None, threads }),
            driven: Mutex::new(Driven::Not),
        })
    }

    /// Sets the callback.
    pub fn on_events(&self, sink: Option<Box<dyn EventSink>>) -> Result<(), Failure> {
        let mut life = self.life.lock();
        if life.started {
            return Err(Failure::new(INGEST_E_STATE, "the callback cannot change once the server was started"));
        }
        life.sink = sink.map(Arc::from);
        Ok(())
    }

    /// Sets the callback for the log.
    pub fn on_log(&self, sink: Option<Arc<dyn LogSink>>) -> ingest_status {
        let life = self.life.lock();
        if life.started {
            return INGEST_E_STATE;
        }
        self.orders.log.set_sink(sink);
        INGEST_OK
    }

    /// Sets the callback for the start and the end of each thread.
    pub fn on_thread(&self, hook: Option<Arc<dyn ThreadHook>>) -> ingest_status {
        let mut life = self.life.lock();
        if life.started {
            return INGEST_E_STATE;
        }
        life.threads.hook = hook;
        INGEST_OK
    }

    /// The oldest record of the log that the host has not read.
    pub fn log_next(&self) -> Option<Record> {
        self.orders.log.next()
    }

    /// Binds and listens now, so that errors are heard and the port is known; connections are accepted after the start.
    pub fn listen(&self, address: &str, overrides: Option<&Options>) -> Result<u16, Failure> {
        let address = Address::parse(address)?;
        let backlog = overrides.filter(|options| options.is_named("listen_backlog")).unwrap_or(&self.options).limits.listen_backlog;
        let number = match address.place {
            Place::Descriptor(number) => Some((number, INGEST_E_ADDRESS)),
            _ => None,
        };
        let secured = self.secured(address.scheme, overrides)?;
        let floor = self.options.descriptor_floor();
        self.add_listener(number, secured, || Listener::bind(address, backlog, plans::sockets(&self.options), floor))
    }

    /// As `listen`, on a socket of the host's that listens already; it is ours if this succeeds.
    pub fn listen_fd(&self, number: RawFd, scheme: &str, overrides: Option<&Options>) -> Result<u16, Failure> {
        let scheme = match scheme {
            "http" => "http",
            "https" => "https",
            _ => return Err(Failure::new(INGEST_E_ARGUMENT, "unknown scheme (pass http or https)")),
        };
        let (secured, floor) = (self.secured(scheme, overrides)?, self.options.descriptor_floor());
        self.add_listener(Some((number, INGEST_E_ARGUMENT)), secured, || Listener::adopt(scheme, number, INGEST_E_ARGUMENT, floor))
    }

    /// `given` is a descriptor of the host's, with the status for one that cannot be taken.
    fn add_listener(
        &self,
        given: Option<(RawFd, ingest_status)>,
        secured: Option<Secured>,
        make: impl FnOnce() -> Result<Listener, Failure>,
    ) -> Result<u16, Failure> {
        let mut life = self.life.lock();
        if life.started {
            return Err(Failure::new(INGEST_E_STATE, "cannot listen once the server was started (call ingest_server_listen before)"));
        }
        let index = u16::try_from(life.listeners.len()).map_err(|_| Failure::new(INGEST_E_ARGUMENT, "too many listeners"))?;
        if let Some((number, status)) = given.filter(|(number, _)| life.listeners.iter().any(|listener| listener.owns(*number))) {
            let text = format!("cannot listen on descriptor {number}: this server listens on it already (pass one of the host's own)");
            return Err(Failure::new(status, text));
        }
        let listener = make()?;
        listener.set_write_timeout(self.options.limits.write_timeout_ms);
        life.listeners.push(listener);
        self.vault.add(secured);
        Ok(index)
    }

    pub fn port(&self, listener: i32) -> Result<u16, ingest_status> {
        let life = self.life.lock();
        let listener = usize::try_from(listener).ok().and_then(|index| life.listeners.get(index));
        listener.map(Listener::port).ok_or(INGEST_E_ARGUMENT)
    }

    /// Starts the threads. When it fails, none is left running and it may be tried again.
    pub fn start(&self) -> Result<(), Failure> {
        let mut life = self.life.lock();
        if life.started {
            return Err(Failure::new(INGEST_E_STATE, "the server was started before (make a new one)"));
        }
        if life.listeners.is_empty() {
            return Err(Failure::new(INGEST_E_STATE, "the server has no listener (call ingest_server_listen before)"));
        }
        self.options.check()?;
        self.check_processors()?;
        self.open_spool(&self.options)?;
        let chosen = self.crewed(plans::choose(&self.options)?);
        let delivery = plans::delivery(&self.options, life.sink.is_some())?;
        if delivery == Delivery::Threads && self.handlers() < self.options.queues as usize {
            let text = format!("{} queues need as many handler_threads at least (set handler_threads)", self.options.queues);
            return Err(Failure::new(INGEST_E_OPTION, text));
        }
        let started = hand_out(&life.listeners, chosen.accepting_threads())
            .and_then(|sockets| self.start_threads(&mut life, chosen, delivery, sockets));
        if started.is_err() {
            self.orders.failed.store(true, Ordering::Relaxed);
            self.orders.stop.store(true, Ordering::Release);
            self.wake_all();
            let mut threads = std::mem::replace(&mut life.threads, Threads::new(Arc::clone(&self.orders)));
            life.threads.hook.clone_from(&threads.hook);
            // The threads call the host's hooks, which may ask for what this lock guards.
            drop(life);
            threads.join();
            // As before the start, so that it may be tried again.
            self.orders.stop.store(false, Ordering::Release);
            self.orders.failed.store(false, Ordering::Relaxed);
            self.queues.iter().for_each(HostQueue::reopen);
            self.door.homes().iter().for_each(|home| home.mailbox.reopen());
            return started;
        }
        life.started = true;
        life.listeners.iter_mut().for_each(Listener::let_go);
        let addresses = tell::addresses(&life.listeners);
        drop(life);
        tell::started(&self.orders.log, chosen, Some(delivery), self.handlers());
        tell::listening(&self.orders.log, &addresses);
        started
    }

    fn start_threads(
        &self,
        life: &mut Life,
        chosen: Chosen,
        delivery: Delivery,
        sockets: Vec<Vec<(u16, Listening)>>,
    ) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::system(&error, format!("cannot start: {error} (check the limits on descriptors and threads)"));
        self.vault.hand_out();
        let pass = self.start_far(life, chosen)?;
        let quarantine = self.start_quarantine(life, chosen)?;
        let workshop = self.start_workshop(life, chosen)?;
        let mut sockets = sockets.into_iter();
        let acceptor = self.acceptor(chosen, &mut sockets)?;
        let lanes = acceptor.as_ref().map(Acceptor::lanes);
        let mut posts = Vec::new();
        for number in 0..chosen.io_threads {
            let engine = self.engine(number, sockets.next().unwrap_or_default())?;
            let way = match (&life.sink, delivery) {
                (Some(sink), Delivery::Inline) => Way::Inline(Arc::clone(sink)),
                _ => Way::Queues(number),
            };
            let (pass, quarantine, workshop) = (pass.clone(), quarantine.clone(), workshop.clone());
            posts.push(Post { engine, way, number, pass, sends_sealed: chosen.sends_sealed(), quarantine, workshop, lanes: lanes.clone() });
        }
        for post in posts {
            self.start_io(life, post).map_err(failed)?;
        }
        if let Some(acceptor) = acceptor {
            self.start_ahead(life, acceptor, self.place(chosen.io_threads + chosen.far_threads)).map_err(failed)?;
        }
        if let (Delivery::Threads, Some(sink)) = (delivery, life.sink.clone()) {
            for number in 0..self.handlers() {
                self.start_handler(life, number, Arc::clone(&sink)).map_err(failed)?;
            }
        }
        self.start_watch(life).map_err(failed)
    }

    /// Handler threads: as many as there are processors unless set.
    fn handlers(&self) -> usize {
        match self.options.handler_threads {
            0 => sys::processors().max(self.options.queues as usize),
            count => count as usize,
        }
    }

    fn start_io<E: Engine<Connection> + Send + 'static>(&self, life: &mut Life, post: Post<E>) -> std::io::Result<()> {
        let options = self.options.clone();
        let (door, orders) = (Arc::clone(&self.door), Arc::clone(&self.orders));
        let number = post.number;
        let says = self.last_words(&post.way);
        let place = self.place(number);
        let work = move || {
            // Whether spinning pays is found out before: a processor of one's own is not the only one of the process.
            let segment = post.segment(options, door, orders);
            place.take();
            segment.run();
        };
        let (queues, told) = (Arc::clone(&self.queues), Arc::clone(&self.orders));
        // Nothing comes any more once the last I/O thread has ended: whoever waits hears of it.
        let after = move |last: bool| {
            if last {
                if !told.failed.load(Ordering::Relaxed) {
                    says();
                }
                tell::stopped(&told.log);
                queues.iter().for_each(HostQueue::close);
            }
        };
        life.threads.start(&self.roll, format!("ingest-io-{number}"), true, work, after)
    }

    /// Tells a host that is called inline that the server has stopped, if it asked to hear that; queues say it themselves.
    fn last_words(&self, way: &Way) -> impl FnOnce() + use<> {
        let sink = match way {
            Way::Inline(sink) if self.options.events.has(INGEST_EVENT_STOPPED) => Some(Arc::clone(sink)),
            _ => None,
        };
        move || {
            if let Some(sink) = sink {
                sink.deliver(&[about_server(INGEST_EVENT_STOPPED)]);
            }
        }
    }

    fn start_handler(&self, life: &mut Life, number: usize, sink: Arc<dyn EventSink>) -> std::io::Result<()> {
        let queues = Arc::clone(&self.queues);
        let batch_max = self.options.batch_max as usize;
        let orders = Arc::clone(&self.orders);
        let sleeper = queues[number % queues.len()].sleeper()?;
        let work = move || threads::handle(&queues[number % queues.len()], &*sink, batch_max, sleeper, &orders);
        life.threads.start(&self.roll, format!("ingest-run-{number}"), false, work, |_| {})
    }

    /// Accepts no more, answers what is there, and stops after `grace_ms` at the latest; -1 takes `drain_timeout`.
    pub fn drain(&self, grace_ms: i32) -> ingest_status {
        if !self.life.lock().started {
            return INGEST_E_STATE;
        }
        if let Ok(grace_ms) = u64::try_from(grace_ms) {
            let until_ms = self.door.clock()() / 1_000_000 + grace_ms;
            self.orders.drain_until_ms.store(until_ms.max(1), Ordering::Relaxed);
        }
        self.orders.drain.store(true, Ordering::Release);
        self.wake_all();
        INGEST_OK
    }

    /// The first call drains, the second stops now. Async-signal-safe: stores and writes, no lock, no memory.
    pub fn stop(&self) -> ingest_status {
        if self.stops.fetch_add(1, Ordering::Relaxed) > 0 {
            self.orders.stop.store(true, Ordering::Release);
        }
        self.orders.drain.store(true, Ordering::Release);
        self.wake_all();
        INGEST_OK
    }

    fn wake_all(&self) {
        for home in self.door.homes() {
            home.waker.wake_always();
        }
    }

    /// Waits until every thread has ended: at most `timeout_ms`, -1 for ever.
    pub fn join(&self, timeout_ms: i32) -> ingest_status {
        {
            let life = self.life.lock();
            if !life.started || self.roll.includes_caller() {
                return INGEST_E_STATE;
            }
        }
        if self.has_turns_left() {
            return INGEST_E_STATE;
        }
        let limit = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        if !self.roll.wait_for_none(limit) {
            return INGEST_E_BUSY;
        }
        self.life.lock().threads.join();
        INGEST_OK
    }

    /// Stops now and waits for every thread, and for every consumer to leave its queue.
    pub fn shutdown(&self) -> ingest_status {
        let started = {
            let life = self.life.lock();
            if self.roll.includes_caller() {
                return INGEST_E_STATE;
            }
            life.started
        };
        if let Err(status) = self.end_driven() {
            return status;
        }
        self.orders.stop.store(true, Ordering::Release);
        self.wake_all();
        if started {
            self.roll.wait_for_none(None);
            self.life.lock().threads.join();
        } else {
            self.life.lock().listeners.iter().for_each(Listener::shut);
        }
        for queue in self.queues.iter() {
            queue.close();
            queue.wait_until_left();
        }
        INGEST_OK
    }

    pub fn queue(&self, index: u32) -> Option<&HostQueue> {
        self.queues.get(index as usize)
    }

    /// The request of a token that the host holds, or NULL.
    pub fn token_request(&self, token: ingest_token) -> *const ingest_request {
        self.door.slots().request(token).unwrap_or(std::ptr::null())
    }

    pub fn token_tag(&self, token: ingest_token, tag: u64) -> ingest_status {
        self.door.slots().set_tag(token, tag).map_or(INGEST_E_GONE, |()| INGEST_OK)
    }

    pub fn token_alive(&self, token: ingest_token) -> i32 {
        self.door.slots().alive(token)
    }
}

/// One list of sockets for each thread. A listener that cannot have a socket for each is served by all threads from the same one.
fn hand_out(listeners: &[Listener], threads: usize) -> Result<Vec<Vec<(u16, Listening)>>, Failure> {
    let mut shares: Vec<Vec<(u16, Listening)>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, listener) in listeners.iter().enumerate() {
        let lent = listener.lend_sockets(threads);
        let lent = lent.map_err(|error| Failure::system(&error, format!("cannot start: {error} (raise the descriptor limit)")))?;
        for (share, socket) in shares.iter_mut().zip(lent) {
            share.push((number as u16, socket));
        }
    }
    Ok(shares)
}

/// The option, or what the descriptor limit leaves for us (limits, section 2); the library never raises it.
fn connections_max(limits: &Limits, floor: RawFd) -> u64 {
    if limits.max_connections > 0 {
        return limits.max_connections;
    }
    let soft = sys::descriptor_limit().saturating_sub(u64::try_from(floor).unwrap_or(0));
    let ours = (soft / 2).max(soft.saturating_sub((soft / 5).max(256)));
    ours.clamp(1, 16_384)
}
