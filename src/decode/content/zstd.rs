//! The coding zstd (RFC 8878): frames are cut into blocks here, so that a decoder sees whole ones alone, and what frames promise is checked.
#![forbid(unsafe_code)]

use super::demand;
use super::{CORRUPT, DICTIONARY, NO_MEMORY, Pushed, WINDOW};
use crate::limits::ZSTD_WINDOW_BYTES;
use crate::parse::refusal::Refusal;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io;
use std::fmt;

const MAGIC: u32 = 0xFD2F_B528;
/// The last of the sixteen that begin a frame which is to be skipped.
const SKIPPED_MAGIC: u32 = 0x184D_2A5F;
/// RFC 8878 section 3.1.1.2.4: no block is larger, neither coded nor decoded.
const BLOCK_BYTES: usize = 128 * 1024;
const BLOCK_HEADER_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
/// Literals, sequences and tables of the block that is decoded, and what the window's ring has beyond the window: two blocks.
const WORKSPACE_BYTES: usize = 2 * BLOCK_BYTES;
/// A decoder whose window was larger is not kept for other bodies, since its ring does not shrink.
const KEPT_WINDOW_BYTES: usize = 512 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A frame header, as far as it is in `gathered`.
    Header,
    /// So many octets of a frame that is to be skipped.
    Skipped(u32),
    Block,
    /// All blocks of the frame are decoded, and not all of it is taken.
    Draining,
    /// A frame ended here, and another may follow.
    Ended,
}

/// See the file's first line. It is used again for other bodies.
pub struct Zstd {
    decoder: FrameDecoder,
    at: At,
    /// The begin of a header or a block that is not whole yet.
    gathered: Vec<u8>,
    frame: Frame,
    /// Octets that this frame gave.
    made: u64,
    /// The largest window that the decoder made room for.
    ring: usize,
    /// What literals and sequences of blocks have taken beyond the workspace; the decoder keeps it.
    tables: usize,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    window: u64,
    content: Option<u64>,
    has_checksum: bool,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Zstd").field("at", &self.at).field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// Appends to a buffer as long as there is room.
struct Room<'a> {
    output: &'a mut Vec<u8>,
    left: usize,
}

impl io::Write for Room<'_> {
    fn write(&mut self, octets: &[u8]) -> Result<usize, io::Error> {
        let count = octets.len().min(self.left);
        self.output.extend_from_slice(&octets[..count]);
        self.left -= count;
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), io::Error> {
        Ok(())
    }
}

/// How long the header that begins so is; `None` while that is not known.
fn header_len(gathered: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some((magic, rest)) = gathered.split_first_chunk::<4>() else {
        // An octet that begins no frame is told at once, as it would be if all came together.
        let known = [MAGIC.to_le_bytes(), SKIPPED_MAGIC.to_le_bytes()];
        let may_begin = |magic: &[u8; 4]| gathered.iter().zip(magic).skip(1).all(|(one, other)| one == other);
        let first = gathered.first().is_none_or(|octet| *octet == known[0][0] || octet & 0xF0 == 0x50);
        return if first && known.iter().any(may_begin) { Ok(None) } else { Err(CORRUPT) };
    };
    match u32::from_le_bytes(*magic) {
        MAGIC => {}
        skipped if skipped | 0xF == SKIPPED_MAGIC => return Ok(Some(8)),
        _ => return Err(CORRUPT),
    }
    let Some(&descriptor) = rest.first() else { return Ok(None) };
    Ok(Some(5 + Fields::of(descriptor).len()))
}

/// How long the fields of a frame header are, by its descriptor (RFC 8878 section 3.1.1.1.1).
struct Fields {
    window: usize,
    dictionary: usize,
    content: usize,
}

impl Fields {
    fn of(descriptor: u8) -> Self {
        let is_single = descriptor & 0x20 != 0;
        Fields {
            window: usize::from(!is_single),
            dictionary: [0, 1, 2, 4][usize::from(descriptor & 3)],
            content: [usize::from(is_single), 2, 4, 8][usize::from(descriptor >> 6)],
        }
    }

