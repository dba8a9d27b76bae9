//! The last of decoding: what is in a body that is complete is added to its letter, or the request is refused.
#![forbid(unsafe_code)]

use super::Tools;
use super::http1::NO_MEMORY;
use crate::decode;
use crate::memory::contents::Kind;
use crate::memory::letter::Letter;
use crate::parse::refusal::Refusal;

/// Takes the body of a letter apart as its Content-Type says.
pub fn unfold(mut letter: Letter, tools: &mut Tools<'_>) -> Result<Letter, Refusal> {
    let Some(content_type) = letter.header(b"content-type") else { return Ok(letter) };
    let mut outcome = decode::unfold(content_type, letter.body(), tools.limits, tools.contents);
    if outcome.is_ok() && tools.contents.kind != Kind::Opaque && !letter.attach_contents(tools.pool, tools.contents) {
        outcome = Err(NO_MEMORY);
    }
    match outcome {
        Ok(()) => Ok(letter),
        Err(refusal) => {
            letter.dissolve(tools.pool);
            Err(refusal)
        }
    }
}
