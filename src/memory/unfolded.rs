//! What a body was taken apart into, as the C structs of a form or of parts: one exact-size block that points into itself and into the body.

use super::contents::{Contents, Field, Kind, Part, Piece};
use super::pool::{Block, Pool};
use crate::request::{ingest_header, ingest_pairs, ingest_part, ingest_parts, ingest_slice};
use std::mem::size_of;
use std::ptr;

/// What the request points to.
pub struct Faces {
    pub form: *const ingest_pairs,
    pub parts: *const ingest_parts,
}

/// Every struct in the block has this alignment, so they may stand one behind the other.
const _: () = assert!(align_of::<ingest_parts>() == 8 && align_of::<ingest_part>() == 8 && align_of::<ingest_header>() == 8);
const _: () = assert!(align_of::<ingest_pairs>() == 8 && size_of::<*const ingest_part>() == 8);

/// Writes the block: the face, for parts their pointers and structs, the table of fields, the decoded octets. `None` when memory cannot be
/// had. The body has to stay where it is as long as the block is used: in memory, or in the file with this number, which is negative else.
pub fn fold(pool: &mut Pool, contents: &Contents, body: &[u8], body_fd: i32) -> Option<(Block, Faces)> {
    debug_assert_eq!(contents.body_len, body.len());
    let count = contents.parts.len();
    let pointers_at = match contents.kind {
        Kind::Multipart => size_of::<ingest_parts>(),
        Kind::Form | Kind::Opaque => size_of::<ingest_pairs>(),
    };
    let parts_at = pointers_at + count * size_of::<*const ingest_part>();
    let fields_at = parts_at + count * size_of::<ingest_part>();
    let extra_at = fields_at + contents.fields.len() * size_of::<ingest_header>();
    let block = pool.lend(extra_at + contents.extra.len())?;
    let writer = Writer { start: block.start.as_ptr(), pointers_at, parts_at, fields_at, extra_at, contents, body, body_fd };
    writer.extra();
    contents.fields.iter().enumerate().for_each(|(index, field)| writer.field(index, field));
    contents.parts.iter().enumerate().for_each(|(index, part)| writer.part(index, part));
    let faces = writer.faces();
    Some((block, faces))
}

struct Writer<'a> {
    start: *mut u8,
    pointers_at: usize,
    parts_at: usize,
    fields_at: usize,
    extra_at: usize,
    contents: &'a Contents,
    body: &'a [u8],
    body_fd: i32,
}

impl Writer<'_> {
    fn at<T>(&self, offset: usize, index: usize) -> *mut T {
        // SAFETY: `fold` has asked for room for every table at its offset, and indices are below the lengths that were counted in; the
        // block is aligned for 16, all offsets are multiples of 8.
        unsafe { self.start.add(offset + index * size_of::<T>()).cast() }
    }

    fn extra(&self) {
        let extra = &self.contents.extra;
        // SAFETY: `fold` has asked for room for these octets at the block's end, which nobody else knows yet.
        unsafe { ptr::copy_nonoverlapping(extra.as_ptr(), self.at(self.extra_at, 0), extra.len()) };
    }

    fn slice(&self, piece: Piece) -> ingest_slice {
        // Looked at through the tables first, so that a piece that lies nowhere is a panic and no stray pointer.
        let octets = self.contents.bytes(self.body, piece);
        let ptr = match piece.start.checked_sub(self.contents.body_len) {
            Some(offset) => self.at::<u8>(self.extra_at, offset).cast_const(),
            None => octets.as_ptr(),
        };
        ingest_slice { ptr, len: piece.len }
    }

    fn optional(&self, piece: Option<Piece>) -> ingest_slice {
        piece.map_or(ingest_slice::NONE, |piece| self.slice(piece))
    }

    fn field(&self, index: usize, field: &Field) {
        let face = ingest_header { name: self.slice(field.name), value: self.slice(field.value) };
        // SAFETY: room for it, as `at` says, in a block that nobody else knows yet.
        unsafe { self.at::<ingest_header>(self.fields_at, index).write(face) };
    }

    fn part(&self, index: usize, part: &Part) {
        let face = ingest_part {
            size: size_of::<ingest_part>() as u32,
            flags: 0,
            name: self.slice(part.name),
            filename: self.optional(part.filename),
            filename_extended: self.optional(part.filename_extended),
            content_type: self.optional(part.content_type),
            headers: self.at(self.fields_at, part.fields.start),
            header_count: part.fields.len(),
            body: if self.body_fd < 0 { self.slice(part.content) } else { self.optional(part.kept) },
            body_fd: self.body_fd,
            reserved: 0,
            body_offset: part.content.start as u64,
            body_len: part.content.len as u64,
        };
        let place = self.at::<ingest_part>(self.parts_at, index);
        // SAFETY: room for both, as `at` says, in a block that nobody else knows yet.
        unsafe {
            place.write(face);
            self.at::<*const ingest_part>(self.pointers_at, index).write(place);
        }
    }

    fn faces(&self) -> Faces {
        let mut faces = Faces { form: ptr::null(), parts: ptr::null() };
        match self.contents.kind {
            Kind::Opaque => {}
            Kind::Form => {
                let count = self.contents.fields.len() as u32;
                let items = if count == 0 { ptr::null() } else { self.at::<ingest_header>(self.fields_at, 0).cast_const() };
                let place = self.at::<ingest_pairs>(0, 0);
                // SAFETY: the block begins with room for it, and nobody else knows it yet.
                unsafe { place.write(ingest_pairs { size: size_of::<ingest_pairs>() as u32, count, items }) };
                faces.form = place;
            }
            Kind::Multipart => {
                let count = self.contents.parts.len() as u32;
                let items = if count == 0 { ptr::null() } else { self.at::<*const ingest_part>(self.pointers_at, 0).cast_const() };
                let place = self.at::<ingest_parts>(0, 0);
                // SAFETY: the block begins with room for it, and nobody else knows it yet.
                unsafe { place.write(ingest_parts { size: size_of::<ingest_parts>() as u32, count, items }) };
                faces.parts = place;
            }
        }
        faces
    }
}
