//! An answer on its way from the host's thread to the thread that owns the connection.
#![forbid(unsafe_code)]

use super::tail::Tail;

/// What a host asked for when it used its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyKind {
    Answer,
    /// The answer that was begun is complete; its octets hang on the slot's stream.
    Streamed,
    /// Close the connection without an answer.
    #[default]
    Abandon,
    /// The right to answer had ended already; only the memory comes back.
    Release,
    /// It waited longer than `queue_age` for a consumer.
    Aged,
    /// It waited in a queue that stands, and too long for `queue_delay_target`.
    Shed,
    /// Its client waited no longer when a consumer came to it.
    Late,
    /// A consumer has taken the last event of a request that was answered before.
    Told,
}

impl ReplyKind {
    /// An answer that is sent.
    pub fn is_sent(self) -> bool {
        matches!(self, ReplyKind::Answer | ReplyKind::Streamed)
    }

    /// A consumer refused it; the host has never seen it.
    pub fn is_unserved(self) -> bool {
        matches!(self, ReplyKind::Aged | ReplyKind::Shed | ReplyKind::Late)
    }

    /// The host held the request until now.
    pub fn was_held(self) -> bool {
        !matches!(self, ReplyKind::Told) && !self.is_unserved()
    }
}

/// An answer, flattened by the thread that gave it.
#[derive(Debug, Default)]
pub struct Reply {
    pub kind: ReplyKind,
    pub status: u16,
    /// The host asked for the connection to be closed after it.
    pub close: bool,
    /// The host's fields bring a Date of their own.
    pub has_date: bool,
    /// Rendered field lines, the empty line that ends a head, then the body if it was copied: as they stand on the wire.
    pub block: Vec<u8>,
    /// Where the body begins.
    pub body_at: usize,
    /// The body, if it was not copied.
    pub tail: Tail,
}

impl Reply {
    /// Makes it an empty one of this kind; the buffer is kept.
    #[inline]
    pub fn begin(&mut self, kind: ReplyKind) {
        self.kind = kind;
        self.status = 0;
        self.close = false;
        self.has_date = false;
        self.block.clear();
        self.body_at = 0;
        if !matches!(self.tail, Tail::None) {
            self.tail = Tail::None;
        }
    }

    /// Octets of the body.
    pub fn body_len(&self) -> u64 {
        (self.block.len() - self.body_at) as u64 + self.tail.len()
    }
}
