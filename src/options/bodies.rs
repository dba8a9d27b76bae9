//! The options that say how a body reaches the host.
#![forbid(unsafe_code)]

use super::row::*;
use super::values;
use crate::limits::BodyPolicy;

const POLICIES: [(&str, BodyPolicy); 2] = [("buffer", BodyPolicy::Buffer), ("stream", BodyPolicy::Stream)];

pub(super) const POLICY: Row = live(word(
    "body",
    "buffer",
    "buffer,stream,spool",
    |o, v| policy(v).map(|policy| o.limits.body = policy),
    "how a body reaches the host: whole, in events as it arrives, or as a descriptor (spool is not built yet)",
));

pub(super) const BUFFER_MAX: Row = live(size(
    "body_buffer_max",
    "64KiB",
    (0, TIB, None),
    |o, n| o.limits.body_buffer_max = n,
    "with body=stream, an announced length up to this is delivered whole all the same, unless the body is coded",
));

pub(super) const WINDOW: Row = live(size(
    "body_window",
    "256KiB",
    (16 << 10, 1 << 30, None),
    |o, n| o.limits.body_window = n,
    "octets of one streamed body that may wait for the host and its credit; at that, reading stops",
));

/// The policy that a word names; one that is known and not built yet is said to be that.
fn policy(value: &str) -> Result<BodyPolicy, String> {
    match value {
        "spool" => Err("spool is not built yet (use buffer or stream)".to_owned()),
        _ => values::choose(value, &POLICIES),
    }
}
