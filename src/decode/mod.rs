//! Step five, decode: `finish` adds path, query pairs and cookies to a parsed head. No I/O, no clock.
#![forbid(unsafe_code)]

pub mod content;
pub mod cookies;
pub mod query;
pub mod target;

use crate::parse::refusal::Refusal;
use crate::parse::sketch::Sketch;

/// Fills path, query, query pairs and cookies. What needs no decoding stays where it is in `head` and is only pointed at.
pub fn finish(sketch: &mut Sketch, head: &[u8]) -> Result<(), Refusal> {
    target::split(sketch, head);
    if sketch.query.len > 0 {
        query::split(sketch, head)?;
    }
    if !sketch.cookie_lines.is_empty() {
        cookies::split(sketch, head)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
