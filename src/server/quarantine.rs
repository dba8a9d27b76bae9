//! The start of the threads for handshakes, and of the conveyors that join them with the I/O threads.
#![forbid(unsafe_code)]

use super::{Life, Server};
use crate::status::Failure;
use crate::topology::plans::Chosen;
use crate::topology::quarantine::{Quarantine, Visit};
use crate::topology::trip::{Belts, Pass};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Server {
    /// Adds the threads for handshakes to what was chosen, if there will be any to do.
    pub(super) fn crewed(&self, chosen: Chosen) -> Chosen {
        let has_tls = !self.vault.each(|_| Some(())).is_empty();
        Chosen { handshake_threads: if has_tls { self.options.handshake_threads as usize } else { 0 }, ..chosen }
    }

    /// Lays the conveyors and starts the threads, which run until every copy of the pass is dropped. `None` when the I/O threads do the
    /// handshakes.
    pub(super) fn start_quarantine(&self, life: &mut Life, chosen: Chosen) -> Result<Option<Pass<Visit>>, Failure> {
        if chosen.handshake_threads == 0 {
            return Ok(None);
        }
        let failed = |error: std::io::Error| {
            Failure::system(
                &error,
                format!("cannot start: {error} (lower handshake_threads, or check the limits on descriptors and threads)"),
            )
        };
        // Each I/O thread may accept one more before it sees that the cap is reached.
        let connections = usize::try_from(self.orders.max_connections()).unwrap_or(usize::MAX).saturating_add(chosen.io_threads);
        self.carried.store(self.orders.max_connections(), Ordering::Relaxed);
        let wakers: Vec<_> = self.door.homes().iter().take(chosen.io_threads).map(|home| Arc::clone(&home.waker)).collect();
        let pass = Belts::lay(connections, chosen.handshake_threads, &wakers, self.options.descriptor_floor()).map_err(failed)?;
        for number in 0..chosen.handshake_threads {
            let thread = Quarantine::new(Arc::clone(pass.belts()), Arc::clone(&self.orders), self.door.clock(), number);
            life.threads.start(&self.roll, format!("ingest-shake-{number}"), false, move || thread.run(), |_| {}).map_err(failed)?;
        }
        Ok(Some(pass))
    }
}
