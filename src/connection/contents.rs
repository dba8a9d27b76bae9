//! The last of decoding: what is in a body that is complete is added to its letter, or the request is refused.
#![forbid(unsafe_code)]

use super::Tools;
use super::http1::NO_MEMORY;
use crate::decode;
use crate::memory::contents::Kind;
use crate::memory::letter::Letter;
use crate::parse::refusal::Refusal;

/// What a form decodes to is not asked for room up to this size: most of it is names.
const SMALL_BYTES: usize = 64 * 1024;

/// Takes the body of a letter apart as its Content-Type says.
pub fn unfold(mut letter: Letter, tools: &mut Tools<'_>) -> Result<Letter, Refusal> {
    let Some(content_type) = letter.header(b"content-type") else { return Ok(letter) };
    let mut outcome = decode::unfold(content_type, letter.body(), tools.limits, tools.contents);
    if outcome.is_ok() && tools.contents.kind != Kind::Opaque {
        // The body is not charged any more, and not yet as a part of the letter.
        let needed = tools.contents.octets();
        let has_room = needed <= SMALL_BYTES || letter.charge() + needed <= tools.memory.room_for_windows();
        if !has_room || !letter.attach_contents(tools.pool, tools.contents) {
            outcome = Err(NO_MEMORY);
        }
    }
    // A thread keeps nothing large for its next form, which may never come.
    tools.contents.clear(0);
    match outcome {
        Ok(()) => Ok(letter),
        Err(refusal) => {
            letter.dissolve(tools.pool);
            Err(refusal)
        }
    }
}
