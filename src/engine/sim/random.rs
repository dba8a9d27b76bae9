//! A small generator (splitmix64): what a seed decides, it decides the same way every time.
#![forbid(unsafe_code)]

/// See the file's first line.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Different streams of one seed are unrelated.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        random.draw();
        random
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; zero when that is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// How much of so much: often a little, often all of it.
    pub fn piece(&mut self, of: usize) -> usize {
        if of <= 1 {
            return of;
        }
        match self.below(8) {
            0 => 1,
            1 => self.below(of.min(16) as u64) as usize + 1,
            2..=4 => self.below(of as u64) as usize + 1,
            _ => of,
        }
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
