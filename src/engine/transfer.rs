//! One receive and one send on a stream that is ready, whatever engine found it to be.
#![forbid(unsafe_code)]

use super::sys;
use super::{Landing, Outgoing, Window};
use crate::limits::{FILE_STEP_BYTES, FRONT_BYTES, SEND_PER_TICK_BYTES};
use crate::memory::tail::{FilePart, Tail};
use crate::memory::wire::Wire;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Where a receive that is under way puts its octets.
pub enum Held {
    Slab,
    Front,
    Buffer(Vec<u8>),
}

impl Held {
    /// What was received, as the event says it.
    pub fn filled(self, count: usize) -> Window {
        match self {
            Held::Slab | Held::Front => Window::Slab(count),
            Held::Buffer(buffer) => Window::Buffer(buffer, count),
        }
    }

    /// Nothing came: the wish as it was.
    pub fn landing(self, wanted: usize) -> Landing {
        match self {
            Held::Slab => Landing::Slab,
            Held::Front => Landing::Front,
            Held::Buffer(buffer) => Landing::Buffer(buffer, wanted),
        }
    }
}

/// One receive: what came of it, how much was asked for, and where it went.
pub fn receive(stream: RawFd, landing: Landing, slab: &mut [u8]) -> (io::Result<usize>, usize, Held) {
    match landing {
        Landing::Slab => (sys::receive(stream, slab), slab.len(), Held::Slab),
        Landing::Front => {
            let front = slab.len().min(FRONT_BYTES);
            (sys::receive(stream, &mut slab[..front]), front, Held::Front)
        }
        Landing::Buffer(mut buffer, most) => {
            let wanted = most.min(buffer.capacity() - buffer.len());
            if wanted == 0 {
                // The buffer could not be made larger. A receive of nothing would look like the end of the stream.
                return (Err(ErrorKind::WouldBlock.into()), most, Held::Buffer(buffer));
            }
            (sys::receive_behind(stream, &mut buffer, wanted), wanted, Held::Buffer(buffer))
        }
    }
}

impl Wire for OwnedFd {
    fn send(&self, pieces: [&[u8]; 3]) -> Option<usize> {
        let [first, second, third] = pieces;
        let sent = if first.is_empty() && third.is_empty() {
            sys::send(self.as_raw_fd(), second)
        } else {
            sys::send_pieces(self.as_raw_fd(), pieces)
        };
        sent.ok()
    }
}

/// How far a send has got.
pub enum Pushed {
    All,
    /// The kernel takes no more; an event will say when it does.
    Blocked,
    /// The kernel would take more, but others have their turn first.
    Tired,
}

/// Sends until everything is out, the kernel takes no more, or one seat has had its share of a tick. With `piecemeal` a file is
/// read into that buffer and sent from there, else the kernel sends it.
pub fn push_out(stream: RawFd, outgoing: &mut Outgoing, piecemeal: Option<&mut Vec<u8>>) -> io::Result<Pushed> {
    if matches!(outgoing.tail, Tail::None) {
        return push_plain(stream, outgoing);
    }
    let mut piecemeal = piecemeal;
    let enough = outgoing.sent.saturating_add(SEND_PER_TICK_BYTES);
    while outgoing.sent < outgoing.len() {
        if outgoing.sent >= enough {
            return Ok(Pushed::Tired);
        }
        match push_once(stream, outgoing, piecemeal.as_deref_mut()) {
            // A file that became shorter: what was announced cannot be sent any more.
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => outgoing.sent += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Pushed::Blocked),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Pushed::All)
}

/// What nearly every answer is: one piece, no longer than what is gathered before a send.
fn push_plain(stream: RawFd, outgoing: &mut Outgoing) -> io::Result<Pushed> {
    let mut sent = outgoing.sent as usize;
    while sent < outgoing.first.len() {
        match sys::send(stream, &outgoing.first[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                outgoing.sent = sent as u64;
                return Ok(Pushed::Blocked);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    outgoing.sent = sent as u64;
    Ok(Pushed::All)
}

fn push_once(stream: RawFd, outgoing: &Outgoing, piecemeal: Option<&mut Vec<u8>>) -> io::Result<usize> {
    let head = &outgoing.first[usize::try_from(outgoing.sent).map_or(outgoing.first.len(), |sent| sent.min(outgoing.first.len()))..];
    let past = outgoing.sent.saturating_sub(outgoing.first.len() as u64);
    if let Tail::File(part) = &outgoing.tail {
        if !head.is_empty() {
            // What follows at once should travel in the same packet.
            return sys::send_with_more(stream, head);
        }
        let most = usize::try_from(part.length - past).unwrap_or(usize::MAX);
        let Some(buffer) = piecemeal else {
            let sent = sys::send_file(stream, &part.file, part.offset + past, most.min(FILE_STEP_BYTES));
            // Where the call is not to be had, or not for this file, the octets go through us (limits, S24).
            return if sent.as_ref().is_err_and(sys::lacks_call) { send_piece(stream, part, past, most, &mut Vec::new()) } else { sent };
        };
        return send_piece(stream, part, past, most, buffer);
    }
    let rest = outgoing.tail.octets().get(usize::try_from(past).unwrap_or(usize::MAX)..).unwrap_or(&[]);
    let rest = &rest[..rest.len().min(SEND_PER_TICK_BYTES as usize)];
    match (head.is_empty(), rest.is_empty()) {
        (false, false) => sys::send_pieces(stream, [head, rest, &[]]),
        (false, true) => sys::send(stream, head),
        (true, _) => sys::send(stream, rest),
    }
}

/// Reads a piece of the file and sends it; what the kernel does not take is read again later.
fn send_piece(stream: RawFd, part: &FilePart, past: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize(FILE_STEP_BYTES, 0);
    let count = sys::read_at(&part.file, &mut buffer[..most.min(FILE_STEP_BYTES)], part.offset + past)?;
    if count == 0 { Ok(0) } else { sys::send(stream, &buffer[..count]) }
}
