//! A host that takes streamed bodies: it copies what comes, gives credit, answers at the end, and remembers how each body ended.

use super::support::checksum;
use super::support::host::{Handler, Host, abi::*};
use super::support::request_view::{RequestView, octets};
use ingest::request::*;
use ingest::status::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    Cut,
}

/// One streamed body.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub target: Vec<u8>,
    pub announced: u64,
    pub octets: Vec<u8>,
    pub trailers: Vec<u8>,
    pub pieces: usize,
    pub end: Option<End>,
}

/// What a host has seen: bodies by their token, also when they have ended.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<ingest_token, Body>>>);

impl Seen {
    pub fn all(&self) -> Vec<Body> {
        self.0.lock().expect("nobody panics with it").values().cloned().collect()
    }

    pub fn ends(&self) -> Vec<End> {
        self.all().iter().filter_map(|body| body.end).collect()
    }
}

pub fn credit(host: Host, token: ingest_token, octets: usize) -> ingest_status {
    // SAFETY: the server lives; any number may be asked about.
    unsafe { ingest_request_credit(host.0, token, octets) }
}

/// What the answer to a body says.
pub fn told(octets: &[u8], way: &str) -> String {
    format!("{} {:x} {way}", octets.len(), checksum(octets))
}

/// Takes every body, streamed or not.
pub fn taking(seen: &Seen) -> Handler {
    let seen = seen.clone();
    Arc::new(move |host, event| {
        let mut bodies = seen.0.lock().expect("nobody panics with it");
        match event.kind {
            INGEST_EVENT_REQUEST => {
                let request = RequestView::of(event).expect("a request");
                if request.0.flags & INGEST_REQUEST_STREAMED == 0 {
                    host.text(event.token, told(octets(&request.0.body), "whole").as_bytes());
                    return;
                }
                assert!(request.0.body.ptr.is_null() && request.0.form.is_null() && request.0.parts.is_null());
                let body = Body { target: request.target().to_vec(), announced: request.0.encoded_len, ..Body::default() };
                assert!(bodies.insert(event.token, body).is_none(), "a token comes once");
            }
            INGEST_EVENT_BODY => {
                let body = bodies.get_mut(&event.token).expect("the request comes first");
                assert_eq!(body.end, None, "nothing comes behind the end");
                let data = octets(&event.data);
                assert!(!data.is_empty());
                body.octets.extend_from_slice(data);
                body.pieces += 1;
                let status = credit(host, event.token, data.len());
                assert!(status == INGEST_OK || status == INGEST_E_GONE, "{status}");
            }
            INGEST_EVENT_BODY_END => {
                let body = bodies.get_mut(&event.token).expect("the request comes first");
                assert_eq!(body.end.replace(End::Whole), None, "it ends once");
                body.trailers = octets(&event.data).to_vec();
                host.text(event.token, told(&body.octets, "streamed").as_bytes());
            }
            INGEST_EVENT_GONE if event.reason == INGEST_GONE_RESET => {
                if let Some(body) = bodies.get_mut(&event.token) {
                    body.end.get_or_insert(End::Cut);
                }
                host.abandon(event.token);
            }
            _ => {}
        }
    })
}
