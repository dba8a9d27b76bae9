//! Content-codings undone (RFC 9110 section 8.4): one or two decoders in a row, fed piece by piece, each step bounded. No I/O, no clock.
#![forbid(unsafe_code)]

mod br;
mod codings;
mod decoders;
mod deflate;
mod demand;
mod zstd;

pub use codings::{Coding, Codings, read};
pub use decoders::{Decoders, Place, Places, Share};

use crate::limits::{BR_LIGHT_BITS, BodyPolicy, CODINGS_MAX, DECODE_MARK_BYTES, DECODE_PIECE_BYTES, Limits, RATIO_FREE_BYTES};
use crate::memory::budget::body_share;
use crate::parse::refusal::Refusal;
use br::Brotli;
use deflate::Inflater;
use zstd::Zstd;

const CORRUPT: Refusal = Refusal::new(400, "corrupt body: send what content-encoding says");
const TRUNCATED: Refusal = Refusal::new(400, "coded body ends too early: send all of it");
const TRAILING: Refusal = Refusal::new(400, "octets behind the end of a coded body: send the coded body alone");
const WINDOW: Refusal = Refusal::new(400, "window of a coded body too large: encode with at most 8 mib for zstd and 16 for br");
const DICTIONARY: Refusal = Refusal::new(400, "coded body needs a dictionary: encode without one");
const TOO_LARGE: Refusal = Refusal::new(413, "decoded body larger than this server takes: send less");
const RATIO: Refusal = Refusal::new(413, "body decodes to far more than was sent: send it with another coding or none");
const NO_MEMORY: Refusal = Refusal::new(503, "no memory to decode the body, try again later");

/// Octets between two layers.
const BETWEEN_BYTES: usize = 16 * 1024;
/// What a call costs beside what it makes, counted in octets made, so that calls which make nothing come to an end.
const CALL_WORK: usize = 64;
/// An octet that goes in costs as much as so many that come out: the tables of an empty block are made from few octets.
const INPUT_WORK: usize = 8;

/// What bounds the decoding of one body.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// `decoded_max`, or what bodies may fill of the memory.
    pub decoded_max: u64,
    /// `decode_ratio`.
    pub ratio: u64,
}

impl Caps {
    pub fn of(limits: &Limits) -> Self {
        // What can never find room is told at once, not after a wait.
        let room = if limits.body == BodyPolicy::Spool { u64::MAX } else { body_share(limits.memory_max) };
        Caps { decoded_max: limits.decoded_max.min(room), ratio: limits.decode_ratio }
    }
}

/// What one push of one layer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pushed {
    /// Octets of the input that are done with.
    used: usize,
    /// There was no room for all that the octets give; what is left comes with the next push.
    has_more: bool,
}

/// Why a push of the chain returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything that the octets give is there.
    Hungry,
    /// The share is used up: push again, with what was not used, when there is another.
    Suspended,
}

#[derive(Debug)]
enum Decoder {
    Inflate(Box<Inflater>),
    Br(Box<Brotli>),
    Zstd(Box<Zstd>),
}

#[derive(Debug)]
struct Layer {
    decoder: Decoder,
    /// Octets that it gave.
    made: u64,
    has_more: bool,
}

/// The decoders of one body, the one that takes what comes over the wire first.
#[derive(Debug)]
pub struct Chain {
    layers: [Option<Layer>; CODINGS_MAX],
    /// What the first layer gave and the second has not taken; empty with one layer.
    between: Vec<u8>,
    /// Octets of the body as it came.
    wire: u64,
    caps: Caps,
    /// Why the first layer cannot go on, while the second has something to say about what came before.
    failure: Option<Refusal>,
}

