//! Packing requests into the host's block, reading answers out of one, and copying a body: what `docs/packed.md` describes.

use super::boundary::area;
use crate::engine::sys::spool as sys;
use crate::handoff::HostQueue;
use crate::handoff::packed::{self, Answers, Packer, Place, RequestsHeader, Writer};
use crate::request::{ingest_event, ingest_header, ingest_journey, ingest_pairs, ingest_request, ingest_slice, ingest_token};
use crate::server::{Head, Server};
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_GONE, INGEST_E_SPACE, INGEST_E_SYSTEM, INGEST_OK};
use std::io::ErrorKind;
use std::mem::MaybeUninit;

/// What the variable part of one record came to be.
struct Pieces {
    method: Place,
    target: Place,
    path: Place,
    query: Place,
    scheme: Place,
    authority: Place,
    peer_text: Place,
    peer_address: Place,
    headers: Place,
    query_pairs: Place,
    cookies: Place,
    trailers: Place,
    form: Place,
    body: Place,
}

/// The octets of a slice of the library; `None` when it is absent.
fn octets<'a>(slice: &ingest_slice) -> Option<&'a [u8]> {
    if slice.ptr.is_null() {
        return None;
    }
    // SAFETY: only slices of a request that is held, or being taken, are passed here: they live until the host gives it back.
    unsafe { area(slice.ptr, slice.len) }
}

/// Where in `whole` a piece begins; `None` when it lies elsewhere, or either is absent.
fn start_within(piece: &ingest_slice, whole: &ingest_slice) -> Option<usize> {
    let start = (piece.ptr as usize).wrapping_sub(whole.ptr as usize);
    let lies_within = start.checked_add(piece.len).is_some_and(|end| end <= whole.len);
    (lies_within && !piece.ptr.is_null() && !whole.ptr.is_null()).then_some(start)
}

/// A piece of `whole` that was appended already is not appended again: path and query mostly lie in the target.
fn within(writer: &mut Writer<'_>, piece: &ingest_slice, whole: &ingest_slice, place: Place) -> Place {
    let Some(start) = start_within(piece, whole) else { return writer.append(octets(piece)) };
    Place { offset: place.offset.saturating_add(start as u32), length: piece.len as u32 }
}

/// The pairs of a group of the library; none for NULL.
fn group<'a>(pairs: *const ingest_pairs) -> &'a [ingest_header] {
    // SAFETY: NULL, or a group of a request that is held or being taken; its items are as many as it says.
    let items = unsafe { pairs.as_ref().and_then(|pairs| area(pairs.items, pairs.count as usize)) };
    items.unwrap_or(&[])
}

fn fill(writer: &mut Writer<'_>, table: Place, items: &[ingest_header]) {
    for (index, item) in items.iter().enumerate() {
        let at = table.offset as usize + index * packed::ENTRY;
        let name = writer.append(octets(&item.name));
        writer.place(at, name);
        let value = writer.append(octets(&item.value));
        writer.place(at + 8, value);
    }
}

/// Octets that `append` will append. Counted instead of appended to nothing, since every request is measured before it is taken.
fn measure(request: &ingest_request, inline_max: u64) -> usize {
    // SAFETY: the field lines of a request that is held or being taken.
    let headers = unsafe { area(request.headers, request.header_count) }.unwrap_or(&[]);
    let groups = [headers, group(request.query_pairs), group(request.cookies), group(request.trailers), group(request.form)];
    let tables: usize = groups.iter().flat_map(|items| items.iter()).map(|item| packed::ENTRY + item.name.len + item.value.len).sum();
    let apart = |piece: &ingest_slice, whole: &ingest_slice| if start_within(piece, whole).is_some() { 0 } else { piece.len };
    let target = &request.target;
    let texts = request.method.len + target.len + apart(&request.path, target) + apart(&request.query, target);
    // SAFETY: NULL, or the peer of a request that is held or being taken.
    let peer = unsafe { request.peer.as_ref() }.map_or(0, |peer| peer.text.len + apart(&peer.address, &peer.text));
    let body = if request.body_len <= inline_max { request.body.len } else { 0 };
    let total = tables + texts + request.scheme.len + request.authority.len + peer + body;
    total.next_multiple_of(packed::ALIGNMENT)
}