    fn len(&self) -> usize {
        self.window + self.dictionary + self.content
    }
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

impl Frame {
    /// Reads a whole header that is none to be skipped.
    fn read(header: &[u8]) -> Result<Frame, Refusal> {
        let (Some(descriptor), Some(rest)) = (header.get(4), header.get(5..)) else { return Err(CORRUPT) };
        if descriptor & 8 != 0 {
            return Err(CORRUPT);
        }
        let fields = Fields::of(*descriptor);
        let (window, rest) = rest.split_at(fields.window);
        let (dictionary, content) = rest.split_at(fields.dictionary);
        if number(dictionary) != 0 {
            return Err(DICTIONARY);
        }
        // A size of two octets begins where one of one octet ends.
        let content = (fields.content > 0).then(|| number(content) + if fields.content == 2 { 256 } else { 0 });
        let window = match window {
            [descriptor] => {
                let base = 1u64 << (10 + (descriptor >> 3));
                base + base / 8 * u64::from(descriptor & 7)
            }
            _ => content.unwrap_or(0),
        };
        if window > ZSTD_WINDOW_BYTES as u64 {
            return Err(WINDOW);
        }
        Ok(Frame { window, content, has_checksum: descriptor & 4 != 0 })
    }
}

impl Zstd {
    pub fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES as u64);
        Zstd { decoder, at: At::Header, gathered: Vec::new(), frame: Frame::default(), made: 0, ring: 0, tables: 0 }
    }

    /// Begins with another body.
    pub fn begin(&mut self) {
        self.at = At::Header;
        self.frame = Frame::default();
        self.gathered.clear();
    }

    pub fn is_worth_keeping(&self) -> bool {
        self.ring + self.tables <= KEPT_WINDOW_BYTES
    }

    pub fn held(&self) -> usize {
        self.ring + self.tables + self.gathered.capacity() + if self.ring > 0 { WORKSPACE_BYTES } else { 0 }
    }

    /// The window of a frame that may still come, and what its blocks take.
    pub fn may_grow(&self) -> usize {
        (ZSTD_WINDOW_BYTES + WORKSPACE_BYTES + demand::MOST_BYTES).saturating_sub(self.ring + self.tables)
    }

    pub fn is_at_end(&self) -> bool {
        self.at == At::Ended
    }

    /// Takes octets, and appends at most `most` to what is decoded. One block a call.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>, most: usize, windows: usize) -> Result<Pushed, Refusal> {
        if self.drain(output, most)? {
            return Ok(Pushed { used: 0, has_more: true });
        }
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if let At::Skipped(left) = self.at {
                let count = rest.len().min(left as usize);
                used += count;
                let left = left - count as u32;
                self.at = if left == 0 { At::Ended } else { At::Skipped(left) };
                if left > 0 || used == input.len() {
                    return Ok(Pushed { used, has_more: false });
                }
                continue;
            }
            if self.at == At::Ended && !rest.is_empty() {
                self.at = At::Header;
            }
            match self.gather(rest)? {
                (count, Some(len)) => {
                    used += count;
                    if self.take(len, windows)? {
                        // What it gives is taken with the next call, which decodes the block after it, too.
                        return Ok(Pushed { used, has_more: self.decoder.can_collect() > 0 || self.at == At::Draining });
                    }
                }
                (count, None) => return Ok(Pushed { used: used + count, has_more: false }),
            }
        }
    }

    /// Gathers what stands next until it is whole: how many octets were used, and how long it is then.
    fn gather(&mut self, input: &[u8]) -> Result<(usize, Option<usize>), Refusal> {
        let mut used = 0;
        loop {
            let needed = match self.needed()? {
                Some(needed) if self.gathered.len() >= needed => return Ok((used, Some(needed))),
                Some(needed) => needed,
                None => self.gathered.len() + 1,
            };
            let rest = &input[used..];
            if rest.is_empty() {
                return Ok((used, None));
            }
            let count = rest.len().min(needed - self.gathered.len());
            self.gathered.try_reserve(count).map_err(|_| NO_MEMORY)?;
            self.gathered.extend_from_slice(&rest[..count]);
            used += count;
        }
    }

    /// How long is what stands next; `None` while that is not known.
    fn needed(&self) -> Result<Option<usize>, Refusal> {
        if self.at != At::Block {
            return header_len(&self.gathered);
        }
        let Some((header, _)) = self.gathered.split_first_chunk::<BLOCK_HEADER_BYTES>() else { return Ok(None) };
        let header = number(header);
        let (is_last, kind, size) = (header & 1 == 1, header >> 1 & 3, (header >> 3) as usize);
        if kind == 3 || size > BLOCK_BYTES {
            return Err(CORRUPT);
        }
        let content = if kind == 1 { 1 } else { size };
        let checksum = if is_last && self.frame.has_checksum { CHECKSUM_BYTES } else { 0 };
        Ok(Some(BLOCK_HEADER_BYTES + content + checksum))
    }

    /// A header or a block is whole. True when it was a block.
    fn take(&mut self, len: usize, windows: usize) -> Result<bool, Refusal> {
        let whole = &self.gathered[..len];
        let is_block = self.at == At::Block;
        if is_block {
            let tables = demand::of(&whole[..len], BLOCK_HEADER_BYTES).saturating_sub(WORKSPACE_BYTES);
            if tables > self.tables.saturating_add(windows) {
                return Err(NO_MEMORY);
            }
            self.tables = self.tables.max(tables);
            let over = self.decoder.decode_blocks(whole, BlockDecodingStrategy::UptoBlocks(1)).map_err(|_| CORRUPT)?;
            if over {
                self.at = At::Draining;
            }
        } else if whole.starts_with(&MAGIC.to_le_bytes()) {
            self.frame = Frame::read(whole)?;
            if self.frame.window as usize > self.ring.saturating_add(windows) {
                return Err(NO_MEMORY);
            }
            self.decoder.reset(whole).map_err(|_| CORRUPT)?;
            self.ring = self.ring.max(self.frame.window as usize);
            (self.made, self.at) = (0, At::Block);
        } else {
            let left = number(&whole[4..8]) as u32;
            self.at = if left == 0 { At::Ended } else { At::Skipped(left) };
        }
        self.gathered.clear();
        Ok(is_block)
    }

    /// Takes what the decoder has ready. True when it has more than there is room for.
    fn drain(&mut self, output: &mut Vec<u8>, most: usize) -> Result<bool, Refusal> {
        if !matches!(self.at, At::Block | At::Draining) {
            return Ok(false);
        }
        if self.decoder.can_collect() > 0 {
            let before = output.len();
            self.decoder.collect_to_writer(Room { output, left: most }).map_err(|_| NO_MEMORY)?;
            self.made += (output.len() - before) as u64;
            if self.decoder.can_collect() > 0 {
                return Ok(true);
            }
        }
        if self.at == At::Draining {
            self.end_frame()?;
        }
        Ok(false)
    }

    /// All of a frame was taken: it is as long as it promised, and its checksum holds.
    fn end_frame(&mut self) -> Result<(), Refusal> {
        if self.frame.content.is_some_and(|content| content != self.made) {
            return Err(CORRUPT);
        }
        if self.frame.has_checksum && self.decoder.get_checksum_from_data() != self.decoder.get_calculated_checksum() {
            return Err(CORRUPT);
        }
        self.at = At::Ended;
        Ok(())
    }
}
