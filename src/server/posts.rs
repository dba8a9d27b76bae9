//! What one I/O thread is given when it starts, and the segment that it makes of it.
#![forbid(unsafe_code)]

use crate::connection::{Connection, Memory};
use crate::engine::Engine;
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Outlet};
use crate::memory::slots::SlotOwner;
use crate::options::{Options, PipelineUnsafe};
use crate::topology::lanes::Lanes;
use crate::topology::orders::Orders;
use crate::topology::quarantine::Visit;
use crate::topology::segment::Segment;
use crate::topology::serving::Serving;
use crate::topology::spinner::Spinner;
use crate::topology::trip::Pass;
use crate::topology::workshop::Job;
use std::sync::Arc;

/// What one I/O thread is given when it starts.
pub(super) struct Post<E> {
    pub engine: E,
    pub way: Way,
    pub number: usize,
    /// Where batons go when the rope is cut.
    pub pass: Option<Pass>,
    /// It is cut before decrypt.
    pub sends_sealed: bool,
    /// Where they go for their handshakes when other threads do these.
    pub quarantine: Option<Pass<Visit>>,
    /// Where the decoders of large bodies go when other threads decode these.
    pub workshop: Option<Pass<Job>>,
    /// Where newcomers come from when another thread accepts.
    pub lanes: Option<Arc<Lanes>>,
}

impl<E: Engine<Connection>> Post<E> {
    /// The whole rope for one thread, made on the thread that will hold it.
    pub fn segment(self, options: Options, door: Arc<Door>, orders: Arc<Orders>) -> Segment<E> {
        let post = self;
        let memory = Memory::new(Arc::clone(door.budget()), u64::from(options.io_threads));
        let slots = SlotOwner::new(Arc::clone(door.slots()), post.number as u16).wanting(options.events.marks());
        let spinner = Spinner::new(options.spin);
        let batch = match post.way {
            Way::Inline(_) => options.batch_max as usize,
            Way::Queues(_) => spinner.batch(options.batch_max as usize),
        };
        let outlet = Outlet::new(post.way, batch);
        let serial = options.pipeline_unsafe == PipelineUnsafe::Serial;
        let serving = Serving::new(options.limits, outlet, memory, slots, serial, options.journey, options.journey_sample);
        let mut segment = Segment::new(post.engine, door, orders, post.number, serving, spinner);
        if let Some(pass) = post.pass {
            segment.cut(pass, post.sends_sealed);
        }
        if let Some(pass) = post.quarantine {
            segment.isolate_handshakes(pass);
        }
        if let Some(pass) = post.workshop {
            segment.decode_elsewhere(pass);
        }
        if let Some(lanes) = post.lanes {
            segment.take_in(lanes);
        }
        segment
    }
}
