//! A server without threads: the host runs it, turn by turn, on a thread of its own.
#![forbid(unsafe_code)]

use super::Server;
use super::posts::Post;
use super::watch::Watch;
use crate::connection::Connection;
use crate::engine::epoll::EpollEngine;
use crate::engine::sys::EventFd;
use crate::engine::{Engine, Listening};
use crate::handoff::HostQueue;
use crate::handoff::outlet::Way;
use crate::memory::waker::Waker;
use crate::options::{Delivery, Spin};
use crate::status::{Failure, INGEST_E_INTERRUPTED, INGEST_E_OPTION, INGEST_E_STATE, INGEST_E_STOPPED, ingest_status};
use crate::topology::plans::{self, Crew};
use crate::topology::segment::{Segment, Turned};
use crate::topology::tell;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Who runs the server.
#[derive(Default)]
pub(super) enum Driven {
    /// Threads of its own, or nobody yet.
    #[default]
    Not,
    /// The host; a segment never leaves this place. Without a thread the turns watch the files of TLS.
    Running(Box<Segment<EpollEngine<Connection>>>, Option<Watch>),
    /// It was the host, and there is nothing left to run.
    Over,
}

impl Server {
    /// The descriptor that the host polls; with it the server becomes one that the host drives.
    pub fn descriptor(&self) -> Result<RawFd, ingest_status> {
        // Busy means that a turn is running, so this is a call from its callback.
        let mut driven = self.driven.try_lock().ok_or(INGEST_E_STATE)?;
        match self.driven_by_host(&mut driven)? {
            Driven::Running(segment, _) => segment.outside().map_err(|error| Failure::system(&error, "no timer").status),
            _ => Err(INGEST_E_STOPPED),
        }
    }

    /// One turn: waits at most `timeout_ms`, runs one tick, and says how many requests wait in the queue.
    pub fn turn(&self, timeout_ms: i32) -> i32 {
        let Some(mut driven) = self.driven.try_lock() else { return INGEST_E_STATE };
        let turned = match self.driven_by_host(&mut driven) {
            Err(status) => return status,
            Ok(Driven::Running(segment, None)) => segment.turn(timeout_ms),
            Ok(Driven::Running(segment, Some(watch))) => {
                let now_ms = self.now_ms();
                watch.look_if_due(now_ms);
                segment.alarm_ms = Some(watch.due_ms);
                segment.turn(watch.patience_ms(timeout_ms, now_ms))
            }
            Ok(_) => return INGEST_E_STOPPED,
        };
        match turned {
            Turned::Done => self.queues.iter().map(HostQueue::waiting).sum(),
            Turned::Interrupted => INGEST_E_INTERRUPTED,
            Turned::Over => {
                self.end(&mut driven);
                self.queues.iter().for_each(HostQueue::close);
                INGEST_E_STOPPED
            }
        }
    }

    /// The host still has turns to take; nobody else could end it.
    pub(super) fn has_turns_left(&self) -> bool {
        self.driven.try_lock().is_none_or(|driven| matches!(*driven, Driven::Running(..)))
    }

    /// Ends a server that the host drives. `INGEST_E_STATE` from within one of its turns.
    pub(super) fn end_driven(&self) -> Result<(), ingest_status> {
        let mut driven = self.driven.try_lock().ok_or(INGEST_E_STATE)?;
        self.end(&mut driven);
        Ok(())
    }

    fn end(&self, driven: &mut Driven) {
        if let Driven::Running(segment, _) = std::mem::replace(driven, Driven::Over) {
            let says = self.last_words(segment.way());
            segment.end();
            says();
            tell::stopped(&self.orders.log);
        }
    }

