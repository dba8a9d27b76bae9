//! The start of the thread that accepts ahead of the others, and of the lanes that newcomers take to them.
#![forbid(unsafe_code)]

use super::pinned::Place;
use super::{Life, Server};
use crate::connection::Connection;
use crate::engine::Listening;
use crate::engine::epoll::EpollEngine;
use crate::status::Failure;
use crate::topology::acceptor::Acceptor;
use crate::topology::lanes::Gate;
use crate::topology::plans::Chosen;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Server {
    /// Makes what accepts, with the next share of the sockets. `None` for a plan in which each thread accepts for itself.
    pub(super) fn acceptor(
        &self,
        chosen: Chosen,
        sockets: &mut impl Iterator<Item = Vec<(u16, Listening)>>,
    ) -> Result<Option<Acceptor<EpollEngine<Connection>>>, Failure> {
        if chosen.ahead_threads == 0 {
            return Ok(None);
        }
        // It is reached as the threads of the home are, behind them.
        let number = chosen.io_threads;
        let engine = self.engine(number, sockets.next().unwrap_or_default())?;
        let connections = usize::try_from(self.orders.max_connections()).unwrap_or(usize::MAX);
        self.carried.store(self.orders.max_connections(), Ordering::Relaxed);
        let wakers = self.door.homes().iter().take(number).map(|home| Arc::clone(&home.waker));
        let gate = Gate::open(connections, wakers, RandomState::new().hash_one(number));
        let gate = gate.map_err(|error| Failure::system(&error, format!("cannot start: {error} (lower max_connections or io_threads)")))?;
        let (door, orders) = (Arc::clone(&self.door), Arc::clone(&self.orders));
        Ok(Some(Acceptor::new(engine, gate, door, orders, number, self.options.journey)))
    }

    /// It is no I/O thread by the count of those: the last of them to end has waited for it.
    pub(super) fn start_ahead(&self, life: &mut Life, acceptor: Acceptor<EpollEngine<Connection>>, place: Place) -> io::Result<()> {
        let work = move || {
            place.take();
            acceptor.run();
        };
        life.threads.start(&self.roll, "ingest-accept-0".to_owned(), false, work, |_| {})
    }
}
