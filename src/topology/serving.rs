//! The steps from read to handoff and back, run in order on one thread: what a segment does with one connection.
#![forbid(unsafe_code)]

mod ends;
mod figures;
mod packing;
mod secure;
mod uploads;

pub use packing::Landed;

use super::coming::Coming;
use super::stations::{self, Exit, Handoff, Hurried, Work};
use crate::connection::http1::NO_MEMORY;
use crate::connection::{Connection, Ending, Memory, Tools};
use crate::decode::content::Decoders;
use crate::engine::clock::Source;
use crate::engine::spool::Spool;
use crate::engine::{Engine, Outgoing, SeatId, Sending, Window, sys};
use crate::handoff::{Door, Outlet};
use crate::journey::{Sampler, Timing};
use crate::limits::{Limits, SEND_PER_TICK_BYTES, UNLIMITED};
use crate::memory::contents::Contents;
use crate::memory::pool::Pool;
use crate::memory::reply::ReplyKind;
use crate::memory::slots::SlotOwner;
use crate::memory::tail::Tail;
use crate::options::JourneyMode;
use crate::parse::sketch::Sketch;
use crate::read::{self, Absorbed};
use crate::respond::encode::{Date, Opening};
use crate::respond::settle::Desk;
use crate::respond::{self, settle, streamed};
use crate::stats::Counters;
use httpdate::HttpDate;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

/// Write buffers kept for the next answer.
const SPARE_BUFFERS: usize = 64;
/// A larger write buffer is not kept.
const SPARE_BYTES: usize = 128 * 1024;

/// See the file's first line.
pub struct Serving {
    pub limits: Limits,
    pub outlet: Outlet,
    pub memory: Memory,
    pub draining: bool,
    /// The host answers on the thread that serves connections.
    pub shares_thread: bool,
    /// What the steps are timed with.
    pub clock: Source,
    slots: SlotOwner,
    pool: Pool,
    sketch: Sketch,
    decoders: Decoders,
    /// Where bodies go that are too large for memory.
    pub spool: Arc<Spool>,
    contents: Contents,
    serial: bool,
    mode: JourneyMode,
    sampler: Sampler,
    now_ns: u64,
    opening: Opening,
    /// The second that `opening` was rendered for, on the monotonic clock.
    date_second: u64,
    spare: Vec<Vec<u8>>,
    /// Octets that have just been opened; empty between two receives.
    plain: Vec<u8>,
    /// A piece of a file that is about to be sealed.
    piece: Vec<u8>,
    /// Handshakes so far, for the counters.
    handshakes: u64,
    handshake_failures: u64,
    /// Openings of this tick that brought a handshake further.
    pub openings: u32,
    /// Ciphertext is opened by the far threads.
    pub sends_sealed: bool,
    /// Requests delivered so far, for the counters.
    pub delivered: u64,
    hurried: Hurried,
    /// Requests were refused in this tick since their queue stands.
    sheds: bool,
}

impl Serving {
    pub fn new(limits: Limits, outlet: Outlet, memory: Memory, slots: SlotOwner, serial: bool, mode: JourneyMode, every: u32) -> Self {
        Serving {
            limits,
            shares_thread: outlet.is_inline(),
            clock: sys::monotonic_ns,
            outlet,
            memory,
            draining: false,
            slots,
            pool: Pool::new(),
            sketch: Sketch::roomy(),
            decoders: Decoders::default(),
            spool: Arc::default(),
            contents: Contents::default(),
            serial,
            mode,
            sampler: Sampler::new(mode, every),
            now_ns: 0,
            opening: Opening::new(&[b' '; 29]),
            date_second: u64::MAX,
            spare: Vec::new(),
            plain: Vec::new(),
            piece: Vec::new(),
            handshakes: 0,
            handshake_failures: 0,
            openings: 0,
            sends_sealed: false,
            delivered: 0,
            hurried: Hurried::default(),
            sheds: false,
        }
    }

    /// The time of this tick; Date is rendered once a second.
    pub fn begin_tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.openings = 0;
        self.decoders.begin_tick();
        let second = now_ns / 1_000_000_000;
        if second != self.date_second {
            self.date_second = second;
            self.opening = Opening::new(&date_of(SystemTime::now()));
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_ns / 1_000_000
    }

    /// Whether the next receive is to be timed.
    pub fn wants_timed(&self) -> bool {
        self.sampler.wants_next()
    }

