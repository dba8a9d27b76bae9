//! The cases over TLS: what is cut then is either what goes into a record, or the records themselves.

use super::{EVERY_POSITION_UP_TO, cuts, run};
use crate::support::case_file::Case;
use crate::support::client::Client;
use crate::support::host::{Delivery, Server, on_requests};
use crate::support::secured;

/// What a record of TLS 1.3 adds to what it holds: header, type and tag (RFC 8446 section 5.2).
const RECORD_BYTES: usize = 22;
/// The most that a record holds.
const FRAGMENT_BYTES: usize = 16 * 1024;

/// How a case travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Plain,
    /// Each part in a record of its own.
    Records,
    /// In records as large as they may be, which are cut.
    Sealed,
}

impl Wire {
    pub fn options(self) -> Vec<(&'static str, &'static str)> {
        if self == Wire::Plain { Vec::new() } else { secured::options().to_vec() }
    }

    /// What is to be cut of so many octets.
    pub fn length(self, octets: usize) -> usize {
        if self == Wire::Sealed { octets + RECORD_BYTES * octets.div_ceil(FRAGMENT_BYTES) } else { octets }
    }

    /// What is sent, part by part.
    pub fn pieces(self, client: &Client, octets: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let seal = |piece: &[u8]| {
            let mut sealed = Vec::new();
            client.tls().expect("its port has TLS").write_all(&mut sealed, piece).expect("a vector takes everything");
            sealed
        };
        match self {
            Wire::Plain => split(octets, cuts).map(<[u8]>::to_vec).collect(),
            Wire::Records => split(octets, cuts).map(seal).collect(),
            Wire::Sealed => {
                let sealed = seal(octets);
                assert_eq!(sealed.len(), self.length(octets.len()));
                split(&sealed, cuts).map(<[u8]>::to_vec).collect()
            }
        }
    }

    /// Those of the cuts that are still there when the records are opened.
    pub fn visible(self, cuts: &[usize]) -> &[usize] {
        if self == Wire::Sealed { &[] } else { cuts }
    }

    /// The case as it is on this wire: with TLS the scheme of what names none is https, and an https target is not misdirected, for which there
    /// is a test of its own below.
    pub fn case(self, mut case: Case) -> Option<Case> {
        if self == Wire::Plain {
            return Some(case);
        }
        if case.rules.iter().any(|rule| rule == "E-TARGET-HTTPS") {
            return None;
        }
        for request in &mut case.requests {
            let names_one = request.target.as_ref().is_none_or(|target| target.windows(3).any(|octets| octets == b"://"));
            if request.scheme.is_some() && !names_one {
                request.scheme = Some(b"https".to_vec());
            }
        }
        Some(case)
    }
}

fn split<'o>(octets: &'o [u8], cuts: &[usize]) -> impl Iterator<Item = &'o [u8]> {
    let ends: Vec<usize> = cuts.iter().copied().chain([octets.len()]).collect();
    let mut start = 0;
    ends.into_iter().map(move |end| &octets[std::mem::replace(&mut start, end)..end])
}

fn is_full() -> bool {
    std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full")
}

#[test]
fn every_case_holds_for_splits_into_records() {
    run("splits into records", Wire::Records, &[("topology", "inline")], Delivery::Inline, 3, |length| {
        if is_full() { cuts(length) } else { vec![vec![], (1..length.min(EVERY_POSITION_UP_TO)).collect(), vec![length / 2]] }
    });
}

#[test]
fn every_case_holds_for_splits_of_records() {
    run("splits of records", Wire::Sealed, &[("topology", "inline")], Delivery::Inline, 3, |length| {
        // Inside the header of a record, right behind it, in the middle, and before its last octet.
        let few = vec![(1..length.min(EVERY_POSITION_UP_TO)).collect(), vec![3], vec![5], vec![length / 2], vec![length - 1]];
        if is_full() { cuts(length) } else { few }
    });
}

#[test]
fn every_case_holds_for_records_that_are_opened_on_another_thread() {
    for topology in ["cut", "dispatch"] {
        run(&format!("records, {topology}"), Wire::Sealed, &[("topology", topology)], Delivery::Inline, 2, |length| {
            vec![vec![], vec![length / 2]]
        });
    }
}

/// RFC 9110 section 7.4: what is misdirected on a plain connection belongs here.
#[test]
fn an_https_target_is_accepted_over_tls() {
    let server = Server::serve(
        &secured::options(),
        Delivery::Inline,
        on_requests(|host, request| {
            let seen = request.to_owned();
            host.text(request.0.token, &[&seen.scheme[..], b" ", &seen.authority[..]].concat());
        }),
    );
    let mut client = server.connect();
    client.send("GET https://origin.test/secret HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert_eq!(client.answer().text(), "https origin.test");
}
