//! The seats of one thread: what is known of each descriptor, and the baton when it is at home.
#![forbid(unsafe_code)]

use super::{Landing, Outgoing};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Names a seat; stale as soon as the seat is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeatId {
    pub index: u32,
    pub generation: u32,
}

impl SeatId {
    /// As one word, for the kernel and the timer wheel.
    pub fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub fn from_word(word: u64) -> Self {
        SeatId { index: word as u32, generation: (word >> 32) as u32 }
    }
}

/// See the file's first line.
#[derive(Debug)]
pub struct Seat<B> {
    /// Shared with the host's threads only while they hold a wire.
    pub(super) stream: Option<Arc<OwnedFd>>,
    pub(super) generation: u32,
    /// The kernel may have octets for us.
    pub(super) readable: bool,
    /// FIN, urgent data or a failure was announced: read on after a short read.
    pub(super) ending: bool,
    /// FIN was announced, and whether that was reported.
    pub(super) finished: bool,
    pub(super) finish_told: bool,
    /// The stream failed in both directions.
    pub(super) broken: bool,
    /// Waits on the ready list.
    pub(super) listed: bool,
    /// Waits for its next share of sending.
    pub(super) tired: bool,
    pub(super) landing: Option<Landing>,
    /// A send that the kernel took only a part of. Boxed, since few seats have one.
    pub(super) outgoing: Option<Box<Outgoing>>,
    /// When to report `Expired`; zero for never.
    pub(super) deadline_ms: u64,
    /// The earliest time at which the timer wheel will look at this seat; zero for none.
    pub(super) armed_ms: u64,
    baton: Option<Box<B>>,
}

/// All seats of one thread.
#[derive(Debug)]
pub struct Seats<B> {
    seats: Vec<Seat<B>>,
    free: Vec<u32>,
    taken: usize,
}

impl<B> Seats<B> {
    pub fn new() -> Self {
        Seats { seats: Vec::new(), free: Vec::new(), taken: 0 }
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Every seat that is taken.
    pub fn ids(&self) -> Vec<SeatId> {
        let taken = self.seats.iter().enumerate().filter(|(_, seat)| seat.stream.is_some());
        taken.map(|(index, seat)| SeatId { index: index as u32, generation: seat.generation }).collect()
    }

    /// Takes the baton out of its seat; `None` when it is away or the seat is stale.
    pub fn take_baton(&mut self, id: SeatId) -> Option<Box<B>> {
        self.get(id)?.baton.take()
    }

    /// Brings the baton home; it is dropped when the seat was given up meanwhile.
    pub fn return_baton(&mut self, id: SeatId, baton: Box<B>) {
        if let Some(seat) = self.get(id) {
            seat.baton = Some(baton);
        }
    }

    /// Looks at a baton that is at home.
    pub fn baton(&mut self, id: SeatId) -> Option<&mut B> {
        self.get(id)?.baton.as_deref_mut()
    }

    pub(super) fn get(&mut self, id: SeatId) -> Option<&mut Seat<B>> {
        self.seats.get_mut(id.index as usize).filter(|seat| seat.generation == id.generation && seat.stream.is_some())
    }

    pub(super) fn sit(&mut self, stream: OwnedFd, baton: Box<B>) -> SeatId {
        self.taken += 1;
        if let Some(index) = self.free.pop() {
            let seat = &mut self.seats[index as usize];
            *seat = Seat::new(Arc::new(stream), seat.generation, baton);
            return SeatId { index, generation: seat.generation };
        }
        self.seats.push(Seat::new(Arc::new(stream), 0, baton));
        SeatId { index: self.seats.len() as u32 - 1, generation: 0 }
    }

    /// Gives the seat up; what sat there is the caller's.
    pub(super) fn leave(&mut self, id: SeatId) -> Option<(Arc<OwnedFd>, Option<Box<B>>)> {
        let seat = self.get(id)?;
        let stream = seat.stream.take()?;
        let baton = seat.baton.take();
        seat.landing = None;
        seat.outgoing = None;
        seat.generation = seat.generation.wrapping_add(1);
        self.free.push(id.index);
        self.taken -= 1;
        Some((stream, baton))
    }
}

impl<B> Default for Seats<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Seat<B> {
    fn new(stream: Arc<OwnedFd>, generation: u32, baton: Box<B>) -> Self {
        Seat {
            stream: Some(stream),
            generation,
            readable: false,
            ending: false,
            finished: false,
            finish_told: false,
            broken: false,
            listed: false,
            tired: false,
            landing: None,
            outgoing: None,
            deadline_ms: 0,
            armed_ms: 0,
            baton: Some(baton),
        }
    }
}
