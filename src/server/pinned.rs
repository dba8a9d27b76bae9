//! Which thread is pinned to which processor (`io_threads.cpus`).
#![forbid(unsafe_code)]

use super::Server;
use crate::engine::sys::affinity;
use crate::status::{Failure, INGEST_E_OPTION};

/// The processor of one thread, if it is pinned.
#[derive(Clone, Copy)]
pub(super) struct Place(Option<u16>);

impl Place {
    /// On the thread itself. That it may run there was asked before the start; if that has changed since, it runs where it may.
    pub fn take(self) {
        if let Some(processor) = self.0 {
            let _ = affinity::pin(processor);
        }
    }
}

impl Server {
    /// Refuses processors that the threads could not run on.
    pub(super) fn check_processors(&self) -> Result<(), Failure> {
        match self.options.processors.iter().find(|processor| !affinity::may_run_on(**processor)) {
            None => Ok(()),
            Some(processor) => {
                let text = format!(
                    "io_threads.cpus names processor {processor}, which the thread that starts the server may not run on (name processors of its affinity mask)"
                );
                Err(Failure::new(INGEST_E_OPTION, text))
            }
        }
    }

    /// The place of a thread on the rope: first come those of the home, then those beyond it, then who accepts. Where there are
    /// more threads than processors they begin again with the first one.
    pub(super) fn place(&self, number: usize) -> Place {
        let processors = &self.options.processors;
        Place(processors.get(number % processors.len().max(1)).copied())
    }
}
