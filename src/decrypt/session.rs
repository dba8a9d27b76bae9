//! One TLS session, sans-io: ciphertext in, plain octets out, and octets of its own to be sent. An idle one owns no buffer.
#![forbid(unsafe_code)]

use super::{certificate, keys};
use crate::limits::TLS_CARRIED_BYTES;
use crate::memory::secured::{Certificate, TlsView};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// The header of a record (RFC 8446 section 5.1).
const HEADER_BYTES: usize = 5;
/// The most plain octets of a record.
const FRAGMENT_BYTES: usize = 16 * 1024;
/// What a record adds at most to what it holds: header, explicit nonce, type, tag. A wrong guess costs a second try.
const OVERHEAD_BYTES: usize = 32;
/// What is carried may have so much room that it does not need.
const ROOM_BYTES: usize = 2 * 1024;
/// Room for an alert; close_notify fits.
const ALERT_BYTES: usize = 64;

/// A fatal alert before anything is sealed (RFC 8446 section 6).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// How far a session has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come yet.
    Fresh,
    Handshake,
    Established,
    /// It failed; nothing that comes can be understood, and nothing can be sent but the alert.
    Failed,
}

/// What came of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It goes on.
    Going,
    /// The peer said close_notify: nothing more comes, and nothing was cut off (RFC 8446 section 6.1).
    Finished,
    /// The first octets are a request in plain HTTP.
    PlainHttp,
    /// It is broken; the alert that says why, if there is one, waits to be sent.
    Failed,
}

/// See the file's first line.
pub struct Secure {
    tls: UnbufferedServerConnection,
    /// Ciphertext that is no whole record, or no whole handshake message, yet.
    carried: Vec<u8>,
    /// Octets of a handshake, and alerts, that wait to be sent before anything else.
    pending: Vec<u8>,
    stage: Stage,
    /// What the client asked for (RFC 6066 section 3).
    server_name: Option<Box<str>>,
    /// What the client's certificate says, if it has one.
    certificate: Option<Box<Certificate>>,
    /// What is pending is nothing that the peer waits for.
    unhurried: bool,
    /// Something was sent, so the peer knows the version and may expect all that follows to be sealed.
    spoke: bool,
    /// What was opened last brought the handshake further, or to its end.
    moved_on: bool,
    /// Octets were put by: they are carried, and not opened yet.
    waits: bool,
    finished: bool,
    notified: bool,
    began_ns: u64,
    /// When the client's first octets were there, and when the handshake was complete; zero before.
    first_at_ns: u64,
    done_at_ns: u64,
    /// How long the handshake may take.
    timeout_ms: u64,
    handshake_ns: u64,
}

impl fmt::Debug for Secure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("Secure").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Secure {
    /// Begins to wait for a client. `None` if the configuration cannot be used.
    pub fn begin(config: Arc<ServerConfig>, now_ns: u64, timeout_ms: u64) -> Option<Secure> {
        let tls = UnbufferedServerConnection::new(config).ok()?;
        let (carried, pending) = (Vec::new(), Vec::new());
        let stage = Stage::Fresh;
        Some(Secure {
            tls,
            carried,
            pending,
            stage,
            server_name: None,
            certificate: None,
            unhurried: false,
            spoke: false,
            moved_on: false,
            waits: false,
            finished: false,
            notified: false,
            began_ns: now_ns,
            first_at_ns: 0,
            done_at_ns: 0,
            timeout_ms,
            handshake_ns: 0,
        })
    }

    /// Opens what has come, in place; plain octets are added to `plain`. What is no whole record is kept.
    pub fn open(&mut self, window: &mut [u8], plain: &mut Vec<u8>, now_ns: u64) -> Opened {
        if let Some(opened) = self.look_at_first(window, now_ns) {
            return opened;
        }
        (self.waits, self.moved_on) = (false, false);
        let unsaid = self.pending.len();
        let opened = self.stage != Stage::Failed && self.open_all(window, plain);
        if self.stage == Stage::Handshake {
            if let Some(name) = keys::take_asked_for() {
                self.server_name = Some(name);
            }
        }
        if !opened || self.carried.len() > TLS_CARRIED_BYTES {
            self.moved_on = self.stage == Stage::Handshake;
            self.fail();
            return Opened::Failed;
        }
        self.moved_on = self.stage == Stage::Handshake && self.pending.len() > unsaid;
        if self.stage == Stage::Handshake && !self.tls.is_handshaking() {
            self.stage = Stage::Established;
            self.moved_on = true;
            self.done_at_ns = now_ns;
            // With TLS 1.3 all that is left to say is a ticket, and that can wait for the first answer: one send less.
            self.unhurried = self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            self.handshake_ns = now_ns.saturating_sub(self.began_ns).max(1);
            // A ticket keeps the certificate, so a session that is resumed has it too.
            self.certificate = self.client_certificate().map(|der| Box::new(certificate::read(der)));
        }
        if self.finished { Opened::Finished } else { Opened::Going }
    }

