//! The simulated host and bodies that come in events: takes pieces, gives credit in its own way, and checks how each body ends.

use crate::host::{Host, Record};
use crate::plan::Credit;
use ingest::engine::sim::now_ns;
use ingest::request::*;
use ingest::server::Server;
use ingest::status::*;
use std::collections::VecDeque;

/// What may come on top of the window: a receive that was under way, and one turn of a decoder.
const OVER_BYTES: u64 = (64 + 256) * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    Gone,
}

/// Octets that the host was handed: where they are, and where in the body they belong.
#[derive(Clone, Copy, Debug)]
struct Lent {
    address: usize,
    length: usize,
    at: usize,
}

/// A body that comes in events.
#[derive(Debug)]
pub struct Upload {
    came: usize,
    /// Not credited, the oldest first; so many octets of that are credited already.
    lent: VecDeque<Lent>,
    credited: usize,
    pub end: Option<End>,
    /// In which turn something last happened, and when a piece last came.
    pub moved_turn: usize,
    piece_ms: u64,
}

impl Lent {
    fn octets(&self) -> &[u8] {
        // SAFETY: the library promises that the octets of a piece stay until they are credited or the request is given back.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }
    }
}

impl Upload {
    pub fn begin(turn: usize, now_ms: u64) -> Upload {
        Upload { came: 0, lent: VecDeque::new(), credited: 0, end: None, moved_turn: turn, piece_ms: now_ms }
    }

    /// The host was handed nothing of it.
    pub fn is_untouched(&self) -> bool {
        self.came == 0 && self.end != Some(End::Whole)
    }

    /// Octets that the host has and has not given credit for.
    fn owed(&self) -> usize {
        self.lent.iter().map(|lent| lent.length).sum::<usize>() - self.credited
    }

    /// When credit is given next.
    pub fn credit_due_ms(&self, credit: Credit, gives_up: bool) -> Option<u64> {
        if self.lent.is_empty() || self.end == Some(End::Gone) {
            return None;
        }
        match credit {
            _ if gives_up => Some(self.piece_ms),
            Credit::AtOnce | Credit::Pieces => Some(self.piece_ms),
            Credit::Late { after_ms } => Some(self.piece_ms + after_ms),
            Credit::Never => None,
        }
    }

    /// The oldest octets are given back.
    fn pay(&mut self, octets: usize) {
        self.credited += octets;
        while let Some(oldest) = self.lent.front().filter(|oldest| oldest.length <= self.credited) {
            self.credited -= oldest.length;
            self.lent.pop_front();
        }
    }
}

impl Record {
    /// The host has, or had, the beginning of a body whose end it has not seen.
    pub fn has_part(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.end != Some(End::Whole))
    }
}

