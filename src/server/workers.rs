//! The start of the threads beside the rope, for handshakes and for large bodies, and of the conveyors that join them with the I/O threads.
#![forbid(unsafe_code)]

use super::{Life, Server};
use crate::limits::DECODE_STATES_CEILING;
use crate::status::Failure;
use crate::topology::plans::Chosen;
use crate::topology::quarantine::Visit;
use crate::topology::trip::{Belts, Pass};
use crate::topology::worker::{Work, Worker};
use crate::topology::workshop::Job;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So many threads of one kind.
struct Crew {
    threads: usize,
    name: &'static str,
    /// The option that says how many.
    option: &'static str,
    /// Most pieces of work that are out at a time.
    most: usize,
}

impl Server {
    /// Adds the threads for handshakes to what was chosen, if there will be any to do.
    pub(super) fn crewed(&self, chosen: Chosen) -> Chosen {
        let has_tls = !self.vault.each(|_| Some(())).is_empty();
        Chosen { handshake_threads: if has_tls { self.options.handshake_threads as usize } else { 0 }, ..chosen }
    }

    /// The threads for handshakes. `None` when the I/O threads do them.
    pub(super) fn start_quarantine(&self, life: &mut Life, chosen: Chosen) -> Result<Option<Pass<Visit>>, Failure> {
        // Each I/O thread may accept one more before it sees that the cap is reached.
        let most = usize::try_from(self.orders.max_connections()).unwrap_or(usize::MAX).saturating_add(chosen.io_threads);
        if chosen.handshake_threads > 0 {
            self.carried.store(self.orders.max_connections(), Ordering::Relaxed);
        }
        let crew = Crew { threads: chosen.handshake_threads, name: "ingest-shake", option: "handshake_threads", most };
        self.start_workers(life, chosen.io_threads, &crew)
    }

    /// The threads that decode large bodies. `None` when the I/O threads do.
    pub(super) fn start_workshop(&self, life: &mut Life, chosen: Chosen) -> Result<Option<Pass<Job>>, Failure> {
        // Whatever is out has a place, also when its connection is no more.
        let most = DECODE_STATES_CEILING as usize * chosen.io_threads;
        self.start_workers(
            life,
            chosen.io_threads,
            &Crew { threads: chosen.decode_threads, name: "ingest-decode", option: "decode_threads", most },
        )
    }

    /// Lays the conveyors and starts the threads, which run until every copy of the pass is dropped.
    fn start_workers<W: Work>(&self, life: &mut Life, io_threads: usize, crew: &Crew) -> Result<Option<Pass<W>>, Failure> {
        if crew.threads == 0 {
            return Ok(None);
        }
        let failed = |error: std::io::Error| {
            let text = format!("cannot start: {error} (lower {}, or check the limits on descriptors and threads)", crew.option);
            Failure::system(&error, text)
        };
        let wakers: Vec<_> = self.door.homes().iter().take(io_threads).map(|home| Arc::clone(&home.waker)).collect();
        let pass = Belts::lay(crew.most, crew.threads, &wakers, self.options.descriptor_floor()).map_err(failed)?;
        for number in 0..crew.threads {
            let worker = Worker::new(Arc::clone(pass.belts()), Arc::clone(&self.orders), self.door.clock(), number);
            life.threads.start(&self.roll, format!("{}-{number}", crew.name), false, move || worker.run(), |_| {}).map_err(failed)?;
        }
        Ok(Some(pass))
    }
}