    /// Keeps what comes during a handshake, so that it is opened later, with nothing more, and on any thread: it is a copy, while `open`
    /// needs none. Until then no more is to be put by.
    pub fn put_by(&mut self, octets: &[u8], now_ns: u64) -> Opened {
        if let Some(opened) = self.look_at_first(octets, now_ns) {
            return opened;
        }
        if !self.carry(octets) {
            self.fail();
            return Opened::Failed;
        }
        self.waits = true;
        Opened::Going
    }

    /// Looks at the very first octets; they say at once what is to be said if they are no TLS.
    fn look_at_first(&mut self, octets: &[u8], now_ns: u64) -> Option<Opened> {
        if self.stage != Stage::Fresh {
            return None;
        }
        match octets.first() {
            None => Some(Opened::Going),
            // Every method begins so, and so does a PROXY line; no record of TLS does.
            Some(first) if first.is_ascii_uppercase() => Some(Opened::PlainHttp),
            Some(_) => {
                self.stage = Stage::Handshake;
                self.first_at_ns = now_ns;
                None
            }
        }
    }

    /// Opens what is carried and the window behind it. False when the session is broken.
    fn open_all(&mut self, window: &mut [u8], plain: &mut Vec<u8>) -> bool {
        let mut window = window;
        if !self.carried.is_empty() {
            // Only what completes a record is copied behind what was carried; all the rest is opened where it is.
            let count = if self.stage == Stage::Established { completing(&self.carried, window) } else { window.len() };
            let (completes, rest) = window.split_at_mut(count);
            if !self.carry_and_open(completes, plain) {
                return false;
            }
            if !self.carried.is_empty() && !rest.is_empty() {
                // A handshake message that is longer than its record: it is looked at in one piece.
                return self.carry_and_open(rest, plain);
            }
            window = rest;
        }
        if window.is_empty() {
            return true;
        }
        match self.process(window, plain) {
            Some(used) => self.carry(&window[used..]),
            None => false,
        }
    }

    fn carry_and_open(&mut self, octets: &[u8], plain: &mut Vec<u8>) -> bool {
        if !self.carry(octets) {
            return false;
        }
        let mut carried = std::mem::take(&mut self.carried);
        let Some(used) = self.process(&mut carried, plain) else { return false };
        if used < carried.len() {
            carried.drain(..used);
            if carried.capacity() > 2 * carried.len().max(ROOM_BYTES) {
                // The whole window lay there, and what is left is charged by its length.
                carried.shrink_to_fit();
            }
            self.carried = carried;
        }
        true
    }

    #[must_use]
    fn carry(&mut self, octets: &[u8]) -> bool {
        let has_room = self.carried.try_reserve(octets.len()).is_ok();
        if has_room {
            self.carried.extend_from_slice(octets);
        }
        has_room
    }

