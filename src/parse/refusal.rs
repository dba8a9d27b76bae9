//! What a peer did that we do not serve: a status and one line of text, after which the connection closes.
#![forbid(unsafe_code)]

/// The answer to a request that is refused before it reaches the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 408, 413, 414, 415, 421, 431, 501, 503, 504 or 505.
    pub status: u16,
    /// Where in the body, or `NOWHERE`.
    at: u32,
    /// One line for people: lower case, no full stop, what and what to do.
    pub text: &'static str,
}

const NOWHERE: u32 = u32::MAX;

impl Refusal {
    pub const fn new(status: u16, text: &'static str) -> Self {
        Refusal { status, at: NOWHERE, text }
    }

    /// The same, with the octet of the body that it is about.
    pub fn at(self, offset: usize) -> Self {
        Refusal { at: u32::try_from(offset).unwrap_or(NOWHERE), ..self }
    }

    /// The octet of the body that it is about.
    pub fn offset(&self) -> Option<u32> {
        (self.at != NOWHERE).then_some(self.at)
    }
}
