//! What a thread has for decoding: decoders that are kept for the next body, and how much it may decode before the others get their turn.
#![forbid(unsafe_code)]

use super::br::Brotli;
use super::deflate::Inflater;
use super::zstd::Zstd;
use super::{Coding, Decoder};
use crate::limits::{DECODE_SHARE, DECODE_TICK};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Decoders of each kind that are kept.
const KEPT: usize = 4;

/// See the file's first line.
#[derive(Debug, Default)]
pub struct Decoders {
    // They are lent in their boxes.
    #[allow(clippy::vec_box)]
    inflaters: Vec<Box<Inflater>>,
    #[allow(clippy::vec_box)]
    zstds: Vec<Box<Zstd>>,
    /// What this tick may still decode.
    tick: usize,
    /// Those that are suspended and have a place among those that are gone on with.
    places: Places,
}

/// How many have a place of a number that is bounded.
#[derive(Debug, Default)]
pub struct Places(Arc<AtomicU64>);

impl Places {
    /// A place, if fewer than `most` are taken.
    pub fn take(&self, most: u64) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.0));
        (taken < most).then_some(place)
    }

    /// Fewer than `most` are taken.
    pub fn has_room(&self, most: u64) -> bool {
        self.0.load(Ordering::Relaxed) < most
    }
}

/// What one body may decode before it is suspended, counted in octets made.
#[derive(Debug)]
pub struct Share {
    left: usize,
    /// Octets of memory that its windows may come to need.
    windows: usize,
}

/// A suspended decoding's place among those that are gone on with; it is free again when this is dropped, on whichever thread.
#[derive(Debug)]
pub struct Place(Arc<AtomicU64>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    pub fn new(left: usize, windows: usize) -> Self {
        Share { left, windows }
    }

    pub(super) fn windows(&self) -> usize {
        self.windows
    }

    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    #[inline]
    pub(super) fn spend(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }
}

impl Decoders {
    /// A tick begins.
    pub fn begin_tick(&mut self) {
        self.tick = DECODE_TICK;
    }

    /// What a body may decode now.
    pub fn share(&self, windows: usize) -> Share {
        Share { left: self.tick.min(DECODE_SHARE), windows }
    }

    /// What a body was given and has not used stays with the others.
    pub fn spent(&mut self, given: usize, share: &Share) {
        self.tick = self.tick.saturating_sub(given - share.left);
    }

    /// A place, if fewer than `most` are taken.
    pub fn place(&self, most: u64) -> Option<Place> {
        self.places.take(most)
    }

    /// Octets of memory that the decoders hold which are kept for the next bodies.
    pub fn kept(&self) -> usize {
        self.inflaters.iter().map(|inflater| inflater.held()).chain(self.zstds.iter().map(|zstd| zstd.held())).sum()
    }

    pub(super) fn lend(&mut self, coding: Coding) -> Decoder {
        match coding {
            Coding::Gzip | Coding::Deflate => {
                let mut inflater = self.inflaters.pop().unwrap_or_else(|| Box::new(Inflater::new()));
                inflater.begin(coding == Coding::Gzip);
                Decoder::Inflate(inflater)
            }
            Coding::Br => Decoder::Br(Box::new(Brotli::new())),
            Coding::Zstd => {
                let mut zstd = self.zstds.pop().unwrap_or_else(|| Box::new(Zstd::new()));
                zstd.begin();
                Decoder::Zstd(zstd)
            }
        }
    }

    pub(super) fn take_back(&mut self, decoder: Decoder) {
        match decoder {
            Decoder::Inflate(inflater) if self.inflaters.len() < KEPT => self.inflaters.push(inflater),
            Decoder::Zstd(zstd) if self.zstds.len() < KEPT && zstd.is_worth_keeping() => self.zstds.push(zstd),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_a_place_and_no_more_until_one_leaves() {
        let places = Places::default();
        let (first, second) = (places.take(2), places.take(2));
        assert!(first.is_some() && second.is_some() && !places.has_room(2) && places.take(2).is_none());
        assert!(places.has_room(3), "who got none has taken none");
        drop(first);
        assert!(places.has_room(2) && places.take(2).is_some());
    }
}
