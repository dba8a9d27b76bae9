//! The host queue: bounded, many producers and consumers, with a descriptor that is never unreadable while it is non-empty.
#![forbid(unsafe_code)]

mod hearing;
pub mod share;

pub use self::hearing::{Asked, Asker, Heard};

use self::share::{Cuts, share};
use super::notices::Notices;
use super::sync::{AtomicUsize, Mutex, Ordering};
use super::waker::Signal;
use crate::limits::Limits;
use std::collections::VecDeque;
use std::sync::Arc;

/// What waits: a token, what it weighs, since when, and how long its client will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub token: u64,
    pub bytes: u32,
    /// `PATIENCE` milliseconds, `RETURNED`: one word, since entries are copied by the dozen.
    terms: u32,
    pub at_ns: u64,
}

/// How long the client waits, from `at_ns` on.
const PATIENCE: u32 = RETURNED - 1;
/// It was with a consumer, who gave it back: `at_ns` is when.
const RETURNED: u32 = 1 << 31;

impl Entry {
    /// `patience_ms` is how long its client waits from now on, `u64::MAX` for ever.
    pub fn new(token: u64, bytes: usize, at_ns: u64, patience_ms: u64) -> Self {
        let terms = u32::try_from(patience_ms).map_or(PATIENCE, |patience| patience.min(PATIENCE));
        Entry { token, bytes: u32::try_from(bytes).unwrap_or(u32::MAX), terms, at_ns }
    }

    /// It was with a consumer and is not new.
    pub fn returned(self) -> Self {
        Entry { terms: self.terms | RETURNED, ..self }
    }

    pub fn is_returned(&self) -> bool {
        self.terms & RETURNED != 0
    }

    /// How long the client waits; one that said nothing for 24 days, which is longer than anything may wait here.
    #[inline]
    pub fn patience_ns(&self) -> u64 {
        u64::from(self.terms & PATIENCE) * 1_000_000
    }
}

/// The bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: usize,
    pub bytes: u64,
}

impl Bounds {
    /// Those that a server's limits give each of its queues.
    pub fn of(limits: &Limits) -> Bounds {
        Bounds { entries: usize::try_from(limits.queue_max).unwrap_or(usize::MAX), bytes: limits.queue_bytes }
    }
}

/// What `take` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// That many entries stand at the start of the caller's room.
    Some(usize),
    /// The queue is empty.
    Empty,
    /// The queue is empty, and will stay so.
    Closed,
}

/// What a thread that wants to sleep has to do.
#[derive(Debug)]
pub enum Sleep<S> {
    /// There is something: take it.
    Work,
    /// Someone called `nudge`: return without anything.
    Nudged,
    /// The queue is closed and empty.
    Closed,
    /// Sleep until the signal, then call `woken` with both.
    On(Arc<S>, u64),
}

#[derive(Debug)]
struct Inner<S> {
    bounds: Bounds,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// SIGNALLED, else QUIET: whether the descriptor is readable.
    signalled: bool,
    /// Threads asleep in `_wait`, the latest last.
    sleepers: Vec<Arc<S>>,
    /// Signals of threads that are awake, for the next that wants to sleep.
    spare: Vec<Arc<S>>,
    /// Threads that take part: the most that were asleep at once, at least one.
    consumers: usize,
    /// A producer found it full and wants to hear when there is room.
    starved: bool,
    /// A `nudge` that found nobody asleep; the next sleeper returns at once.
    nudged: bool,
    /// Counts the nudges that found sleepers.
    nudges: u64,
    closed: bool,
    /// Slots with news.
    notices: Notices,
    /// Counts what was announced, so that a thread that looked at all of it may sleep.
    announced: u64,
    /// What was announced when somebody asked last.
    asked: u64,
    /// A poll returned 0 and left the descriptor readable: whatever comes next writes to it all the same.
    edge_owed: bool,
    /// News about the server, a bit for each event's number.
    server_news: u32,
    /// Each thread that ever asked for news, and how often.
    askers: Vec<(u32, u32)>,
}

/// See the file's first line.
///
/// One lock covers the entries and the descriptor's state, so the two cannot disagree. It is held for a few dozen
/// nanoseconds a batch, and for one system call a busy period.
#[derive(Debug)]
pub struct Queue<S> {
    inner: Mutex<Inner<S>>,
    depth: AtomicUsize,
    descriptor: S,
}

impl<S: Signal> Queue<S> {
    pub fn new(bounds: Bounds, descriptor: S) -> Self {
        let inner = Inner {
            bounds,
            entries: VecDeque::with_capacity(bounds.entries.min(1024)),
            bytes: 0,
            signalled: false,
            sleepers: Vec::new(),
            spare: Vec::new(),
            consumers: 1,
            starved: false,
            nudged: false,
            nudges: 0,
            closed: false,
            notices: Notices::default(),
            announced: 0,
            asked: 0,
            edge_owed: false,
            server_news: 0,
            askers: Vec::new(),
        };
        Queue { inner: Mutex::new(inner), depth: AtomicUsize::new(0), descriptor }
    }

