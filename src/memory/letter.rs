//! The sealed letter: one request's struct, tables and octets in one exact-size block, with pointers into itself.

use super::contents::Contents;
use super::pool::{Block, Pool};
use super::secured::{Certificate, TlsView};
use super::spooled::Spooled;
use super::unfolded;
use crate::parse::octets::is_named;
use crate::parse::sketch::{Pair, Sketch, Span};
use crate::request::{
    INGEST_REQUEST_STREAMED, INGEST_TLS_CLIENT_NAMES_UNREAD, INGEST_TLS_CLIENT_READ, INGEST_TLS_RESUMED, ingest_header, ingest_journey,
    ingest_pairs, ingest_peer, ingest_request, ingest_slice, ingest_tls, ingest_token,
};
use std::mem::{MaybeUninit, size_of};
use std::{ptr, slice};

/// What stands at the start of every block; the headers, then the pairs, then the octets follow.
#[repr(C)]
struct Fixed {
    request: ingest_request,
    /// Written only when the request has one.
    journey: MaybeUninit<ingest_journey>,
    peer: ingest_peer,
    query: ingest_pairs,
    cookies: ingest_pairs,
    trailers: ingest_pairs,
}

/// Who sent the request, as the connection remembers it.
#[derive(Clone, Copy, Debug)]
pub struct PeerView<'a> {
    /// `192.0.2.1:4711`, or empty.
    pub text: &'a [u8],
    /// Where the address alone lies in `text`.
    pub address: (usize, usize),
    pub family: u16,
    pub port: u16,
}

/// Everything that is copied into a letter when it is sealed.
#[derive(Debug)]
pub struct Parts<'a> {
    pub sketch: &'a Sketch,
    /// The head that the sketch describes.
    pub head: &'a [u8],
    /// The body, if it is small enough to lie in the letter; else it is attached later.
    pub body: &'a [u8],
    pub has_body: bool,
    /// The listener's own scheme.
    pub scheme: &'static [u8],
    pub listener: u16,
    pub peer: PeerView<'a>,
    /// `None` for a plain connection.
    pub tls: Option<TlsView<'a>>,
    /// `None` with `journey=off`.
    pub journey: Option<&'a ingest_journey>,
    /// Zero when the client has said none.
    pub deadline_ns: u64,
}

/// See the file's first line. The block goes back to its pool with `dissolve`.
#[derive(Debug)]
pub struct Letter {
    block: Block,
    /// Boxed, since most letters have none and every letter is moved several times.
    attached: Option<Box<Attached>>,
}

/// What came after the head was sealed and has memory of its own.
#[derive(Debug, Default)]
struct Attached {
    body: Vec<u8>,
    /// The body, when it is in a file.
    spooled: Option<Spooled>,
    /// The octets that `trailers` points into.
    trailer_octets: Vec<u8>,
    trailers: Vec<ingest_header>,
    /// What the body was taken apart into.
    unfolded: Option<Block>,
}

// SAFETY: every pointer in a letter leads into memory that the letter owns, or to static data, and moving a letter moves none of it.
unsafe impl Send for Letter {}

impl Letter {
    /// Copies the parts into one block. `None` when memory cannot be had.
    pub fn seal(pool: &mut Pool, parts: &Parts<'_>) -> Option<Letter> {
        let sketch = parts.sketch;
        let names = parts.tls.as_ref().map_or(0, |tls| tls.names().len());
        let tables = sketch.headers.len() + sketch.query_pairs.len() + sketch.cookies.len() + names;
        let octets = parts.head.len() + sketch.extra.len() + parts.peer.text.len() + parts.body.len();
        let (tls, tls_octets) = parts.tls.as_ref().map_or((0, 0), |tls| (size_of::<ingest_tls>(), tls.octets()));
        let table_at = size_of::<Fixed>() + tls;
        let octets_at = table_at + tables * size_of::<ingest_header>();
        let block = pool.lend(octets_at + octets + tls_octets)?;
        let mut writer = Writer { start: block.start.as_ptr(), octets_at, table_at };
        writer.octets(parts, octets_at);
        writer.fixed(parts);
        Some(Letter { block, attached: None })
    }

