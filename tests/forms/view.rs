//! What a host sees of a body through the C functions, copied to be compared, and shown as JSON to scripts.

use super::support::host::{Handler, abi::*, on_requests};
use super::support::request_view::{Pairs, RequestView, octets};
use ingest::request::*;
use ingest::status::INGEST_OK;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

/// A copy of one part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub name: Vec<u8>,
    pub filename: Option<Vec<u8>>,
    pub filename_extended: Option<Vec<u8>>,
    pub content_type: Option<Vec<u8>>,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub is_in_memory: bool,
}

/// A name, and what the form and the parts have of it.
type ByName = (&'static str, Option<Vec<u8>>, Option<Vec<u8>>);

/// A copy of what is in a body.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub body: Vec<u8>,
    /// Its length as it came.
    pub encoded_len: u64,
    pub charset: Option<String>,
    pub decode_ns: u64,
    /// It was in a file.
    pub is_spooled: bool,
    pub form: Option<Pairs>,
    pub parts: Option<Vec<Part>>,
    /// What some pointers lead to: pointer, status, value.
    pub json: Vec<(String, i32, Option<String>)>,
    by_name: Vec<ByName>,
}

const POINTERS: [&str; 5] = ["", "/a/1/b", "/a/2", "/a~1b", "a"];
const NAMES: [&str; 5] = ["name", "empty", "text", "file", "nobody"];

/// The last body that was seen.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Option<Contents>>>);

impl Seen {
    pub fn take(&self) -> Contents {
        self.0.lock().expect("nobody panics with it").take().expect("a request was delivered")
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().expect("nobody panics with it").is_none()
    }
}

/// Copies what each request brings, and answers with it as JSON.
pub fn watching(seen: &Seen) -> Handler {
    let seen = seen.clone();
    on_requests(move |host, request| {
        let contents = copy(request);
        let shown = shown(&contents);
        *seen.0.lock().expect("nobody panics with it") = Some(contents);
        assert_eq!(host.bytes(request.0.token, 200, "application/json", shown.as_bytes()), INGEST_OK);
    })
}

/// As `watching`, with an answer that says nothing: for what is too large to be shown.
pub fn keeping(seen: &Seen) -> Handler {
    let seen = seen.clone();
    on_requests(move |host, request| {
        *seen.0.lock().expect("nobody panics with it") = Some(copy(request));
        assert_eq!(host.text(request.0.token, b"kept"), INGEST_OK);
    })
}

impl Contents {
    pub fn form_text(&self) -> Option<Vec<(String, String)>> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        self.form.as_ref().map(|form| form.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// What the lookups by name said; `name` is one of those that were asked for.
    pub fn first_form(&self, name: &str) -> Option<Vec<u8>> {
        self.by_name.iter().find(|(known, _, _)| *known == name).expect("a name that was asked for").1.clone()
    }

    pub fn first_part(&self, name: &str) -> Option<Vec<u8>> {
        self.by_name.iter().find(|(known, _, _)| *known == name).expect("a name that was asked for").2.clone()
    }
}

fn optional(slice: ingest_slice) -> Option<Vec<u8>> {
    (!slice.ptr.is_null()).then(|| octets(&slice).to_vec())
}

fn pairs(items: *const ingest_header, count: usize) -> Pairs {
    // SAFETY: the library promises `count` pairs there while the host holds the request.
    let items = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(items, count) } };
    items.iter().map(|pair| (octets(&pair.name).to_vec(), octets(&pair.value).to_vec())).collect()
}

fn copy(request: RequestView) -> Contents {
    let face = request.0;
    // SAFETY: NULL, or good while the host holds the request.
    let (form, parts) = unsafe { (face.form.as_ref(), face.parts.as_ref()) };
    let parts = parts.map(|parts| {
        assert_eq!(parts.size as usize, size_of::<ingest_parts>());
        (0..parts.count as usize).map(|index| copy_part(request, parts, index)).collect()
    });
    Contents {
        encoded_len: face.encoded_len,
        charset: optional(face.charset).map(|name| String::from_utf8_lossy(&name).into_owned()),
        decode_ns: request.journey().map_or(0, |journey| journey.decode_ns),
        body: request.whole_body(),
        is_spooled: face.body_fd >= 0,
        form: form.map(|form| pairs(form.items, form.count as usize)),
        parts,
        json: POINTERS.map(|pointer| look_up(face, pointer)).to_vec(),
        by_name: NAMES.map(|name| by_name(face, name)).to_vec(),
    }
}

fn copy_part(request: RequestView, parts: &ingest_parts, index: usize) -> Part {
    // SAFETY: the library promises `count` pointers, each to a part, while the host holds the request.
    let part = unsafe { &**parts.items.add(index) };
    assert_eq!((part.size as usize, part.flags), (size_of::<ingest_part>(), 0));
    let body = request.range(part.body_offset, part.body_len);
    assert_eq!((part.body_fd, part.reserved), (request.0.body_fd, 0));
    assert!(part.body.ptr.is_null() || octets(&part.body) == body, "both ways lead to the same octets");
    assert!(!part.body.ptr.is_null() || part.body_fd >= 0, "it is somewhere");
    Part {
        is_in_memory: !part.body.ptr.is_null(),
        name: octets(&part.name).to_vec(),
        filename: optional(part.filename),
        filename_extended: optional(part.filename_extended),
        content_type: optional(part.content_type),
        headers: pairs(part.headers, part.header_count),
        body,
    }
}

fn look_up(face: &ingest_request, pointer: &str) -> (String, i32, Option<String>) {
    let mut value = ingest_slice::NONE;
    // SAFETY: request, pointer and value are good for the call.
    let status = unsafe { ingest_request_json(face, pointer.as_ptr().cast(), pointer.len(), &mut value) };
    (pointer.to_owned(), status, optional(value).map(|value| String::from_utf8_lossy(&value).into_owned()))
}

fn by_name(face: &ingest_request, name: &'static str) -> ByName {
    // SAFETY: request and name are good for the calls.
    let found = unsafe {
        let (name, length) = (name.as_ptr().cast(), name.len());
        (ingest_request_form(face, name, length), ingest_request_part(face, name, length))
    };
    (name, optional(found.0), optional(found.1))
}

/// One character for each octet, as `inspect` shows it.
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            0x20..0x7f => text.push(char::from(*octet)),
            _ => write!(text, "\\u{octet:04x}").expect("a string takes everything"),
        }
    }
    text + "\""
}

fn shown(contents: &Contents) -> String {
    let optional = |octets: &Option<Vec<u8>>| octets.as_ref().map_or("null".to_owned(), |octets| quoted(octets));
    let pairs = |pairs: &Pairs| {
        let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("[{},{}]", quoted(name), quoted(value))).collect();
        format!("[{}]", shown.join(","))
    };
    let part = |part: &Part| {
        format!(
            "{{\"name\":{},\"filename\":{},\"filename_extended\":{},\"content_type\":{},\"headers\":{},\"body\":{}}}",
            quoted(&part.name),
            optional(&part.filename),
            optional(&part.filename_extended),
            optional(&part.content_type),
            pairs(&part.headers),
            quoted(&part.body)
        )
    };
    let form = contents.form.as_ref().map_or("null".to_owned(), pairs);
    let parts =
        contents.parts.as_ref().map_or("null".to_owned(), |parts| format!("[{}]", parts.iter().map(part).collect::<Vec<_>>().join(",")));
    format!("{{\"form\":{form},\"parts\":{parts}}}")
}
