//! Where octets of a streamed body are given back, on any thread of the host.
#![forbid(unsafe_code)]

use crate::handoff::Door;
use crate::request::ingest_token;
use crate::status::{INGEST_E_ARGUMENT, INGEST_E_GONE, INGEST_OK, ingest_status};

/// The host is done with its oldest octets of this body. Nothing has happened unless the result is `INGEST_OK`.
pub fn credit(door: &Door, token: ingest_token, octets: usize) -> ingest_status {
    match door.slots().credit(token, octets) {
        Ok(Some(post)) => {
            if let Some((home, slot)) = post {
                door.send_home(home, slot);
            }
            INGEST_OK
        }
        Ok(None) => INGEST_E_ARGUMENT,
        Err(_) => INGEST_E_GONE,
    }
}
