//! The start of the threads beyond a cut, and of the conveyors that join them with the I/O threads.
#![forbid(unsafe_code)]

use super::{Life, Server};
use crate::status::Failure;
use crate::topology::beyond::Beyond;
use crate::topology::plans::Chosen;
use crate::topology::trip::{Belts, Pass};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Server {
    /// Lays the conveyors and starts the threads at their far end, which run until every copy of the pass is dropped. `None`
    /// for a plan without a cut.
    pub(super) fn start_far(&self, life: &mut Life, chosen: Chosen) -> Result<Option<Pass>, Failure> {
        if chosen.far_threads == 0 {
            return Ok(None);
        }
        let failed = |error: std::io::Error| {
            Failure::system(&error, format!("cannot start: {error} (check the limits on memory, descriptors and threads)"))
        };
        // Each I/O thread may accept one more before it sees that the cap is reached.
        let connections = usize::try_from(self.orders.max_connections()).unwrap_or(usize::MAX).saturating_add(chosen.io_threads);
        self.carried.store(self.orders.max_connections(), Ordering::Relaxed);
        let wakers: Vec<_> = self.door.homes().iter().take(chosen.io_threads).map(|home| Arc::clone(&home.waker)).collect();
        let pass = Belts::lay(connections, chosen.far_threads, &wakers, self.options.descriptor_floor()).map_err(failed)?;
        for number in 0..chosen.far_threads {
            let far = Beyond::new(&self.options, Arc::clone(pass.belts()), Arc::clone(&self.orders), number);
            let place = self.place(chosen.io_threads + number);
            let work = move || {
                place.take();
                far.run();
            };
            life.threads.start(&self.roll, format!("ingest-parse-{number}"), false, work, |_| {}).map_err(failed)?;
        }
        Ok(Some(pass))
    }
}
