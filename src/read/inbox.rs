//! Octets that were read and not yet consumed: a partial head, or requests read ahead. An idle connection's is empty and owns nothing.
#![forbid(unsafe_code)]

use crate::engine::Landing;

/// Room made at least for the next read.
const STEP_BYTES: usize = 4 * 1024;

/// See the file's first line.
#[derive(Debug, Default)]
pub struct Inbox {
    carried: Vec<u8>,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    pub fn len(&self) -> usize {
        self.carried.len()
    }

    pub fn octets(&mut self) -> &mut [u8] {
        &mut self.carried
    }

    /// Where the next octets should land: behind what is carried, or in the slab when there is nothing.
    pub fn landing(&mut self) -> Landing {
        if self.carried.is_empty() {
            return Landing::Front;
        }
        let mut buffer = std::mem::take(&mut self.carried);
        if buffer.capacity() - buffer.len() < STEP_BYTES && buffer.try_reserve(STEP_BYTES).is_err() {
            // Without memory the window stays full; nothing can be received, which the caller sees.
            buffer.shrink_to_fit();
        }
        let most = buffer.capacity() - buffer.len();
        Landing::Buffer(buffer, most)
    }

    /// A receive brought the buffer back.
    pub fn put_back(&mut self, buffer: Vec<u8>) {
        self.carried = buffer;
    }

    /// Keeps octets for later. False when the allocator has no memory: then they are lost, and nothing after them can be understood.
    #[must_use]
    pub fn carry(&mut self, octets: &[u8]) -> bool {
        let has_room = self.carried.try_reserve(octets.len()).is_ok();
        if has_room {
            self.carried.extend_from_slice(octets);
        }
        has_room
    }

    /// Forgets the first octets; gives the memory back when nothing is left.
    pub fn consume(&mut self, count: usize) {
        if count >= self.carried.len() {
            self.carried = Vec::new();
        } else if count > 0 {
            self.carried.drain(..count);
            // A large head has gone, and what is left is small: the memory goes, too, as what is charged is what is carried.
            if self.carried.capacity() > 4 * (self.carried.len() + STEP_BYTES) {
                self.carried.shrink_to(self.carried.len() + STEP_BYTES);
            }
        }
    }

    /// Takes everything out, to be looked at while the connection changes.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carried)
    }
}
