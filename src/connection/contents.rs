//! The last of decoding: a body that is complete is converted and taken apart, and what came of it is added to its letter, or it is refused.
#![forbid(unsafe_code)]

use super::Tools;
use super::http1::NO_MEMORY;
use crate::decode;
use crate::decode::charset::{self, Bounds};
use crate::decode::rules::Charset;
use crate::memory::budget::body_share;
use crate::memory::contents::Kind;
use crate::memory::letter::Letter;
use crate::parse::refusal::Refusal;
use crate::request::INGEST_JOURNEY_EXACT;

/// What a form decodes to is not asked for room up to this size: most of it is names.
const SMALL_BYTES: usize = 64 * 1024;
/// More than this is not left unused at the end of a body.
const WASTE_BYTES: usize = 64 * 1024;

const TOO_LARGE: Refusal = Refusal::new(413, "form larger than this server takes once it is taken apart: send less");

/// Does with the body of a letter what its Content-Type says.
pub fn unfold(mut letter: Letter, tools: &mut Tools<'_>) -> Result<Letter, Refusal> {
    if letter.header(b"content-type").is_none() {
        return Ok(letter);
    }
    let is_exact = letter.journey().is_some_and(|journey| journey.flags & INGEST_JOURNEY_EXACT != 0);
    let began_ns = if is_exact { (tools.timing.clock)() } else { 0 };
    let outcome = convert(&mut letter, tools).and_then(|()| take_apart(&mut letter, tools));
    if let (true, Some(journey)) = (is_exact, letter.journey()) {
        journey.decode_ns += (tools.timing.clock)() - began_ns;
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

/// Puts the text of the body in UTF-8 in its place, if the host wants that.
fn convert(letter: &mut Letter, tools: &mut Tools<'_>) -> Result<(), Refusal> {
    let rules = &tools.limits.rules;
    if rules.charset == Charset::Keep {
        return Ok(());
    }
    let Some(content_type) = letter.header(b"content-type") else { return Ok(()) };
    let Some(declared) = charset::of_text(content_type, rules)? else { return Ok(()) };
    let before = letter.body();
    let (encoding, text) = charset::marked(declared, before);
    if text.len() == before.len() && charset::is_the_same(encoding, text) {
        letter.note_charset(encoding.name(), None, tools.pool);
        return Ok(());
    }
    // What is there is charged when the letter is; until then both are.
    let room = tools.memory.room_for_windows().saturating_sub(letter.charge());
    let buffer = tools.pool.lend_body(text.len().min(room)).ok_or(NO_MEMORY)?;
    let Ok(mut converted) = String::from_utf8(buffer) else { return Err(NO_MEMORY) };
    let bounds = Bounds { most: charset::most(tools.limits, letter.charge()), room };
    let mark = before.len() - text.len();
    let is_strict = rules.charset == Charset::Strict;
    if let Err(refusal) = charset::convert(encoding, text, is_strict, bounds, &mut converted) {
        tools.pool.take_back_body(converted.into_bytes());
        return Err(refusal.behind(mark));
    }
    if converted.capacity() - converted.len() > WASTE_BYTES {
        converted.shrink_to_fit();
    }
    letter.note_charset(encoding.name(), Some(converted.into_bytes()), tools.pool);
    Ok(())
}

/// Takes the body apart as its Content-Type says.
fn take_apart(letter: &mut Letter, tools: &mut Tools<'_>) -> Result<(), Refusal> {
    let Some(content_type) = letter.header(b"content-type") else { return Ok(()) };
    decode::unfold(content_type, letter.body(), tools.limits, tools.contents)?;
    if tools.contents.kind == Kind::Opaque {
        return Ok(());
    }
    // The body is not charged any more, and not yet as a part of the letter.
    let needed = tools.contents.octets();
    if needed > SMALL_BYTES && letter.charge() + needed > tools.memory.room_for_windows() {
        // What can never find room is told at once, not to be tried again.
        let never = (letter.charge() + needed) as u64 > body_share(tools.limits.memory_max);
        return Err(if never { TOO_LARGE } else { NO_MEMORY });
    }
    if letter.attach_contents(tools.pool, tools.contents) { Ok(()) } else { Err(NO_MEMORY) }
}
