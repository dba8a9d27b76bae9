//! What a host says about its requests, from any thread: whole answers, answers in pieces, nothing at all.
#![forbid(unsafe_code)]

use super::Server;
use crate::engine::sys;
use crate::memory::tail::{FilePart, Lent, Tail};
use crate::request::{INGEST_EVENT_RELEASED, ingest_token};
use crate::respond::{self, Body};
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_SYSTEM, ingest_status};
use std::os::fd::RawFd;

/// Status and fields of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Head<I> {
    pub status: u16,
    /// The connection closes after it.
    pub close: bool,
    pub fields: I,
}

impl Server {
    /// Answers a request with a body that is copied.
    pub fn respond<'a>(
        &self,
        token: ingest_token,
        head: Head<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        body: &[u8],
    ) -> ingest_status {
        respond::post(&self.door, token, head.status, head.close, head.fields, Body::Copied(body))
    }

    /// Answers a request with a body and its type, the shortest way.
    pub fn respond_typed(&self, token: ingest_token, status: u16, content_type: Option<&[u8]>, body: &[u8]) -> ingest_status {
        respond::post_typed(&self.door, token, status, content_type, body)
    }

    /// Answers a request with a body that is borrowed. The host has to hear when it may have it back.
    pub fn respond_lent<'a>(
        &self,
        token: ingest_token,
        head: Head<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        body: Lent,
    ) -> ingest_status {
        if !self.options.events.has(INGEST_EVENT_RELEASED) {
            return INGEST_E_ARGUMENT;
        }
        respond::post(&self.door, token, head.status, head.close, head.fields, Body::Apart(Tail::Lent(body)))
    }

    /// Answers a request with a part of a regular file.
    pub fn respond_file<'a>(
        &self,
        token: ingest_token,
        head: Head<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        (fd, offset, length): (RawFd, u64, u64),
    ) -> ingest_status {
        let Ok(Some(available)) = sys::file_length(fd) else { return INGEST_E_ARGUMENT };
        if offset.checked_add(length).is_none_or(|end| end > available) {
            return INGEST_E_ARGUMENT;
        }
        let Ok(file) = sys::duplicate(fd, self.options.descriptor_floor()) else { return INGEST_E_SYSTEM };
        let part = Tail::File(FilePart { file, offset, length });
        respond::post(&self.door, token, head.status, head.close, head.fields, Body::Apart(part))
    }

    /// Sends an interim answer; the final one is still owed.
    pub fn respond_interim<'a>(
        &self,
        token: ingest_token,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> ingest_status {
        respond::interim(&self.door, token, status, fields)
    }

    /// Begins an answer whose octets follow: so many, or `None` for a number that nobody knows yet.
    pub fn respond_begin<'a>(
        &self,
        token: ingest_token,
        head: Head<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        length: Option<u64>,
    ) -> ingest_status {
        respond::begin(&self.door, token, head.status, head.close, head.fields, length)
    }

    /// Adds octets to an answer that was begun: how many were taken.
    pub fn respond_write(&self, token: ingest_token, octets: &[u8]) -> i32 {
        respond::write(&self.door, token, octets)
    }

    /// Ends an answer that was begun.
    pub fn respond_end<'a>(&self, token: ingest_token, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> ingest_status {
        respond::end(&self.door, token, trailers)
    }

    /// The host is done with octets of a streamed body.
    pub fn credit(&self, token: ingest_token, octets: usize) -> ingest_status {
        respond::credit(&self.door, token, octets)
    }

    pub fn abandon(&self, token: ingest_token) -> ingest_status {
        respond::abandon(&self.door, token)
    }
}