    fn driven_by_host<'a>(&self, driven: &'a mut Driven) -> Result<&'a mut Driven, ingest_status> {
        if matches!(driven, Driven::Not) {
            let segment = self.first_turn(|sockets| self.engine(0, sockets)).map_err(|failure| failure.status)?;
            let mut segment = Box::new(segment);
            let watch = Watch::new(self, self.now_ms());
            segment.alarm_ms = watch.as_ref().map(|watch| watch.due_ms);
            *driven = Driven::Running(segment, watch);
        }
        Ok(driven)
    }

    /// The segment of a server that is driven by turns, on an engine that is not the kernel's (`tests/simulate.rs`). Whoever has it
    /// takes the turns, and ends it.
    #[doc(hidden)]
    pub fn segment_on<E: Engine<Connection>>(&self, make: impl FnOnce(Arc<Waker<EventFd>>) -> E) -> Result<Segment<E>, Failure> {
        self.first_turn(|_| Ok(make(Arc::clone(&self.door.homes()[0].waker))))
    }

    /// Everything that `start` does, but no thread.
    fn first_turn<E: Engine<Connection>>(
        &self,
        make: impl FnOnce(Vec<(u16, Listening)>) -> Result<E, Failure>,
    ) -> Result<Segment<E>, Failure> {
        let wrong = |text: &str| Failure::new(INGEST_E_STATE, text);
        let mut life = self.life.lock();
        if life.started {
            return Err(wrong("a server that was started cannot be driven by turns"));
        }
        self.options.check()?;
        self.open_spool(&self.options)?;
        let chosen = plans::choose(&self.options)?;
        if chosen.plan.home != Crew::One || chosen.ahead_threads + chosen.far_threads > 0 || self.options.delivery == Delivery::Threads {
            return Err(wrong("a server that is driven by turns has no threads (set topology=inline, and delivery to inline or queue)"));
        }
        if self.options.handshake_threads > 0 {
            let text = "a server that is driven by turns has no threads for handshakes (set handshake_threads=0)";
            return Err(Failure::new(INGEST_E_OPTION, text));
        }
        if !self.options.processors.is_empty() {
            let text = "a server that is driven by turns has no thread to pin (leave io_threads.cpus empty, and pin your own)";
            return Err(Failure::new(INGEST_E_OPTION, text));
        }
        if chosen.decode_threads > 0 {
            let text = "a server that is driven by turns has no threads for large bodies (set decode_threads=0)";
            return Err(Failure::new(INGEST_E_OPTION, text));
        }
        let way = match (&life.sink, self.options.delivery) {
            // Without threads a callback can only run in the turn itself.
            (Some(sink), Delivery::Auto | Delivery::Inline) => Way::Inline(Arc::clone(sink)),
            (None, Delivery::Inline) => return Err(wrong("delivery=inline needs a callback (call ingest_server_on_events before)")),
            _ => Way::Queues(0),
        };
        self.vault.hand_out();
        let mut sockets = super::hand_out(&life.listeners, 1)?;
        let mut engine = make(sockets.pop().unwrap_or_default())?;
        engine.avoid_sendfile();
        self.door.drive_by_host();
        life.started = true;
        life.listeners.iter_mut().for_each(crate::accept::Listener::let_go);
        let addresses = tell::addresses(&life.listeners);
        drop(life);
        tell::started(&self.orders.log, chosen, None, 0);
        tell::listening(&self.orders.log, &addresses);
        // Spinning would keep the host from its own loop.
        let mut options = self.options.clone();
        options.spin = Spin::Off;
        let post = Post { engine, way, number: 0, pass: None, sends_sealed: false, quarantine: None, workshop: None, lanes: None };
        Ok(post.segment(options, Arc::clone(&self.door), Arc::clone(&self.orders)))
    }

    fn now_ms(&self) -> u64 {
        self.door.clock()() / 1_000_000
    }

    /// The engine of one I/O thread, with its listeners.
    pub(super) fn engine(&self, number: usize, sockets: Vec<(u16, Listening)>) -> Result<EpollEngine<Connection>, Failure> {
        let failed =
            |error: std::io::Error| Failure::system(&error, format!("cannot start: {error} (check the limits on descriptors and threads)"));
        let waker = Arc::clone(&self.door.homes()[number].waker);
        let accepts = usize::try_from(self.options.limits.accepts_per_wake).unwrap_or(usize::MAX);
        let now_ms = self.now_ms();
        let mut engine = EpollEngine::new(waker, accepts, self.options.descriptor_floor(), now_ms).map_err(failed)?;
        for (listener, socket) in sockets {
            engine.listen(listener, socket).map_err(failed)?;
        }
        Ok(engine)
    }
}