    /// The letter's public face; valid as long as the letter is not dissolved.
    pub fn request(&self) -> *const ingest_request {
        self.block.start.as_ptr().cast()
    }

    /// Octets of memory that this letter holds.
    pub fn charge(&self) -> usize {
        let beside = |attached: &Attached| attached.body.capacity() + attached.unfolded.as_ref().map_or(0, Block::size);
        self.block.size() + self.attached.as_deref().map_or(0, beside)
    }

    /// Until when its client waits, zero if it did not say so.
    pub fn deadline_ns(&mut self) -> u64 {
        self.fixed().request.deadline_ns
    }

    pub fn set_token(&mut self, token: ingest_token) {
        self.fixed().request.token = token;
    }

    /// The journey so far; `None` with `journey=off`.
    pub fn journey(&mut self) -> Option<&mut ingest_journey> {
        let fixed = self.fixed();
        if fixed.request.journey.is_null() {
            return None;
        }
        // SAFETY: the request points at its journey only when one was written.
        Some(unsafe { fixed.journey.assume_init_mut() })
    }

    /// Attaches a body that has a buffer of its own: it is moved, not copied.
    pub fn attach_body(&mut self, body: Vec<u8>) {
        let attached = self.attached.get_or_insert_default();
        attached.body = body;
        let slice = ingest_slice { ptr: attached.body.as_ptr(), len: attached.body.len() };
        let request = &mut self.fixed().request;
        request.body_len = slice.len as u64;
        if request.decoded.ptr.is_null() {
            request.encoded_len = slice.len as u64;
        }
        request.body = slice;
    }

    /// Attaches a body that lies in a file.
    pub fn attach_spooled(&mut self, spooled: Spooled) {
        let (body_fd, length) = (spooled.descriptor(), spooled.length());
        self.attached.get_or_insert_default().spooled = Some(spooled);
        let request = &mut self.fixed().request;
        request.body = ingest_slice::NONE;
        request.body_fd = body_fd;
        request.body_len = length;
        if request.decoded.ptr.is_null() {
            request.encoded_len = length;
        }
    }

    /// The body came coded: what was undone, and how long it was before.
    pub fn note_decoded(&mut self, names: &'static str, encoded_len: u64) {
        let request = &mut self.fixed().request;
        request.decoded = ingest_slice::of(names.as_bytes());
        request.encoded_len = encoded_len;
    }

    /// The text of the body, or of its form, was converted from this encoding; `body` is in UTF-8, if it is another one than it was.
    pub fn note_charset(&mut self, name: &'static str, body: Option<Vec<u8>>, pool: &mut Pool) {
        if let Some(body) = body {
            let attached = self.attached.get_or_insert_default();
            let before = std::mem::replace(&mut attached.body, body);
            let slice = ingest_slice { ptr: attached.body.as_ptr(), len: attached.body.len() };
            pool.take_back_body(before);
            let request = &mut self.fixed().request;
            request.body = slice;
            request.body_len = slice.len as u64;
        }
        self.fixed().request.charset = ingest_slice::of(name.as_bytes());
    }

    /// The body follows in events: of so many octets, if that was announced, once its codings are undone if there are any.
    pub fn note_streamed(&mut self, announced: u64, is_coded: bool) {
        let request = &mut self.fixed().request;
        request.flags |= INGEST_REQUEST_STREAMED;
        request.body = ingest_slice::NONE;
        request.body_len = if is_coded { 0 } else { announced };
        request.encoded_len = announced;
    }

    pub fn is_streamed(&self) -> bool {
        // SAFETY: `seal` has written the request, which lives as long as the block.
        unsafe { (*self.request()).flags & INGEST_REQUEST_STREAMED != 0 }
    }

    /// Attaches a trailer section; the table's offsets refer to `octets`.
    pub fn attach_trailers(&mut self, octets: Vec<u8>, table: &[Pair]) {
        if table.is_empty() {
            return;
        }
        let piece = |span: Span| {
            let bytes = span.of(&octets);
            ingest_slice { ptr: bytes.as_ptr(), len: bytes.len() }
        };
        let table: Vec<ingest_header> =
            table.iter().map(|pair| ingest_header { name: piece(pair.name), value: piece(pair.value) }).collect();
        let (count, items) = (table.len() as u32, table.as_ptr());
        let attached = self.attached.get_or_insert_default();
        attached.trailer_octets = octets;
        attached.trailers = table;
        let pairs = &mut self.fixed().trailers;
        pairs.count = count;
        pairs.items = items;
    }

