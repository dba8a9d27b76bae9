//! C functions: options by name, their list, and the struct in which set-up calls explain a failure.

use super::boundary::{Tagged, argument, fence, fence_explained, fence_or, text, write_tagged};
use crate::options::{Options, table};
use crate::request::ingest_slice;
use crate::status::{INGEST_E_ARGUMENT, INGEST_OK, ingest_status};
use std::ffi::c_char;
use std::mem::size_of;

/// What went wrong in a set-up call. The caller owns it; a call that takes one fills it whether it
/// succeeds or not, and takes NULL too. Frozen: 256 octets for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_error {
    /// What the call returned, `INGEST_OK` if it succeeded.
    pub status: i32,
    /// The operating system's errno with `INGEST_E_SYSTEM`, else 0.
    pub os_errno: i32,
    /// What, where and what to do, in UTF-8; always NUL-terminated, cut at a whole character if it is long.
    pub text: [c_char; 248],
}

/// Settings by name, collected before a server is made or for one listener. Opaque.
pub struct ingest_options {
    pub(super) options: Options,
}

/// The option may be changed while the server runs (`ingest_server_set`).
pub const INGEST_OPTION_LIVE: u32 = 1;
/// The option may be overridden for one listener (`ingest_server_listen`).
pub const INGEST_OPTION_LISTENER: u32 = 2;
/// The option is known but not built yet: only its default is taken.
pub const INGEST_OPTION_UNBUILT: u32 = 4;

const _: () = assert!(INGEST_OPTION_LIVE == table::LIVE);
const _: () = assert!(INGEST_OPTION_LISTENER == table::LISTENER);
const _: () = assert!(INGEST_OPTION_UNBUILT == table::UNBUILT);

/// One option, as `ingest_option_describe` tells it. The slices belong to the library and live for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ingest_option_info {
    /// Size of this struct in octets; the caller sets it before the call, the call to what it filled.
    pub size: u32,
    /// `INGEST_OPTION_...` bits.
    pub flags: u32,
    /// The name for `ingest_options_set`.
    pub name: ingest_slice,
    /// "duration", "size", "count", "switch", "choice" or "text".
    pub kind: ingest_slice,
    /// The default, written as a host would write it.
    pub default_value: ingest_slice,
    /// The words that it takes, with commas between; empty if none.
    pub choices: ingest_slice,
    /// One line for people.
    pub help: ingest_slice,
}

// SAFETY: repr(C), starts with its size; zeros are integers and absent slices.
unsafe impl Tagged for ingest_option_info {
    const REQUIRED: usize = size_of::<ingest_option_info>();
}

/// Makes a set of options with every option at its default.
///
/// Ownership: the caller owns it and frees it with ingest_options_free.
/// Thread: any.
/// Blocks: never.
/// Returns: the options; NULL in a forked child.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_options_new() -> *mut ingest_options {
    fence_or(std::ptr::null_mut(), std::ptr::null_mut(), || Box::into_raw(Box::new(ingest_options { options: Options::default() })))
}

/// Sets one option from text, as in ingest_options_set(options, "keepalive_timeout", "30s", &error).
///
/// Durations are a whole number with ms, s, m or h; sizes are octets, or a whole number with KiB,
/// MiB, GiB or TiB; switches are on and off; where no limit is allowed it has to be written out as
/// unlimited, zero never means that. ingest_option_describe lists every option, docs/options.md
/// explains them. Options that depend on each other are compared when the server starts. An option
/// that is flagged INGEST_OPTION_UNBUILT takes its default only.
///
/// Ownership: the strings stay the caller's and are not kept; error, if given, is the caller's.
/// Thread: any, one at a time per options.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_OPTION for a name that does not exist (the text names the nearest
/// one) or a value that it cannot take; INGEST_E_ARGUMENT for NULL or text that is not UTF-8;
/// INGEST_E_FORKED. On an error nothing has changed.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_options_set(
    options: *mut ingest_options,
    name: *const c_char,
    value: *const c_char,
    error: *mut ingest_error,
) -> ingest_status {
    let body = || {
        // SAFETY: NULL, or options from ingest_options_new that no other thread uses now.
        let target = unsafe { options.as_mut() }.ok_or_else(|| argument("options is NULL (make them with ingest_options_new)"))?;
        // SAFETY: NULL, or a C string that stays as it is during the call.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        target.options.set(name, value)?;
        Ok(INGEST_OK)
    };
    // SAFETY: `error` is NULL or the caller's writable struct.
    unsafe { fence_explained(error, body) }
}

/// Frees a set of options. Servers and listeners that were made with it keep their own copy. NULL is
/// allowed and does nothing.
///
/// Ownership: takes the options; the pointer must not be used again.
/// Thread: any.
/// Blocks: never.
/// Returns: nothing; in a forked child it does nothing.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_options_free(options: *mut ingest_options) {
    fence_or((), (), || {
        if !options.is_null() {
            // SAFETY: made by Box::into_raw in ingest_options_new, and the caller gives it away.
            drop(unsafe { Box::from_raw(options) });
        }
    });
}

/// Describes one option; with index 0, 1, 2 and so on until INGEST_E_ARGUMENT it lists them all. Command
/// lines, environment variables, configuration files and SQL settings can be made from this list.
///
/// Ownership: info is the caller's, its size set to sizeof(ingest_option_info); the slices that it
/// gets belong to the library and live for ever.
/// Thread: any.
/// Blocks: never.
/// Returns: INGEST_OK; INGEST_E_ARGUMENT past the last option, for NULL, or for a size that is too
/// small; INGEST_E_FORKED.
/// Since: 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ingest_option_describe(index: u32, info: *mut ingest_option_info) -> ingest_status {
    fence(|| {
        let Some(row) = table::TABLE.get(index as usize) else {
            return INGEST_E_ARGUMENT;
        };
        let described = ingest_option_info {
            size: 0,
            flags: row.flags,
            name: ingest_slice::of(row.name.as_bytes()),
            kind: ingest_slice::of(row.kind.name().as_bytes()),
            default_value: ingest_slice::of(row.default.as_bytes()),
            choices: ingest_slice::of(row.choices.as_bytes()),
            help: ingest_slice::of(row.help.as_bytes()),
        };
        // SAFETY: NULL, or the caller's struct with its size set.
        unsafe { write_tagged(info, &described) }
    })
}