    pub fn journeys(&self) -> bool {
        self.mode != JourneyMode::Off
    }

    /// Octets have come: parses, decodes and hands over what they complete.
    pub fn received(&mut self, id: SeatId, connection: &mut Connection, window: Window, slab: &mut [u8], read_ns: u64) {
        if connection.ending != Ending::Open {
            self.throw_away(connection, &window);
            return;
        }
        if let (Window::Slab(count), true) = (&window, connection.session.is_secure()) {
            return self.received_sealed(id, connection, &mut slab[..*count], read_ns);
        }
        connection.since_ms = self.now_ms();
        match window {
            Window::Buffer(buffer, count) if connection.protocol.in_body() => {
                stations::body(self.work(id, 0), connection, buffer, count);
            }
            window => match read::absorb(&mut connection.inbox, window, slab) {
                Absorbed::Slab(count) => {
                    fail_point!("decrypt");
                    stations::window(self.work(id, read_ns), connection, &mut slab[..count]);
                }
                Absorbed::Inbox => stations::inbox(self.work(id, read_ns), connection),
                Absorbed::Lost => connection.protocol.refuse(NO_MEMORY),
            },
        }
    }

    /// Goes on with what was carried over.
    pub fn resume(&mut self, id: SeatId, connection: &mut Connection) {
        if connection.ending != Ending::Open {
            return;
        }
        if connection.protocol.is_suspended() {
            // The peer is waited for again from now on.
            connection.since_ms = self.now_ms();
        }
        stations::inbox(self.work(id, 0), connection);
        if connection.read_closed {
            self.peer_finished(connection);
        }
    }

    /// Whether there is something to parse or to decode although nothing new came.
    pub fn can_resume(&self, connection: &Connection) -> bool {
        let protocol = &connection.protocol;
        // Who is refused, or lingers, has nothing more decoded.
        (protocol.has_turn_to_come() && connection.ending == Ending::Open)
            || (!connection.inbox.is_empty() && protocol.is_stalled() && protocol.may_begin(&self.limits))
    }