    /// The first field line with this name, which is given in lower case.
    pub fn header<const N: usize>(&self, name: &[u8; N]) -> Option<&[u8]> {
        // SAFETY: `seal` has written the request and its field lines, which live as long as the block, and nobody writes them again.
        unsafe {
            let request = &*self.request();
            let octets = |slice: ingest_slice| slice::from_raw_parts(slice.ptr, slice.len);
            let lines = if request.headers.is_null() { &[] } else { slice::from_raw_parts(request.headers, request.header_count) };
            lines.iter().find(|line| line.name.len == N && is_named(octets(line.name), name)).map(|line| octets(line.value))
        }
    }

    /// The body, empty if there is none.
    pub fn body(&self) -> &[u8] {
        // SAFETY: `seal` has written the request; its body, if any, lies in the block or in what is attached, and is not changed.
        unsafe {
            let body = (*self.request()).body;
            if body.ptr.is_null() { &[] } else { slice::from_raw_parts(body.ptr, body.len) }
        }
    }

    /// Attaches what the body was taken apart into, which lies in the body and in a block of its own. False when memory cannot be had.
    pub fn attach_contents(&mut self, pool: &mut Pool, contents: &Contents) -> bool {
        let body_fd = self.fixed().request.body_fd;
        let Some((block, faces)) = unfolded::fold(pool, contents, self.body(), body_fd) else { return false };
        self.attached.get_or_insert_default().unfolded = Some(block);
        let request = &mut self.fixed().request;
        request.form = faces.form;
        request.parts = faces.parts;
        if let Some(encoding) = contents.charset {
            request.charset = ingest_slice::of(encoding.name().as_bytes());
        }
        true
    }

    /// Gives the memory back.
    pub fn dissolve(self, pool: &mut Pool) {
        pool.take_back(self.block);
        if let Some(attached) = self.attached {
            pool.take_back_body(attached.body);
            if let Some(unfolded) = attached.unfolded {
                pool.take_back(unfolded);
            }
        }
    }

    fn fixed(&mut self) -> &mut Fixed {
        // SAFETY: `seal` has written a whole Fixed at the start of the block, which is aligned for it; `&mut self` makes us the
        // only ones who write. The host reads through raw pointers only after the letter was handed over, when nobody calls this.
        unsafe { &mut *self.block.start.as_ptr().cast::<Fixed>() }
    }
}

/// Copies a piece. The peer's address, which every letter has, and other short ones are two overlapping words: cheaper than a call.
///
/// # Safety
/// `to` must have room for the piece, in memory that nobody else knows.
#[inline(always)]
unsafe fn copy(piece: &[u8], to: *mut u8) {
    let (from, len) = (piece.as_ptr(), piece.len());
    // SAFETY: both words lie within the piece, and within the room for it; neither has to be aligned.
    unsafe {
        if (8..=16).contains(&len) {
            let words = (from.cast::<u64>().read_unaligned(), from.add(len - 8).cast::<u64>().read_unaligned());
            to.cast::<u64>().write_unaligned(words.0);
            to.add(len - 8).cast::<u64>().write_unaligned(words.1);
        } else {
            ptr::copy_nonoverlapping(from, to, len);
        }
    }
}

/// Writes a block from both ends: what TLS negotiated, if anything, and the tables after the fixed part, the octets behind the tables.
struct Writer {
    start: *mut u8,
    /// Where the head begins in the block; spans are relative to it.
    octets_at: usize,
    /// Where the next table entry goes.
    table_at: usize,
}

