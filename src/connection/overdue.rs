//! Which deadline of a connection is next, and what it means when it has passed.
#![forbid(unsafe_code)]

use super::{Connection, Ending};
use crate::limits::Limits;

/// What a connection is waiting for, longest allowed first. One at a time is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The peer does not read: RST.
    Write,
    /// The peer does not close after our FIN: RST.
    Linger,
    /// The oldest request has waited too long in the queue: 503.
    Queue,
    /// The host has not answered the oldest request: 504.
    Response,
    /// The first octet, or the rest of a head, did not come: 408.
    Head,
    /// The body stalled: 408.
    Body,
    /// Nobody has asked anything for long: close.
    KeepAlive,
}

impl Connection {
    /// The next deadline and what it is for; `None` while nothing is waited for.
    pub fn deadline(&self, limits: &Limits) -> Option<(u64, Overdue)> {
        if self.sending {
            return Some((after(self.since_ms, limits.write_timeout_ms), Overdue::Write));
        }
        if self.ending == Ending::Lingering {
            return Some((after(self.since_ms, limits.linger_timeout_ms), Overdue::Linger));
        }
        if let Some(oldest) = self.protocol.oldest() {
            // What is answered already waits for its elders only.
            let (allowed, what) = if oldest.queued {
                (limits.queue_age_ms.min(limits.response_timeout_ms), Overdue::Queue)
            } else {
                (limits.response_timeout_ms, Overdue::Response)
            };
            return Some((after(oldest.at_ms, allowed), what));
        }
        if self.protocol.in_body() {
            return Some((after(self.since_ms, limits.body_timeout_ms), Overdue::Body));
        }
        if let Some(began_ms) = self.protocol.head_began_ms() {
            return Some((after(began_ms, limits.header_timeout_ms), Overdue::Head));
        }
        if self.protocol.served() == 0 {
            return Some((after(self.since_ms, limits.header_timeout_ms), Overdue::Head));
        }
        Some((after(self.since_ms, limits.keepalive_timeout_ms), Overdue::KeepAlive))
    }
}

fn after(since_ms: u64, allowed_ms: u64) -> u64 {
    since_ms.saturating_add(allowed_ms)
}
