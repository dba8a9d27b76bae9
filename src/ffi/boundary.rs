//! What every C function does first and last: the fork check, the panic fence, reading pointers, and writing `ingest_error`.

use crate::memory::fork_mark;
use crate::status::{self, Failure, INGEST_E_ARGUMENT, INGEST_E_FORKED, INGEST_E_PANIC, INGEST_OK, ingest_status};
use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::options::ingest_error;

/// Runs a call behind the fork check and the panic fence.
pub(super) fn fence(body: impl FnOnce() -> i32) -> i32 {
    fence_or(INGEST_E_FORKED, INGEST_E_PANIC, body)
}

/// As `fence`, for calls whose result is no status: the caller says what a forked child and a caught panic return.
pub(super) fn fence_or<T>(forked: T, panicked: T, body: impl FnOnce() -> T) -> T {
    if fork_mark::forked() {
        return forked;
    }
    // What the body touches is either ours alone or guarded inside the library, and after a panic nothing here looks at it again.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            // Dropping the payload could panic again, outside the fence; a small leak per fault is the lesser evil.
            std::mem::forget(payload);
            panicked
        }
    }
}

/// As `fence`, for set-up calls that explain themselves in an `ingest_error`.
///
/// SAFETY for callers: `error` is NULL or points to a writable `ingest_error`.
pub(super) unsafe fn fence_explained(error: *mut ingest_error, body: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    let result = fence_or(Err(plain(INGEST_E_FORKED)), Err(plain(INGEST_E_PANIC)), || body().map_err(Explained::Failure));
    let (returned, status, os_errno, text) = match &result {
        Ok(returned) => (*returned, INGEST_OK, 0, ""),
        Err(Explained::Plain(status)) => (*status, *status, 0, text_of(*status)),
        Err(Explained::Failure(failure)) => (failure.status, failure.status, failure.os_errno, failure.text.as_str()),
    };
    // SAFETY: the caller of this function promises that `error` is NULL or writable.
    if let Some(error) = unsafe { error.as_mut() } {
        error.status = status;
        error.os_errno = os_errno;
        write_text(&mut error.text, text);
    }
    returned
}

enum Explained {
    Plain(ingest_status),
    Failure(Failure),
}

fn plain(status: ingest_status) -> Explained {
    Explained::Plain(status)
}

fn text_of(status: ingest_status) -> &'static str {
    status::TABLE.iter().find(|(number, _, _)| *number == status).map_or("", |(_, _, text)| text)
}

/// Copies as many whole characters as fit before the NUL that always ends the text.
fn write_text(target: &mut [c_char], text: &str) {
    let mut length = text.len().min(target.len().saturating_sub(1));
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    // A NUL inside would end the text early for a C reader; none of our texts has one, a host's file name cannot.
    for (cell, octet) in target.iter_mut().zip(text.as_bytes()[..length].iter().chain(std::iter::repeat(&0))) {
        *cell = *octet as c_char;
    }
}

/// The failure of an argument, with what to do.
pub(super) fn argument(text: &str) -> Failure {
    Failure::new(INGEST_E_ARGUMENT, text)
}

/// Reads a C string that the host passed; the error names the parameter.
///
/// SAFETY for callers: `pointer` is NULL or a NUL-terminated string that stays unchanged for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, parameter: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(argument(&format!("{parameter} is NULL (pass a string)")));
    }
    // SAFETY: not NULL, and the caller promises a NUL-terminated string that lives for 'a.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| argument(&format!("{parameter} is not UTF-8 (pass UTF-8 text)")))
}