impl Writer {
    /// Head, what decoding added, peer text and body, one behind the other.
    fn octets(&mut self, parts: &Parts<'_>, mut at: usize) {
        let mut append = |piece: &[u8]| {
            // SAFETY: `seal` has asked for room for exactly these pieces behind `octets_at`, and the block is fresh memory.
            unsafe { copy(piece, self.start.add(at)) };
            at += piece.len();
        };
        append(parts.head);
        if !parts.sketch.extra.is_empty() {
            append(&parts.sketch.extra);
        }
        append(parts.peer.text);
        if !parts.body.is_empty() {
            append(parts.body);
        }
        if let Some(tls) = &parts.tls {
            tls.pieces().iter().flatten().for_each(|piece| append(piece));
        }
    }

    /// What TLS negotiated, between the fixed part and the tables; its octets lie behind all others.
    fn tls(&mut self, tls: &TlsView<'_>, octets_at: usize) -> *const ingest_tls {
        let mut at = octets_at;
        let [server_name, alpn, client_certificate, said] = tls.pieces().map(|piece| match piece {
            None => ingest_slice::NONE,
            Some(piece) => {
                let slice = ingest_slice { ptr: self.at(at), len: piece.len() };
                at += piece.len();
                slice
            }
        });
        let none = Certificate::default();
        let certificate = tls.certificate.unwrap_or(&none);
        let said_at = at - said.len;
        let piece = |writer: &Writer, span: Option<Span>| {
            span.map_or(ingest_slice::NONE, |span| ingest_slice { ptr: writer.at(said_at + span.start as usize), len: span.len as usize })
        };
        let client_names = self.names(&certificate.names, said_at);
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let facts = ingest_tls {
            size: size_of::<ingest_tls>() as u32,
            flags: flag(tls.resumed, INGEST_TLS_RESUMED)
                | flag(certificate.is_read, INGEST_TLS_CLIENT_READ)
                | flag(certificate.names_unread, INGEST_TLS_CLIENT_NAMES_UNREAD),
            version: tls.version,
            cipher_suite: tls.cipher_suite,
            group: tls.group,
            reserved: 0,
            server_name,
            alpn,
            client_certificate,
            client_subject: piece(self, certificate.subject),
            client_issuer: piece(self, certificate.issuer),
            client_serial: piece(self, certificate.serial),
            client_fingerprint: piece(self, certificate.fingerprint),
            client_names,
            client_name_count: certificate.names.len(),
            client_not_before: certificate.not_before,
            client_not_after: certificate.not_after,
        };
        // SAFETY: `seal` has asked for room for it behind the fixed part, which keeps the alignment of 8; nobody else knows the block.
        unsafe {
            let place = self.start.add(size_of::<Fixed>()).cast::<ingest_tls>();
            place.write(facts);
            place
        }
    }

