//! What the answer has to know about its request: from the head, from what the connection has served, and from how long its client waits.
#![forbid(unsafe_code)]

use super::Http1;
use crate::connection::Tools;
use crate::connection::exchange::{Deadline, Terms};
use crate::decode::deadline::{Header, Wait};
use crate::parse::sketch::Sketch;

impl Http1 {
    pub(super) fn terms(&self, safe: bool, head: &[u8], tools: &Tools<'_>) -> Terms {
        let sketch = &*tools.sketch;
        let keep_alive = sketch.keep_alive && self.served + 1 < tools.limits.requests_per_connection;
        let head_only = sketch.flags & crate::request::INGEST_REQUEST_HEAD != 0;
        let left_coded = !tools.limits.decode && !sketch.coding_lines.is_empty();
        let deadline = match &tools.limits.deadline_header {
            None => Deadline::NONE,
            Some(header) => deadline(header, sketch, head, self.head_began_ns),
        };
        Terms { http_version: sketch.http_version, safe, head_only, keep_alive, left_coded, streamed: false, deadline }
    }
}

/// Counted from the first octet of the head on: nothing here knows better when the client began to wait.
#[inline(never)]
fn deadline(header: &Header, sketch: &Sketch, head: &[u8], began_ns: u64) -> Deadline {
    let mut named = sketch.headers.iter().filter(|line| header.is_named(line.name.of(head)));
    let Some(line) = named.next() else { return Deadline::NONE };
    match header.read(line.value.of(head)) {
        // Which of several is meant nobody can know.
        Wait::Milliseconds(ms) if named.next().is_none() => Deadline::at(began_ns / 1_000_000 + ms),
        _ => Deadline::UNREAD,
    }
}
