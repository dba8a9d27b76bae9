//! Blocks of memory in size classes, kept for the next letter. A pool belongs to one thread; what it lends comes home to it.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Every block is aligned for the structs that stand at its start.
pub const ALIGN: usize = 16;
/// The smallest class.
const SMALLEST: usize = 512;
/// Classes grow by a quarter of a power of two: at most a fifth of a block is wasted.
const STEPS: usize = 4;
/// 512 octets to 96 KiB; what is larger is taken from the allocator each time.
const CLASSES: usize = 31;
/// What a pool keeps at most for later.
const KEPT_BYTES: usize = 2 * 1024 * 1024;

/// Most blocks, and most bodies' buffers, that travel at once from one pool to another.
const FREIGHT_BLOCKS: usize = 32;
const FREIGHT_BODIES: usize = 2;

/// What a pool keeps at most of bodies' buffers, the largest that it keeps, and how many it looks at for one that fits.
const BODIES_KEPT_BYTES: usize = 4 * 1024 * 1024;
const BODY_LARGEST: usize = 1024 * 1024;
const BODIES_TRIED: usize = 4;

/// A lent block. It goes back to the pool that lent it, or, when it is dropped, to the allocator.
#[derive(Debug)]
pub struct Block {
    pub start: NonNull<u8>,
    size: u32,
    class: u8,
}

/// Blocks and buffers on their way from the pool that took them back to the one that lends, where a connection is cut.
#[derive(Debug, Default)]
pub struct Freight {
    blocks: Vec<Block>,
    bodies: Vec<Vec<u8>>,
}

/// See the file's first line.
#[derive(Debug)]
pub struct Pool {
    free: [Vec<NonNull<u8>>; CLASSES],
    kept: usize,
    /// Negative in a pool that takes back what another one lent.
    lent: isize,
    /// Buffers of bodies that did not fit a letter, the latest last.
    bodies: Vec<Vec<u8>>,
    bodies_kept: usize,
}

// SAFETY: the blocks in `free` are owned by the pool alone; moving it to its thread moves them.
unsafe impl Send for Pool {}
// SAFETY: a block is owned memory; whoever holds it may read and write it.
unsafe impl Send for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: a block that is dropped was not given back: its memory is still allocated, with this layout, and ours alone.
        unsafe { dealloc(self.start.as_ptr(), layout(self.size())) };
    }
}

impl Block {
    /// Octets of the block, at least what was asked for.
    pub fn size(&self) -> usize {
        self.size as usize
    }
}

impl Pool {
    pub fn new() -> Self {
        Pool { free: std::array::from_fn(|_| Vec::new()), kept: 0, lent: 0, bodies: Vec::new(), bodies_kept: 0 }
    }

    /// Octets that are lent now.
    pub fn lent(&self) -> isize {
        self.lent
    }

    /// Octets that are kept for later.
    pub fn kept(&self) -> usize {
        self.kept + self.bodies_kept
    }

    /// Lends a block of at least `size` octets, uninitialised; `None` when the allocator has none. Every request calls it once, and few a
    /// second time: left to the compiler, that second place makes a call of the first, 35 instructions a request.
    #[inline(always)]
    pub fn lend(&mut self, size: usize) -> Option<Block> {
        let class = class_of(size);
        let rounded = if class < CLASSES { class_size(class) } else { size.next_multiple_of(ALIGN) };
        if rounded > u32::MAX as usize {
            return None;
        }
        let start = match self.free.get_mut(class).and_then(Vec::pop) {
            Some(start) => {
                self.kept -= rounded;
                start
            }
            None => {
                // SAFETY: the layout has a size above zero.
                NonNull::new(unsafe { alloc(layout(rounded)) })?
            }
        };
        self.lent += rounded as isize;
        Some(Block { start, size: rounded as u32, class: class as u8 })
    }

    /// An empty buffer with room for `size` octets: one that was used before, if one is about as large, since fresh pages
    /// cost more than the octets that go into them. `None` when the allocator has none.
    pub fn lend_body(&mut self, size: usize) -> Option<Vec<u8>> {
        let fits = |body: &Vec<u8>| body.capacity() >= size && body.capacity() <= size.saturating_mul(2);
        if let Some(at) = self.bodies.iter().rev().take(BODIES_TRIED).position(fits) {
            let body = self.bodies.swap_remove(self.bodies.len() - 1 - at);
            self.bodies_kept -= body.capacity();
            return Some(body);
        }
        let mut body = Vec::new();
        body.try_reserve_exact(size).ok()?;
        Some(body)
    }

    /// Takes a body's buffer back.
    pub fn take_back_body(&mut self, mut body: Vec<u8>) {
        if body.capacity() <= BODY_LARGEST && self.bodies_kept + body.capacity() <= BODIES_KEPT_BYTES {
            if cfg!(debug_assertions) {
                body.fill(0xDD);
            }
            body.clear();
            self.bodies_kept += body.capacity();
            self.bodies.push(body);
        }
    }

