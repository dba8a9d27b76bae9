//! The coding br (RFC 7932): the decoder's memory is had fallibly, and counted.
#![forbid(unsafe_code)]

use super::{CORRUPT, NO_MEMORY, Pushed, TRAILING, WINDOW};
use crate::parse::refusal::Refusal;
use brotli_decompressor::{
    Allocator, BrotliDecoderErrorCode as Code, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, SliceWrapperMut,
};
use std::fmt;

/// What a decoder holds beside what it allocates.
const STATE_BYTES: usize = size_of::<State>();

/// Tables are had whatever room there is for windows; they are few.
const SMALL_CELLS: usize = 32 * 1024;

/// What tables come to at most.
const TABLES_BYTES: usize = 3 << 20;

type State = BrotliState<Counted, Counted, Counted>;

/// Memory that a decoder asked for; empty when there was none.
#[derive(Debug)]
pub struct Cells<T>(Vec<T>);

/// How many octets of it are out.
#[derive(Debug, Default)]
pub struct Counted {
    held: usize,
    /// The most that may be out, in one piece or in many.
    most: usize,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Cells(Vec::new())
    }
}

impl<T> SliceWrapper<T> for Cells<T> {
    fn slice(&self) -> &[T] {
        &self.0
    }
}

impl<T> SliceWrapperMut<T> for Cells<T> {
    fn slice_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Clone + Default> Allocator<T> for Counted {
    type AllocatedMemory = Cells<T>;

    fn alloc_cell(&mut self, count: usize) -> Cells<T> {
        let mut cells = Vec::new();
        let is_allowed = count <= SMALL_CELLS || self.held.saturating_add(count * size_of::<T>()) <= self.most;
        if is_allowed && cells.try_reserve_exact(count).is_ok() {
            cells.resize(count, T::default());
            self.held += count * size_of::<T>();
        }
        Cells(cells)
    }

    fn free_cell(&mut self, cells: Cells<T>) {
        self.held = self.held.saturating_sub(cells.0.len() * size_of::<T>());
    }
}

/// One stream's decoder.
pub struct Brotli {
    state: Box<State>,
    /// The window that the first octet announces, as the power of two; zero until it came.
    window_bits: u8,
    is_over: bool,
    /// It cannot go on, and what lies in its window was not all handed out.
    failure: Option<Refusal>,
    total: usize,
}

impl fmt::Debug for Brotli {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Brotli").field("window_bits", &self.window_bits).field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// RFC 7932 section 9.1: the window is in the lowest bits of the first octet. The pattern that is left over announces what that RFC
/// does not know, windows of up to a gibibyte.
pub(super) fn window_bits(first: u8) -> Option<u8> {
    if first & 1 == 0 {
        return Some(16);
    }
    match (first >> 1 & 7, first >> 4 & 7) {
        (0, 0) => Some(17),
        (0, 1) => None,
        (0, bits) => Some(8 + bits),
        (bits, _) => Some(17 + bits),
    }
}

impl Brotli {
    pub fn new() -> Self {
        let state = State::new_strict(Counted::default(), Counted::default(), Counted::default());
        Brotli { state: Box::new(state), window_bits: 0, is_over: false, failure: None, total: 0 }
    }

    pub fn held(&self) -> usize {
        STATE_BYTES + self.state.alloc_u8.held + self.state.alloc_u32.held + self.state.alloc_hc.held
    }

    /// The window, had at once or in steps of which the last but one is still held when it is had, and tables.
    pub fn may_grow(&self) -> usize {
        let bits = if self.window_bits == 0 { 24 } else { self.window_bits };
        ((3 << bits) / 2 + TABLES_BYTES).saturating_sub(self.held() - STATE_BYTES)
    }

    pub fn is_at_end(&self) -> bool {
        self.is_over
    }

    /// Takes octets, and appends at most `most` to what is decoded.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>, most: usize, windows: usize) -> Result<Pushed, Refusal> {
        if self.is_over {
            return if input.is_empty() { Ok(Pushed::default()) } else { Err(TRAILING) };
        }
        if let Some(failure) = self.failure {
            return self.rescue(output, most).ok_or(failure);
        }
        if let (0, Some(first)) = (self.window_bits, input.first()) {
            self.window_bits = window_bits(*first).ok_or(WINDOW)?;
        }
        let state = &mut *self.state;
        for counted in [&mut state.alloc_u8, &mut state.alloc_u32, &mut state.alloc_hc] {
            counted.most = counted.held.saturating_add(windows);
        }
        let before = output.len();
        output.resize(before + most, 0);
        let (mut left_in, mut used, mut left_out, mut made) = (input.len(), 0, most, 0);
        let result = BrotliDecompressStream(
            &mut left_in,
            &mut used,
            input,
            &mut left_out,
            &mut made,
            &mut output[before..],
            &mut self.total,
            &mut self.state,
        );
        output.truncate(before + made.min(most));
        match result {
            BrotliResult::ResultSuccess => {
                self.is_over = true;
                Ok(Pushed { used, has_more: false })
            }
            BrotliResult::NeedsMoreInput => Ok(Pushed { used, has_more: false }),
            BrotliResult::NeedsMoreOutput => Ok(Pushed { used, has_more: true }),
            BrotliResult::ResultFailure => {
                self.failure = Some(self.why());
                Ok(Pushed { used, has_more: true })
            }
        }
    }

    /// After a failure: hands out what is in the window, as the decoder does when the octets that came are used up. Else what is said of
    /// the body would depend on whether the octets that it fails over were here yet. `None` when there is no more.
    #[cold]
    fn rescue(&mut self, output: &mut Vec<u8>, most: usize) -> Option<Pushed> {
        let state = &mut *self.state;
        let size = u64::try_from(state.ringbuffer_size).ok().filter(|size| *size > 0)?;
        let place = u64::try_from(state.pos.min(state.ringbuffer_size)).ok()?;
        let decoded = state.rb_roundtrips.saturating_mul(size).saturating_add(place);
        let unseen = decoded.checked_sub(state.partial_pos_out).filter(|unseen| *unseen <= size)?;
        let start = state.partial_pos_out % size;
        let count = unseen.min(size - start).min(most as u64);
        let piece = state.ringbuffer.slice().get(start as usize..(start + count) as usize).filter(|piece| !piece.is_empty())?;
        output.extend_from_slice(piece);
        state.partial_pos_out += count;
        Some(Pushed { used: 0, has_more: true })
    }

    #[cold]
    fn why(&self) -> Refusal {
        match self.state.error_code {
            Code::BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES
            | Code::BROTLI_DECODER_ERROR_ALLOC_TREE_GROUPS
            | Code::BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MAP
            | Code::BROTLI_DECODER_ERROR_ALLOC_RING_BUFFER_1
            | Code::BROTLI_DECODER_ERROR_ALLOC_RING_BUFFER_2
            | Code::BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES => NO_MEMORY,
            Code::BROTLI_DECODER_ERROR_FORMAT_WINDOW_BITS => WINDOW,
            _ => CORRUPT,
        }
    }
}
