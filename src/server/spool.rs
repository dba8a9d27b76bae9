//! The place for bodies in files: found and tried when the server starts, or when they are wished for later.
#![forbid(unsafe_code)]

use super::Server;
use crate::limits::BodyPolicy;
use crate::options::Options;
use crate::status::Failure;

impl Server {
    /// With `body=spool`, makes sure that files can be made; the threads go by what is left of `spool_max` from now on.
    pub(super) fn open_spool(&self, options: &Options) -> Result<(), Failure> {
        let spool = &self.orders.spool;
        spool.account().set_most(options.limits.spool_max);
        if options.limits.body != BodyPolicy::Spool {
            return Ok(());
        }
        let place = &self.options.spool_dir;
        spool.open(place, options.descriptor_floor()).map_err(|error| {
            let text = format!(
                "cannot keep bodies in {place}: {error} (set spool_dir to a folder with room that may be written to, or to memory)"
            );
            Failure::system(&error, text)
        })
    }
}
