//! System calls around sockets of this machine alone (AF_UNIX): names, their files, and listening sockets that others have made.
#![allow(unsafe_code)]

use super::{address_of, check, own};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The longest path, or abstract name, in octets: what `sun_path` holds beside a NUL.
pub const NAME_MAX: usize = 107;
/// What the kernel says about a name that is taken.
pub const IN_USE: i32 = libc::EADDRINUSE;
/// How often, and how far apart, a lock that another holds is asked for.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// What a socket of this machine can be bound to.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    Path(&'a str),
    Abstract(&'a str),
}

/// Where a socket is bound, whoever did that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    Internet(SocketAddr),
    Path(String),
    Abstract(String),
    /// A family that has no address that we know.
    Unnamed,
}

/// A socket as the kernel describes it.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    pub is_stream: bool,
    pub is_listening: bool,
}

/// Which file this is: the pair is not used again while a descriptor holds on to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub identity: (u64, u64),
    pub is_socket: bool,
    pub mode: u32,
}

/// A stream socket of AF_UNIX, non-blocking and close-on-exec.
pub fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    own(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
}

/// The name as the kernel takes it; an abstract one begins with NUL and ends where its length says.
fn raw_name(name: Name) -> io::Result<(libc::sockaddr_un, u32)> {
    let (from, octets, end) = match name {
        Name::Path(path) => (0, path.as_bytes(), 1),
        Name::Abstract(name) => (1, name.as_bytes(), 0),
    };
    if octets.len() > NAME_MAX || octets.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    // SAFETY: sockaddr_un is plain data, all zeros is a valid value.
    let mut raw: libc::sockaddr_un = unsafe { zeroed() };
    raw.sun_family = libc::AF_UNIX as u16;
    for (cell, octet) in raw.sun_path[from..].iter_mut().zip(octets) {
        *cell = *octet as libc::c_char;
    }
    Ok((raw, (offset_of!(libc::sockaddr_un, sun_path) + from + octets.len() + end) as u32))
}

pub fn bind(socket: RawFd, name: Name) -> io::Result<()> {
    let (raw, length) = raw_name(name)?;
    // SAFETY: `raw` is a whole sockaddr_un, and `length` is within it.
    check(unsafe { libc::bind(socket, (&raw const raw).cast(), length) })?;
    Ok(())
}

/// Whether somebody listens there, without waiting: a connection that is closed again at once.
pub fn connect(name: Name) -> io::Result<()> {
    let probe = socket()?;
    let (raw, length) = raw_name(name)?;
    // SAFETY: `raw` is a whole sockaddr_un, and `length` is within it.
    check(unsafe { libc::connect(probe.as_raw_fd(), (&raw const raw).cast(), length) })?;
    Ok(())
}

/// Where a socket is bound.
pub fn bound(socket: RawFd) -> io::Result<Bound> {
    // SAFETY: sockaddr_storage is plain data, all zeros is a valid value.
    let mut raw: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as u32;
    // SAFETY: both pointers are valid for the call and `length` is the room there is.
    check(unsafe { libc::getsockname(socket, (&raw mut raw).cast(), &mut length) })?;
    if i32::from(raw.ss_family) != libc::AF_UNIX {
        return Ok(address_of(&raw).map_or(Bound::Unnamed, Bound::Internet));
    }
    // SAFETY: the kernel says it is a sockaddr_un, and sockaddr_storage is large and aligned enough for one.
    let path = unsafe { &(*(&raw const raw).cast::<libc::sockaddr_un>()).sun_path };
    let count = (length as usize).saturating_sub(offset_of!(libc::sockaddr_un, sun_path)).min(path.len());
    let octets: Vec<u8> = path[..count].iter().map(|cell| *cell as u8).collect();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Ok(match octets.split_first() {
        None => Bound::Unnamed,
        Some((0, name)) => Bound::Abstract(text(name)),
        Some(_) => Bound::Path(text(octets.split(|octet| *octet == 0).next().unwrap_or(&[]))),
    })
}

/// The mode that the file of a socket is born with, less what the umask takes: it is copied from the socket itself. A kernel that
/// does not do so leaves the socket as it was.
pub fn preset_mode(socket: RawFd, mode: u32) {
    // SAFETY: no pointers are passed.
    unsafe { libc::fchmod(socket, mode) };
}

/// A folder, to look up names in whatever becomes of its path and of the working directory.
pub fn open_folder(path: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated string that lives through the call.
    own(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) })
}

/// Holds on to a file, or a symbolic link, without opening it.
pub fn pin(folder: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated string that lives through the call.
    own(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) })
}

/// What the kernel knows of a descriptor's file.
pub fn facts(file: RawFd) -> io::Result<Facts> {
    // SAFETY: stat is plain data, all zeros is a valid value.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: `stat` outlives the call.
    check(unsafe { libc::fstat(file, &raw mut stat) })?;
    Ok(facts_of(&stat))
}

/// What the kernel knows of a name in a folder; a symbolic link is not followed.
pub fn facts_at(folder: &OwnedFd, name: &CStr) -> io::Result<Facts> {
    // SAFETY: stat is plain data, all zeros is a valid value.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: a NUL-terminated string and `stat` outlive the call.
    check(unsafe { libc::fstatat(folder.as_raw_fd(), name.as_ptr(), &raw mut stat, libc::AT_SYMLINK_NOFOLLOW) })?;
    Ok(facts_of(&stat))
}

