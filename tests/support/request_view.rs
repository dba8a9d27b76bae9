//! A request as the host sees it: borrowed slices while it is held, and an owned copy to compare afterwards.

use ingest::request::*;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

/// The octets of a slice; empty when it is absent.
pub fn octets<'a>(slice: &ingest_slice) -> &'a [u8] {
    if slice.ptr.is_null() {
        return &[];
    }
    // SAFETY: the library promises that ptr is good for len octets while the host holds the request; callers do not keep it longer.
    unsafe { std::slice::from_raw_parts(slice.ptr, slice.len) }
}

/// A slice that the library reads during one call.
pub fn slice_of(bytes: &[u8]) -> ingest_slice {
    ingest_slice { ptr: bytes.as_ptr(), len: bytes.len() }
}

/// The request of an event.
#[derive(Clone, Copy)]
pub struct RequestView<'a>(pub &'a ingest_request);

pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a> RequestView<'a> {
    /// The request of a REQUEST event; None for any other kind.
    pub fn of(event: &'a ingest_event) -> Option<RequestView<'a>> {
        if event.kind != INGEST_EVENT_REQUEST {
            return None;
        }
        // SAFETY: a REQUEST event carries a request that lives until it is given back, which outlives the event's borrow in these tests.
        unsafe { event.request.as_ref() }.map(RequestView)
    }

    pub fn method(&self) -> &'a [u8] {
        octets(&self.0.method)
    }

    pub fn target(&self) -> &'a [u8] {
        octets(&self.0.target)
    }

    pub fn path(&self) -> &'a [u8] {
        octets(&self.0.path)
    }

    pub fn body(&self) -> &'a [u8] {
        octets(&self.0.body)
    }

    /// The body, wherever it is.
    pub fn whole_body(&self) -> Vec<u8> {
        self.range(0, self.0.body_len)
    }

    /// A part of the body, wherever that is.
    pub fn range(&self, offset: u64, length: u64) -> Vec<u8> {
        if self.0.body_fd < 0 {
            assert_eq!(self.body().len() as u64, self.0.body_len);
            return self.body()[offset as usize..][..length as usize].to_vec();
        }
        assert!(self.0.body.ptr.is_null(), "it is in one place");
        // SAFETY: the descriptor is the library's and open while the host holds the request; it is not closed here.
        let file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.0.body_fd) });
        assert_eq!(file.metadata().expect("it is open").len(), self.0.body_len);
        let mut octets = vec![0; length as usize];
        file.read_exact_at(&mut octets, offset).expect("all of it is there");
        octets
    }

    /// The content-codings that were undone.
    pub fn decoded(&self) -> &'a [u8] {
        octets(&self.0.decoded)
    }

    pub fn headers(&self) -> Pairs {
        pairs_at(self.0.headers, self.0.header_count)
    }

    /// `address:port` of the peer.
    pub fn peer(&self) -> String {
        // SAFETY: `peer` is never NULL and lives as long as the request.
        let peer = unsafe { &*self.0.peer };
        String::from_utf8_lossy(octets(&peer.text)).into_owned()
    }

    pub fn journey(&self) -> Option<ingest_journey> {
        // SAFETY: NULL or good as long as the request.
        unsafe { self.0.journey.as_ref() }.copied()
    }

    pub fn to_owned(self) -> Delivered {
        let request = self.0;
        Delivered {
            flags: request.flags,
            token: request.token,
            method_id: request.method_id,
            http_version: request.http_version,
            listener: request.listener,
            method: self.method().to_vec(),
            target: self.target().to_vec(),
            path: self.path().to_vec(),
            query: if request.query.ptr.is_null() { None } else { Some(octets(&request.query).to_vec()) },
            scheme: octets(&request.scheme).to_vec(),
            authority: octets(&request.authority).to_vec(),
            headers: self.headers(),
            body: self.body().to_vec(),
            body_len: request.body_len,
            peer: self.peer(),
            query_pairs: group(request.query_pairs),
            cookies: group(request.cookies),
            trailers: group(request.trailers),
        }
    }
}

fn pairs_at(items: *const ingest_header, count: usize) -> Pairs {
    if count == 0 {
        return Vec::new();
    }
    assert!(!items.is_null(), "{count} pairs at NULL");
    // SAFETY: the library promises `count` pairs there while the host holds the request.
    let items = unsafe { std::slice::from_raw_parts(items, count) };
    items.iter().map(|pair| (octets(&pair.name).to_vec(), octets(&pair.value).to_vec())).collect()
}

fn group(pairs: *const ingest_pairs) -> Pairs {
    // SAFETY: query_pairs, cookies and trailers are never NULL and live as long as the request.
    let pairs = unsafe { pairs.as_ref() }.expect("a group of pairs is never NULL");
    assert_eq!(pairs.size as usize, std::mem::size_of::<ingest_pairs>());
    pairs_at(pairs.items, pairs.count as usize)
}

/// Everything that was delivered of one request.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub flags: u32,
    pub token: ingest_token,
    pub method_id: u16,
    pub http_version: u16,
    pub listener: u16,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Option<Vec<u8>>,
    pub scheme: Vec<u8>,
    pub authority: Vec<u8>,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub body_len: u64,
    pub peer: String,
    pub query_pairs: Pairs,
    pub cookies: Pairs,
    pub trailers: Pairs,
}