/// Appends all that has no fixed width: first the tables, since they are aligned, then the octets.
fn append(writer: &mut Writer<'_>, request: &ingest_request, inline_max: u64) -> Pieces {
    // SAFETY: the field lines of a request that is held or being taken.
    let headers = unsafe { area(request.headers, request.header_count) }.unwrap_or(&[]);
    let groups = [headers, group(request.query_pairs), group(request.cookies), group(request.trailers), group(request.form)];
    let tables = groups.map(|items| writer.table(items.len()));
    for (table, items) in tables.into_iter().zip(groups) {
        fill(writer, table, items);
    }
    let method = writer.append(octets(&request.method));
    let target = writer.append(octets(&request.target));
    let path = within(writer, &request.path, &request.target, target);
    let query = within(writer, &request.query, &request.target, target);
    let scheme = writer.append(octets(&request.scheme));
    let authority = writer.append(octets(&request.authority));
    // SAFETY: NULL, or the peer of a request that is held or being taken.
    let (peer_text, peer_address) = match unsafe { request.peer.as_ref() } {
        None => (Place::default(), Place::default()),
        Some(peer) => {
            let text = writer.append(octets(&peer.text));
            (text, within(writer, &peer.address, &peer.text, text))
        }
    };
    let body = if request.body_len <= inline_max { writer.append(octets(&request.body)) } else { Place::default() };
    writer.align();
    let [headers, query_pairs, cookies, trailers, form] = tables;
    Pieces { method, target, path, query, scheme, authority, peer_text, peer_address, headers, query_pairs, cookies, trailers, form, body }
}

/// Writes one record and what belongs to it.
fn write(writer: &mut Writer<'_>, at: usize, event: &ingest_event, inline_max: u64) {
    writer.clear(at, packed::REQUEST_RECORD);
    writer.u64(at, event.token);
    writer.u64(at + 8, event.tag);
    writer.u16(at + 16, event.kind);
    writer.u16(at + 18, event.flags);
    writer.u32(at + 20, event.reason);
    // SAFETY: NULL, or the request of an event that was just taken and belongs to the caller.
    let Some(request) = (unsafe { event.request.as_ref() }) else { return };
    let pieces = append(writer, request, inline_max);
    writer.u32(at + 24, request.flags);
    writer.u16(at + 28, request.method_id);
    writer.u16(at + 30, request.http_version);
    writer.u16(at + 32, request.listener);
    // SAFETY: NULL, or the peer of a request that is held.
    if let Some(peer) = unsafe { request.peer.as_ref() } {
        writer.u16(at + 34, peer.family);
        writer.u16(at + 36, peer.port);
    }
    let places = [
        pieces.method,
        pieces.target,
        pieces.path,
        pieces.query,
        pieces.scheme,
        pieces.authority,
        pieces.peer_text,
        pieces.peer_address,
        pieces.headers,
        pieces.query_pairs,
        pieces.cookies,
        pieces.trailers,
        pieces.form,
        pieces.body,
    ];
    for (index, place) in places.into_iter().enumerate() {
        writer.place(at + 40 + index * 8, place);
    }
    writer.u64(at + 152, request.body_len);
    // SAFETY: NULL, or the journey of a request that is held; nobody writes to it any more.
    if let Some(journey) = unsafe { request.journey.as_ref() } {
        write_journey(writer, at + 160, journey);
    }
}

fn write_journey(writer: &mut Writer<'_>, at: usize, journey: &ingest_journey) {
    writer.u32(at, journey.flags);
    let times = [
        journey.received_at_ns,
        journey.delivered_at_ns,
        journey.accept_ns,
        journey.handshake_ns,
        journey.read_ns,
        journey.decrypt_ns,
        journey.parse_ns,
        journey.decode_ns,
        journey.body_wait_ns,
        journey.queue_ns,
    ];
    for (index, time) in times.into_iter().enumerate() {
        writer.u64(at + 8 + index * 8, time);
    }
}

/// The requests of one call, taken but not written yet: where the octets begin is known only when their number is.
struct Batch {
    capacity: usize,
    inline_max: u64,
    /// Octets that what was taken needs, the header included.
    planned: usize,
    /// Octets that the first request would have needed, if it did not fit.
    needed: usize,
    events: [MaybeUninit<ingest_event>; packed::BATCH_MAX],
    count: usize,
}

impl Packer for Batch {
    fn room(&self) -> usize {
        // One is always asked for, so that a full block and an empty queue can be told apart.
        let least = (self.capacity.saturating_sub(self.planned) / packed::REQUEST_RECORD).max(usize::from(self.count == 0));
        least.min(packed::BATCH_MAX - self.count)
    }