fn facts_of(stat: &libc::stat) -> Facts {
    Facts { identity: (stat.st_dev, stat.st_ino), is_socket: stat.st_mode & libc::S_IFMT == libc::S_IFSOCK, mode: stat.st_mode & 0o7777 }
}

pub fn unlink(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string that lives through the call.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// Keeps other servers of this library from judging, removing and making sockets in a folder at the same time, until it is
/// dropped. Advisory and bounded in time: a folder that cannot be read, or that somebody else keeps locked, is used without it.
pub fn lock(folder: &OwnedFd) -> Option<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated string that lives for ever.
    let lock = own(unsafe { libc::openat(folder.as_raw_fd(), c".".as_ptr(), flags) }).ok()?;
    for _ in 0..LOCK_TRIES {
        // SAFETY: no pointers are passed.
        match check(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => return Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Changes the mode of a file that is pinned, and no other, whatever its name leads to by now.
pub fn set_mode(pin: &OwnedFd, mode: u32) -> io::Result<()> {
    // fchmod refuses descriptors that only pin a file; through /proc they name it all the same.
    let path = CString::new(format!("/proc/self/fd/{}", pin.as_raw_fd()))?;
    // SAFETY: a NUL-terminated string that lives through the call.
    check(unsafe { libc::chmod(path.as_ptr(), mode) })?;
    Ok(())
}

/// A second descriptor for a socket that is not ours yet, with what it is; an error is that of the number.
pub fn examine(number: RawFd, floor: RawFd) -> io::Result<(OwnedFd, Traits)> {
    let copy = super::duplicate(number, floor)?;
    let traits = Traits {
        is_stream: option_of(copy.as_raw_fd(), libc::SO_TYPE)? == libc::SOCK_STREAM,
        is_listening: option_of(copy.as_raw_fd(), libc::SO_ACCEPTCONN)? != 0,
    };
    Ok((copy, traits))
}

/// What is wrong with a number that does not name a socket; none if the error is of another kind.
pub fn wrong_descriptor(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EBADF) => Some("no such descriptor is open"),
        Some(libc::ENOTSOCK) => Some("it is no socket"),
        _ => None,
    }
}

fn option_of(socket: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as u32;
    // SAFETY: both pointers are valid for the call and `length` is the room there is.
    check(unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// Lets calls return instead of waiting, for everybody who shares the open socket.
pub fn set_nonblocking(socket: RawFd) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let flags = check(unsafe { libc::fcntl(socket, libc::F_GETFL) })?;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::fcntl(socket, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Closes a number that the host has given away with this call. In the place of a standard stream (inetd gives sockets there) comes
/// /dev/null, or the next file that the host opens would be its output; on a failure the number is as it was.
pub fn close_given(number: RawFd) -> io::Result<()> {
    if number < super::FIRST_NUMBER {
        // SAFETY: a NUL-terminated string that lives for ever.
        let nothing = own(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
        // SAFETY: no pointers are passed. Without close-on-exec, as standard streams are.
        check(unsafe { libc::dup2(nothing.as_raw_fd(), number) })?;
        return Ok(());
    }
    // SAFETY: the host gave the descriptor away (ingest_server_listen_fd, http+fd:), so nobody else closes it; it was open when we
    // duplicated it a moment ago.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(())
}

/// The file of a bound socket. It is removed when this is dropped, unless somebody has put another in its place meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    folder: OwnedFd,
    name: CString,
    /// Keeps the kernel from giving the file's number to another, so that it can be told from all others.
    pin: OwnedFd,
}

impl SocketFile {
    /// Of a socket that was bound to this name just now. When that cannot be done nothing is left behind.
    pub fn of(folder: OwnedFd, name: CString, floor: RawFd) -> io::Result<SocketFile> {
        let pinned = pin(&folder, &name).and_then(|pin| super::raise(pin, floor)).and_then(|pin| match facts(pin.as_raw_fd())?.is_socket {
            true => Ok(pin),
            false => Err(io::ErrorKind::NotFound.into()),
        });
        match pinned {
            Ok(pin) => Ok(SocketFile { folder, name, pin }),
            Err(error) => {
                if facts_at(&folder, &name).is_ok_and(|facts| facts.is_socket) {
                    let _ = unlink(&folder, &name);
                }
                Err(error)
            }
        }
    }

    /// Gives the file exactly this mode.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let has = |pin: &OwnedFd| Ok::<_, io::Error>(facts(pin.as_raw_fd())?.mode == mode);
        if has(&self.pin)? {
            return Ok(());
        }
        set_mode(&self.pin, mode)?;
        if has(&self.pin)? { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _lock = lock(&self.folder);
        let ours = facts(self.pin.as_raw_fd()).ok();
        if ours.is_some() && facts_at(&self.folder, &self.name).ok().map(|facts| facts.identity) == ours.map(|facts| facts.identity) {
            // A folder that became read-only keeps it; the next start removes it as stale.
            let _ = unlink(&self.folder, &self.name);
        }
    }
}
