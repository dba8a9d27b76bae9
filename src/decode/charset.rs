//! Text in another encoding than UTF-8: which one a body declares, and the same text in UTF-8 (`decode.charset`).
#![forbid(unsafe_code)]

use super::media::is_json;
use super::parameters::{self, Parameters};
use super::rules::{Charset, Rules};
use crate::limits::Limits;
use crate::memory::budget::body_share;
use crate::parse::refusal::Refusal;
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

const UNKNOWN: Refusal = Refusal::new(415, "unknown charset in content-type: send utf-8, or a label of the whatwg encoding standard");
const UNKNOWN_FIELD: Refusal = Refusal::new(415, "unknown charset in the field _charset_: send utf-8");
const JSON: Refusal = Refusal::new(415, "json in another charset than utf-8: send utf-8");
const PARAMETERS: Refusal = Refusal::new(400, "malformed or repeated charset in content-type: send it once");
const MALFORMED: Refusal = Refusal::new(400, "text that is malformed in its charset: send what content-type declares");
const TOO_LARGE: Refusal = Refusal::new(413, "text larger than this server takes once it is utf-8: send less");
const NO_MEMORY: Refusal = Refusal::new(503, "no memory to convert the text, try again later");

/// What the text may become at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Octets in UTF-8; above them 413.
    pub most: usize,
    /// Octets that there is memory for now; above them 503.
    pub room: usize,
}

/// The text grows in steps of at least so much.
const STEP_BYTES: usize = 4 * 1024;

/// The most that text may become beside a body of so many octets: `decoded_max`, or what bodies may fill of the memory.
pub fn most(limits: &Limits, beside: usize) -> usize {
    // What can never find room is told at once, not to be tried again.
    let share = body_share(limits.memory_max).saturating_sub(beside as u64);
    usize::try_from(limits.decoded_max.min(share)).unwrap_or(usize::MAX)
}

/// The encoding that the text of a body was declared to have, if it is one that is converted whole.
pub fn of_text(content_type: &[u8], rules: &Rules) -> Result<Option<&'static Encoding>, Refusal> {
    if rules.charset == Charset::Keep {
        return Ok(None);
    }
    let (essence, parameters) = parameters::split(content_type);
    if is_json(essence) {
        // JSON has no parameter charset, and is UTF-8 whatever one says (RFC 8259 sections 8.1 and 11).
        let declared = if rules.charset == Charset::Strict { declared(parameters, rules)? } else { None };
        return if declared.is_some_and(|encoding| encoding != UTF_8 && encoding != encoding_rs::WINDOWS_1252) {
            Err(JSON)
        } else {
            Ok(None)
        };
    }
    if is_text(essence) { declared(parameters, rules) } else { Ok(None) }
}

/// The encoding of a form's names and values: what the first field `_charset_` says, as browsers write it, else what Content-Type says.
pub fn of_form(content_type: &[u8], body: &[u8], rules: &Rules) -> Result<Option<&'static Encoding>, Refusal> {
    if rules.charset == Charset::Keep {
        return Ok(None);
    }
    let is_strict = rules.charset == Charset::Strict;
    if let Some(label) = charset_field(body) {
        match Encoding::for_label_no_replacement(label).filter(separates) {
            Some(encoding) => return Ok(Some(encoding)),
            None if is_strict => return Err(UNKNOWN_FIELD),
            None => {}
        }
    }
    let declared = declared(parameters::split(content_type).1, rules)?;
    if is_strict && declared.is_some_and(|encoding| !separates(&encoding)) {
        return Err(UNKNOWN);
    }
    Ok(declared.filter(separates))
}

/// No form has names and values in UTF-16: what stands between them is single octets.
fn separates(encoding: &&'static Encoding) -> bool {
    *encoding != UTF_16LE && *encoding != UTF_16BE
}

/// The value of the first field `_charset_`. Labels have nothing in them that is escaped.
fn charset_field(body: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"_charset_=";
    let begins = |at: &usize| *at == 0 || body[*at - 1] == b'&';
    let at = memchr::memmem::find_iter(body, NAME).find(begins)? + NAME.len();
    let value = &body[at..];
    Some(&value[..memchr::memchr(b'&', value).unwrap_or(value.len())])
}