impl Decoder {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>, most: usize, windows: usize) -> Result<Pushed, Refusal> {
        match self {
            Decoder::Inflate(decoder) => decoder.push(input, output, most),
            Decoder::Br(decoder) => decoder.push(input, output, most, windows),
            Decoder::Zstd(decoder) => decoder.push(input, output, most, windows),
        }
    }

    fn is_at_end(&self) -> bool {
        match self {
            Decoder::Inflate(decoder) => decoder.is_at_end(),
            Decoder::Br(decoder) => decoder.is_at_end(),
            Decoder::Zstd(decoder) => decoder.is_at_end(),
        }
    }

    fn held(&self) -> usize {
        match self {
            Decoder::Inflate(decoder) => decoder.held(),
            Decoder::Br(decoder) => decoder.held(),
            Decoder::Zstd(decoder) => decoder.held(),
        }
    }
}

impl Layer {
    /// How much may be made until the next mark, or until it is too much. Marks lie at the same places whatever pieces a body comes
    /// in: what is judged there is the same for every split of the stream.
    fn room(&self, caps: &Caps) -> usize {
        let mark = DECODE_MARK_BYTES as u64;
        let to_mark = mark - self.made % mark;
        let to_cap = caps.decoded_max.saturating_add(1).saturating_sub(self.made);
        to_mark.min(to_cap).max(1) as usize
    }

    /// One call of the decoder: what it used.
    fn step(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        most: usize,
        caps: &Caps,
        wire: u64,
        share: &mut Share,
    ) -> Result<usize, Refusal> {
        let most = self.room(caps).min(share.left()).min(most).max(1);
        reserve(output, most)?;
        let before = output.len();
        // Not beyond the room that was had: there memory could not be refused any more.
        let most = most.min(output.capacity() - before);
        let pushed = self.decoder.push(input, output, most, share.windows());
        let made = output.len() - before;
        self.made += made as u64;
        // What was made is judged before what is wrong behind it, which may not have been here yet.
        self.judge(caps, wire)?;
        let Pushed { used, has_more } = pushed?;
        self.has_more = has_more;
        share.spend(made + INPUT_WORK * used + CALL_WORK);
        Ok(used)
    }

    fn judge(&self, caps: &Caps, wire: u64) -> Result<(), Refusal> {
        if self.made > caps.decoded_max {
            return Err(TOO_LARGE);
        }
        // The octets that came count in whole pieces: a decoder may need any part of the last one to get here.
        let sent = wire.next_multiple_of(DECODE_PIECE_BYTES as u64);
        if self.made > RATIO_FREE_BYTES && self.made > sent.saturating_mul(caps.ratio) { Err(RATIO) } else { Ok(()) }
    }
}

/// Makes room as it is needed and no more: a body never owns much that nothing was written to.
fn reserve(output: &mut Vec<u8>, most: usize) -> Result<(), Refusal> {
    let spare = output.capacity() - output.len();
    if spare >= most {
        return Ok(());
    }
    // Doubling keeps copies few while they are small; beyond, the allocator moves pages and not octets.
    let step = output.len().clamp(BETWEEN_BYTES, DECODE_MARK_BYTES).max(most.min(BETWEEN_BYTES));
    output.try_reserve_exact(step).map_err(|_| NO_MEMORY)
}

impl Chain {
    /// Decoders for a body with these codings.
    pub fn begin(codings: Codings, caps: Caps, decoders: &mut Decoders) -> Self {
        let mut layers = [const { None }; CODINGS_MAX];
        for (place, coding) in layers.iter_mut().zip(codings.outermost_first()) {
            *place = Some(Layer { decoder: decoders.lend(coding), made: 0, has_more: false });
        }
        Chain { layers, between: Vec::new(), wire: 0, caps, failure: None }
    }

    /// No decoders, in the place of some that are elsewhere.
    pub fn absent(&self) -> Self {
        Chain { layers: [const { None }; CODINGS_MAX], between: Vec::new(), wire: 0, caps: self.caps, failure: None }
    }

