//! What a peer did that we do not serve: a status and one line of text, after which the connection closes.
#![forbid(unsafe_code)]

/// The answer to a request that is refused before it reaches the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 408, 413, 414, 415, 421, 431, 501, 503, 504 or 505.
    pub status: u16,
    /// Where in the body, or `NOWHERE`.
    at: u32,
    /// The answer lists the codings that a body may have.
    lists_codings: bool,
    /// One line for people: lower case, no full stop, what and what to do.
    pub text: &'static str,
}

const NOWHERE: u32 = u32::MAX;

impl Refusal {
    pub const fn new(status: u16, text: &'static str) -> Self {
        Refusal { status, at: NOWHERE, lists_codings: false, text }
    }

    /// The same, with the octet of the body that it is about.
    pub fn at(self, offset: usize) -> Self {
        Refusal { at: u32::try_from(offset).unwrap_or(NOWHERE), ..self }
    }

    /// The same, when the offset counts from the octet `start`.
    pub fn behind(self, start: usize) -> Self {
        self.offset().map_or(self, |offset| self.at(start.saturating_add(offset as usize)))
    }

    /// The same, about content-codings: the answer says which there are (RFC 9110 section 15.5.16).
    pub const fn listing_codings(self) -> Self {
        Refusal { lists_codings: true, ..self }
    }

    pub fn lists_codings(&self) -> bool {
        self.lists_codings
    }

    /// The octet of the body that it is about.
    pub fn offset(&self) -> Option<u32> {
        (self.at != NOWHERE).then_some(self.at)
    }
}
