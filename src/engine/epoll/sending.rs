//! A send that the kernel took only a part of: going on with it, in turn with the others.
#![forbid(unsafe_code)]

use super::EpollEngine;
use crate::engine::transfer::{Pushed, push_out};
use crate::engine::{Event, SeatId};
use std::os::fd::AsRawFd;

impl<B> EpollEngine<B> {
    pub(super) fn go_on_sending(&mut self, id: SeatId) -> Option<Event> {
        let seat = self.seats.get(id)?;
        let stream = seat.stream.as_ref()?.as_raw_fd();
        let outgoing = seat.outgoing.as_mut()?;
        let before = outgoing.sent;
        let pushed = push_out(stream, outgoing, self.piecemeal.as_mut());
        let sent = outgoing.sent;
        match pushed {
            Ok(Pushed::All) => return seat.outgoing.take().map(|outgoing| Event::Sent(id, *outgoing)),
            Ok(Pushed::Tired) => self.tire(id),
            Ok(Pushed::Blocked) => {}
            Err(_) => return Some(Event::Broken(id)),
        }
        (sent > before).then_some(Event::SendProgressed(id, sent))
    }

    /// Goes on with this seat's send in the next tick.
    pub(super) fn tire(&mut self, id: SeatId) {
        if let Some(seat) = self.seats.get(id) {
            if !std::mem::replace(&mut seat.tired, true) {
                self.tired.push_back(id);
            }
        }
    }
}
