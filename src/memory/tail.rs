//! What is sent behind a rendered head without being copied behind it: octets of our own, octets that the host lends, a file.
#![deny(unsafe_op_in_unsafe_fn)]

use std::os::fd::OwnedFd;

/// See the file's first line.
#[derive(Debug, Default)]
pub enum Tail {
    #[default]
    None,
    Octets(Vec<u8>),
    Lent(Lent),
    File(FilePart),
}

impl Tail {
    /// How many octets it is.
    pub fn len(&self) -> u64 {
        match self {
            Tail::None => 0,
            Tail::Octets(octets) => octets.len() as u64,
            Tail::Lent(lent) => lent.length as u64,
            Tail::File(part) => part.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_lent(&self) -> bool {
        matches!(self, Tail::Lent(_))
    }

    /// The octets, if they are in memory.
    pub fn octets(&self) -> &[u8] {
        match self {
            Tail::None | Tail::File(_) => &[],
            Tail::Octets(octets) => octets,
            Tail::Lent(lent) => lent.octets(),
        }
    }
}

/// A body that the host lends until the event RELEASED.
#[derive(Debug)]
pub struct Lent {
    start: *const u8,
    length: usize,
}

// SAFETY: whoever made it promised that the octets stay readable and unchanged, on whatever thread they are read.
unsafe impl Send for Lent {}
// SAFETY: as above; nobody writes.
unsafe impl Sync for Lent {}

impl Lent {
    /// # Safety
    /// The octets stay readable and unchanged until the host has been told RELEASED, or has freed the server.
    pub unsafe fn new(octets: &[u8]) -> Lent {
        Lent { start: octets.as_ptr(), length: octets.len() }
    }

    pub fn octets(&self) -> &[u8] {
        // SAFETY: promised where it was made; a `Lent` is dropped before RELEASED is told.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// A part of a file.
#[derive(Debug)]
pub struct FilePart {
    pub file: OwnedFd,
    pub offset: u64,
    pub length: u64,
}
