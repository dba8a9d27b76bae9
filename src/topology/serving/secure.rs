//! Connections with TLS: what was received is opened before it is parsed, what is sent is sealed in portions.
#![forbid(unsafe_code)]

use super::Serving;
use super::stations;
use crate::connection::http1::NO_MEMORY;
use crate::connection::{Connection, Ending};
use crate::decrypt::{Opened, Secure, Session};
use crate::engine::{Engine, Outgoing, SeatId, Sending, sys};
use crate::limits::{SEAL_BYTES, SEND_PER_TICK_BYTES};
use crate::memory::tail::Tail;
use crate::parse::refusal::Refusal;
use crate::respond::settle;
use crate::stats::Counters;

/// What somebody hears who speaks plain HTTP where TLS is expected.
const PLAIN_HTTP: Refusal = Refusal::new(400, "plain http on a tls port: connect with https");

impl Serving {
    /// Ciphertext has come: opens it, and goes on with the plain octets as with any others.
    #[inline(never)]
    pub(super) fn received_sealed(&mut self, id: SeatId, connection: &mut Connection, window: &mut [u8], read_ns: u64) {
        let mut plain = std::mem::take(&mut self.plain);
        let decrypt_ns = self.unseal_timed(connection, window, &mut plain, read_ns > 0);
        self.read_opened(id, connection, &mut plain, (read_ns, decrypt_ns));
        plain.clear();
        self.plain = plain;
    }

    /// Goes on with what was opened; the receive took so long, and the opening, if they were timed.
    pub fn read_opened(&mut self, id: SeatId, connection: &mut Connection, plain: &mut [u8], (read_ns, decrypt_ns): (u64, u64)) {
        if !plain.is_empty() {
            fail_point!("decrypt");
            let fresh = connection.inbox.is_empty();
            let carried = !fresh && connection.inbox.carry(plain);
            let mut work = self.work(id, read_ns);
            work.tools.timing.decrypt_ns = decrypt_ns;
            if fresh {
                stations::window(work, connection, plain);
            } else if carried {
                stations::inbox(work, connection);
            } else {
                connection.protocol.refuse(NO_MEMORY);
            }
        }
        if connection.read_closed {
            self.peer_finished(connection);
        }
    }

    /// Keeps octets of a handshake that are opened later. False when there is nothing to wait for.
    pub fn put_by(&mut self, connection: &mut Connection, octets: &[u8]) -> bool {
        let Session::Tls(secure) = &mut connection.session else { return false };
        match secure.put_by(octets, self.now_ns) {
            Opened::Going => true,
            opened => {
                self.opened(connection, opened, true, false);
                false
            }
        }
    }

    /// Opens what was put by.
    pub fn open_put_by(&mut self, connection: &mut Connection, plain: &mut Vec<u8>) {
        self.unseal(connection, &mut [], plain);
    }

    /// As `unseal`, and says what it took if that is wanted, else zero.
    pub(super) fn unseal_timed(&mut self, connection: &mut Connection, window: &mut [u8], plain: &mut Vec<u8>, timed: bool) -> u64 {
        let began_ns = if timed { (self.clock)() } else { 0 };
        self.unseal(connection, window, plain);
        if timed { (self.clock)() - began_ns } else { 0 }
    }

    /// Opens what came; the plain octets of it go behind those in `plain`.
    fn unseal(&mut self, connection: &mut Connection, window: &mut [u8], plain: &mut Vec<u8>) {
        let Session::Tls(secure) = &mut connection.session else { return };
        fail_point!("handshake");
        let (before, handshaking) = (plain.len(), !secure.is_established());
        let opened = secure.open(window, plain, self.now_ns);
        self.openings += u32::from(handshaking && secure.has_moved_on());
        if opened == Opened::Failed {
            plain.truncate(before);
        }
        self.opened(connection, opened, handshaking, plain.len() > before);
    }

    /// What came of an opening, here or on another thread: whether the session was not established before, and whether it showed anything
    /// plain.
    pub fn opened(&mut self, connection: &mut Connection, opened: Opened, handshaking: bool, shows: bool) {
        let shook_hands = handshaking && connection.session.secure().is_some_and(|secure| secure.is_established());
        self.handshakes += u64::from(shook_hands);
        // Octets that show nothing do not keep a connection alive, or one record could be dripped for ever; those of a body have a
        // least rate.
        if shows || shook_hands || connection.protocol.in_body() {
            connection.since_ms = self.now_ms();
        }
        match opened {
            Opened::Going => {}
            Opened::Finished => {
                connection.fin_seen = true;
                connection.read_closed = true;
            }
            Opened::PlainHttp => {
                self.handshake_failures += 1;
                connection.session = Session::Plain;
                connection.protocol.refuse(PLAIN_HTTP);
            }
            Opened::Failed => {
                self.handshake_failures += u64::from(handshaking);
                self.break_off(connection);
            }
        }
    }

    /// The session is broken: nothing that is under way can be completed. The alert is sent, then the connection ends.
    #[cold]
    fn break_off(&mut self, connection: &mut Connection) {
        if let Some(letter) = connection.protocol.drop_body(&mut self.memory) {
            letter.dissolve(&mut self.pool);
        }
        connection.inbox.take();
        connection.truncated |= connection.sealing.is_some();
        connection.sealing = None;
        connection.pulled = None;
        let outgoing = std::mem::take(&mut connection.outbox);
        self.recycle(outgoing);
        settle::drop_pending(connection, &mut self.desk());
        self.let_go(connection);
        connection.ending = Ending::AfterFlush;
    }