    /// What the octets of a connection are worked on with; the receive took `read_ns`, if it was timed.
    #[inline(always)]
    fn work(&mut self, seat: SeatId, read_ns: u64) -> Work<'_> {
        let timing = Timing { mode: self.mode, clock: self.clock, exact: false, read_ns, decrypt_ns: 0 };
        let tools = Tools {
            limits: &self.limits,
            sketch: &mut self.sketch,
            contents: &mut self.contents,
            pool: &mut self.pool,
            memory: &mut self.memory,
            decoders: &mut self.decoders,
            spool: &self.spool,
            timing,
            now_ns: self.now_ns,
            ahead: 0,
            serial: self.serial,
        };
        let handoff = Handoff {
            slots: &mut self.slots,
            outlet: &mut self.outlet,
            delivered: &mut self.delivered,
            hurried: &mut self.hurried,
            seat,
            now_ns: self.now_ns,
        };
        Work { tools, sampler: &mut self.sampler, exit: Exit::Handoff(handoff) }
    }

    /// What settling needs.
    pub fn desk(&mut self) -> Desk<'_> {
        Desk { slots: &mut self.slots, pool: &mut self.pool, memory: &mut self.memory, opening: &self.opening, draining: self.draining }
    }

    /// Answers have come home: each connection notes its own, and is listed once to be gone on with.
    pub fn came_home<E: Engine<Connection>>(&mut self, coming: &mut Coming, engine: &mut E, touched: &mut Vec<SeatId>, door: &Door) {
        let counters = &door.homes()[self.slots.thread()].counters;
        let fresh = touched.len();
        while let Some(slot) = coming.current() {
            self.came(slot, coming, engine, touched);
            coming.done();
        }
        door.came_back(std::mem::take(&mut coming.back));
        // Rendered at once and sent later: letters and slots are free again while they are warm, only the wire form waits.
        for &seat in &touched[fresh..] {
            coming.at_work = Some(seat);
            if let Some(connection) = engine.seats().baton(seat) {
                self.render(connection, counters);
            }
        }
        coming.clear();
    }

    /// One slot is home.
    #[inline]
    fn came<E: Engine<Connection>>(&mut self, slot: u32, coming: &mut Coming, engine: &mut E, touched: &mut Vec<SeatId>) {
        let seat = SeatId::from_word(self.slots.seat(slot));
        // Parked in its seat while the baton is away; it comes here again when that is home, as it is now.
        let Ok(mut connection) = engine.seats().baton_for(seat, slot) else { return };
        let Some(homing) = self.slots.homing(slot) else { return };
        if homing.kind == Some(ReplyKind::Told) {
            self.slots.finish(slot, 0);
            return;
        }
        coming.at_work = Some(seat);
        settle::settle(connection.as_deref_mut(), slot, homing, &mut self.desk());
        coming.back += usize::from(homing.kind.is_some_and(ReplyKind::was_held));
        if let Some(connection) = connection {
            if !connection.touched {
                connection.touched = true;
                touched.push(seat);
            }
        }
    }

    /// Gives the answers whose turn it is their wire form.
    fn render(&mut self, connection: &mut Connection, counters: &Counters) {
        // What is said once an answer is with the kernel must not be said because the one before it is.
        if !connection.protocol.has_something_to_say() || connection.sealing.is_some() {
            return;
        }
        if connection.outbox.first.capacity() == 0 {
            connection.outbox.first = self.spare.pop().unwrap_or_default();
        }
        let settled = respond::write_ready(connection, &mut self.desk());
        if connection.sent_straight > 0 {
            counters.bytes_sent.add(std::mem::take(&mut connection.sent_straight));
        }
        if settled.answered + settled.refused + settled.unserved() + settled.abandoned > 0 {
            self.count(&settled, counters);
            connection.since_ms = self.now_ms();
        }
    }

    /// Renders and sends what can be, until an answer is missing or the kernel takes no more.
    pub fn flush<E: Engine<Connection>>(&mut self, id: SeatId, connection: &mut Connection, engine: &mut E, counters: &Counters) {
        if !connection.has_output() {
            return;
        }
        if connection.session.is_secure() {
            self.flush_sealed(id, connection, engine, counters);
        } else {
            self.flush_plain(id, connection, engine, counters);
        }
        let unseen = connection.protocol.is_stalled() && !connection.inbox.is_empty();
        let finished = connection.protocol.is_idle() && !unseen;
        let sent = !connection.sending && connection.sealing.is_none();
        if connection.read_closed && connection.ending == Ending::Open && sent && finished {
            connection.ending = Ending::AfterFlush;
            if connection.session.is_secure() {
                // Our close_notify, since nothing else was left to be said.
                self.flush_sealed(id, connection, engine, counters);
            }
        }
    }

    #[inline]
    fn flush_plain<E: Engine<Connection>>(&mut self, id: SeatId, connection: &mut Connection, engine: &mut E, counters: &Counters) {
        let mut share = SEND_PER_TICK_BYTES;
        while !connection.sending && connection.ending != Ending::Abort {
            self.render(connection, counters);
            if connection.outbox.is_empty() {
                if connection.pulled.is_some() || !connection.unsent.is_empty() {
                    // Nothing is under way, so all that was owed is with the kernel already; or it was never to be sent (HEAD).
                    self.sent(connection, Outgoing::default());
                }
                break;
            }
            counters.sends.add(1);
            fail_point!("send");
            match engine.send(id, std::mem::take(&mut connection.outbox)) {
                Sending::Done(outgoing) => {
                    counters.bytes_sent.add(outgoing.sent);
                    share = share.saturating_sub(outgoing.sent);
                    self.sent(connection, outgoing);
                    if !connection.has_output() {
                        break;
                    }
                    if share == 0 && connection.protocol.oldest().is_some_and(|oldest| oldest.speaking && !oldest.answered) {
                        // The others have their turn; what was said meanwhile is in the mailbox, and comes with the next tick.
                        break;
                    }
                }
                Sending::Pending => self.waits_to_send(connection, engine.unacknowledged(id)),
                Sending::Failed(outgoing) => {
                    self.recycle(outgoing);
                    connection.truncated = true;
                    connection.ending = Ending::Abort;
                }
            }
        }
        if connection.protocol.oldest().is_some_and(|oldest| oldest.speaking) {
            // Whoever writes on this very thread keeps it from the others meanwhile.
            let allowance = if self.shares_thread { SEND_PER_TICK_BYTES } else { UNLIMITED };
            streamed::lend_wire(connection, || engine.wire(id), allowance, &mut self.desk());
        }
    }

    /// The kernel took a part, and holds so much now that the peer has not acknowledged.
    fn waits_to_send(&mut self, connection: &mut Connection, unacknowledged: u64) {
        connection.sending = true;
        connection.sending_since_ms = self.now_ms();
        connection.sent = 0;
        connection.unacknowledged = unacknowledged;
        connection.acknowledged = 0;
        connection.since_ms = self.now_ms();
    }

    /// A send that the engine had to wait with is complete.
    pub fn went_out(&mut self, connection: &mut Connection, outgoing: Outgoing) {
        if connection.session.is_secure() {
            self.sealed_went_out(connection, outgoing);
        } else {
            self.sent(connection, outgoing);
        }
    }

    /// All of it is with the kernel: streams have room again, lent memory is the host's again.
    #[inline]
    fn sent(&mut self, connection: &mut Connection, outgoing: Outgoing) {
        if connection.pulled.is_none() && connection.unsent.is_empty() {
            self.recycle(outgoing);
        } else {
            self.sent_in_part(connection, outgoing);
        }
    }

    #[cold]
    fn sent_in_part(&mut self, connection: &mut Connection, mut outgoing: Outgoing) {
        if let Some((slot, octets)) = connection.pulled.take() {
            let buffer = match std::mem::take(&mut outgoing.tail) {
                Tail::Octets(buffer) => buffer,
                _ => Vec::new(),
            };
            self.slots.stream_sent(slot, octets, buffer);
        }
        self.recycle(outgoing);
        for (slot, marks) in connection.unsent.drain(..) {
            self.slots.finish(slot, marks);
        }
    }

    /// Keeps a write buffer for the next answer.
    #[inline]
    fn recycle(&mut self, mut outgoing: Outgoing) {
        outgoing.clear();
        let buffer = outgoing.first;
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_BYTES && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// The host is to hear what was noted in this tick, if it asked for it.
    pub fn tell(&mut self, door: &Door) {
        self.outlet.tell(&mut self.slots, door);
    }

    /// News waits that only a further tick can deliver.
    pub fn has_news(&self) -> bool {
        // What is told to a callback is told at once, but for news that stands behind a request which waits for room.
        self.outlet.has_unsaid() || (!self.outlet.is_stalled() && (self.slots.has_notices() || self.outlet.has_batch()))
    }

    /// Everything is sent: FIN, then read on for a while so that the peer gets our last words (RFC 9112 section 9.6).
    pub fn begin_linger<E: Engine<Connection>>(&mut self, id: SeatId, connection: &mut Connection, engine: &mut E) {
        if connection.read_closed {
            connection.ending = Ending::Abort;
            return;
        }
        engine.shutdown_write(id);
        connection.ending = Ending::Lingering;
        connection.since_ms = self.now_ms();
        connection.inbox.take();
    }

    fn throw_away(&mut self, connection: &mut Connection, window: &Window) {
        let (Window::Slab(count) | Window::Buffer(_, count)) = window;
        connection.lingered += *count as u64;
        if connection.lingered > self.limits.linger_bytes {
            connection.ending = Ending::Abort;
        }
    }

    /// The peer sends nothing more. What is incomplete never becomes a request; what is complete is still answered.
    pub fn peer_finished(&mut self, connection: &mut Connection) {
        if connection.protocol.is_suspended() || connection.protocol.is_upload_whole() {
            // All of it may be here; this is looked at again when it is decoded.
            return self.note_read_closed(connection);
        }
        if let Some(letter) = connection.protocol.drop_body(&mut self.memory) {
            letter.dissolve(&mut self.pool);
            connection.protocol.no_more();
        }
        if connection.ending == Ending::Lingering {
            connection.ending = Ending::Abort;
        }
        self.note_read_closed(connection);
    }

    /// The host may hear that the peer of what it holds asks nothing more.
    pub fn note_read_closed(&mut self, connection: &Connection) {
        for slot in connection.protocol.pending_slots() {
            self.slots.note_read_closed(slot);
        }
    }

    /// Whether the oldest request is with the host; it has then the host's time to be answered.
    pub fn left_queue(&mut self, connection: &mut Connection) -> bool {
        match connection.protocol.oldest_mut() {
            Some(oldest) if !self.slots.is_queued(oldest.slot) && !self.outlet.waits(oldest.slot) => {
                oldest.queued = false;
                true
            }
            _ => false,
        }
    }
}

fn date_of(now: SystemTime) -> Date {
    let mut date = [b' '; 29];
    let mut room = &mut date[..];
    // Written in place, since this is done every second and a string would be an allocation. It is always 29 octets.
    let written = write!(room, "{}", HttpDate::from(now));
    debug_assert!(written.is_ok() && room.is_empty());
    date
}