/// Borrows `length` octets, the empty slice when there are none; `None` if the pair cannot be a memory area.
///
/// SAFETY for callers: a pointer that is not NULL is readable for `length` elements and unchanged for `'a`.
pub(super) unsafe fn area<'a, T>(pointer: *const T, length: usize) -> Option<&'a [T]> {
    if length == 0 {
        return Some(&[]);
    }
    let fits = length.checked_mul(size_of::<T>()).is_some_and(|octets| isize::try_from(octets).is_ok());
    if pointer.is_null() || !pointer.is_aligned() || !fits {
        return None;
    }
    // SAFETY: not NULL, aligned, not larger than an object can be, and the caller promises that it is readable for 'a.
    Some(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// As `area`, for memory of the host that the call writes to.
///
/// SAFETY for callers: a pointer that is not NULL is writable for `length` elements, and nobody else uses them during `'a`.
pub(super) unsafe fn area_mut<'a, T>(pointer: *mut T, length: usize) -> Option<&'a mut [T]> {
    if length == 0 {
        return Some(&mut []);
    }
    let fits = length.checked_mul(size_of::<T>()).is_some_and(|octets| isize::try_from(octets).is_ok());
    if pointer.is_null() || !pointer.is_aligned() || !fits {
        return None;
    }
    // SAFETY: not NULL, aligned, not larger than an object can be, and the caller promises that it is ours to write for 'a.
    Some(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

/// A struct of the host that starts with its `size` and grows at its end only.
///
/// SAFETY for implementers: `#[repr(C)]`, the first field is the `u32` size, and the all-zero pattern is a valid value.
pub(super) unsafe trait Tagged: Copy {
    /// The part that its first version had to have.
    const REQUIRED: usize;
}

/// No version of any struct comes near this, so a larger size is memory that was never set.
const SIZE_CEILING: usize = 4096;

/// Reads a struct that the host filled: a shorter one (an older host) is filled up with zeros, a longer one (a newer host) is taken
/// only if what we do not know of it is zero.
///
/// SAFETY for callers: `pointer` is NULL or points to a struct that is readable for as many octets as its `size` says.
pub(super) unsafe fn read_tagged<T: Tagged>(pointer: *const T) -> Option<T> {
    // SAFETY: the caller promises a readable struct, and `Tagged` that it starts with its size.
    let size = unsafe { tag_of(pointer) }?;
    if size < T::REQUIRED {
        return None;
    }
    let known = size.min(size_of::<T>());
    // SAFETY: the caller promises `size` readable octets, `known` is at most that.
    let tail = unsafe { area(pointer.cast::<u8>().add(known), size - known) }?;
    if tail.iter().any(|octet| *octet != 0) {
        return None;
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: source is readable for `known` octets, the target is our own and at least as large, so they cannot overlap.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known) };
    // SAFETY: every octet was set, and `Tagged` promises that zeros are valid in what the host did not bring.
    Some(unsafe { value.assume_init() })
}

/// Fills a struct of the host as far as both know it; `size` is set to how much that was.
///
/// SAFETY for callers: `pointer` is NULL or points to a struct that is writable for as many octets as its `size` says.
pub(super) unsafe fn write_tagged<T: Tagged>(pointer: *mut T, value: &T) -> ingest_status {
    // SAFETY: the caller promises a struct that starts with its size.
    let Some(size) = (unsafe { tag_of(pointer) }) else {
        return INGEST_E_ARGUMENT;
    };
    if size < T::REQUIRED {
        return INGEST_E_ARGUMENT;
    }
    let known = size.min(size_of::<T>());
    // SAFETY: the target is writable for `size` octets, the source is ours; `known` is within both, and its size word fits 32 bits.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), pointer.cast::<u8>(), known);
        pointer.cast::<u32>().write(known as u32);
    }
    INGEST_OK
}

/// Checks the size of a struct that an unbuilt call would have filled.
///
/// SAFETY for callers: as for `write_tagged`.
pub(super) unsafe fn is_tagged<T: Tagged>(pointer: *const T) -> bool {
    // SAFETY: the caller promises a struct that starts with its size.
    unsafe { tag_of(pointer) }.is_some_and(|size| size >= T::REQUIRED)
}

/// SAFETY for callers: `pointer` is NULL or points to a struct that starts with its `u32` size.
unsafe fn tag_of<T: Tagged>(pointer: *const T) -> Option<usize> {
    if pointer.is_null() || !pointer.is_aligned() {
        return None;
    }
    // SAFETY: not NULL, aligned for T and so for u32, and the caller promises that the size can be read.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    (size <= SIZE_CEILING).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    struct Sample {
        size: u32,
        first: u32,
        second: u64,
    }

    // SAFETY: repr(C), starts with its size, integers only.
    unsafe impl Tagged for Sample {
        const REQUIRED: usize = 8;
    }

    #[repr(C)]
    struct Newer {
        known: Sample,
        tail: u64,
    }

    #[test]
    fn error_text_ends_at_a_character_and_with_a_nul() {
        let mut cells = [1 as c_char; 6];
        write_text(&mut cells, "abcdé");
        assert_eq!(cells.map(|cell| cell as u8), *b"abcd\0\0");
        write_text(&mut cells, "é");
        assert_eq!(cells.map(|cell| cell as u8), [0xc3, 0xa9, 0, 0, 0, 0]);
        write_text(&mut cells, "abcdefgh");
        assert_eq!(cells.map(|cell| cell as u8), *b"abcde\0");
    }

    #[test]
    fn structs_of_older_and_newer_hosts_are_read() {
        let read = |sample: &Sample| {
            // SAFETY: every size used here is at most that of the struct.
            unsafe { read_tagged(std::ptr::from_ref(sample)) }
        };
        assert_eq!(read(&Sample { size: 16, first: 1, second: 2 }), Some(Sample { size: 16, first: 1, second: 2 }));
        assert_eq!(read(&Sample { size: 8, first: 1, second: 2 }), Some(Sample { size: 8, first: 1, second: 0 }));
        assert_eq!(read(&Sample { size: 7, first: 1, second: 2 }), None);
        assert_eq!(read(&Sample { size: 0, first: 1, second: 2 }), None);
        assert_eq!(read(&Sample { size: u32::MAX, first: 1, second: 2 }), None);
        for (tail, taken) in [(0, true), (1, false)] {
            let newer = Newer { known: Sample { size: 24, first: 1, second: 2 }, tail };
            // SAFETY: the struct is readable for its 24 octets.
            let value = unsafe { read_tagged(std::ptr::from_ref(&newer).cast::<Sample>()) };
            assert_eq!(value.is_some(), taken);
            assert_eq!(newer.tail, tail);
        }
    }

    #[test]
    fn output_never_goes_beyond_what_the_host_has() {
        let full = Sample { size: 16, first: 7, second: 8 };
        let mut older = Sample { size: 8, first: 0, second: 99 };
        // SAFETY: the struct is writable for the 8 octets that its size says, and more.
        assert_eq!(unsafe { write_tagged(&raw mut older, &full) }, INGEST_OK);
        assert_eq!(older, Sample { size: 8, first: 7, second: 99 });
        let mut newer = Newer { known: Sample { size: 24, first: 0, second: 0 }, tail: 5 };
        // SAFETY: the struct is writable for its 24 octets.
        assert_eq!(unsafe { write_tagged((&raw mut newer).cast::<Sample>(), &full) }, INGEST_OK);
        assert_eq!((newer.known, newer.tail), (full, 5));
    }

    #[test]
    fn a_panic_stops_at_the_fence() {
        assert_eq!(fence(|| std::panic::resume_unwind(Box::new(1))), INGEST_E_PANIC);
        let mut error = ingest_error { status: 9, os_errno: 9, text: [1; 248] };
        // SAFETY: the error is our own.
        let status = unsafe { fence_explained(&raw mut error, || std::panic::resume_unwind(Box::new(1))) };
        assert_eq!((status, error.status, error.os_errno), (INGEST_E_PANIC, INGEST_E_PANIC, 0));
        assert_eq!(error.text[247], 0);
    }
}
