//! The options that say how a body reaches the host.
#![forbid(unsafe_code)]

use super::row::*;
use super::values;
use crate::limits::BodyPolicy;

const POLICIES: [(&str, BodyPolicy); 3] = [("buffer", BodyPolicy::Buffer), ("stream", BodyPolicy::Stream), ("spool", BodyPolicy::Spool)];

pub(super) const POLICY: Row = live(word(
    "body",
    "buffer",
    "buffer,stream,spool",
    |o, v| values::choose(v, &POLICIES).map(|policy| o.limits.body = policy),
    "how a body reaches the host: whole, in events as it arrives, or, from body_buffer_max on, as a file",
));

pub(super) const BUFFER_MAX: Row = live(size(
    "body_buffer_max",
    "64KiB",
    (0, TIB, None),
    |o, n| o.limits.body_buffer_max = n,
    "with body=stream, an announced length up to this is delivered whole all the same, unless the body is coded; with body=spool, a body \
     up to this (decoded) is in memory, a larger one in a file",
));

pub(super) const WINDOW: Row = live(size(
    "body_window",
    "256KiB",
    (16 << 10, 1 << 30, None),
    |o, n| o.limits.body_window = n,
    "octets of one streamed body that may wait for the host and its credit; at that, reading stops",
));

pub(super) const SPOOL_DIR: Row = text(
    "spool_dir",
    "/var/tmp",
    "",
    |o, v| values::kept(v).map(|text| o.spool_dir = text),
    "with body=spool, the folder that files without a name are made in; the word memory has them in memory, beside memory_max",
);

pub(super) const SPOOL_MAX: Row = live(size(
    "spool_max",
    "1GiB",
    (1, TIB, NO_LIMIT),
    |o, n| o.limits.spool_max = n,
    "octets of all files of bodies together; a body that is larger gets 413, one that finds no room now 503",
));
