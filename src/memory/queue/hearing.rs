//! News beside the entries of a host queue: who hears it, and who has to wait because another consumer is busy with the request.
#![forbid(unsafe_code)]

use super::{Inner, Queue};
use crate::memory::slots::{News, SlotTable, Taker};
use crate::memory::waker::Signal;

/// From so many consumers on it is looked which of them still live.
const ASKERS: usize = 64;

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

impl<S: Signal> Queue<S> {
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
        let taker = Taker { queue: asker.queue, thread: asker.thread, stay: inner.stay(asker.thread, asker.lives) };
        inner.asked = inner.announced;
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
            slots.delist(slot);
            let mine = |held_by: Taker| held_by.queue == asker.queue && !inner.is_busy(held_by, asker);
            let mut refused = None;
            while room > 0 && refused.is_none() {
                match slots.next_news(slot, taker, mine) {
                    Ok(Some(news)) => {
                        hear(Heard::Token(slot, news));
                        room -= 1;
                    }
                    Ok(None) => break,
                    Err(held_by) => refused = Some(held_by),
                }
            }
            if !slots.has_news(slot) || !slots.enlist(slot) {
                continue;
            }
            match refused {
                Some(held_by) if held_by.queue != asker.queue => hear(Heard::Stray(slot)),
                refused => {
                    inner.notices.push(slots, slot);
                    left_over |= refused.is_none();
                }
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
        Asked { taker, announced: inner.asked }
    }
}

impl<S> Inner<S> {
    pub(super) fn has_no_news(&self) -> bool {
        self.notices.is_empty() && self.server_news == 0
    }

    /// Counts that this thread asks.
    fn stay(&mut self, thread: u32, lives: fn(u32) -> bool) -> u32 {
        match self.askers.iter_mut().find(|(number, _)| *number == thread) {
            Some((_, stay)) => {
                *stay = stay.wrapping_add(1);
                *stay
            }
            None => {
                if self.askers.len() >= ASKERS {
                    self.askers.retain(|&(number, _)| lives(number));
                }
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
