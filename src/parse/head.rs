//! Where a head begins and ends: empty lines, line ends and size limits, in one pass when the head is there whole, line by line when not.
#![forbid(unsafe_code)]

use super::fields::{self, Summary};
use super::octets::{self, TOKEN};
use super::refusal::Refusal;
use super::request_line;
use super::sketch::Sketch;
use crate::limits::{EMPTY_LINES_MAX, Limits, REQUEST_LINE_SPARE};

const BARE_LF: Refusal = Refusal::new(400, "bare lf in the head: end lines with crlf");
const BARE_CR: Refusal = Refusal::new(400, "bare cr in the head: end lines with crlf");
const NOT_A_METHOD: Refusal = Refusal::new(400, "this does not begin an http/1 request: send a method first");
const EMPTY_LINES: Refusal = Refusal::new(400, "too many empty lines before the request line: send the request");
const NO_METHOD: Refusal = Refusal::new(400, "malformed request line: send method, target and version with one space between");
const FIELDS_TOO_LARGE: Refusal = Refusal::new(431, "header fields too large: send less");
const LINE_TOO_LONG: Refusal = Refusal::new(431, "header line too long: send a shorter one");
const TOO_MANY_FIELDS: Refusal = Refusal::new(431, "too many header fields: send fewer");

const CRLF: u64 = 2;

/// How far the search for a head's end has come. Small, since every idle connection has one.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Octets of the window that need not be looked at again.
    pub scanned: u32,
    /// First octet of the line that is being read.
    line_start: u32,
    /// First octet of the request line, after the empty lines before it.
    head_start: u32,
    /// First octet after the request line; zero until that line has ended.
    fields_start: u32,
    field_lines: u16,
    empty_lines: u8,
    begun: bool,
}

const _: () = assert!(size_of::<HeadScan>() <= 24);
const _: () = assert!(EMPTY_LINES_MAX < u8::MAX as u32);

impl HeadScan {
    /// Whether an octet of a request line has been seen: empty lines alone do not start a request.
    pub fn begun(&self) -> bool {
        self.begun
    }

    fn in_fields(&self) -> bool {
        self.fields_start > 0
    }

    /// The offset by which the current line must have ended, and what to say if it has not.
    /// It depends on earlier lines alone, never on how much of the window is there: that makes refusals independent of reads.
    fn horizon(&self, limits: &Limits) -> (usize, Refusal) {
        let line_start = u64::from(self.line_start);
        if !self.in_fields() {
            let end = line_start.saturating_add(limits.target_max).saturating_add(REQUEST_LINE_SPARE + CRLF);
            return (usize::try_from(end).unwrap_or(usize::MAX), request_line::TOO_LONG);
        }
        let section = u64::from(self.fields_start).saturating_add(limits.headers_max).saturating_add(CRLF);
        let (line, refusal) = if u64::from(self.field_lines) >= limits.header_count {
            (line_start + CRLF, TOO_MANY_FIELDS)
        } else {
            (line_start.saturating_add(limits.header_line_max).saturating_add(CRLF), LINE_TOO_LONG)
        };
        let (end, refusal) = if section < line { (section, FIELDS_TOO_LARGE) } else { (line, refusal) };
        (usize::try_from(end).unwrap_or(usize::MAX), refusal)
    }
}

/// A complete head: where it lies in the window, and what its fields said. Its lines are in the sketch.
#[derive(Debug)]
pub struct Head {
    pub start: usize,
    pub end: usize,
    pub summary: Summary,
}

