//! What the host wants of step five beyond the plain decoding: which bodies are read, and what happens to text that is not well-formed.
#![forbid(unsafe_code)]

use crate::memory::contents::{self, Contents, Piece};
use crate::parse::refusal::Refusal;

const NOT_UTF8: Refusal = Refusal::new(400, "a name or value of the form is not utf-8: send utf-8");

/// What becomes of octets that are not UTF-8 where text is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Utf8 {
    /// They are delivered as they came.
    #[default]
    Keep,
    /// U+FFFD takes their place, as the WHATWG URL standard says; a path is left alone, since two paths would become one.
    Replace,
    /// The request is refused with 400.
    Refuse,
}

/// What becomes of text that is declared to be in another charset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// It is delivered as it came.
    #[default]
    Keep,
    /// It is converted, with U+FFFD for what is malformed; in a charset that is not known it is delivered as it came.
    Utf8,
    /// It is converted, and refused when it is malformed (400) or in a charset that is not known (415).
    Strict,
}

/// The choices of one server; they are part of its limits, so that they reach whoever decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Form bodies are split into fields and parts (`decode.form`).
    pub form: bool,
    /// JSON bodies are validated (`decode.json`).
    pub json: bool,
    /// Names and values of queries and forms, names of parts and files, and the path (`decode.utf8`).
    pub utf8: Utf8,
    /// A percent sign that no two hexadecimal digits follow is refused in path, query and forms (`decode.escapes`).
    pub strict_escapes: bool,
    /// Bodies that are text, and forms (`decode.charset`).
    pub charset: Charset,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { form: true, json: false, utf8: Utf8::Keep, strict_escapes: false, charset: Charset::Keep }
    }
}

impl Rules {
    /// Whether a target has to be looked at again once it is decoded.
    #[inline]
    pub fn judge_targets(&self) -> bool {
        self.utf8 != Utf8::Keep || self.strict_escapes
    }
}

/// Holds a name or a value of a body to what `decode.utf8` says.
pub(super) fn judged(contents: &mut Contents, body: &[u8], piece: Piece, utf8: Utf8) -> Result<Piece, Refusal> {
    if utf8 == Utf8::Keep {
        return Ok(piece);
    }
    let octets = contents.bytes(body, piece);
    if std::str::from_utf8(octets).is_ok() {
        return Ok(piece);
    }
    if utf8 == Utf8::Refuse {
        return Err(NOT_UTF8);
    }
    // The piece may be as large as a body, so memory for it may be refused.
    let len = octets.utf8_chunks().map(|chunk| chunk.valid().len() + if chunk.invalid().is_empty() { 0 } else { 3 }).sum();
    let mut text = Vec::new();
    text.try_reserve_exact(len).map_err(|_| contents::NO_MEMORY)?;
    for chunk in octets.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            text.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    contents.reserve_extra(text.len())?;
    let begin = contents.extra.len();
    contents.extra.extend_from_slice(&text);
    Ok(contents.added(begin))
}
