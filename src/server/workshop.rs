//! The start of the threads that decode large bodies, and of the conveyors that join them with the I/O threads.
#![forbid(unsafe_code)]

use super::{Life, Server};
use crate::limits::DECODE_STATES_CEILING;
use crate::status::Failure;
use crate::topology::plans::Chosen;
use crate::topology::trip::{Belts, Pass};
use crate::topology::workshop::{Job, Workshop};
use std::sync::Arc;

impl Server {
    /// Lays the conveyors and starts the threads, which run until every copy of the pass is dropped. `None` when the I/O threads decode.
    pub(super) fn start_workshop(&self, life: &mut Life, chosen: Chosen) -> Result<Option<Pass<Job>>, Failure> {
        if chosen.decode_threads == 0 {
            return Ok(None);
        }
        let failed = |error: std::io::Error| {
            Failure::system(&error, format!("cannot start: {error} (lower decode_threads, or check the limits on descriptors and threads)"))
        };
        // Whatever is out has a place, also when its connection is no more.
        let most = DECODE_STATES_CEILING as usize * chosen.io_threads;
        let wakers: Vec<_> = self.door.homes().iter().take(chosen.io_threads).map(|home| Arc::clone(&home.waker)).collect();
        let pass = Belts::lay(most, chosen.decode_threads, &wakers, self.options.descriptor_floor()).map_err(failed)?;
        for number in 0..chosen.decode_threads {
            let thread = Workshop::new(Arc::clone(pass.belts()), Arc::clone(&self.orders), self.door.clock(), number);
            life.threads.start(&self.roll, format!("ingest-decode-{number}"), false, move || thread.run(), |_| {}).map_err(failed)?;
        }
        Ok(Some(pass))
    }
}
