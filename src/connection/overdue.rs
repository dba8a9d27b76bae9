//! Which deadline of a connection is next, and what it means when it has passed.
#![forbid(unsafe_code)]

use super::{Connection, Ending};
use crate::limits::{Limits, RATE_GRACE_MS};

/// How often in a `write_timeout` the kernel is asked whether a peer reads. It says by itself that it takes more only when a third of its
/// buffer is free, and that may be more than a megabyte: a peer that reads steadily would take minutes for it.
const LOOKS: u64 = 4;

/// What a connection is waiting for, longest allowed first. One at a time is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The handshake took too long: close.
    Handshake,
    /// The peer does not read, or too slowly: RST.
    Write,
    /// The kernel takes no more for a while: it is asked whether the peer reads.
    Look,
    /// The peer does not close after our FIN: RST.
    Linger,
    /// The oldest request has waited too long in the queue: 503.
    Queue,
    /// The host has not answered the oldest request: 504.
    Response,
    /// The first octet, or the rest of a head, did not come: 408.
    Head,
    /// The body stalled, or comes too slowly: 408.
    Body,
    /// Nobody has asked anything for long: close.
    KeepAlive,
}

impl Connection {
    /// The next deadline and what it is for; `None` while nothing is waited for.
    pub fn deadline(&self, limits: &Limits) -> Option<(u64, Overdue)> {
        if let (Some(until_ms), Ending::Open) = (self.session.handshake_until_ms(), self.ending) {
            // Also while its own octets are on their way out, so that a peer which reads nothing gains no time.
            return Some((until_ms, Overdue::Handshake));
        }
        if self.sending {
            let slow = at_least(limits.write_rate_min, self.sending_since_ms, self.sent.max(self.acknowledged));
            let end_ms = after(self.since_ms, limits.write_timeout_ms).min(slow);
            let look_ms = after(self.since_ms.max(self.looked_ms), (limits.write_timeout_ms / LOOKS).max(1));
            // Nobody is called slow before the kernel was asked what they have taken until then.
            let unasked = end_ms == slow && self.looked_ms < slow;
            if look_ms < end_ms {
                return Some((look_ms, Overdue::Look));
            }
            return Some(if unasked { (slow, Overdue::Look) } else { (end_ms, Overdue::Write) });
        }
        if self.ending == Ending::Lingering {
            return Some((after(self.since_ms, limits.linger_timeout_ms), Overdue::Linger));
        }
        if let Some(oldest) = self.protocol.oldest() {
            // Of a streamed body the peer is waited for although its request is with the host, and the host is not blamed then.
            let body = if self.protocol.upload_comes() { self.body_deadline(limits) } else { None };
            let on_peer = body.is_some() && self.protocol.upload_slot() == Some(oldest.slot) && !oldest.queued;
            if oldest.begun || oldest.answered || on_peer {
                // A stream lasts as long as the host wants; that the peer reads it is looked at while it is sent. So it is while an
                // answer, which is here, waits behind a large one that is sealed a portion a tick: the host was in time.
                return body;
            }
            // What is answered behind it waits for its elders only.
            let (allowed, what) = if oldest.queued {
                (limits.queue_age_ms.min(limits.response_timeout_ms), Overdue::Queue)
            } else {
                (limits.response_timeout_ms, Overdue::Response)
            };
            let at_ms = after(oldest.at_ms, allowed).min(oldest.terms.deadline.at_ms());
            return body.into_iter().chain([(at_ms, what)]).min_by_key(|(at_ms, _)| *at_ms);
        }
        if self.protocol.is_suspended() {
            // It waits for its turn, not for the peer.
            return None;
        }
        if let Some(body) = self.body_deadline(limits) {
            return Some(body);
        }
        if let Some(began_ms) = self.protocol.head_began_ms() {
            return Some((after(began_ms, limits.header_timeout_ms), Overdue::Head));
        }
        if self.protocol.served() == 0 {
            return Some((after(self.since_ms, limits.header_timeout_ms), Overdue::Head));
        }
        Some((after(self.since_ms, limits.keepalive_timeout_ms), Overdue::KeepAlive))
    }

    /// Until when octets of the body that is coming have to come.
    fn body_deadline(&self, limits: &Limits) -> Option<(u64, Overdue)> {
        let (began_ms, arrived) = self.protocol.body_so_far()?;
        // A record shows what is in it when it is whole; until then its octets count as they come.
        let arrived = arrived + self.session.carried() as u64;
        let slow = at_least(limits.body_rate_min, began_ms, arrived);
        Some((after(self.since_ms, limits.body_timeout_ms).min(slow), Overdue::Body))
    }
}

impl Connection {
    /// The kernel was asked: so many octets are not acknowledged. If they were more before, the peer reads.
    pub fn looked(&mut self, unacknowledged: u64, now_ms: u64) {
        if unacknowledged < self.unacknowledged {
            self.since_ms = now_ms;
            self.acknowledged += self.unacknowledged - unacknowledged;
        }
        self.unacknowledged = unacknowledged;
        self.looked_ms = now_ms;
    }
}

/// Until when so many octets are fast enough: the grace, and the time that they may take at the least rate. A rate of zero
/// is none.
fn at_least(rate: u64, began_ms: u64, octets: u64) -> u64 {
    let allowed_ms = octets.saturating_mul(1000).checked_div(rate).unwrap_or(u64::MAX);
    began_ms.saturating_add(RATE_GRACE_MS).saturating_add(allowed_ms)
}

fn after(since_ms: u64, allowed_ms: u64) -> u64 {
    since_ms.saturating_add(allowed_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::Peer;
    use crate::connection::exchange::{Deadline, Pending, Terms};
    use crate::decrypt::Session;

    #[test]
    fn only_what_is_not_answered_can_be_late() {
        let mut connection = Connection::new(0, Peer::unnamed(), Session::Plain, 7);
        let terms = Terms {
            http_version: 11,
            safe: true,
            head_only: false,
            keep_alive: true,
            left_coded: false,
            streamed: false,
            deadline: Deadline::NONE,
        };
        connection.protocol.push_pending(Pending::new(3, terms, 50));
        connection.protocol.oldest_mut().unwrap().queued = false;
        let limits = Limits::default();
        assert_eq!(connection.deadline(&limits), Some((50 + limits.response_timeout_ms, Overdue::Response)));
        connection.protocol.oldest_mut().unwrap().terms.deadline = Deadline::at(70);
        assert_eq!(connection.deadline(&limits), Some((70, Overdue::Response)), "its client does not wait longer");
        assert!(connection.protocol.mark_answered(3, false));
        assert_eq!(connection.deadline(&limits), None);
    }
}
