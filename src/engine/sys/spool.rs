//! System calls for files without a name: where the octets of large bodies are kept.
#![allow(unsafe_code)]

use super::{check, check_size, own, raise};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

/// How many names are tried where a file cannot be made without one.
const NAME_TRIES: u32 = 64;
/// Nobody but this process's user reads what a client has sent.
const MODE: libc::c_uint = 0o600;

/// A folder, held so that it is the same one whatever becomes of the working directory and of its name.
pub fn folder(path: &str) -> io::Result<OwnedFd> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the path ends with NUL and outlives the call.
    own(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) })
}

/// A new file in a folder, without a name or with one that is gone again, at a number of at least `floor`.
pub fn nameless(folder: &OwnedFd, floor: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC | libc::O_EXCL;
    // SAFETY: the path ends with NUL and outlives the call.
    let made = own(unsafe { libc::openat(folder.as_raw_fd(), c".".as_ptr(), flags, MODE) });
    match made {
        // What a file system, or a kernel, that knows no such files says.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => unlinked(folder, floor),
        made => raise(made?, floor),
    }
}

/// As `nameless`, where a file needs a name to begin with.
fn unlinked(folder: &OwnedFd, floor: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let mut number = super::monotonic_ns();
    for _ in 0..NAME_TRIES {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(super::thread_number()));
        let name = CString::new(format!(".ingest-spool-{number:016x}")).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the name ends with NUL and outlives the call.
        match own(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags, MODE) }) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            made => {
                let file = made?;
                remove(folder, &name)?;
                return raise(file, floor);
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EEXIST))
}

fn remove(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends with NUL and outlives the call.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// A new file that lies in memory.
pub fn in_memory(floor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with NUL and outlives the call.
    raise(own(unsafe { libc::memfd_create(c"ingest-spool".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?, floor)
}

/// Writes to a file from `offset` on: how many octets. Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which would end a host that runs us on
/// a thread of its own: it is blocked meanwhile and taken back, so that there is an error and no signal.
pub fn write_at(file: &OwnedFd, octets: &[u8], offset: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let (mut mask, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: sigemptyset initialises the set; pthread_sigmask gets valid pointers and initialises `before`.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, mask.as_ptr(), before.as_mut_ptr());
    }
    // SAFETY: the pointer and length are those of a slice that lives through the call.
    let written = check_size(unsafe { libc::pwrite(file.as_raw_fd(), octets.as_ptr().cast(), octets.len(), offset) });
    if written.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: set and time are valid for the call; nothing is told about the signal. It returns at once.
        unsafe { libc::sigtimedwait(mask.as_ptr(), ptr::null_mut(), &raw const now) };
    }
    // SAFETY: `before` was filled by pthread_sigmask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    written
}

/// Reads from a file of ours that the host knows by its number, into memory that nobody has written to yet.
pub fn read_uninit_at(file: RawFd, window: &mut [MaybeUninit<u8>], offset: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the pointer and length are those of a slice that lives through the call; what is read into it needs no drop.
    check_size(unsafe { libc::pread(file, window.as_mut_ptr().cast(), window.len(), offset) })
}

/// What is missing is a descriptor or a page of the kernel's, and not room for the octets.
pub fn is_scarcity(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_however_it_was_made() {
        let path = std::env::temp_dir().join(format!("ingest-spool-{}", std::process::id()));
        std::fs::create_dir(&path).expect("the folder is new");
        let held = folder(path.to_str().expect("it is text")).expect("it is there");
        for make in [nameless, unlinked] {
            let file = make(&held, 100).expect("the file can be made");
            assert!(file.as_raw_fd() >= 100);
            assert_eq!(write_at(&file, b"octets", 2).expect("there is room"), 6);
            let mut read = [0xff; 16];
            assert_eq!(super::super::read_at(&file, &mut read, 0).expect("it can be read"), 8);
            assert_eq!(&read[..8], b"\0\0octets");
            assert_eq!(std::fs::read_dir(&path).expect("it is there").count(), 0);
        }
        std::fs::remove_dir(&path).expect("it is empty");
        assert!(nameless(&held, 0).is_err() && unlinked(&held, 0).is_err(), "the folder is gone");
        let file = in_memory(0).expect("there is memory");
        assert_eq!(write_at(&file, b"octets", 1 << 20).expect("there is room"), 6);
    }
}
