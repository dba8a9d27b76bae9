//! Where a head begins and ends: empty lines, line ends and size limits, looking at each octet once however the head arrives.
#![forbid(unsafe_code)]

use super::octets::{self, TOKEN};
use super::refusal::Refusal;
use super::request_line::{self, RequestLine};
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

/// A complete head: where it lies in the window, and how its fields are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub start: usize,
    pub fields_start: usize,
    pub end: usize,
    pub field_lines: usize,
    pub request_line: RequestLine,
}

/// Looks for the blank line that ends the head. The request line is judged as soon as it has ended, so that garbage is refused at once.
pub fn find_end(scan: &mut HeadScan, window: &[u8], limits: &Limits, secure: bool) -> Result<Option<Head>, Refusal> {
    let mut request_line = RequestLine::default();
    let mut judged = false;
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
                request_line::parse(&window[start..end], limits, secure, &mut request_line)?;
                judged = true;
                scan.head_start = start as u32;
                scan.fields_start = next as u32;
            }
        } else if scan.in_fields() {
            let (head_start, fields_start) = (scan.head_start as usize, scan.fields_start as usize);
            if !judged {
                // The request line came with an earlier read: reading it again is cheaper than keeping it in every connection.
                request_line::parse(&window[head_start..fields_start - CRLF as usize], limits, secure, &mut request_line)?;
            }
            let field_lines = usize::from(scan.field_lines);
            return Ok(Some(Head { start: head_start, fields_start, end: next, field_lines, request_line }));
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
    let Some(at) = octets::first_of(b'\r', b'\n', &visible[from..]).map(|found| from + found) else {
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
