//! The field lines of a head: what a line must look like, and the few that the core must understand.
#![forbid(unsafe_code)]

use super::authority;
use super::framing::Announced;
use super::known::{self, Field};
use super::octets;
use super::refusal::Refusal;
use super::sketch::{Pair, Sketch, Span};

const FIELD_NAME: Refusal =
    Refusal::new(400, "malformed header line: send name, colon and value, with no space before the colon and no line fold");
const FIELD_VALUE: Refusal = Refusal::new(400, "control octet in a header value: leave it out");
const HOST_MISSING: Refusal = Refusal::new(400, "no host field in an http/1.1 request: send one");
const HOST_REPEATED: Refusal = Refusal::new(400, "repeated host field: send it once");
const HOST_MALFORMED: Refusal = Refusal::new(400, "malformed host field: send host or host:port");
const TYPE_REPEATED: Refusal = Refusal::new(400, "repeated content-type field: send it once");

/// What the fields said about the message as a whole.
#[derive(Debug, Default)]
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

/// One field line, and where its pieces lie in the head.
struct Line<'a> {
    name: &'a [u8],
    value: &'a [u8],
    value_start: usize,
    /// Where the next line begins.
    next: usize,
}

/// Takes the line at `start` apart if it is all there and well-formed: a token, a colon, a value without controls, CRLF
/// (RFC 9112 section 5). One pass finds the line's end and judges every octet before it. That is why no general tokeniser stands here:
/// its lines would have to be copied into our table, and a head cost twice as many instructions with it, short or long.
#[inline(always)]
fn tokenise(head: &[u8], start: usize) -> Option<Line<'_>> {
    let line = head.get(start..)?;
    let (name, [b':', rest @ ..]) = line.split_at_checked(octets::token_len(line))? else { return None };
    if name.is_empty() {
        return None;
    }
    // Nearly always one space follows.
    let mut value = rest.strip_prefix(b" ").unwrap_or(rest);
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    let value_start = head.len() - value.len();
    let (mut value, [b'\r', b'\n', ..]) = value.split_at_checked(octets::value_len(value))? else { return None };
    let next = value_start + value.len() + 2;
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Some(Line { name, value, value_start, next })
}

/// Why the line at `start`, which ends somewhere behind, is not well-formed.
fn why(head: &[u8], start: usize) -> Refusal {
    let name_len = octets::token_len(&head[start..]);
    if name_len > 0 && head.get(start + name_len) == Some(&b':') { FIELD_VALUE } else { FIELD_NAME }
}

/// Takes note of the line at `start` if it is complete and beyond reproach, and says where the next begins.
/// After `None` sketch and summary are of no use: whether the line is incomplete or refused, `read` has to say.
#[inline(always)]
pub fn take(head: &[u8], start: usize, sketch: &mut Sketch, summary: &mut Summary) -> Option<usize> {
    let line = tokenise(head, start)?;
    note(start, &line, sketch, summary).ok()?;
    Some(line.next)
}

/// Reads all field lines of a complete head, from `start` to the blank line that ends it.
#[cold]
pub fn read(head: &[u8], mut start: usize, sketch: &mut Sketch) -> Result<Summary, Refusal> {
    let mut summary = Summary::default();
    while !head[start..].starts_with(b"\r\n") {
        let line = tokenise(head, start).ok_or_else(|| why(head, start))?;
        note(start, &line, sketch, &mut summary)?;
        start = line.next;
    }
    Ok(summary)
}

/// What is left to be said when all lines are read.
pub fn check(summary: &Summary, http_version: u16) -> Result<(), Refusal> {
    if summary.host.is_none() && http_version >= 11 { Err(HOST_MISSING) } else { Ok(()) }
}

#[inline(always)]
fn note(start: usize, line: &Line, sketch: &mut Sketch, summary: &mut Summary) -> Result<(), Refusal> {
    let value = Span { start: line.value_start as u32, len: line.value.len() as u32 };
    if known::may_matter(line.name) {
        notice(summary, line.name, line.value, value, sketch)?;
    }
    sketch.headers.push(Pair { name: Span { start: start as u32, len: line.name.len() as u32 }, value });
    Ok(())
}

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
        Field::ContentEncoding => sketch.coding_lines.push(sketch.headers.len() as u16),
        Field::Cookie => sketch.cookie_lines.push(sketch.headers.len() as u16),
        Field::Expect => summary.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
    }
    Ok(())
}
