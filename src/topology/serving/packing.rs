//! What a baton takes along when other threads parse, and what is done at home with what it brings.
#![forbid(unsafe_code)]

use super::Serving;
use super::stations::{Exit, Work};
use crate::connection::http1::NO_MEMORY;
use crate::connection::{Connection, Ending};
use crate::engine::{SeatId, Window};
use crate::read::{self, Absorbed};
use crate::topology::trip::Luggage;

/// What there is beside what was carried over.
pub enum Landed<'a> {
    Nothing,
    /// A receive brought it: where it is, the slab, and what that took.
    Received(Window, &'a mut [u8], u64),
    /// It came behind a handshake and is open already; what receiving and opening it took.
    Opened(&'a [u8], (u64, u64)),
}

impl Serving {
    /// Octets have come, and other threads parse: packs what the baton takes along. False when it has no reason to leave.
    pub fn pack(&mut self, connection: &mut Connection, landed: Landed<'_>, luggage: &mut Luggage) -> bool {
        if connection.ending != Ending::Open {
            if let Landed::Received(window, ..) = &landed {
                self.throw_away(connection, window);
            }
            return false;
        }
        (luggage.read_ns, luggage.decrypt_ns) = (0, 0);
        match landed {
            Landed::Nothing => {}
            Landed::Received(Window::Slab(count), slab, read_ns) if connection.session.is_secure() => {
                luggage.read_ns = read_ns;
                if self.sends_sealed {
                    return self.pack_sealed(connection, &slab[..count], luggage);
                }
                luggage.decrypt_ns = self.unseal_timed(connection, &mut slab[..count], &mut luggage.octets, read_ns > 0);
                return self.pack_opened(connection, luggage);
            }
            Landed::Opened(plain, (read_ns, decrypt_ns)) => {
                (luggage.read_ns, luggage.decrypt_ns) = (read_ns, decrypt_ns);
                if luggage.octets.try_reserve(plain.len()).is_err() {
                    connection.protocol.refuse(NO_MEMORY);
                    return false;
                }
                luggage.octets.extend_from_slice(plain);
                return self.pack_opened(connection, luggage);
            }
            Landed::Received(window, slab, read_ns) => {
                connection.since_ms = self.now_ms();
                luggage.read_ns = read_ns;
                match window {
                    Window::Buffer(buffer, count) if connection.protocol.in_body() => luggage.landed = Some((buffer, count)),
                    window => match read::absorb(&mut connection.inbox, window, slab) {
                        Absorbed::Slab(count) => {
                            if luggage.octets.try_reserve(count).is_err() {
                                connection.protocol.refuse(NO_MEMORY);
                                return false;
                            }
                            luggage.octets.extend_from_slice(&slab[..count]);
                        }
                        Absorbed::Inbox => {}
                        Absorbed::Lost => {
                            connection.protocol.refuse(NO_MEMORY);
                            return false;
                        }
                    },
                }
            }
        }
        self.pack_tools(luggage);
        true
    }

    /// Ciphertext travels as it is.
    fn pack_sealed(&mut self, connection: &mut Connection, octets: &[u8], luggage: &mut Luggage) -> bool {
        if luggage.octets.try_reserve(octets.len()).is_err() {
            connection.protocol.refuse(NO_MEMORY);
            return false;
        }
        luggage.octets.extend_from_slice(octets);
        luggage.sealed = true;
        self.pack_tools(luggage);
        true
    }

    /// Ciphertext was opened here, where the session's octets are sent from; the plain octets travel.
    fn pack_opened(&mut self, connection: &mut Connection, luggage: &mut Luggage) -> bool {
        if luggage.octets.is_empty() {
            if connection.read_closed {
                self.peer_finished(connection);
            }
            return false;
        }
        fail_point!("decrypt");
        if !connection.inbox.is_empty() {
            let carried = connection.inbox.carry(&luggage.octets);
            luggage.octets.clear();
            if !carried {
                connection.protocol.refuse(NO_MEMORY);
                return false;
            }
        }
        self.pack_tools(luggage);
        true
    }

    fn pack_tools(&mut self, luggage: &mut Luggage) {
        luggage.sampler = self.sampler;
        luggage.now_ns = self.now_ns;
        luggage.memory = self.memory.to_travel();
        luggage.reserved = luggage.octets.len() + luggage.landed.as_ref().map_or(0, |(_, count)| *count);
        self.memory.charge(luggage.reserved);
        self.pool.pack(&mut luggage.freight);
    }

    /// A baton is home from the thread that parses: gives what it completed its slots, in order. With `over` it goes no further.
    pub fn unpack(&mut self, id: SeatId, connection: &mut Connection, luggage: &mut Luggage, over: bool) {
        luggage.account(&mut self.memory);
        let lost = over || luggage.fault;
        if let Some((opened, handshaking, shows)) = luggage.opened.take().filter(|_| !luggage.fault) {
            self.opened(connection, opened, handshaking, shows);
        }
        let done = luggage.exchanges.len() as u32;
        let Work { tools, sampler, exit } = self.work(id, 0);
        if let Exit::Handoff(handoff) = exit {
            handoff.place(connection, &mut luggage.exchanges, lost, tools.memory, tools.pool);
        }
        sampler.delivered(done);
        if connection.read_closed {
            self.peer_finished(connection);
        }
    }
}
