//! What "survive" means in the fault matrix: while others misbehave, and after, a witness is answered within a second, and then memory and descriptors are as before.

use super::far::{FarServer, Report};
use crate::support::client::Client;
use crate::support::eventually;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the witness may wait for an answer, when the machine itself does not stall.
const BOUND: Duration = Duration::from_secs(1);
/// How often it asks.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the control looks whether it was late.
const CONTROL: Duration = Duration::from_millis(5);

/// Begins before the fault and ends after it. Dropped without `end`, it says nothing.
pub struct Survival<'a> {
    server: &'a FarServer,
    base: Report,
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    witness: JoinHandle<Duration>,
    control: Stall,
}

impl<'a> Survival<'a> {
    /// `crowd` is how many connections the fault will bring at once. Before the base is measured as many ordinary ones come and go, with
    /// bodies in three pieces: a server's tables keep the size of its largest crowd.
    pub fn begin(server: &'a FarServer, crowd: usize) -> Survival<'a> {
        let open = server.report().open;
        let mut ordinary: Vec<Client> = (0..crowd).map(|_| server.connect()).collect();
        for client in &mut ordinary {
            client.send("POST /witness/crowd HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        }
        for piece in ["4\r\nnext\r\n", "3\r\nend\r\n0\r\n\r\n"] {
            // Each piece has to arrive by itself: together they would need no buffer of a body.
            assert!(eventually(|| server.report().in_body == crowd as i64), "so many bodies are coming: {:?}", server.report());
            std::thread::sleep(PAUSE);
            ordinary.iter_mut().for_each(|client| client.send(piece));
        }
        for client in &mut ordinary {
            assert_eq!(client.answer().status, 200);
        }
        drop(ordinary);
        server.settles_at(open);
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let witness = std::thread::spawn({
            let (client, over, asked) = (server.connect(), Arc::clone(&over), Arc::clone(&asked));
            move || ask(client, &over, &asked)
        });
        server.settles_at(open + 1);
        Survival { server, base: server.report(), over, asked, witness, control: Stall::watch() }
    }

    /// What the server said before the fault.
    pub fn base(&self) -> &Report {
        &self.base
    }

    /// The fault is over: everything must be as before. Returns the longest wait of the witness.
    pub fn end(self) -> Duration {
        self.server.settles_at(self.base.open);
        let after = settled(self.server, &self.base);
        let asked = self.asked.load(Relaxed);
        // Once more, now that it is over.
        std::thread::sleep(2 * PAUSE);
        assert!(self.asked.load(Relaxed) > asked, "the witness gets no answers any more");
        self.over.store(true, Relaxed);
        let longest = self.witness.join().expect("the witness was served all the time");
        let stall = self.control.longest();
        println!(
            "the witness asked {} times and waited {longest:?} at most (the machine stalled for {stall:?}); heap {} to {}, resident {} to {}, descriptors {} to {}",
            self.asked.load(Relaxed),
            self.base.heap,
            after.heap,
            self.base.resident,
            after.resident,
            self.base.descriptors,
            after.descriptors
        );
        assert!(longest < BOUND + stall, "another connection waited {longest:?}, and the machine stalled for {stall:?} at most");
        assert_eq!(after.descriptors, self.base.descriptors, "descriptors are not back to base");
        assert!(is_back(&after, &self.base), "memory is not back to base: {} octets, then {}", self.base.heap, after.heap);
        assert_eq!(after.panics, 0);
        longest
    }
}

/// What is allocated now and was not before is less than a tenth of what the process has in memory. Pages that were freed may stay
/// with the process for a while, which is for malloc to decide, so they are not what is compared; nor are buffers that the pools keep for
/// later, 2 MiB of letters and 4 MiB of bodies a thread at most.
fn is_back(now: &Report, base: &Report) -> bool {
    const POOLED_MOST: i64 = 6 << 20;
    let grown = (now.heap - now.pooled) - (base.heap - base.pooled);
    now.pooled <= POOLED_MOST && grown * 10 <= base.resident
}

/// The report once nothing is under way any more: the witness asks meanwhile, so a look may find its request.
fn settled(server: &FarServer, base: &Report) -> Report {
    let start = Instant::now();
    loop {
        let report = server.report();
        let is_back = report.charged <= base.charged && report.descriptors == base.descriptors && is_back(&report, base);
        if is_back || start.elapsed() > Duration::from_secs(3) {
            return report;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Asks until it is told that it is over: the longest that an answer took.
fn ask(mut client: Client, over: &AtomicBool, asked: &AtomicU64) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Relaxed) {
        let start = Instant::now();
        let answer = client.get("/witness");
        longest = longest.max(start.elapsed());
        assert_eq!((answer.status, answer.text().as_str()), (200, "/witness"));
        asked.fetch_add(1, Relaxed);
        std::thread::sleep(PAUSE);
    }
    longest
}

/// Watches for how long the machine lets a thread of ours wait that only sleeps: nobody can be served faster than that.
pub struct Stall {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Stall {
    pub fn watch() -> Stall {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ends.load(Relaxed) {
                let start = Instant::now();
                std::thread::sleep(CONTROL);
                longest = longest.max(start.elapsed() - CONTROL);
            }
            longest
        });
        Stall { over, thread }
    }

    pub fn longest(self) -> Duration {
        self.over.store(true, Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}
