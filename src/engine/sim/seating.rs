//! One look at a seat: what of its receive, its send and its end completes now.
#![forbid(unsafe_code)]

use super::{LinkId, Network, SimEngine};
use crate::engine::{Event, Landing, Outgoing, SeatId, Window, sys};
use crate::limits::FRONT_BYTES;
use crate::memory::tail::Tail;
use std::io::{self, ErrorKind};

/// The most that one step of a send copies.
const STEP_BYTES: usize = 64 * 1024;

impl<B> SimEngine<B> {
    pub(super) fn look(&mut self, id: SeatId, slab: &mut [u8]) -> Option<Event> {
        let link = self.link(id)?;
        let (reset, unread, finished, sends_first) = self.network.with(|net| {
            let sends_first = net.random.chance(500);
            let link = net.link_mut(link);
            (link.reset, link.inbound.len(), link.inbound_finished, sends_first)
        });
        let seat = self.seats.get(id)?;
        if seat.outgoing.is_some() && sends_first {
            return self.go_on_sending(id, link);
        }
        let wants = seat.landing.is_some() && !self.receives_paused;
        if reset {
            // What came before the reset may or may not be read.
            let read_first = wants && unread > 0 && sends_first;
            return if read_first { self.receive_piece(id, link, slab) } else { Some(Event::Broken(id)) };
        }
        if wants && unread > 0 {
            return self.receive_piece(id, link, slab);
        }
        if finished && wants {
            seat.landing = None;
            return Some(Event::ReadClosed(id));
        }
        if finished && !wants && !seat.finish_told {
            seat.finish_told = true;
            return Some(Event::Finished(id));
        }
        if seat.outgoing.is_some() { self.go_on_sending(id, link) } else { None }
    }

    fn receive_piece(&mut self, id: SeatId, link: LinkId, slab: &mut [u8]) -> Option<Event> {
        let timed = std::mem::take(&mut self.timed);
        let seat = self.seats.get(id)?;
        let window = match seat.landing.take()? {
            place @ (Landing::Slab | Landing::Front) => {
                let most = if matches!(place, Landing::Front) { slab.len().min(FRONT_BYTES) } else { slab.len() };
                let octets = self.network.with(|net| net.server_reads(link, most));
                slab[..octets.len()].copy_from_slice(&octets);
                Window::Slab(octets.len())
            }
            Landing::Buffer(mut buffer, most) => {
                let wanted = most.min(buffer.capacity() - buffer.len());
                if wanted == 0 {
                    // The buffer could not be made larger: nothing can be received.
                    seat.landing = Some(Landing::Buffer(buffer, most));
                    return None;
                }
                let octets = self.network.with(|net| net.server_reads(link, wanted));
                buffer.extend_from_slice(&octets);
                Window::Buffer(buffer, octets.len())
            }
        };
        Some(Event::Received { seat: id, window, read_ns: u64::from(timed) })
    }

    fn go_on_sending(&mut self, id: SeatId, link: LinkId) -> Option<Event> {
        let seat = self.seats.get(id)?;
        let outgoing = seat.outgoing.as_mut()?;
        let before = outgoing.sent;
        match push_out(&self.network, link, outgoing) {
            Ok(true) => {
                self.network.with(|net| net.link_mut(link).sending = false);
                seat.outgoing.take().map(|outgoing| Event::Sent(id, *outgoing))
            }
            Ok(false) => (outgoing.sent > before).then_some(Event::SendProgressed(id, outgoing.sent)),
            Err(_) => Some(Event::Broken(id)),
        }
    }
}

/// Sends a piece, or several. True when all of it is sent.
pub(super) fn push_out(network: &Network, link: LinkId, outgoing: &mut Outgoing) -> io::Result<bool> {
    while outgoing.sent < outgoing.len() {
        let room = network.with(|net| net.server_room(link)).ok_or(ErrorKind::BrokenPipe)?;
        let octets = next_octets(outgoing, room.min(STEP_BYTES))?;
        if octets.is_empty() {
            return Ok(false);
        }
        network.with(|net| net.server_writes(link, &octets));
        outgoing.sent += octets.len() as u64;
        if network.with(|net| net.random.chance(net.chaos.short_sends)) {
            break;
        }
    }
    Ok(outgoing.sent == outgoing.len())
}

/// At most so many of the octets that come next.
fn next_octets(outgoing: &Outgoing, most: usize) -> io::Result<Vec<u8>> {
    let first = outgoing.first.len() as u64;
    if most == 0 {
        return Ok(Vec::new());
    }
    if outgoing.sent < first {
        let rest = &outgoing.first[outgoing.sent as usize..];
        return Ok(rest[..rest.len().min(most)].to_vec());
    }
    let past = outgoing.sent - first;
    if let Tail::File(part) = &outgoing.tail {
        let mut octets = vec![0; (most as u64).min(part.length - past) as usize];
        let count = sys::read_at(&part.file, &mut octets, part.offset + past)?;
        octets.truncate(count);
        return if count == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(octets) };
    }
    let rest = outgoing.tail.octets().get(past as usize..).unwrap_or(&[]);
    Ok(rest[..rest.len().min(most)].to_vec())
}