    /// A connection ends: counts a handshake that had begun and was not ended by us.
    pub(super) fn count_unfinished(&mut self, connection: &mut Connection) {
        self.handshake_failures += u64::from(connection.session.secure().is_some_and(|secure| secure.is_in_handshake()));
    }

    /// As for plain connections, but for what is between the outbox and the engine: portions are sealed as the kernel takes them, and
    /// octets of the session's own go first.
    #[inline(never)]
    pub(super) fn flush_sealed<E: Engine<Connection>>(
        &mut self,
        id: SeatId,
        connection: &mut Connection,
        engine: &mut E,
        counters: &Counters,
    ) {
        let mut share = SEND_PER_TICK_BYTES;
        while !connection.sending && connection.ending != Ending::Abort {
            let mut plain = match connection.sealing.take() {
                Some(plain) => *plain,
                None => {
                    self.render(connection, counters);
                    if connection.outbox.is_empty() && (connection.pulled.is_some() || !connection.unsent.is_empty()) {
                        self.sent(connection, Outgoing::default());
                    }
                    std::mem::take(&mut connection.outbox)
                }
            };
            let mut sealed = self.spare.pop().unwrap_or_default();
            fail_point!("seal");
            if !self.seal(connection, &mut plain, &mut sealed) {
                return self.cut_short(connection, plain);
            }
            let outgoing = Outgoing { first: sealed, ..Outgoing::default() };
            if outgoing.is_empty() {
                self.recycle(outgoing);
                self.recycle(plain);
                return;
            }
            counters.sends.add(1);
            fail_point!("send");
            match engine.send(id, outgoing) {
                Sending::Done(outgoing) => {
                    counters.bytes_sent.add(outgoing.sent);
                    share = share.saturating_sub(outgoing.sent);
                    self.recycle(outgoing);
                    if plain.sent < plain.len() {
                        connection.sealing = Some(Box::new(plain));
                        connection.since_ms = self.now_ms();
                        if share == 0 {
                            // The others have their turn; this one is gone on with in the next tick.
                            return;
                        }
                        continue;
                    }
                    self.sent(connection, plain);
                    if !connection.has_output() {
                        return;
                    }
                    if share == 0 && connection.protocol.oldest().is_some_and(|oldest| oldest.speaking && !oldest.answered) {
                        return;
                    }
                }
                Sending::Pending => {
                    // Also when all of it is sealed: it is not with the kernel, so nobody is told that it is.
                    connection.sealing = Some(Box::new(plain));
                    self.waits_to_send(connection, engine.unacknowledged(id));
                }
                Sending::Failed(outgoing) => {
                    self.recycle(outgoing);
                    self.cut_short(connection, plain);
                }
            }
        }
    }

    /// Nothing more can be sent: whoever waits for the rest must not take what came for all of it.
    #[cold]
    fn cut_short(&mut self, connection: &mut Connection, plain: Outgoing) {
        connection.truncated = true;
        connection.ending = Ending::Abort;
        self.recycle(plain);
    }

    /// Seals a portion of what is to be sent, with what the session has to say before and after it. False when that cannot be.
    fn seal(&mut self, connection: &mut Connection, plain: &mut Outgoing, sealed: &mut Vec<u8>) -> bool {
        let Session::Tls(secure) = &mut connection.session else { return false };
        secure.take_pending(sealed);
        let mut room = SEAL_BYTES;
        while room > 0 && plain.sent < plain.len() {
            let count = match seal_piece(secure, plain, room, &mut self.piece, sealed) {
                Some(count) if count > 0 => count,
                _ => return false,
            };
            plain.sent += count as u64;
            room -= count;
        }
        // A refusal may wait behind what is sealed here.
        if connection.ending == Ending::AfterFlush && plain.sent == plain.len() && connection.outbox.is_empty() {
            secure.close_notify(sealed);
        }
        true
    }

    /// A portion that the engine had to wait with is with the kernel now.
    pub(super) fn sealed_went_out(&mut self, connection: &mut Connection, outgoing: Outgoing) {
        self.recycle(outgoing);
        if connection.sealing.as_ref().is_some_and(|plain| plain.sent == plain.len()) {
            let plain = connection.sealing.take().map(|plain| *plain).unwrap_or_default();
            self.sent(connection, plain);
        }
    }
}

/// Seals what stands next, at most `room` octets: how many, or `None` when they cannot be had or sealed. A piece of a file is read into
/// `buffer`.
fn seal_piece(secure: &mut Secure, plain: &Outgoing, room: usize, buffer: &mut Vec<u8>, sealed: &mut Vec<u8>) -> Option<usize> {
    let head = plain.first.len() as u64;
    let piece = if plain.sent < head {
        &plain.first[plain.sent as usize..]
    } else if let Tail::File(part) = &plain.tail {
        let past = plain.sent - head;
        let most = usize::try_from(part.length - past).unwrap_or(room).min(room);
        buffer.try_reserve(SEAL_BYTES - buffer.len().min(SEAL_BYTES)).ok()?;
        buffer.resize(SEAL_BYTES, 0);
        let count = sys::read_at(&part.file, &mut buffer[..most], part.offset + past).ok()?;
        &buffer[..count]
    } else {
        &plain.tail.octets()[usize::try_from(plain.sent - head).ok()?..]
    };
    let piece = &piece[..piece.len().min(room)];
    secure.seal(piece, sealed).then_some(piece.len())
}
