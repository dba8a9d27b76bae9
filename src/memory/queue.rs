//! The host queue: bounded, many producers and consumers, with a descriptor that is never unreadable while it is non-empty.
#![forbid(unsafe_code)]

use super::notices::Notices;
use super::slots::{News, SlotTable, Taker};
use super::sync::{AtomicUsize, Mutex, Ordering};
use super::waker::Signal;
use std::collections::VecDeque;
use std::sync::Arc;

/// What waits: a token, what it weighs, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub token: u64,
    pub bytes: u32,
    pub at_ns: u64,
}

/// The bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: usize,
    pub bytes: u64,
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

/// What a consumer that asks for news hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something about the server: the number of the event.
    Server(u16),
    /// Something about a request.
    Token(u32, News),
    /// This slot's news belongs to another queue, and is to be announced there.
    Stray(u32),
}

/// A consumer that asks for news.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The number of the queue that it asks.
    pub queue: u32,
    /// The kernel's number of the calling thread.
    pub thread: u32,
    /// Whether a thread of this number still lives.
    pub lives: fn(u32) -> bool,
    /// The queue was closed so long ago that no busy consumer is waited for any more.
    pub impatient: bool,
}

/// What asking for news came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The consumer as requests that it takes now should remember it.
    pub taker: Taker,
    /// What was announced when it looked.
    pub announced: u64,
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
    bounds: Bounds,
    descriptor: S,
}

impl<S: Signal> Queue<S> {
    pub fn new(bounds: Bounds, descriptor: S) -> Self {
        let inner = Inner {
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
            server_news: 0,
            askers: Vec::new(),
        };
        Queue { inner: Mutex::new(inner), depth: AtomicUsize::new(0), bounds, descriptor }
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

    /// Adds a batch; returns how many of it there was room for. What there is no room for stays with the caller, who is
    /// told through `take` of some consumer (see `Taken`'s caller) when to try again.
    pub fn push(&self, batch: &[Entry]) -> usize {
        if batch.is_empty() {
            return 0;
        }
        let mut inner = self.inner.lock();
        let mut pushed = 0;
        for entry in batch {
            let full = inner.entries.len() >= self.bounds.entries || inner.bytes + u64::from(entry.bytes) > self.bounds.bytes;
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
        let mut inner = self.inner.lock();
        let depth = inner.entries.len();
        if depth == 0 {
            if reset && inner.signalled && !inner.closed && inner.has_no_news() {
                // Reset under the lock: nothing can have been pushed in between, so the queue is empty while it is QUIET.
                self.descriptor.reset();
                inner.signalled = false;
            }
            return (if inner.closed && inner.has_no_news() { Taken::Closed } else { Taken::Empty }, false);
        }
        let share = if fair { depth.div_ceil(inner.consumers) } else { depth };
        let count = share.min(room.len());
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
        if on_purpose && declines && !inner.entries.is_empty() {
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
        if inner.signalled && !inner.closed && inner.has_no_news() {
            self.descriptor.reset();
            inner.signalled = false;
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

    /// A slot that was enlisted has news.
    pub fn add_notice(&self, slots: &SlotTable, slot: u32) {
        let mut inner = self.inner.lock();
        inner.notices.push(slots, slot);
        self.call_out(&mut inner);
    }

    /// There is news about the server: the number of an event, below 32. What was not heard yet is not said twice.
    pub fn say(&self, event: u16) {
        let mut inner = self.inner.lock();
        inner.server_news |= 1 << event;
        self.call_out(&mut inner);
    }

    fn call_out(&self, inner: &mut Inner<S>) {
        inner.announced += 1;
        if let Some(sleeper) = inner.sleepers.pop() {
            sleeper.signal();
        }
        self.announce(inner);
    }

    /// Pieces of news that wait.
    pub fn notices(&self) -> usize {
        let inner = self.inner.lock();
        inner.notices.len() + inner.server_news.count_ones() as usize
    }

    /// A consumer asks, and so is no longer busy with what it got before. It hears at most so much, of the server first; news
    /// about a request that another consumer is busy with waits. What is `last` is heard when everything else was.
    pub fn ask(&self, slots: &SlotTable, asker: Asker, most: usize, last: u16, hear: &mut dyn FnMut(Heard)) -> Asked {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let taker = Taker { queue: asker.queue, thread: asker.thread, stay: inner.stay(asker.thread) };
        let mut room = most;
        while room > 0 && inner.server_news & !(1 << last) != 0 {
            let event = (inner.server_news & !(1 << last)).trailing_zeros();
            inner.server_news &= !(1 << event);
            hear(Heard::Server(event as u16));
            room -= 1;
        }
        let mut left_over = false;
        for _ in 0..inner.notices.len() {
            if room == 0 {
                left_over = true;
                break;
            }
            let Some(slot) = inner.notices.pop(slots) else { break };
            let held_by = slots.taker(slot);
            if inner.is_busy(held_by, asker) {
                inner.notices.push(slots, slot);
                continue;
            }
            slots.delist(slot);
            if held_by.queue != asker.queue && slots.enlist(slot) {
                hear(Heard::Stray(slot));
                continue;
            }
            while room > 0 {
                let Some(news) = slots.next_news(slot) else { break };
                slots.set_taker(slot, taker);
                hear(Heard::Token(slot, news));
                room -= 1;
            }
            if slots.has_news(slot) && slots.enlist(slot) {
                inner.notices.push(slots, slot);
                left_over = true;
            }
        }
        if inner.closed && room > 0 && inner.notices.is_empty() && inner.server_news != 0 {
            inner.server_news = 0;
            hear(Heard::Server(last));
        }
        if left_over {
            self.call_out(inner);
        }
        if inner.closed && inner.has_no_news() {
            // Whoever waited for the last news to be heard need not wait any more.
            self.rouse(inner);
        }
        Asked { taker, announced: inner.announced }
    }

    /// QUIET to SIGNALLED: one write a busy period.
    fn announce(&self, inner: &mut Inner<S>) {
        if !inner.signalled {
            inner.signalled = true;
            self.descriptor.signal();
        }
    }
}

impl<S> Inner<S> {
    fn has_no_news(&self) -> bool {
        self.notices.is_empty() && self.server_news == 0
    }

    /// Counts that this thread asks.
    fn stay(&mut self, thread: u32) -> u32 {
        match self.askers.iter_mut().find(|(number, _)| *number == thread) {
            Some((_, stay)) => {
                *stay = stay.wrapping_add(1);
                *stay
            }
            None => {
                self.askers.push((thread, 1));
                1
            }
        }
    }

    /// The consumer that took it has not asked again since, and still lives. Once all is over it is not waited for long.
    fn is_busy(&self, taker: Taker, asker: Asker) -> bool {
        !(self.closed && asker.impatient)
            && taker.thread != asker.thread
            && self.askers.iter().any(|&(thread, stay)| thread == taker.thread && stay == taker.stay)
            && (asker.lives)(taker.thread)
    }
}
