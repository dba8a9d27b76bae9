//! What the simulated host means to do with each request, decided before anything runs.

/// How a request is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Answers,
    /// Gives it back to the queue once, then answers.
    Returns,
    /// Answers, then answers again, ends, and abandons.
    Twice,
    Abandons,
    /// Neither, until the end of the world.
    Never,
    /// In pieces; the length is announced or not.
    Streams {
        announced: bool,
    },
    /// Begins and never ends it; two of three are given up in the middle of its body.
    Breaks {
        announced: bool,
    },
}

/// How the host gives the octets of a streamed body back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    AtOnce,
    /// A part of what it has at a time.
    Pieces,
    /// All of it, so long after the last piece.
    Late {
        after_ms: u64,
    },
    /// Not before the end of the world.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub how: How,
    pub after_ms: u64,
    pub length: usize,
    pub status: u16,
    pub lends: bool,
    pub closes: bool,
    /// Tries what must be refused before.
    pub errs: bool,
    pub interim: bool,
    /// Deals with a request although its body is still coming.
    pub early: bool,
    pub credit: Credit,
}

impl Plan {
    /// Whether its connection may end by it without an answer.
    pub fn cuts(&self) -> bool {
        matches!(self.how, How::Abandons | How::Never | How::Breaks { .. }) || self.after_ms > 10_000
    }
}
