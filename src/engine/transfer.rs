//! One receive and one send on a stream that is ready, whatever engine found it to be.
#![forbid(unsafe_code)]

use super::sys;
use super::{Landing, Outgoing, Window};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// Where a receive that is under way puts its octets.
pub enum Held {
    Slab,
    Buffer(Vec<u8>),
}

impl Held {
    /// What was received, as the event says it.
    pub fn filled(self, count: usize) -> Window {
        match self {
            Held::Slab => Window::Slab(count),
            Held::Buffer(buffer) => Window::Buffer(buffer, count),
        }
    }

    /// Nothing came: the wish as it was.
    pub fn landing(self, wanted: usize) -> Landing {
        match self {
            Held::Slab => Landing::Slab,
            Held::Buffer(buffer) => Landing::Buffer(buffer, wanted),
        }
    }
}

/// One receive: what came of it, how much was asked for, and where it went.
pub fn receive(stream: RawFd, landing: Landing, slab: &mut [u8]) -> (io::Result<usize>, usize, Held) {
    match landing {
        Landing::Slab => (sys::receive(stream, slab), slab.len(), Held::Slab),
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

/// Sends until everything is out (true) or the kernel takes no more (false: an event will say when it does).
pub fn push_out(stream: RawFd, outgoing: &mut Outgoing) -> io::Result<bool> {
    while outgoing.sent < outgoing.len() {
        let (first, second) = outgoing.rest();
        let result = if second.is_empty() {
            sys::send(stream, first)
        } else if first.is_empty() {
            sys::send(stream, second)
        } else {
            sys::send_pair(stream, first, second)
        };
        match result {
            Ok(count) => outgoing.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