    /// Whether one step of a body that begins so may make far more than its share: br fills its window before it hands anything out.
    pub fn is_heavy(&self, first: u8) -> bool {
        let is_br = |layer: &Option<Layer>| layer.as_ref().is_some_and(|layer| matches!(layer.decoder, Decoder::Br(_)));
        (is_br(&self.layers[0]) && br::window_bits(first).is_some_and(|bits| bits > BR_LIGHT_BITS)) || is_br(&self.layers[1])
    }

    /// Octets of memory that windows and tables may come to take beyond what is held.
    pub fn may_grow(&self) -> usize {
        let of = |layer: &Layer| match &layer.decoder {
            Decoder::Inflate(_) => 0,
            Decoder::Br(decoder) => decoder.may_grow(),
            Decoder::Zstd(decoder) => decoder.may_grow(),
        };
        self.layers.iter().flatten().map(of).sum()
    }

    /// Decodes: appends to `output`, and says how many octets of `input` are done with and why it stopped. After `Suspended` it has
    /// to be called again, also when all of the input is done with.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>, share: &mut Share) -> Result<(usize, Progress), Refusal> {
        let mut used = 0;
        loop {
            if share.left() == 0 {
                return Ok((used, Progress::Suspended));
            }
            let has_more = self.has_more();
            let read = (self.wire % DECODE_PIECE_BYTES as u64) as usize;
            // What a whole piece gives is all made before the next one counts for the ratio, whether that is here already or not.
            let piece = if read == 0 && has_more { 0 } else { DECODE_PIECE_BYTES - read };
            let piece = &input[used..input.len().min(used + piece)];
            if piece.is_empty() && !has_more {
                return Ok((used, Progress::Hungry));
            }
            let count = self.step(piece, output, share)?;
            used += count;
        }
    }

    /// The last layer goes first, so that nothing gathers in front of it.
    fn step(&mut self, piece: &[u8], output: &mut Vec<u8>, share: &mut Share) -> Result<usize, Refusal> {
        let (caps, wire) = (self.caps, self.wire);
        let [Some(first), second] = &mut self.layers else { return Err(CORRUPT) };
        let Some(second) = second else {
            let count = first.step(piece, output, usize::MAX, &caps, wire + piece.len() as u64, share)?;
            self.wire += count as u64;
            return Ok(count);
        };
        if second.has_more || !self.between.is_empty() {
            let count = second.step(&self.between, output, usize::MAX, &caps, wire, share)?;
            self.between.drain(..count);
            return Ok(0);
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut between = std::mem::take(&mut self.between);
        between.try_reserve_exact(BETWEEN_BYTES).map_err(|_| NO_MEMORY)?;
        let stepped = first.step(piece, &mut between, BETWEEN_BYTES, &caps, wire + piece.len() as u64, share);
        self.between = between;
        let count = match stepped {
            Err(failure) if !self.between.is_empty() => {
                self.failure = Some(failure);
                0
            }
            stepped => stepped?,
        };
        self.wire += count as u64;
        Ok(count)
    }

    fn has_more(&self) -> bool {
        !self.between.is_empty() || self.layers.iter().flatten().any(|layer| layer.has_more)
    }

    /// The body has ended, and all of it was pushed: whether it ends where its codings do.
    pub fn finish(&self) -> Result<(), Refusal> {
        let is_whole = !self.has_more() && self.layers.iter().flatten().all(|layer| layer.decoder.is_at_end());
        if is_whole { Ok(()) } else { Err(TRUNCATED) }
    }

    /// Octets that the decoders hold: states, windows, and what is between them.
    pub fn held(&self) -> usize {
        self.between.capacity() + self.layers.iter().flatten().map(|layer| layer.decoder.held()).sum::<usize>()
    }

    /// Gives the decoders back.
    pub fn dissolve(self, decoders: &mut Decoders) {
        self.layers.into_iter().flatten().for_each(|layer| decoders.take_back(layer.decoder));
    }
}

#[cfg(test)]
mod tests;