impl Host {
    /// Takes what an event says of a body. True when that was all.
    pub fn take_upload(&mut self, id: u32, event: &ingest_event) -> bool {
        let is_gone = event.kind == INGEST_EVENT_GONE && event.reason == INGEST_GONE_RESET;
        let is_body = matches!(event.kind, INGEST_EVENT_BODY | INGEST_EVENT_BODY_END);
        if !is_body && !is_gone {
            return false;
        }
        let (turn, batch, now_ms) = (self.turn, self.batch, now_ns() / 1_000_000);
        let Some((record, promise)) = self.records.get_mut(&id).zip(self.promises.get(&id)) else { return is_body };
        if event.token != record.token || !record.held {
            if is_body && record.ended_batch != batch {
                self.fault(format!("event {} of request {id}, which the host has given back", event.kind));
            }
            return is_body;
        }
        let Some(upload) = &mut record.upload else {
            if is_body {
                self.fault(format!("event {} of request {id}, whose body is not streamed", event.kind));
            }
            return is_body;
        };
        upload.moved_turn = turn;
        let wrong = match (event.kind, upload.end) {
            (INGEST_EVENT_GONE, Some(End::Gone)) => Some("it is gone twice".to_owned()),
            (INGEST_EVENT_GONE, Some(End::Whole)) => None,
            (INGEST_EVENT_GONE, None) => {
                upload.end = Some(End::Gone);
                (self.bounds.calm && promise.whole).then(|| "it is cut short, though all of it was sent".to_owned())
            }
            (_, Some(end)) => Some(format!("event {} behind its end: {end:?}", event.kind)),
            (INGEST_EVENT_BODY, None) => {
                upload.piece_ms = now_ms;
                take_piece(upload, &promise.expected.body, &event.data, self.bounds.window)
            }
            (_, None) => {
                upload.end = Some(End::Whole);
                let trailers: Vec<u8> =
                    promise.expected.trailers.iter().flat_map(|(name, value)| [name, &b": "[..], value, b"\r\n"].concat()).collect();
                let seen = Lent { address: event.data.ptr as usize, length: event.data.len, at: 0 };
                let seen = if event.data.ptr.is_null() { &[] } else { seen.octets() };
                record.delivered.body.clone_from(&promise.expected.body);
                if !promise.whole {
                    Some("it looks complete, though it is bad or was not sent whole".to_owned())
                } else if upload.came != promise.expected.body.len() || seen != trailers {
                    Some(format!("it ends after {} of {} octets", upload.came, promise.expected.body.len()))
                } else {
                    None
                }
            }
        };
        let came = upload.came;
        self.trace.push(format!("  host hears {} of the body of {id}, has {came}", event.kind));
        if let Some(wrong) = wrong {
            self.fault(format!("the body of request {id}: {wrong}"));
        }
        is_body
    }

    /// The body has not ended, and the host does not mean to be done with the request before.
    pub fn waits_for_body(&self, id: u32, record: &Record) -> bool {
        // At the end of the world as well: everybody is gone, so that every body has to end.
        record.upload.as_ref().is_some_and(|upload| upload.end.is_none()) && (self.gives_up || !self.plans[&id].early)
    }

    /// Gives octets back, if it is time for that. True when it did something.
    pub fn give_credit(&mut self, server: &Server, id: u32) -> bool {
        let (record, plan) = (&self.records[&id], self.plans[&id]);
        let (token, expected) = (record.token, &self.promises[&id].expected.body);
        let Some(upload) = record.upload.as_ref() else { return false };
        if upload.credit_due_ms(plan.credit, self.gives_up).is_none_or(|due_ms| due_ms > now_ns() / 1_000_000) {
            return false;
        }
        let alive = server.token_alive(token) != 0;
        let owed = upload.owed();
        if upload.lent.iter().any(|lent| lent.octets() != &expected[lent.at..lent.at + lent.length]) {
            self.fault(format!("octets of the body of request {id} have changed while the host had them"));
        }
        let octets = if plan.credit == Credit::Pieces && !self.gives_up { self.random.piece(owed) } else { owed };
        if self.random.chance(100) {
            let status = server.credit(token, owed + 1);
            self.expect(id, "too much credit", status, if alive { INGEST_E_ARGUMENT } else { INGEST_E_GONE });
        }
        let status = server.credit(token, octets);
        self.expect(id, "credit", status, if alive { INGEST_OK } else { INGEST_E_GONE });
        self.posts |= alive && !self.in_turn;
        let turn = self.turn;
        if let Some(upload) = self.records.get_mut(&id).and_then(|record| record.upload.as_mut()) {
            upload.pay(octets);
            upload.moved_turn = turn;
        }
        true
    }
}

/// Takes a piece; what is wrong with it.
fn take_piece(upload: &mut Upload, expected: &[u8], data: &ingest_slice, window: u64) -> Option<String> {
    let lent = Lent { address: data.ptr as usize, length: data.len, at: upload.came };
    if data.ptr.is_null() || data.len == 0 {
        return Some("an empty piece".into());
    }
    upload.came += data.len;
    if expected.get(lent.at..upload.came) != Some(lent.octets()) {
        return Some(format!("the {} octets at {} are not those that were sent", lent.length, lent.at));
    }
    upload.lent.push_back(lent);
    let owed = upload.owed() as u64;
    (owed > window + OVER_BYTES).then(|| format!("the host was handed {owed} octets without credit, the window is {window}"))
}
