//! The seats of one thread: what is known of each descriptor, and the baton when it is at home.
#![forbid(unsafe_code)]

use super::{Event, Landing, Outgoing};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
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

/// What came for a baton while it was away. Few seats have any.
#[derive(Debug, Default)]
struct Parked {
    events: Vec<Event>,
    /// Answers, as numbers that mean something to their owner.
    answers: Vec<u32>,
}

/// The baton of a seat is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

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
    /// A unix socket: a short read does not mean that it is empty.
    pub(super) is_local: bool,
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
    parked: Option<Box<Parked>>,
}

/// All seats of one thread.
#[derive(Debug)]
pub struct Seats<B> {
    seats: Vec<Seat<B>>,
    free: Vec<u32>,
    taken: usize,
    /// Events of batons that have come home since.
    replayed: VecDeque<Event>,
}

impl<B> Seats<B> {
    pub fn new() -> Self {
        Seats { seats: Vec::new(), free: Vec::new(), taken: 0, replayed: VecDeque::new() }
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

    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.seats.iter().filter_map(|seat| seat.stream.as_ref().map(|stream| stream.as_raw_fd()))
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

    /// Whether the seat is taken and its baton is not in it.
    pub fn is_away(&mut self, id: SeatId) -> bool {
        self.get(id).is_some_and(|seat| seat.baton.is_none())
    }

    /// Whether the seat has been given up.
    pub fn is_stale(&mut self, id: SeatId) -> bool {
        self.get(id).is_none()
    }

    /// Looks at the baton that an answer is for. While it is away the answer is parked; a stale seat has no baton.
    pub fn baton_for(&mut self, id: SeatId, answer: u32) -> Result<Option<&mut B>, Away> {
        let Some(seat) = self.get(id) else { return Ok(None) };
        if seat.baton.is_none() {
            let answers = &mut seat.parked.get_or_insert_default().answers;
            if !answers.contains(&answer) {
                answers.push(answer);
            }
            return Err(Away);
        }
        Ok(seat.baton.as_deref_mut())
    }

    /// Keeps an event until the baton is home. Of those that say the same or more than one before, only the later is kept.
    pub fn park(&mut self, id: SeatId, event: Event) {
        let Some(seat) = self.get(id) else { return };
        let events = &mut seat.parked.get_or_insert_default().events;
        events.retain(|earlier| !overtakes(&event, earlier));
        events.push(event);
    }

    /// The baton is home: the events that were parked are the next to be reaped, the answers go to `answers`.
    pub fn replay(&mut self, id: SeatId, answers: &mut Vec<u32>) {
        let Some(parked) = self.get(id).and_then(|seat| seat.parked.take()) else { return };
        self.replayed.extend(parked.events);
        answers.extend(parked.answers);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn next_replayed(&mut self) -> Option<Event> {
        self.replayed.pop_front()
    }

    pub(super) fn has_replayed(&self) -> bool {
        !self.replayed.is_empty()
    }

    /// What is parked at a seat.
    #[cfg(test)]
    pub fn parked(&mut self, id: SeatId) -> &[Event] {
        self.get(id).and_then(|seat| seat.parked.as_ref()).map_or(&[], |parked| &parked.events)
    }

    pub(super) fn get(&mut self, id: SeatId) -> Option<&mut Seat<B>> {
        self.seats.get_mut(id.index as usize).filter(|seat| seat.generation == id.generation && seat.stream.is_some())
    }

    /// A place, taken or not, and who sits there if anybody does.
    pub(super) fn place(&mut self, index: u64) -> Option<(&mut Seat<B>, SeatId)> {
        let seat = self.seats.get_mut(usize::try_from(index).ok()?)?;
        let id = SeatId { index: index as u32, generation: seat.generation };
        Some((seat, id))
    }

    pub(super) fn sit(&mut self, stream: OwnedFd, baton: Box<B>) -> SeatId {
        self.taken += 1;
        if let Some(index) = self.free.pop() {
            let seat = &mut self.seats[index as usize];
            let armed_ms = seat.armed_ms;
            *seat = Seat::new(Arc::new(stream), seat.generation, baton);
            seat.armed_ms = armed_ms;
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
        seat.parked = None;
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
            is_local: false,
            listed: false,
            tired: false,
            landing: None,
            outgoing: None,
            deadline_ms: 0,
            armed_ms: 0,
            baton: Some(baton),
            parked: None,
        }
    }
}

/// A stream fails once, and where a send stands is said anew each time.
fn overtakes(event: &Event, earlier: &Event) -> bool {
    matches!(
        (event, earlier),
        (Event::Broken(_), Event::Broken(_)) | (Event::SendProgressed(..) | Event::Sent(..), Event::SendProgressed(..))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> OwnedFd {
        // Any descriptor will do: nobody reads from it.
        std::fs::File::open("/dev/null").map(OwnedFd::from).unwrap()
    }

    #[test]
    fn what_comes_for_a_baton_that_is_away_waits_in_its_seat() {
        let mut seats = Seats::new();
        let id = seats.sit(stream(), Box::new(7u8));
        assert!(!seats.is_away(id) && !seats.is_stale(id));
        assert_eq!(seats.baton_for(id, 1), Ok(Some(&mut 7)));
        let baton = seats.take_baton(id).unwrap();
        assert!(seats.is_away(id));
        assert_eq!(seats.baton_for(id, 2), Err(Away));
        assert_eq!(seats.baton_for(id, 3), Err(Away));
        assert_eq!(seats.baton_for(id, 2), Err(Away), "the same one again");
        seats.park(id, Event::SendProgressed(id, 10));
        seats.park(id, Event::Broken(id));
        seats.park(id, Event::SendProgressed(id, 20));
        seats.park(id, Event::Sent(id, Outgoing::default()));
        seats.park(id, Event::Broken(id));
        seats.return_baton(id, baton);
        assert!(!seats.has_replayed());
        let mut answers = vec![1];
        seats.replay(id, &mut answers);
        seats.replay(id, &mut answers);
        assert_eq!(answers, [1, 2, 3]);
        assert!(matches!(seats.next_replayed(), Some(Event::Sent(..))));
        assert!(seats.has_replayed());
        assert!(matches!(seats.next_replayed(), Some(Event::Broken(_))));
        assert!(seats.next_replayed().is_none());
    }

    #[test]
    fn a_seat_that_was_given_up_keeps_nothing() {
        let mut seats = Seats::new();
        let id = seats.sit(stream(), Box::new(7u8));
        let baton = seats.take_baton(id).unwrap();
        seats.park(id, Event::Broken(id));
        assert!(matches!(seats.leave(id), Some((_, None))));
        assert!(seats.is_stale(id) && !seats.is_away(id));
        assert_eq!(seats.baton_for(id, 1), Ok(None));
        seats.park(id, Event::Broken(id));
        seats.return_baton(id, baton);
        let next = seats.sit(stream(), Box::new(8));
        assert_eq!((next.index, seats.baton_for(next, 1)), (id.index, Ok(Some(&mut 8))));
        seats.replay(next, &mut Vec::new());
        assert!(!seats.has_replayed());
        assert_eq!(seats.taken(), 1);
    }
}