    /// Takes a block back.
    pub fn take_back(&mut self, block: Block) {
        let size = block.size();
        self.lent -= size as isize;
        if cfg!(debug_assertions) {
            // SAFETY: the block is ours again and `size` octets long. Poison shows whoever reads a letter that was given back.
            unsafe { block.start.as_ptr().write_bytes(0xDD, size) };
        }
        match self.free.get_mut(block.class as usize) {
            Some(free) if self.kept + size <= KEPT_BYTES => {
                free.push(block.start);
                self.kept += size;
                std::mem::forget(block);
            }
            _ => drop(block),
        }
    }

    /// Packs blocks that are free here, for a pool that lends more than comes back to it.
    pub fn pack(&mut self, freight: &mut Freight) {
        for (class, free) in self.free.iter_mut().enumerate() {
            let size = class_size(class);
            while freight.blocks.len() < FREIGHT_BLOCKS {
                let Some(start) = free.pop() else { break };
                self.kept -= size;
                self.lent += size as isize;
                freight.blocks.push(Block { start, size: size as u32, class: class as u8 });
            }
        }
        while freight.bodies.len() < FREIGHT_BODIES {
            let Some(body) = self.bodies.pop() else { break };
            self.bodies_kept -= body.capacity();
            freight.bodies.push(body);
        }
    }

    /// Takes in what another pool has packed.
    pub fn unpack(&mut self, freight: &mut Freight) {
        freight.blocks.drain(..).for_each(|block| self.take_back(block));
        freight.bodies.drain(..).for_each(|body| self.take_back_body(body));
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (class, free) in self.free.iter_mut().enumerate() {
            for start in free.drain(..) {
                // SAFETY: the block was allocated with its class' layout and is in no one else's hands.
                unsafe { dealloc(start.as_ptr(), layout(class_size(class))) };
            }
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("cannot fail: sizes are below 4 GiB and the alignment is a power of two")
}

/// The smallest class whose blocks hold `size` octets; `CLASSES` or more when there is none.
fn class_of(size: usize) -> usize {
    let size = size.max(SMALLEST);
    let power = (size - 1).ilog2() as usize;
    let base = SMALLEST.ilog2() as usize;
    if power < base {
        return 0;
    }
    // Within [2^power + 1, 2^(power + 1)] there are four steps.
    let step = ((size - 1) - (1 << power)) >> (power - 2);
    ((power - base) * STEPS + step + 1).min(CLASSES)
}

fn class_size(class: usize) -> usize {
    if class == 0 {
        return SMALLEST;
    }
    let (octave, step) = ((class - 1) / STEPS, (class - 1) % STEPS);
    let base = SMALLEST << octave;
    base + (step + 1) * (base / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_is_asked_for_and_waste_little() {
        for size in 1..120_000 {
            let class = class_of(size);
            if class < CLASSES {
                let given = class_size(class);
                assert!(given >= size && (size <= SMALLEST || given <= size + size / 3), "{size} gets {given}");
                assert_eq!(given % ALIGN, 0);
            } else {
                assert!(size > class_size(CLASSES - 1));
            }
        }
    }

    #[test]
    fn a_body_comes_back_empty_and_only_for_its_size() {
        let mut pool = Pool::new();
        let mut body = pool.lend_body(70_000).unwrap();
        body.extend_from_slice(b"secret");
        let address = body.as_ptr();
        pool.take_back_body(body);
        assert!(pool.lend_body(20_000).unwrap().capacity() < 60_000, "a small body would hold a large buffer");
        let again = pool.lend_body(60_000).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        pool.take_back_body(Vec::with_capacity(BODY_LARGEST + 1));
        assert_eq!(pool.bodies_kept, 0);
    }

    #[test]
    fn a_block_comes_back_and_is_lent_again() {
        let mut pool = Pool::new();
        let first = pool.lend(700).unwrap();
        let address = first.start;
        pool.take_back(first);
        assert_eq!(pool.lent(), 0);
        let second = pool.lend(650).unwrap();
        assert_eq!(second.start, address);
        pool.take_back(second);
    }

    #[test]
    fn freight_brings_blocks_back_to_the_pool_that_lends() {
        let (mut lends, mut takes, mut freight) = (Pool::new(), Pool::new(), Freight::default());
        let block = lends.lend(700).unwrap();
        let body = lends.lend_body(70_000).unwrap();
        let (block_at, body_at) = (block.start, body.as_ptr());
        takes.take_back(block);
        takes.take_back_body(body);
        takes.pack(&mut freight);
        assert_eq!((takes.kept, takes.bodies_kept), (0, 0), "what was packed is gone");
        lends.unpack(&mut freight);
        assert_eq!((lends.lent(), takes.lent()), (0, 0));
        let (block, body) = (lends.lend(700).unwrap(), lends.lend_body(70_000).unwrap());
        assert_eq!((block.start, body.as_ptr()), (block_at, body_at));
        lends.take_back(block);
    }
}
