//! The deadlines of a thread's seats: each seat has one, and mostly moves it back, which costs one store.
#![forbid(unsafe_code)]

use super::timers::TimerWheel;
use super::{Event, SeatId, Seats};

/// Words that are taken from the wheel at once without an allocation.
const ROOM: usize = 512;

/// See the file's first line.
#[derive(Debug)]
pub struct Deadlines {
    wheel: TimerWheel,
    /// Taken from the wheel, and not looked at yet.
    expired: Vec<u64>,
}

impl Deadlines {
    pub fn new(now_ms: u64) -> Self {
        Deadlines { wheel: TimerWheel::new(now_ms), expired: Vec::with_capacity(ROOM) }
    }

    /// `Expired` is due once the time is reached, unless it is moved before; zero for never.
    #[inline]
    pub fn set<B>(&mut self, seats: &mut Seats<B>, id: SeatId, at_ms: u64) {
        let Some(seat) = seats.get(id) else { return };
        seat.deadline_ms = at_ms;
        // An entry that is due earlier looks at the deadline again, so pushing it back costs nothing here.
        if at_ms != 0 && (seat.armed_ms == 0 || at_ms < seat.armed_ms) {
            seat.armed_ms = at_ms;
            self.wheel.insert(at_ms, u64::from(id.index));
        }
    }

    /// Milliseconds until `next` may find something, `None` when there is nothing to wait for.
    #[inline]
    pub fn next_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.wheel.next_in_ms(now_ms)
    }

    /// The next seat whose deadline has passed.
    #[inline]
    pub fn next<B>(&mut self, seats: &mut Seats<B>, now_ms: u64) -> Option<Event> {
        let expired = &mut self.expired;
        self.wheel.advance(now_ms, |word| expired.push(word));
        while let Some(index) = self.expired.pop() {
            // An entry belongs to the place, whoever sits there: so a flood of connections that come and go leaves no more entries
            // behind than there were seats.
            let Some((seat, id)) = seats.place(index) else { continue };
            if seat.armed_ms > now_ms {
                // A later entry of the same seat stands for it.
                continue;
            }
            seat.armed_ms = 0;
            if seat.deadline_ms == 0 || seat.stream.is_none() {
                continue;
            }
            if seat.deadline_ms <= now_ms {
                seat.deadline_ms = 0;
                return Some(Event::Expired(id));
            }
            let at_ms = seat.deadline_ms;
            self.set(seats, id, at_ms);
        }
        None
    }
}