    /// Has every whole record in the buffer processed: how many octets are done with, or `None` when the session is broken.
    fn process(&mut self, buffer: &mut [u8], plain: &mut Vec<u8>) -> Option<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.tls.process_tls_records(&mut buffer[used..]);
            let mut waits = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.ok()?;
                        plain.try_reserve(record.payload.len()).ok()?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    (self.spoke, self.unhurried) = (true, false);
                    encode(data, &mut self.pending);
                }
                // Whoever owns this session sends what is pending before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.finished = true,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => waits = true,
                // Nobody answers an alert.
                Err(Error::AlertReceived(_)) => {
                    self.spoke = true;
                    return None;
                }
                // Early data is never accepted, so none can be read; there are no other states.
                Ok(_) | Err(_) => return None,
            }
            used += discard;
            // Asking again would say what is known: all is opened, and there is nothing to say.
            waits |= used == buffer.len() && self.stage == Stage::Established && !self.finished && !self.tls.wants_write();
            if waits {
                // Behind close_notify nothing counts (RFC 8446 section 6.1).
                return Some(if self.finished { buffer.len() } else { used });
            }
        }
    }

    fn fail(&mut self) {
        // An alert is the only thing that can be queued now, and it comes out before anything is looked at.
        while self.stage != Stage::Failed && self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    self.spoke = true;
                    encode(data, &mut self.pending);
                }
                _ => break,
            }
        }
        if self.stage == Stage::Handshake && !self.spoke {
            // What is no handshake message at all is not worth an alert to rustls; the peer should hear what is wrong all the same.
            self.pending.extend_from_slice(&DECODE_ERROR);
        }
        self.stage = Stage::Failed;
        self.unhurried = false;
        self.carried = Vec::new();
    }

    /// Adds the octets that the session itself wants sent.
    pub fn take_pending(&mut self, out: &mut Vec<u8>) {
        self.unhurried = false;
        if out.is_empty() && !self.pending.is_empty() {
            *out = std::mem::take(&mut self.pending);
        } else {
            out.append(&mut self.pending);
            self.pending = Vec::new();
        }
    }

    /// Adds these octets as records. False when nothing can be sent any more: the session is not established, or used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let room = plain.len() + (plain.len() / FRAGMENT_BYTES + 1) * OVERHEAD_BYTES;
        self.stage == Stage::Established && self.write(out, room, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Says that nothing more comes from us, once (RFC 8446 section 6.1).
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.stage == Stage::Established && !self.notified {
            self.notified = true;
            self.write(out, ALERT_BYTES, |traffic, out| traffic.queue_close_notify(out));
        }
    }

    /// Has something written behind `out`, with so much room, or as much as it turns out to need.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> bool {
        let (mut start, mut room) = (out.len(), room);
        loop {
            if out.try_reserve(room).is_err() {
                return false;
            }
            out.resize(start + room, 0);
            // What is carried is no whole record, so nothing is opened here; it is shown, since places in it are remembered.
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut self.carried);
            let written = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match write(&mut traffic, &mut out[start..]) {
                    Ok(count) => Some(count),
                    Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        room = required_size;
                        None
                    }
                    Err(EncryptError::EncryptExhausted) => return fails(out, start),
                },
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    out.truncate(start);
                    encode(data, out);
                    start = out.len();
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.finished = true;
                    None
                }
                _ => return fails(out, start),
            };
            self.carried.drain(..discard);
            if let Some(count) = written {
                out.truncate(start + count);
                return true;
            }
        }
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty() && !self.unhurried
    }

    pub fn carried(&self) -> usize {
        self.carried.len()
    }

    pub fn is_established(&self) -> bool {
        self.stage == Stage::Established
    }

    /// A client has begun a handshake, and it has neither ended nor failed.
    pub fn is_in_handshake(&self) -> bool {
        self.stage == Stage::Handshake
    }

    /// What was put by waits to be opened.
    pub fn is_waiting(&self) -> bool {
        self.waits
    }

    /// What was opened last brought the handshake further: such an opening is dear, since it has signatures and keys in it.
    pub fn has_moved_on(&self) -> bool {
        self.moved_on
    }

    /// When the handshake has to be complete; `None` once it is, or has failed.
    pub fn handshake_until_ms(&self) -> Option<u64> {
        let until_ms = (self.began_ns / 1_000_000).saturating_add(self.timeout_ms);
        matches!(self.stage, Stage::Fresh | Stage::Handshake).then_some(until_ms)
    }

    pub fn handshake_ns(&self) -> u64 {
        self.handshake_ns
    }

    /// When the client's first octets were there, and when the handshake was complete.
    pub fn handshake_at_ns(&self) -> (u64, u64) {
        (self.first_at_ns, self.done_at_ns)
    }

    /// The client's own certificate, without those that vouch for it.
    fn client_certificate(&self) -> Option<&[u8]> {
        self.tls.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.as_ref())
    }

    /// What was negotiated.
    pub fn view(&self) -> TlsView<'_> {
        let tls = &self.tls;
        TlsView {
            version: tls.protocol_version().map_or(0, u16::from),
            cipher_suite: tls.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite())),
            group: tls.negotiated_key_exchange_group().map_or(0, |group| u16::from(group.name())),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: self.server_name.as_ref().map(|name| name.as_bytes()),
            alpn: tls.alpn_protocol(),
            client_certificate: self.client_certificate(),
            certificate: self.certificate.as_deref(),
        }
    }
}

type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

fn fails(out: &mut Vec<u8>, start: usize) -> bool {
    out.truncate(start);
    false
}

/// How many octets of the window complete the first record of what is carried; all of them if that record is whole, or they do not do.
fn completing(carried: &[u8], window: &[u8]) -> usize {
    let mut header = carried.iter().chain(window).copied().skip(HEADER_BYTES - 2);
    let (Some(high), Some(low)) = (header.next(), header.next()) else { return window.len() };
    let record = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match record.saturating_sub(carried.len()) {
        0 => window.len(),
        missing => missing.min(window.len()),
    }
}

/// Adds one record of the session's own.
fn encode(mut data: EncodeTlsData<'_, rustls::server::ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    // Asked with no room it says how much it needs.
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) else { return };
    out.resize(start + required_size, 0);
    let written = data.encode(&mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

#[cfg(all(test, not(loom)))]
mod tests;
