//! C functions: which version this is, what it can do, and the names of the status codes.

use super::boundary::{fence, text};
use crate::status::{INGEST_E_ARGUMENT, TABLE, ingest_status};
use std::ffi::c_char;

/// Version of the binary interface that this header describes; `ingest_abi_version` says which one the loaded library has.
pub const INGEST_ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// What can be asked for, and whether this build has it.
const FEATURES: [(&str, bool); 32] = [
    ("http1", true),
    ("http2", false),
    ("http3", false),
    ("websocket", false),
    ("tls", true),
    ("epoll", true),
    ("uring", false),
    ("inline", true),
    ("shards", true),
    ("shared", true),
    ("acceptor", true),
    ("dispatch", true),
    ("pipeline", false),
    ("turn", true),
    ("unix", true),
    ("fd", true),
    ("queue", true),
    ("threads", true),
    ("packed", true),
    ("return", true),
    ("lend", true),
    ("stream", true),
    ("file", true),
    ("gzip", false),
    ("deflate", false),
    ("br", false),
    ("zstd", false),
    ("form", true),
    ("multipart", true),
    ("spool", true),
    ("json", true),
    ("journey", true),
];

/// The version of the loaded library, as in "0.1.0".
///
/// Ownership: the string belongs to the library and is never freed.
/// Thread: any.
/// Blocks: never.
/// Returns: a NUL-terminated string, never NULL.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The binary interface of the loaded library. A host that loads the library by itself compares it
/// with INGEST_ABI_VERSION of the header that it was compiled with; a linked host has the soname for that.
///
/// Ownership: none.
/// Thread: any.
/// Blocks: never.
/// Returns: a number, 1 for this header.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_abi_version() -> u32 {
    INGEST_ABI_VERSION
}

/// Whether this build can do something: a protocol ("http1", "http2", "tls"), a topology ("inline",
/// "shards", "shared", "acceptor", "dispatch"), a listener ("unix", "fd"), a delivery ("queue", "threads"), an engine ("epoll",
/// "uring"), a content-coding ("gzip", "br", "zstd", "deflate") or a way of answering ("stream",
/// "file", "lend", "packed"). A name that nobody knows yet is a feature that this build does not have.
///
/// Ownership: the string stays the caller's.
/// Thread: any.
/// Blocks: never.
/// Returns: 1 or 0; INGEST_E_ARGUMENT if feature is NULL or not UTF-8.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_has(feature: *const c_char) -> i32 {
    fence(|| {
        // SAFETY: the caller passes NULL or a C string.
        match unsafe { text(feature, "feature") } {
            Ok(name) => i32::from(FEATURES.contains(&(name, true))),
            Err(_) => INGEST_E_ARGUMENT,
        }
    })
}

/// The name of a status code's constant, as in "INGEST_E_GONE".
///
/// Ownership: the string belongs to the library and is never freed.
/// Thread: any.
/// Blocks: never.
/// Returns: a NUL-terminated string, never NULL; "INGEST_E_UNKNOWN" for a number that this version
/// does not know.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_status_name(status: ingest_status) -> *const c_char {
    index_of(status).map_or(UNKNOWN_NAME.as_ptr(), |index| NAMES[index].as_ptr()).cast()
}

/// One line for people about a status code: lower case, no full stop.
///
/// Ownership: the string belongs to the library and is never freed.
/// Thread: any.
/// Blocks: never.
/// Returns: a NUL-terminated string, never NULL; "unknown status" for a number that this version
/// does not know.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_status_text(status: ingest_status) -> *const c_char {
    index_of(status).map_or(UNKNOWN_TEXT.as_ptr(), |index| TEXTS[index].as_ptr()).cast()
}

const UNKNOWN_NAME: &str = "INGEST_E_UNKNOWN\0";
const UNKNOWN_TEXT: &str = "unknown status\0";

/// Room for each text of the table with the NUL that C wants behind it; a longer text does not compile.
const CELL: usize = 80;
static NAMES: [[u8; CELL]; TABLE.len()] = cells(true);
static TEXTS: [[u8; CELL]; TABLE.len()] = cells(false);

fn index_of(status: ingest_status) -> Option<usize> {
    TABLE.iter().position(|(number, _, _)| *number == status)
}

const fn cells(names: bool) -> [[u8; CELL]; TABLE.len()] {
    let mut cells = [[0; CELL]; TABLE.len()];
    let mut row = 0;
    while row < TABLE.len() {
        let source = if names { TABLE[row].1 } else { TABLE[row].2 }.as_bytes();
        assert!(source.len() < CELL);
        let mut octet = 0;
        while octet < source.len() {
            cells[row][octet] = source[octet];
            octet += 1;
        }
        row += 1;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn string(pointer: *const c_char) -> &'static str {
        // SAFETY: the library's own strings are NUL-terminated and live for ever.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("our own text")
    }

    #[test]
    fn codes_have_names_and_texts() {
        for (number, name, text) in TABLE {
            // SAFETY: no pointer goes in.
            let (found_name, found_text) = unsafe { (ingest_status_name(number), ingest_status_text(number)) };
            assert_eq!((string(found_name), string(found_text)), (name, text));
        }
        // SAFETY: no pointer goes in.
        unsafe {
            assert_eq!(string(ingest_status_name(-999)), "INGEST_E_UNKNOWN");
            assert_eq!(string(ingest_status_text(1)), "unknown status");
            assert_eq!(string(ingest_version()), env!("CARGO_PKG_VERSION"));
        }
    }

    #[test]
    fn features_are_asked_by_name() {
        // SAFETY: C strings and NULL.
        unsafe {
            assert_eq!(ingest_has(c"queue".as_ptr()), 1);
            assert_eq!(ingest_has(c"http2".as_ptr()), 0);
            assert_eq!(ingest_has(c"time travel".as_ptr()), 0);
            assert_eq!(ingest_has(std::ptr::null()), INGEST_E_ARGUMENT);
        }
    }
}
