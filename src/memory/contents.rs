//! What is in a body, as tables of places in it, plus what decoding added: filled by `decode`, sealed by `memory`, as `parse/sketch.rs` is of a head.
#![forbid(unsafe_code)]

use crate::parse::refusal::Refusal;
use encoding_rs::Encoding;
use std::ops::Range;

pub const NO_MEMORY: Refusal = Refusal::new(503, "memory limit reached, try again later");

/// Tables and octets up to these sizes are kept for the next body.
const ENTRIES_KEPT: usize = 1024;
const EXTRA_KEPT_BYTES: usize = 64 * 1024;

/// Where something lies: an offset from the body's first octet. Offsets at or past the body's length lie in `Contents::extra`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    pub start: usize,
    pub len: usize,
}

/// A field of a form, or of a part's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub name: Piece,
    pub value: Piece,
}

/// One part of a multipart body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub name: Piece,
    /// The parameter `filename`, and the parameter `filename*` in UTF-8.
    pub filename: Option<Piece>,
    pub filename_extended: Option<Piece>,
    pub content_type: Option<Piece>,
    /// Its head, as indices into `Contents::fields`.
    pub fields: Range<usize>,
    /// Where its octets are in the body.
    pub content: Piece,
    /// Of a body that is not in memory: where its octets are beside it, if they were kept.
    pub kept: Option<Piece>,
}

/// What a body was found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that is taken apart.
    #[default]
    Opaque,
    /// `application/x-www-form-urlencoded`: `fields`.
    Form,
    /// `multipart/form-data`: `parts`, whose heads are in `fields`.
    Multipart,
}

/// See the file's first line. One per thread, reused.
#[derive(Debug, Default)]
pub struct Contents {
    pub kind: Kind,
    pub body_len: usize,
    pub fields: Vec<Field>,
    pub parts: Vec<Part>,
    /// Octets that are not in the body: decoded names and values.
    pub extra: Vec<u8>,
    /// What the fields were converted from.
    pub charset: Option<&'static Encoding>,
    /// A text while it is converted.
    pub text: String,
}

impl Contents {
    /// Forgets the last body, and memory that was out of the ordinary.
    pub fn clear(&mut self, body_len: usize) {
        self.kind = Kind::Opaque;
        self.body_len = body_len;
        self.fields.clear();
        self.fields.shrink_to(ENTRIES_KEPT);
        self.parts.clear();
        self.extra.clear();
        self.extra.shrink_to(EXTRA_KEPT_BYTES);
        self.charset = None;
        self.text.clear();
        self.text.shrink_to(EXTRA_KEPT_BYTES);
    }

    pub fn push_field(&mut self, field: Field) -> Result<(), Refusal> {
        self.fields.try_reserve(1).map_err(|_| NO_MEMORY)?;
        self.fields.push(field);
        Ok(())
    }

    pub fn push_part(&mut self, part: Part) -> Result<(), Refusal> {
        self.parts.try_reserve(1).map_err(|_| NO_MEMORY)?;
        self.parts.push(part);
        Ok(())
    }

    /// Room for so many more decoded octets, which a peer may have sized.
    pub fn reserve_extra(&mut self, octets: usize) -> Result<(), Refusal> {
        self.extra.try_reserve(octets).map_err(|_| NO_MEMORY)
    }

    /// What all of it takes, about.
    pub fn octets(&self) -> usize {
        self.extra.len() + size_of_val(&self.fields[..]) + size_of_val(&self.parts[..])
    }

    /// The piece that was appended to `extra` since it had the length `begin`.
    pub fn added(&self, begin: usize) -> Piece {
        Piece { start: self.body_len + begin, len: self.extra.len() - begin }
    }

    /// The octets of a piece, wherever they lie.
    pub fn bytes<'a>(&'a self, body: &'a [u8], piece: Piece) -> &'a [u8] {
        let end = piece.start + piece.len;
        if piece.start >= self.body_len { &self.extra[piece.start - self.body_len..end - self.body_len] } else { &body[piece.start..end] }
    }
}