    /// The alternative names of a client's certificate, whose octets lie at `said_at`.
    fn names(&mut self, names: &[(&'static str, Span)], said_at: usize) -> *const ingest_header {
        if names.is_empty() {
            return ptr::null();
        }
        // SAFETY: `seal` has counted the names among the table entries; the alignment is 8, as for every table.
        let first = unsafe { self.start.add(self.table_at) }.cast::<ingest_header>();
        for (index, (kind, name)) in names.iter().enumerate() {
            let value = ingest_slice { ptr: self.at(said_at + name.start as usize), len: name.len as usize };
            // SAFETY: as above, `index` is below the length that was counted in.
            unsafe { first.add(index).write(ingest_header { name: ingest_slice::of(kind.as_bytes()), value }) };
        }
        self.table_at += names.len() * size_of::<ingest_header>();
        first
    }

    fn slice(&self, span: Span) -> ingest_slice {
        ingest_slice { ptr: self.at(span.start as usize), len: span.len as usize }
    }

    fn at(&self, offset: usize) -> *const u8 {
        // SAFETY: spans lie within head and extra, which lie in the block from `octets_at` on.
        unsafe { self.start.add(self.octets_at + offset) }
    }

    fn table(&mut self, pairs: &[Pair]) -> *const ingest_header {
        if pairs.is_empty() {
            return ptr::null();
        }
        // SAFETY: `seal` has asked for room for all table entries behind the fixed part, which keeps the alignment of 8.
        let first = unsafe { self.start.add(self.table_at) }.cast::<ingest_header>();
        for (index, pair) in pairs.iter().enumerate() {
            let entry = ingest_header { name: self.slice(pair.name), value: self.slice(pair.value) };
            // SAFETY: as above, `index` is below the length that was counted in.
            unsafe { first.add(index).write(entry) };
        }
        self.table_at += size_of_val(pairs) / size_of::<Pair>() * size_of::<ingest_header>();
        first
    }

    fn pairs(&mut self, pairs: &[Pair]) -> ingest_pairs {
        ingest_pairs { size: size_of::<ingest_pairs>() as u32, count: pairs.len() as u32, items: self.table(pairs) }
    }

    fn peer(&self, peer: &PeerView<'_>, peer_at: usize) -> ingest_peer {
        ingest_peer {
            size: size_of::<ingest_peer>() as u32,
            family: peer.family,
            port: peer.port,
            address: ingest_slice { ptr: self.at(peer_at + peer.address.0), len: peer.address.1 },
            text: ingest_slice { ptr: self.at(peer_at), len: peer.text.len() },
        }
    }

    fn fixed(&mut self, parts: &Parts<'_>) {
        let (sketch, fixed) = (parts.sketch, self.start.cast::<Fixed>());
        let peer_at = parts.head.len() + sketch.extra.len();
        let peer = self.peer(&parts.peer, peer_at);
        let headers = self.table(&sketch.headers);
        let query = self.pairs(&sketch.query_pairs);
        let cookies = self.pairs(&sketch.cookies);
        let body_at = peer_at + parts.peer.text.len();
        let tls = parts.tls.as_ref().map_or(ptr::null(), |tls| self.tls(tls, body_at + parts.body.len()));
        let body = ingest_slice { ptr: self.at(body_at), len: parts.body.len() };
        // SAFETY: the addresses of fields of the block are taken, nothing is read.
        let (journey_at, peer_ptr, query_at, cookies_at, trailers_at) = unsafe {
            (
                (&raw const (*fixed).journey).cast::<ingest_journey>(),
                &raw const (*fixed).peer,
                &raw const (*fixed).query,
                &raw const (*fixed).cookies,
                &raw const (*fixed).trailers,
            )
        };
        let request = ingest_request {
            size: size_of::<ingest_request>() as u32,
            flags: sketch.flags,
            token: 0,
            method_id: sketch.method_id,
            http_version: sketch.http_version,
            listener: parts.listener,
            reserved: 0,
            method: self.slice(sketch.method),
            target: self.slice(sketch.target),
            path: self.slice(sketch.path),
            query: if sketch.has_query { self.slice(sketch.query) } else { ingest_slice::NONE },
            scheme: if sketch.scheme.len > 0 { self.slice(sketch.scheme) } else { ingest_slice::of(parts.scheme) },
            authority: self.slice(sketch.authority),
            headers,
            header_count: sketch.headers.len(),
            body: if parts.has_body { body } else { ingest_slice::NONE },
            body_fd: -1,
            body_len: parts.body.len() as u64,
            peer: peer_ptr,
            tls,
            query_pairs: query_at,
            cookies: cookies_at,
            form: ptr::null(),
            trailers: trailers_at,
            journey: if parts.journey.is_some() { journey_at } else { ptr::null() },
            encoded_len: parts.body.len() as u64,
            decoded: ingest_slice::NONE,
            parts: ptr::null(),
            charset: ingest_slice::NONE,
            deadline_ns: parts.deadline_ns,
        };
        let trailers = ingest_pairs { size: size_of::<ingest_pairs>() as u32, count: 0, items: ptr::null() };
        // SAFETY: the block is at least a Fixed long, aligned for it, and nobody else knows it yet. Each part is written where it stays.
        unsafe {
            (&raw mut (*fixed).request).write(request);
            if let Some(journey) = parts.journey {
                (&raw mut (*fixed).journey).cast::<ingest_journey>().write(*journey);
            }
            (&raw mut (*fixed).peer).write(peer);
            (&raw mut (*fixed).query).write(query);
            (&raw mut (*fixed).cookies).write(cookies);
            (&raw mut (*fixed).trailers).write(trailers);
        }
    }
}