/// Reads a head that is there whole, usual in its request line and beyond reproach, as nearly all are: each line's end is found and its
/// octets are judged in one pass. `None` means only that `read` has to look; whatever is taken here, `read` would have taken too.
#[inline(always)]
pub fn take(window: &[u8], limits: &Limits, sketch: &mut Sketch) -> Option<Head> {
    sketch.clear();
    let fields_start = request_line::take(window, limits, sketch)?;
    if fields_start as u64 > limits.target_max.saturating_add(REQUEST_LINE_SPARE + CRLF) {
        return None;
    }
    let section_max = usize::try_from(limits.headers_max.saturating_add(CRLF)).unwrap_or(usize::MAX);
    let line_max = usize::try_from(limits.header_line_max.saturating_add(CRLF)).unwrap_or(usize::MAX);
    let section = &window[..window.len().min(fields_start.saturating_add(section_max))];
    let mut summary = Summary::default();
    let mut at = fields_start;
    while !section[at..].starts_with(b"\r\n") {
        if sketch.headers.len() as u64 >= limits.header_count {
            return None;
        }
        let next = fields::take(section, at, sketch, &mut summary)?;
        if next - at > line_max {
            return None;
        }
        at = next;
    }
    Some(Head { start: 0, end: at + CRLF as usize, summary })
}

/// Looks for the blank line that ends the head. The request line is judged as soon as it has ended, so that garbage is refused at once;
/// fields are read when the head is complete, since keeping what was read in every connection would cost more than reading it late.
#[cold]
#[inline(never)]
pub fn read(scan: &mut HeadScan, window: &[u8], limits: &Limits, secure: bool, sketch: &mut Sketch) -> Result<Option<Head>, Refusal> {
    loop {
        let start = scan.line_start as usize;
        if !scan.in_fields() && !scan.begun {
            begin(scan, window.get(start).copied())?;
        }
        let (horizon, too_long) = scan.horizon(limits);
        let visible = &window[..horizon.min(window.len())];
        let Some(end) = line_end(scan, visible)? else {
            return if window.len() < horizon { Ok(None) } else { Err(refuse_long(scan, &visible[start..], too_long)) };
        };
        let next = end + CRLF as usize;
        scan.scanned = next as u32;
        scan.line_start = next as u32;
        if end > start {
            if scan.in_fields() {
                scan.field_lines += 1;
            } else {
                request_line::parse(&window[start..end], limits, secure, sketch)?;
                scan.head_start = start as u32;
                scan.fields_start = next as u32;
            }
        } else if scan.in_fields() {
            let start = scan.head_start as usize;
            let (head, fields_start) = (&window[start..next], scan.fields_start as usize - start);
            // The request line may have come with an earlier read, and the sketch has described other requests since.
            sketch.clear();
            request_line::parse(&head[..fields_start - CRLF as usize], limits, secure, sketch)?;
            let summary = fields::read(head, fields_start, sketch)?;
            return Ok(Some(Head { start, end: next, summary }));
        } else {
            scan.empty_lines += 1;
            if u32::from(scan.empty_lines) > EMPTY_LINES_MAX {
                return Err(EMPTY_LINES);
            }
        }
    }
}

/// Judges the first octet of a line where a request line may begin (RFC 9112 section 2.2 allows empty lines before it).
fn begin(scan: &mut HeadScan, first: Option<u8>) -> Result<(), Refusal> {
    match first {
        None | Some(b'\r') => Ok(()),
        Some(b'\n') => Err(BARE_LF),
        Some(octet) if octets::is(octet, TOKEN) => {
            scan.begun = true;
            Ok(())
        }
        Some(_) => Err(NOT_A_METHOD),
    }
}

/// The offset of the current line's CR if its LF is there too. Every LF follows a CR and every CR is followed by an LF.
#[inline]
fn line_end(scan: &mut HeadScan, visible: &[u8]) -> Result<Option<usize>, Refusal> {
    let from = scan.scanned as usize;
    let Some(at) = octets::first_of(b'\r', b'\n', &visible[from..], visible.len() - from).map(|found| from + found) else {
        scan.scanned = visible.len() as u32;
        return Ok(None);
    };
    if visible[at] == b'\n' {
        return Err(BARE_LF);
    }
    match visible.get(at + 1) {
        Some(b'\n') => Ok(Some(at)),
        Some(_) => Err(BARE_CR),
        None => {
            scan.scanned = at as u32;
            Ok(None)
        }
    }
}

/// A request line without any space is no long target but garbage.
fn refuse_long(scan: &HeadScan, line: &[u8], too_long: Refusal) -> Refusal {
    if !scan.in_fields() && !line.contains(&b' ') { NO_METHOD } else { too_long }
}
