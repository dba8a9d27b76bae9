//! The stations parse and decode over the octets of one connection, the same for whichever segment holds them.
#![forbid(unsafe_code)]

use crate::connection::exchange::Exchange;
use crate::connection::http1::{Origin, Step};
use crate::connection::{Connection, Ending, Tools};
use crate::respond::encode;

/// A thread that holds these stations.
pub trait Holder {
    fn tools(&mut self, read_ns: u64) -> Tools<'_>;
    /// A request is complete: on to the next station.
    fn complete(&mut self, connection: &mut Connection, exchange: Exchange);
}

/// Octets that belong to nobody yet: what is not used of them is carried over in the inbox.
#[inline]
pub fn window<H: Holder>(holder: &mut H, connection: &mut Connection, octets: &mut [u8], read_ns: u64) {
    let used = advance(holder, connection, octets, read_ns);
    if used < octets.len() && connection.ending == Ending::Open {
        connection.inbox.carry(&octets[used..]);
    }
}

/// Octets that were carried over, perhaps with new ones behind them.
#[inline]
pub fn inbox<H: Holder>(holder: &mut H, connection: &mut Connection, read_ns: u64) {
    let mut inbox = std::mem::take(&mut connection.inbox);
    let used = advance(holder, connection, inbox.octets(), read_ns);
    inbox.consume(used);
    connection.inbox = inbox;
}

/// A body's own buffer, with `count` new octets at its end.
pub fn body<H: Holder>(holder: &mut H, connection: &mut Connection, buffer: Vec<u8>, count: usize) {
    let mut beyond = Vec::new();
    match connection.protocol.received(buffer, count, &mut beyond, &mut holder.tools(0)) {
        Ok(Step::Deliver(exchange)) => holder.complete(connection, exchange),
        Ok(Step::Wait | Step::Continue) => {}
        Err(refusal) => connection.protocol.refuse(refusal),
    }
    if !beyond.is_empty() {
        connection.inbox.carry(&beyond);
    }
}

/// Runs the protocol over the octets; returns how many are done with.
#[inline]
fn advance<H: Holder>(holder: &mut H, connection: &mut Connection, octets: &mut [u8], read_ns: u64) -> usize {
    let (mut at, mut read_ns) = (0, read_ns);
    loop {
        let origin = Origin {
            listener: connection.listener,
            scheme: connection.session.scheme(),
            secure: connection.session.is_secure(),
            peer: &connection.peer,
            accept_ns: connection.accept_ns,
        };
        match connection.protocol.step(octets, &mut at, origin, &mut holder.tools(read_ns)) {
            Ok(Step::Deliver(exchange)) => holder.complete(connection, exchange),
            Ok(Step::Continue) => connection.outbox.first.extend_from_slice(encode::CONTINUE),
            Ok(Step::Wait) => return at,
            Err(refusal) => {
                connection.protocol.refuse(refusal);
                return octets.len();
            }
        }
        read_ns = 0;
    }
}