    /// The descriptor of this queue, for the host's event loop.
    pub fn descriptor(&self) -> &S {
        &self.descriptor
    }

    /// Nothing comes any more.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Entries waiting, as of a moment ago.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Changes the bounds. What waits already stays, also where there is less room now.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.inner.lock().bounds = bounds;
    }

    /// Since when the one in front waits.
    pub fn oldest_at_ns(&self) -> Option<u64> {
        self.inner.lock().entries.front().map(|entry| entry.at_ns)
    }

    /// Adds a batch; returns how many of it there was room for. What there is no room for stays with the caller, who is
    /// told through `take` of some consumer (see `Taken`'s caller) when to try again.
    pub fn push(&self, batch: &[Entry]) -> usize {
        if batch.is_empty() {
            return 0;
        }
        let mut inner = self.inner.lock();
        let mut pushed = 0;
        for entry in batch {
            let bounds = inner.bounds;
            let full = inner.entries.len() >= bounds.entries || inner.bytes + u64::from(entry.bytes) > bounds.bytes;
            // One entry is always taken, however heavy, or it would wait for ever.
            if full && !inner.entries.is_empty() {
                inner.starved = true;
                break;
            }
            inner.bytes += u64::from(entry.bytes);
            inner.entries.push_back(*entry);
            pushed += 1;
        }
        self.depth.store(inner.entries.len(), Ordering::Relaxed);
        if pushed > 0 {
            // A sleeper is woken once a batch, the most recent first: its caches are warm.
            if let Some(sleeper) = inner.sleepers.pop() {
                sleeper.signal();
            }
            self.announce(&mut inner);
        }
        pushed
    }

    /// Puts one back at the front, whatever the bounds say: it was here before.
    pub fn push_front(&self, entry: Entry) {
        self.put_back(&[entry]);
    }

    /// Drops entries from the front while `stale` says so; makes room when nobody polls.
    pub fn purge(&self, mut stale: impl FnMut(u64) -> bool) {
        let mut inner = self.inner.lock();
        while inner.entries.front().is_some_and(|entry| stale(entry.token)) {
            self.pop(&mut inner);
        }
        self.depth.store(inner.entries.len(), Ordering::Relaxed);
    }

    /// Takes as many entries as there is room for, or a fair share of them when several threads consume. The flag says
    /// that a producer waits for room. Nothing found makes the descriptor unreadable if `reset`.
    pub fn take(&self, room: &mut [Entry], fair: bool, reset: bool) -> (Taken, bool) {
        self.take_from(room, fair, reset, None)
    }

    /// As `take`; with `cuts`, from a queue that stands.
    pub fn take_from(&self, room: &mut [Entry], fair: bool, reset: bool, cuts: Option<Cuts>) -> (Taken, bool) {
        let mut inner = self.inner.lock();
        let depth = inner.entries.len();
        if depth == 0 {
            if reset {
                self.calm(&mut inner);
            }
            return (if inner.closed && inner.has_no_news() { Taken::Closed } else { Taken::Empty }, false);
        }
        let consumers = if fair { inner.consumers } else { 1 };
        let count = share(&inner.entries, consumers, room.len(), cuts);
        for place in &mut room[..count] {
            if let Some(entry) = self.pop(&mut inner) {
                *place = entry;
            }
        }
        // The rest of the batch is for the next sleeper.
        if !inner.entries.is_empty() {
            if let Some(sleeper) = inner.sleepers.pop() {
                sleeper.signal();
            }
        }
        self.depth.store(inner.entries.len(), Ordering::Relaxed);
        let starved = std::mem::take(&mut inner.starved);
        (Taken::Some(count), starved)
    }

    /// Puts entries that were taken a moment ago, and not used, back at the front in their order. There is room for them
    /// whatever the bounds say, since nothing that was accepted may be lost.
    pub fn put_back(&self, batch: &[Entry]) {
        if batch.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for entry in batch.iter().rev() {
            inner.bytes += u64::from(entry.bytes);
            inner.entries.push_front(*entry);
        }
        self.depth.store(inner.entries.len(), Ordering::Relaxed);
        // Others may have found the queue empty meanwhile: slept, or reset the descriptor.
        if let Some(sleeper) = inner.sleepers.pop() {
            sleeper.signal();
        }
        self.announce(&mut inner);
    }

    /// Registers the calling thread as asleep, unless there is a reason not to sleep. One that may take nothing now
    /// (`sated`) sleeps even though there is work, until `rouse_all`; so does one that has looked at all that was `announced`.
    /// `None` when a signal could not be made.
    pub fn fall_asleep(&self, sated: bool, announced: u64, make: impl FnOnce() -> Option<S>) -> Option<Sleep<S>> {
        let mut inner = self.inner.lock();
        if (!inner.entries.is_empty() && !sated)
            || inner.announced != announced
            || (inner.closed && inner.server_news != 0 && inner.notices.is_empty())
        {
            return Some(Sleep::Work);
        }
        if inner.closed && inner.has_no_news() {
            return Some(Sleep::Closed);
        }
        if std::mem::take(&mut inner.nudged) {
            return Some(Sleep::Nudged);
        }
        let signal = match inner.spare.pop() {
            Some(signal) => signal,
            None => Arc::new(make()?),
        };
        inner.sleepers.push(Arc::clone(&signal));
        inner.consumers = inner.consumers.max(inner.sleepers.len());
        Some(Sleep::On(signal, inner.nudges))
    }

    /// Called after a sleep, however it ended. Returns whether a `nudge` ended it. A thread that was woken for work but
    /// will not do it (`declines`) has the wake-up passed on.
    pub fn woken(&self, signal: Arc<S>, nudges: u64, declines: bool) -> bool {
        let mut inner = self.inner.lock();
        let before = inner.sleepers.len();
        inner.sleepers.retain(|sleeper| !Arc::ptr_eq(sleeper, &signal));
        let on_purpose = inner.sleepers.len() == before;
        if on_purpose {
            // Whoever took it off the list has signalled it; only now may it serve another sleeper.
            signal.reset();
        }
        inner.spare.push(signal);
        if on_purpose && declines && (!inner.entries.is_empty() || !inner.has_no_news()) {
            if let Some(sleeper) = inner.sleepers.pop() {
                sleeper.signal();
            }
        }
        inner.nudges != nudges
    }

    /// Lets every thread in `_wait` return, or the next one when there is none, and makes the descriptor readable.
    pub fn nudge(&self) {
        let mut inner = self.inner.lock();
        if inner.sleepers.is_empty() {
            inner.nudged = true;
        } else {
            inner.nudges += 1;
        }
        self.rouse(&mut inner);
        self.announce(&mut inner);
    }

    /// Wakes everyone to look again: something but the queue has changed.
    pub fn rouse_all(&self) {
        let mut inner = self.inner.lock();
        self.rouse(&mut inner);
        if !inner.entries.is_empty() {
            // Written even when it is readable already: an edge-triggered loop whose poll returned 0, since it may take
            // nothing, needs an edge.
            inner.signalled = true;
            self.descriptor.signal();
        }
    }

    /// Makes the descriptor unreadable although something waits: the consumer may not take it. `rouse_all` ends that.
    pub fn quiet(&self) {
        let mut inner = self.inner.lock();
        self.calm(&mut inner);
    }

    /// SIGNALLED to QUIET, for a poll that has nothing to return. Reset under the lock: nothing can have been added in between,
    /// so nothing waits while it is QUIET. News that waits keeps the descriptor readable; an edge-triggered loop, whose poll
    /// returns 0, then needs another edge: at once if nobody has looked at that news yet, else with what comes next.
    fn calm(&self, inner: &mut Inner<S>) {
        if !inner.signalled || inner.closed {
            return;
        }
        if inner.has_no_news() {
            self.descriptor.reset();
            inner.signalled = false;
        } else if inner.announced != inner.asked {
            self.descriptor.signal();
        } else {
            inner.edge_owed = true;
        }
    }

    /// Nothing will be pushed any more; everyone who waits returns, and the descriptor stays readable. Who asks hears this
    /// event at the very end.
    pub fn close(&self, last: Option<u16>) {
        let mut inner = self.inner.lock();
        if !std::mem::replace(&mut inner.closed, true) {
            inner.server_news |= last.map_or(0, |event| 1 << event);
        }
        // Whoever pushed them has ended, and with it their connections.
        inner.entries.clear();
        inner.bytes = 0;
        self.depth.store(0, Ordering::Relaxed);
        self.rouse(&mut inner);
        self.announce(&mut inner);
    }

    /// Forgets everything, `close` included.
    pub fn reopen(&self) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.bytes = 0;
        inner.closed = false;
        inner.server_news = 0;
        inner.edge_owed = false;
        inner.spare.clear();
        if std::mem::take(&mut inner.signalled) {
            self.descriptor.reset();
        }
        self.depth.store(0, Ordering::Relaxed);
    }

    fn pop(&self, inner: &mut Inner<S>) -> Option<Entry> {
        let entry = inner.entries.pop_front()?;
        inner.bytes -= u64::from(entry.bytes);
        Some(entry)
    }

    fn rouse(&self, inner: &mut Inner<S>) {
        while let Some(sleeper) = inner.sleepers.pop() {
            sleeper.signal();
        }
    }

    /// QUIET to SIGNALLED: one write a busy period.
    fn announce(&self, inner: &mut Inner<S>) {
        if !inner.signalled || inner.edge_owed {
            inner.signalled = true;
            inner.edge_owed = false;
            self.descriptor.signal();
        }
    }
}
