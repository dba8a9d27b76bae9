//! The watch over the files of TLS: looks at them now and then, and has what has changed read again.
#![forbid(unsafe_code)]

use super::files::{self, Marks};
use super::secure::{Secured, Vault};
use super::{Life, Server};
use crate::limits::WATCH_TRIES;
use crate::log::Level;
use crate::topology::orders::Orders;
use crate::topology::tell;
use crate::topology::threads::Roll;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// See the file's first line.
pub(super) struct Watch {
    vault: Arc<Vault>,
    orders: Arc<Orders>,
    /// What came of the last looks at each listener's files.
    tried: Vec<Tried>,
    every_ms: u64,
    /// When a server that the host drives looks next.
    pub due_ms: u64,
}

/// Files that have changed and cannot be used.
#[derive(Default)]
struct Tried {
    marks: Marks,
    failures: u32,
}

impl Watch {
    /// `None` if no listener wants it.
    pub fn new(server: &Server, now_ms: u64) -> Option<Watch> {
        let count = server.vault.each(Secured::watched).last()?.0 + 1;
        let every_ms = server.options.tls.watch_every_ms;
        let tried = std::iter::repeat_with(Tried::default).take(count).collect();
        Some(Watch { vault: Arc::clone(&server.vault), orders: Arc::clone(&server.orders), tried, every_ms, due_ms: now_ms + every_ms })
    }

    /// Has every listener whose files have changed since they were read load them again.
    pub fn look(&mut self) {
        let served = self.vault.each(|secured| secured.watched().map(|files| (files, secured.marks.clone())));
        for (number, (files, served)) in served {
            let marks = files::look(&files);
            let Some(tried) = self.tried.get_mut(number) else { continue };
            if marks == served {
                *tried = Tried::default();
                continue;
            }
            if tried.failures >= WATCH_TRIES {
                if tried.marks == marks {
                    continue;
                }
                tried.failures = 0;
            }
            tried.marks = marks;
            match self.vault.reload(|other| other == number) {
                Ok(()) => {
                    *tried = Tried::default();
                    self.orders.log.say(Level::Info, &format!("listener {number}: the files of tls have changed and were read again"));
                }
                Err(failure) => {
                    // One file may be there before the other: the next looks will tell.
                    tried.failures += 1;
                    if tried.failures == WATCH_TRIES {
                        tell::not_reloaded(&self.orders.log, number, &failure.text);
                    }
                }
            }
        }
    }

    /// The loop of the thread that watches: it ends with the last I/O thread, or when a drain begins, and is woken by the former.
    fn run(mut self, roll: &Roll) {
        while !roll.wait_for_io_end(Duration::from_millis(self.every_ms)) {
            if self.orders.drain.load(Ordering::Relaxed) {
                return;
            }
            self.look();
        }
    }

    /// A turn of the host's begins: looks, if it is time to.
    pub fn look_if_due(&mut self, now_ms: u64) {
        if now_ms >= self.due_ms {
            self.look();
            self.due_ms = now_ms + self.every_ms;
        }
    }

    /// How long a turn that may take so long (-1: for ever) may wait, so that the next is in time.
    pub fn patience_ms(&self, timeout_ms: i32, now_ms: u64) -> i32 {
        let left_ms = i32::try_from(self.due_ms.saturating_sub(now_ms)).unwrap_or(i32::MAX);
        if timeout_ms < 0 { left_ms } else { timeout_ms.min(left_ms) }
    }
}

impl Server {
    /// Starts the thread that watches, if there is something to watch. Looking may block where files lie on another machine, so no I/O
    /// thread does it. Nothing may fail after it, since it is woken by the end of the I/O threads.
    pub(super) fn start_watch(&self, life: &mut Life) -> io::Result<()> {
        let Some(watch) = Watch::new(self, 0) else { return Ok(()) };
        let roll = Arc::clone(&self.roll);
        life.threads.start(&self.roll, "ingest-watch".to_owned(), false, move || watch.run(&roll), |_| {})
    }
}