/// The types whose text is converted: RFC 2046 section 4.1, and RFC 7303 for XML.
fn is_text(essence: &[u8]) -> bool {
    let starts = |with: &[u8]| essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let suffix = essence.len().checked_sub(b"+xml".len()).map(|at| &essence[at..]);
    starts(b"text/")
        || essence.eq_ignore_ascii_case(b"application/xml")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+xml"))
}

/// The encoding that the parameter `charset` names. Labels that lead to no decoder (UTF-7, which the standard does not know, and
/// ISO-2022-KR, ISO-2022-CN and HZ, which it gives up as dangerous) are as unknown as any other text.
fn declared(parameters: Parameters<'_>, rules: &Rules) -> Result<Option<&'static Encoding>, Refusal> {
    let is_strict = rules.charset == Charset::Strict;
    let mut label = None;
    for parameter in parameters {
        let Ok(parameter) = parameter else {
            if is_strict {
                return Err(PARAMETERS);
            }
            break;
        };
        if parameter.name.eq_ignore_ascii_case(b"charset") {
            if label.is_none() {
                label = Some(parameter.value);
            } else if is_strict {
                return Err(PARAMETERS);
            }
        }
    }
    let Some(label) = label else { return Ok(None) };
    match Encoding::for_label_no_replacement(label) {
        None if is_strict => Err(UNKNOWN),
        found => Ok(found),
    }
}

/// The encoding that a whole text has after all, and where it begins: a byte order mark overrides what was declared (RFC 7303 section 3.3,
/// and `decode` of the WHATWG encoding standard), and is no part of the text.
pub fn marked<'a>(declared: &'static Encoding, text: &'a [u8]) -> (&'static Encoding, &'a [u8]) {
    match Encoding::for_bom(text) {
        Some((encoding, len)) => (encoding, &text[len..]),
        None => (declared, text),
    }
}

/// Whether the text is in UTF-8 already.
pub fn is_the_same(encoding: &'static Encoding, text: &[u8]) -> bool {
    if encoding == UTF_8 {
        return Encoding::utf8_valid_up_to(text) == text.len();
    }
    encoding.is_ascii_compatible() && Encoding::ascii_valid_up_to(text) == text.len()
}

/// Appends the text in UTF-8 to `into`, which grows as it fills. A malformed sequence becomes U+FFFD, or is refused with its offset.
pub fn convert(encoding: &'static Encoding, text: &[u8], is_strict: bool, bounds: Bounds, into: &mut String) -> Result<(), Refusal> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut read = 0;
    loop {
        if into.capacity() - into.len() < STEP_BYTES {
            grow(into, text.len() - read, bounds)?;
        }
        let (result, used) = decoder.decode_to_string_without_replacement(&text[read..], into, true);
        read += used;
        if into.len() > bounds.most {
            return Err(TOO_LARGE);
        }
        match result {
            DecoderResult::InputEmpty => return Ok(()),
            DecoderResult::OutputFull => grow(into, text.len() - read, bounds)?,
            DecoderResult::Malformed(bad, behind) => {
                if is_strict {
                    return Err(MALFORMED.at(read.saturating_sub(usize::from(bad) + usize::from(behind))));
                }
                into.push('\u{fffd}');
            }
        }
    }
}

/// Makes room for what is left of the text, if it needs no more octets than it has, and at least for a quarter of what is there.
fn grow(into: &mut String, left: usize, bounds: Bounds) -> Result<(), Refusal> {
    if into.len() > bounds.most {
        return Err(TOO_LARGE);
    }
    let more = left.max(into.len() / 4).min(bounds.most - into.len()).max(STEP_BYTES);
    if into.len() + more > bounds.room.saturating_add(STEP_BYTES) {
        return Err(NO_MEMORY);
    }
    into.try_reserve_exact(more).map_err(|_| NO_MEMORY)
}

#[cfg(test)]
mod tests;
