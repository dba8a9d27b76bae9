//! Step five, decode: `finish` adds path, query pairs and cookies to a parsed head, `unfold` says what is in a body. No I/O, no clock.
#![forbid(unsafe_code)]

pub mod charset;
pub mod content;
pub mod cookies;
pub mod deadline;
pub mod form;
pub mod json;
pub mod media;
pub mod multipart;
pub mod parameters;
pub mod query;
pub mod rules;
mod strict;
pub mod target;

use crate::limits::Limits;
use crate::memory::contents::Contents;
use crate::parse::refusal::Refusal;
use crate::parse::sketch::Sketch;
use media::Media;
use multipart::Sorter;
use rules::Rules;

const LARGE_FORM: Refusal = Refusal::new(413, "form larger than this server takes: send less, or send multipart/form-data");
const LARGE_JSON: Refusal = Refusal::new(413, "json body larger than this server checks: send less");

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

/// Holds a finished target to what the host wants beyond that: `rules.judge_targets()` says whether it has to be asked.
#[cold]
pub fn judge(sketch: &mut Sketch, head: &[u8], rules: &Rules) -> Result<(), Refusal> {
    strict::judge(sketch, head, rules)
}

/// Takes a whole body apart, if it is a form, or checks it, if it is JSON: as its Content-Type says, and the host wants it.
pub fn unfold(content_type: &[u8], body: &[u8], limits: &Limits, contents: &mut Contents) -> Result<(), Refusal> {
    contents.clear(body.len());
    match media::of(content_type, &limits.rules)? {
        Media::Form => {
            let encoding = charset::of_form(content_type, body, &limits.rules)?;
            form::split(body, encoding, limits, contents)
        }
        Media::Multipart(boundary) => multipart::split(body, boundary, limits, contents),
        Media::Json => json::validate(body, limits),
        Media::Other => Ok(()),
    }
}

/// What takes a body apart that is not kept in memory, if it is one that is taken apart. Forms without parts, and JSON that is to be checked,
/// have to be in memory for that: a host that counts on it must not get one that nobody has looked at.
pub fn sorter(content_type: &[u8], limits: &Limits) -> Result<Option<Sorter>, Refusal> {
    match media::of(content_type, &limits.rules)? {
        Media::Multipart(boundary) => Ok(Some(Sorter::new(boundary, usize::try_from(limits.body_buffer_max).unwrap_or(usize::MAX)))),
        Media::Form => Err(LARGE_FORM),
        Media::Json => Err(LARGE_JSON),
        Media::Other => Ok(None),
    }
}

#[cfg(test)]
mod tests;
