//! The field lines of a complete head: httparse tokenises them, this file reads the few that the core must understand.
#![forbid(unsafe_code)]

use super::authority;
use super::framing::Announced;
use super::known::{self, Field};
use super::octets;
use super::refusal::Refusal;
use super::sketch::{Pair, Sketch, Span};
use crate::limits::HEADER_COUNT_CEILING;

const FIELD_NAME: Refusal =
    Refusal::new(400, "malformed header line: send name, colon and value, with no space before the colon and no line fold");
const FIELD_VALUE: Refusal = Refusal::new(400, "control octet in a header value: leave it out");
const HOST_MISSING: Refusal = Refusal::new(400, "no host field in an http/1.1 request: send one");
const HOST_REPEATED: Refusal = Refusal::new(400, "repeated host field: send it once");
const HOST_MALFORMED: Refusal = Refusal::new(400, "malformed host field: send host or host:port");
const TYPE_REPEATED: Refusal = Refusal::new(400, "repeated content-type field: send it once");

/// What most requests need; a table on the stack costs its initialisation, so larger ones are taken only when the lines were counted.
const TINY: usize = 4;
const FEW: usize = 16;
const SOME: usize = 100;
const MOST: usize = HEADER_COUNT_CEILING as usize;

/// What the fields said about the message as a whole.
#[derive(Default)]
pub struct Summary {
    pub host: Option<Span>,
    pub announced: Announced,
    pub expects_continue: bool,
    close: bool,
    asks_keep_alive: bool,
    has_type: bool,
}

impl Summary {
    /// RFC 9112 section 9.3: persistent unless told otherwise, in HTTP/1.0 only when asked for.
    pub fn keep_alive(&self, http_version: u16) -> bool {
        !self.close && (http_version >= 11 || self.asks_keep_alive)
    }
}

/// Fills `sketch.headers` and `sketch.cookie_lines` from the lines that begin at `start`; `lines` were counted while looking for the end.
pub fn read(head: &[u8], start: usize, lines: usize, http_version: u16, sketch: &mut Sketch) -> Result<Summary, Refusal> {
    let mut summary = Summary::default();
    if lines <= TINY {
        tokenise::<TINY>(head, start, sketch, &mut summary)
    } else if lines <= FEW {
        tokenise::<FEW>(head, start, sketch, &mut summary)
    } else if lines <= SOME {
        tokenise::<SOME>(head, start, sketch, &mut summary)
    } else {
        tokenise::<MOST>(head, start, sketch, &mut summary)
    }?;
    if summary.host.is_none() && http_version >= 11 {
        return Err(HOST_MISSING);
    }
    Ok(summary)
}

fn tokenise<const COUNT: usize>(head: &[u8], start: usize, sketch: &mut Sketch, summary: &mut Summary) -> Result<(), Refusal> {
    let mut table = [httparse::EMPTY_HEADER; COUNT];
    let (_, headers) = match httparse::parse_headers(&head[start..], &mut table) {
        Ok(httparse::Status::Complete(done)) => done,
        Err(httparse::Error::HeaderValue) => return Err(FIELD_VALUE),
        // The end and the number of lines are known, so "partial" and "too many" cannot come; refusing keeps that from being a promise.
        Ok(httparse::Status::Partial) | Err(_) => return Err(FIELD_NAME),
    };
    let span = |piece: &[u8]| Span { start: (piece.as_ptr().addr() - head.as_ptr().addr()) as u32, len: piece.len() as u32 };
    for header in headers {
        let name = header.name.as_bytes();
        let value = span(header.value);
        notice(summary, name, header.value, value, sketch)?;
        sketch.headers.push(Pair { name: span(name), value });
    }
    Ok(())
}

#[inline]
fn notice(summary: &mut Summary, name: &[u8], value: &[u8], place: Span, sketch: &mut Sketch) -> Result<(), Refusal> {
    match known::field(name) {
        Field::Other => {
            summary.announced.note(name, value);
        }
        Field::Host => {
            if summary.host.replace(place).is_some() {
                return Err(HOST_REPEATED);
            }
            // An empty Host is what a client sends whose target has no authority (RFC 9110 section 7.2).
            if !value.is_empty() && value != sketch.valid_host {
                if !authority::is_valid(value) {
                    return Err(HOST_MALFORMED);
                }
                sketch.valid_host.clear();
                sketch.valid_host.extend_from_slice(value);
            }
        }
        // Almost always a single word.
        Field::Connection if value.eq_ignore_ascii_case(b"keep-alive") => summary.asks_keep_alive = true,
        Field::Connection => {
            for option in value.split(|octet| *octet == b',').map(octets::trim) {
                summary.close |= option.eq_ignore_ascii_case(b"close");
                summary.asks_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Field::ContentType => {
            if summary.has_type {
                return Err(TYPE_REPEATED);
            }
            summary.has_type = true;
        }
        Field::Cookie => sketch.cookie_lines.push(sketch.headers.len() as u16),
        Field::Expect => summary.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
    }
    Ok(())
}