    fn news_room(&self) -> usize {
        (self.capacity.saturating_sub(self.planned) / packed::REQUEST_RECORD).min(packed::BATCH_MAX - self.count)
    }

    fn fits(&mut self, request: *const ingest_request) -> bool {
        // SAFETY: NULL, or a request that the queue is handing over to this call.
        let behind = unsafe { request.as_ref() }.map_or(0, |request| measure(request, self.inline_max));
        let wanted = self.planned.saturating_add(packed::REQUEST_RECORD + behind);
        if wanted <= self.capacity {
            self.planned = wanted;
            return true;
        }
        if self.count == 0 {
            self.needed = wanted;
        }
        false
    }

    fn put(&mut self, event: ingest_event) {
        if let Some(place) = self.events.get_mut(self.count) {
            if event.request.is_null() {
                self.planned += packed::REQUEST_RECORD;
            }
            place.write(event);
            self.count += 1;
        }
    }
}

/// Fills a block with requests of the queue.
pub(super) fn poll(queue: &HostQueue, block: &mut [u8]) -> i32 {
    let capacity = block.len().min(packed::CAPACITY_MAX) & !(packed::ALIGNMENT - 1);
    if capacity < packed::HEADER {
        return INGEST_E_ARGUMENT;
    }
    let mut batch = Batch {
        capacity,
        inline_max: queue.packed_inline_max(),
        planned: packed::HEADER,
        needed: 0,
        events: [const { MaybeUninit::uninit() }; packed::BATCH_MAX],
        count: 0,
    };
    let found = queue.poll_packed(&mut batch);
    let mut writer = Writer::new(&mut block[..capacity], packed::HEADER + batch.count * packed::REQUEST_RECORD);
    for (index, event) in batch.events[..batch.count].iter().enumerate() {
        // SAFETY: `put` has written the first `count`.
        let event = unsafe { event.assume_init_ref() };
        write(&mut writer, packed::HEADER + index * packed::REQUEST_RECORD, event, batch.inline_max);
    }
    debug_assert_eq!(writer.end(), batch.planned, "what was measured is what was written");
    let needed = if found == INGEST_E_SPACE { batch.needed } else { 0 };
    RequestsHeader { capacity, used: writer.end(), count: batch.count, needed }.write(&mut writer);
    found
}

/// Takes every answer of a block whose request is still open; how many those were.
pub(super) fn respond(server: &Server, block: &[u8]) -> i32 {
    let Some(answers) = Answers::read(block) else { return INGEST_E_ARGUMENT };
    let mut taken = 0;
    for answer in answers.iter().flatten() {
        let status = match answer.is_typed_only() {
            Some(content_type) => server.respond_typed(answer.token, answer.status, content_type, answer.body),
            None => server.respond(answer.token, Head { status: answer.status, close: answer.close, fields: answer.fields }, answer.body),
        };
        taken += i32::from(status == INGEST_OK);
    }
    taken
}

/// Copies octets of a held request's body; how many.
pub(super) fn read_body(server: &Server, token: ingest_token, offset: u64, buffer: &mut [MaybeUninit<u8>]) -> i64 {
    // SAFETY: NULL, or a request that the caller holds, as the call's comment asks for.
    let Some(request) = (unsafe { server.token_request(token).as_ref() }) else {
        return i64::from(INGEST_E_GONE);
    };
    if request.body_fd >= 0 {
        return read_spooled(request, offset, buffer);
    }
    let body = octets(&request.body).unwrap_or(&[]);
    let rest = usize::try_from(offset).ok().and_then(|offset| body.get(offset..)).unwrap_or(&[]);
    let count = rest.len().min(buffer.len());
    // SAFETY: both are at least `count` octets long; the buffer is the host's, the body ours, so they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.as_mut_ptr().cast::<u8>(), count) };
    count as i64
}

/// The same of a body that lies in a file, which nobody but the host could have made shorter.
fn read_spooled(request: &ingest_request, offset: u64, buffer: &mut [MaybeUninit<u8>]) -> i64 {
    let rest = usize::try_from(request.body_len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let wanted = rest.min(buffer.len());
    let mut count = 0;
    while count < wanted {
        match sys::read_uninit_at(request.body_fd, &mut buffer[count..wanted], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return i64::from(INGEST_E_SYSTEM),
        }
    }
    count as i64
}
