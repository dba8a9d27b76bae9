//! The options that say when a request is refused although there is room for it: it has waited too long, or nobody waits for it.
#![forbid(unsafe_code)]

use super::row::*;
use crate::decode::deadline::Header;
use std::sync::Arc;

pub(super) const DELAY_TARGET: Row = live(duration(
    "queue_delay_target",
    "off",
    (1, DAY_MS, OFF),
    |o, n| o.limits.queue_delay_target_ms = n,
    "how long requests may wait in a queue that stands; once all that leave it have waited longer for queue_delay_interval, those that have \
     waited twice as long are answered 503 with Retry-After, oldest first; off refuses nothing for it",
));

pub(super) const DELAY_INTERVAL: Row = live(duration(
    "queue_delay_interval",
    "100ms",
    (1, DAY_MS, None),
    |o, n| o.limits.queue_delay_interval_ms = n,
    "how long a burst may keep a queue above queue_delay_target",
));

pub(super) const DEADLINE_HEADER: Row = live(text(
    "deadline_header",
    "",
    "",
    |o, v| header(v).map(|header| o.limits.deadline_header = header),
    "name of the field in which a client says how long it waits: seconds as 2 or 2.5, or 250ms; without a unit in milliseconds if the name \
     ends with -ms; what is not over by then is answered 503 if the host has not begun with it, else 504; empty looks for none",
));

fn header(name: &str) -> Result<Option<Arc<Header>>, String> {
    match Header::new(name) {
        _ if name.is_empty() => Ok(None),
        Some(header) => Ok(Some(Arc::new(header))),
        None => Err("it is the name of a header field, as in Request-Timeout".to_owned()),
    }
}
