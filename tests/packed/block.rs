//! The blocks of `docs/packed.md` as a host would read and write them, written from that page alone.

use crate::support::host::{Host, Queue, abi};
use crate::support::request_view::{Delivered, Pairs};
use ingest::request::ingest_token;

/// A block of requests, aligned for the numbers in it.
pub struct Block(Vec<u64>);

impl Block {
    pub fn new(capacity: usize) -> Block {
        assert_eq!(capacity % 8, 0);
        // What the library does not write must not be mistaken for something.
        Block(vec![0xA5A5_A5A5_A5A5_A5A5; capacity / 8])
    }

    pub fn poll(&mut self, queue: Queue) -> i32 {
        // SAFETY: the queue lives, the block is as long as is said.
        unsafe { abi::ingest_queue_poll_packed(queue.0, self.0.as_mut_ptr().cast(), self.0.len() * 8) }
    }

    fn octets(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= self.used().max(32), "{offset} + {length} lies behind {}", self.used());
        self.0[offset / 8..(offset + length).div_ceil(8)].iter().flat_map(|word| word.to_ne_bytes()).skip(offset % 8).take(length).collect()
    }

    fn u16(&self, at: usize) -> u16 {
        assert_eq!(at % 2, 0);
        u16::from_ne_bytes(self.octets(at, 2).try_into().expect("two octets"))
    }

    fn u32(&self, at: usize) -> u32 {
        assert_eq!(at % 4, 0);
        let word = self.0[at / 8].to_ne_bytes();
        u32::from_ne_bytes(word[at % 8..at % 8 + 4].try_into().expect("four octets"))
    }

    fn u64(&self, at: usize) -> u64 {
        assert_eq!(at % 8, 0);
        self.0[at / 8]
    }

    pub fn capacity(&self) -> usize {
        self.u32(8) as usize
    }

    pub fn used(&self) -> usize {
        self.u32(12) as usize
    }

    pub fn count(&self) -> usize {
        assert_eq!((self.octets(0, 4), self.u32(4)), (b"INPQ".to_vec(), 1));
        self.u32(16) as usize
    }

    pub fn needed(&self) -> usize {
        self.u32(20) as usize
    }

    fn record(&self, index: usize) -> usize {
        assert!(index < self.count());
        assert_eq!((self.u32(24), self.u32(28)), (256, 32));
        32 + index * 256
    }

    fn place(&self, at: usize) -> Option<Vec<u8>> {
        match (self.u32(at), self.u32(at + 4)) {
            (0, length) => {
                assert_eq!(length, 0, "absent has no length");
                None
            }
            (offset, length) => Some(self.octets(offset as usize, length as usize)),
        }
    }

    fn table(&self, at: usize) -> Pairs {
        let (table, count) = (self.u32(at) as usize, self.u32(at + 4) as usize);
        assert_eq!(table == 0, count == 0);
        let text = |at| self.place(at).unwrap_or_default();
        (0..count).map(|index| (text(table + index * 16), text(table + index * 16 + 8))).collect()
    }

    pub fn token(&self, index: usize) -> ingest_token {
        self.u64(self.record(index))
    }

    pub fn peer(&self, index: usize) -> (u16, u16, Vec<u8>) {
        let at = self.record(index);
        (self.u16(at + 34), self.u16(at + 36), self.place(at + 96).expect("an address"))
    }

    /// The journey: flags, then the times.
    pub fn times(&self, index: usize) -> [u64; 11] {
        let at = self.record(index) + 160;
        std::array::from_fn(|each| if each == 0 { u64::from(self.u32(at)) } else { self.u64(at + each * 8) })
    }

    /// A record, and the body if the block carries it.
    pub fn delivered(&self, index: usize) -> (Delivered, Option<Vec<u8>>) {
        let at = self.record(index);
        assert_eq!((self.u64(at + 8), self.u16(at + 16), self.u16(at + 18), self.u32(at + 20)), (0, 1, 0, 0), "tag, kind, flags, reason");
        assert_eq!((self.u16(at + 38), self.u32(at + 164), self.u64(at + 248)), (0, 0, 0), "what is to be zero");
        assert!(self.place(at + 136).is_none(), "no forms yet");
        let present = |at| self.place(at).expect("never absent");
        let delivered = Delivered {
            flags: self.u32(at + 24),
            token: self.token(index),
            method_id: self.u16(at + 28),
            http_version: self.u16(at + 30),
            listener: self.u16(at + 32),
            method: present(at + 40),
            target: present(at + 48),
            path: present(at + 56),
            query: self.place(at + 64),
            scheme: present(at + 72),
            authority: present(at + 80),
            headers: self.table(at + 104),
            body: Vec::new(),
            body_len: self.u64(at + 152),
            peer: String::from_utf8(present(at + 88)).expect("plain text"),
            query_pairs: self.table(at + 112),
            cookies: self.table(at + 120),
            trailers: self.table(at + 128),
        };
        (delivered, self.place(at + 144))
    }
}

/// One answer to be packed.
#[derive(Clone, Copy)]
pub struct Reply<'a> {
    pub token: ingest_token,
    pub status: u16,
    pub close: bool,
    pub content_type: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    pub fn new(token: ingest_token, status: u16, body: &'a [u8]) -> Reply<'a> {
        Reply { token, status, close: false, content_type: None, headers: &[], body }
    }
}

/// A block of answers.
#[derive(Clone)]
pub struct Answers(pub Vec<u8>);

impl Answers {
    pub fn respond(&self, host: Host) -> i32 {
        // SAFETY: the server lives, the block is as long as is said.
        unsafe { abi::ingest_respond_packed(host.0, self.0.as_ptr().cast(), self.0.len()) }
    }

    fn set(&mut self, at: usize, octets: &[u8]) {
        self.0[at..at + octets.len()].copy_from_slice(octets);
    }

    /// Appends octets and writes their place.
    fn place(&mut self, at: usize, octets: &[u8]) {
        let place = [self.0.len() as u32, octets.len() as u32];
        self.0.extend_from_slice(octets);
        self.set(at, &place[0].to_ne_bytes());
        self.set(at + 4, &place[1].to_ne_bytes());
    }
}

pub fn answers(replies: &[Reply<'_>]) -> Answers {
    let mut block = Answers(vec![0; 32 + replies.len() * 40]);
    for (index, reply) in replies.iter().enumerate() {
        let at = 32 + index * 40;
        block.set(at, &reply.token.to_ne_bytes());
        block.set(at + 8, &reply.status.to_ne_bytes());
        block.set(at + 10, &u16::from(reply.close).to_ne_bytes());
        if let Some(content_type) = reply.content_type {
            block.place(at + 16, content_type.as_bytes());
        }
        if !reply.headers.is_empty() {
            let table = block.0.len();
            block.set(at + 24, &(table as u32).to_ne_bytes());
            block.set(at + 28, &(reply.headers.len() as u32).to_ne_bytes());
            block.0.resize(table + reply.headers.len() * 16, 0);
            for (index, (name, value)) in reply.headers.iter().enumerate() {
                block.place(table + index * 16, name.as_bytes());
                block.place(table + index * 16 + 8, value.as_bytes());
            }
        }
        block.place(at + 32, reply.body);
    }
    block.set(0, b"INPR");
    let used = block.0.len() as u32;
    for (index, number) in [1, used, replies.len() as u32, 40, 32].into_iter().enumerate() {
        block.set(4 + index * 4, &number.to_ne_bytes());
    }
    block
}
