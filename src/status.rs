//! One table of the codes that calls return: number, name and one line of text.
#![forbid(unsafe_code)]

/// What a call returns: `INGEST_OK` or a negative `INGEST_E_...`; calls that count return a count or a negative status.
#[allow(non_camel_case_types)]
pub type ingest_status = i32;

/// The call did what it says.
pub const INGEST_OK: ingest_status = 0;
/// An argument is NULL, out of range or malformed; nothing happened, try again.
pub const INGEST_E_ARGUMENT: ingest_status = -1;
/// The call is not allowed now (for example listening after the start, starting twice).
pub const INGEST_E_STATE: ingest_status = -2;
/// An option has no such name, or a value that it cannot take.
pub const INGEST_E_OPTION: ingest_status = -3;
/// An address could not be understood, or what it names cannot be listened on.
pub const INGEST_E_ADDRESS: ingest_status = -4;
/// The operating system refused; `ingest_error.os_errno` says why.
pub const INGEST_E_SYSTEM: ingest_status = -5;
/// A certificate, key or other TLS setting could not be used.
pub const INGEST_E_TLS: ingest_status = -6;
/// Memory could not be had, or a memory limit is reached.
pub const INGEST_E_MEMORY: ingest_status = -7;
/// This build or this version does not do that (see `ingest_has`).
pub const INGEST_E_UNSUPPORTED: ingest_status = -8;
/// The token is stale, foreign, or was used before; its memory, if the caller held it, is given back.
pub const INGEST_E_GONE: ingest_status = -9;
/// Not now: wait for the event or the time that the call names, then try again.
pub const INGEST_E_BUSY: ingest_status = -10;
/// The caller's buffer is too small; nothing was taken.
pub const INGEST_E_SPACE: ingest_status = -11;
/// The server has stopped; nothing more will come.
pub const INGEST_E_STOPPED: ingest_status = -12;
/// A signal arrived while waiting; handle it and call again.
pub const INGEST_E_INTERRUPTED: ingest_status = -13;
/// This process was forked from the one that made the handle; only the parent may use it.
pub const INGEST_E_FORKED: ingest_status = -14;
/// The library caught a fault of its own; the call did not complete.
pub const INGEST_E_PANIC: ingest_status = -15;

/// What a peer sent is not what the call reads, such as a body that is no JSON.
pub const INGEST_E_MALFORMED: ingest_status = -16;

/// Number, constant's name, and one line for people.
pub const TABLE: [(ingest_status, &str, &str); 17] = [
    (INGEST_OK, "INGEST_OK", "success"),
    (INGEST_E_ARGUMENT, "INGEST_E_ARGUMENT", "an argument is missing or malformed"),
    (INGEST_E_STATE, "INGEST_E_STATE", "the call is not allowed in this state"),
    (INGEST_E_OPTION, "INGEST_E_OPTION", "unknown option or unusable value"),
    (INGEST_E_ADDRESS, "INGEST_E_ADDRESS", "the address cannot be understood or used"),
    (INGEST_E_SYSTEM, "INGEST_E_SYSTEM", "the operating system refused"),
    (INGEST_E_TLS, "INGEST_E_TLS", "a TLS setting cannot be used"),
    (INGEST_E_MEMORY, "INGEST_E_MEMORY", "out of memory, or at a memory limit"),
    (INGEST_E_UNSUPPORTED, "INGEST_E_UNSUPPORTED", "not supported by this build"),
    (INGEST_E_GONE, "INGEST_E_GONE", "the request is gone: answered, timed out, or its client left"),
    (INGEST_E_BUSY, "INGEST_E_BUSY", "not now, try again later"),
    (INGEST_E_SPACE, "INGEST_E_SPACE", "the buffer is too small"),
    (INGEST_E_STOPPED, "INGEST_E_STOPPED", "the server has stopped"),
    (INGEST_E_INTERRUPTED, "INGEST_E_INTERRUPTED", "interrupted by a signal"),
    (INGEST_E_FORKED, "INGEST_E_FORKED", "this is a forked child, only the parent may call"),
    (INGEST_E_PANIC, "INGEST_E_PANIC", "an internal fault was caught"),
    (INGEST_E_MALFORMED, "INGEST_E_MALFORMED", "the body is not well-formed"),
];

/// What went wrong in a set-up call, before it is written into the caller's `ingest_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: ingest_status,
    pub os_errno: i32,
    pub text: String,
}

impl Failure {
    pub fn new(status: ingest_status, text: impl Into<String>) -> Self {
        Failure { status, os_errno: 0, text: text.into() }
    }

    pub fn system(error: &std::io::Error, text: impl Into<String>) -> Self {
        Failure { status: INGEST_E_SYSTEM, os_errno: error.raw_os_error().unwrap_or(0), text: text.into() }
    }
}
