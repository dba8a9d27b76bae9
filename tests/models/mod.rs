//! What the models share: a descriptor that is a flag, a letter, and how far loom looks.

mod conveyor;
mod mailbox;
mod news;
mod notices;
mod queue;
mod returns;
mod sleepers;
mod slots;
mod streams;
mod table;
mod uploads;

use ingest::memory::letter::{Letter, Parts, PeerView};
use ingest::memory::pool::Pool;
use ingest::memory::waker::Signal;
use ingest::parse::sketch::Sketch;
use loom::sync::atomic::{AtomicBool, Ordering};

/// An eventfd: readable or not, and whether an edge-triggered poller has an event to fetch. Every change is an exchange,
/// since the kernel makes them under a lock of the descriptor: each sees the one before it.
#[derive(Debug)]
pub struct Flag {
    readable: AtomicBool,
    edge: AtomicBool,
}

impl Flag {
    pub fn new() -> Flag {
        Flag { readable: AtomicBool::new(false), edge: AtomicBool::new(false) }
    }

    pub fn is_readable(&self) -> bool {
        self.readable.load(Ordering::Acquire)
    }

    /// Fetches the event that an edge-triggered poller would get.
    pub fn fetch_edge(&self) -> bool {
        self.edge.swap(false, Ordering::AcqRel)
    }
}

impl Signal for Flag {
    fn signal(&self) {
        self.readable.swap(true, Ordering::AcqRel);
        self.edge.swap(true, Ordering::AcqRel);
    }

    fn reset(&self) {
        self.readable.swap(false, Ordering::AcqRel);
    }
}

/// Runs every interleaving with at most that many preemptions; LOOM_MAX_PREEMPTIONS overrides it.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// A letter with as little in it as there can be.
pub fn letter(pool: &mut Pool) -> Letter {
    let head = b"GET / HTTP/1.1\r\n\r\n";
    let sketch = Sketch { head_len: head.len(), ..Sketch::default() };
    let peer = PeerView { text: b"", address: (0, 0), family: 0, port: 0 };
    let parts = Parts {
        sketch: &sketch,
        head,
        body: b"",
        has_body: false,
        scheme: b"http",
        listener: 0,
        peer,
        journey: None,
        tls: None,
        deadline_ns: 0,
    };
    Letter::seal(pool, &parts).expect("there is memory")
}
