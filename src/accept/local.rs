//! Listening on a unix socket: its file with its mode, what to do about a file that is there already, and abstract names.
#![forbid(unsafe_code)]

use crate::engine::sys;
use crate::engine::sys::local::{self, Name, SocketFile};
use crate::status::{Failure, INGEST_E_ADDRESS};
use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A stale file is removed and the name tried again, as often as this: somebody else may be as busy with it as we are.
const TRIES: u32 = 3;

/// A listening socket with a name and no file; `shown` is how errors name it.
pub fn listen_abstract(shown: &str, name: &str, backlog: i32, floor: RawFd) -> Result<OwnedFd, Failure> {
    let failed = |error: io::Error| explain(shown, &error);
    let socket = local::socket().and_then(|socket| sys::raise(socket, floor)).map_err(failed)?;
    local::bind(socket.as_raw_fd(), Name::Abstract(name)).map_err(failed)?;
    sys::listen(socket.as_raw_fd(), backlog).map_err(failed)?;
    Ok(socket)
}

/// A listening socket with a file. Until it listens every client is refused, whatever the mode of the file is by then; so nobody
/// ever gets in by another mode than the one that was asked for, and the umask, which the whole process shares, stays as it is.
pub fn listen_file(shown: &str, path: &str, mode: Option<u32>, backlog: i32, floor: RawFd) -> Result<(OwnedFd, SocketFile), Failure> {
    let failed = |error: io::Error| explain(shown, &error);
    let (folder, name) = split(path);
    let c_string = |text: &str| CString::new(text).map_err(|_| failed(ErrorKind::InvalidInput.into()));
    let (folder, name) = (c_string(folder)?, c_string(name)?);
    let folder = local::open_folder(&folder).and_then(|folder| sys::raise(folder, floor)).map_err(failed)?;
    let socket = local::socket().and_then(|socket| sys::raise(socket, floor)).map_err(failed)?;
    let fd = socket.as_raw_fd();
    if let Some(mode) = mode {
        local::preset_mode(fd, mode);
    }
    // Held until the socket listens: before that it looks like a stale one to every other server.
    let lock = local::lock(&folder);
    let mut tries = 0;
    while let Err(error) = local::bind(fd, Name::Path(path)) {
        tries += 1;
        if error.kind() != ErrorKind::AddrInUse || tries > TRIES {
            return Err(failed(error));
        }
        clear_stale(shown, &folder, &name, path)?;
    }
    let file = SocketFile::of(folder, name, floor).map_err(failed)?;
    let finished = match mode {
        Some(mode) => file.set_mode(mode).map_err(|error| {
            Failure::system(&error, format!("cannot give {shown} the mode {mode:04o}: {error} (mount /proc, or set the umask instead)"))
        }),
        None => Ok(()),
    };
    let finished = finished.and_then(|()| sys::listen(fd, backlog).map_err(failed));
    // What fails from here on removes the file again, and that takes the lock.
    drop(lock);
    finished.map(|()| (socket, file))
}

/// The folder and the name in it.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        None => (".", path),
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
    }
}

/// Removes the socket of a server that has ended without doing so. Anything else stays, and the failure says what it is.
fn clear_stale(shown: &str, folder: &OwnedFd, name: &CStr, path: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| explain(shown, &error);
    // Pinned while it is judged, so that another file cannot take its place unnoticed.
    let pin = match local::pin(folder, name) {
        Ok(pin) => pin,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let facts = local::facts(pin.as_raw_fd()).map_err(failed)?;
    let in_use = io::Error::from(ErrorKind::AddrInUse);
    if !facts.is_socket {
        let text = format!("cannot listen on {shown}: what is there is no socket, so it is not removed (remove it or choose another path)");
        return Err(Failure { os_errno: local::IN_USE, ..Failure::new(INGEST_E_ADDRESS, text) });
    }
    match local::connect(Name::Path(path)) {
        // Nobody listens, and nobody can listen on it any more.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if sys::is_permission(&error) => {
            let text = format!("cannot listen on {shown}: there is a socket, and whether it is in use may not be asked (remove it)");
            return Err(Failure::system(&error, text));
        }
        // Served, or so busy that its backlog is full, or a socket of another type.
        _ => return Err(failed(in_use)),
    }
    if local::facts_at(folder, name).is_ok_and(|now| now.identity == facts.identity) {
        match local::unlink(folder, name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let text = format!("cannot remove the stale socket {shown}: {error} (remove it, or make its folder writable)");
                return Err(Failure::system(&error, text));
            }
            _ => {}
        }
    }
    Ok(())
}

fn explain(shown: &str, error: &io::Error) -> Failure {
    let (what, advice) = match error.kind() {
        ErrorKind::AddrInUse => {
            let text = format!("cannot listen on {shown}: in use, somebody listens there (stop the other server or choose another name)");
            return Failure { os_errno: local::IN_USE, ..Failure::new(INGEST_E_ADDRESS, text) };
        }
        ErrorKind::NotFound => ("no such folder", "make it before"),
        ErrorKind::NotADirectory => ("a part of the path is no folder", "choose another path"),
        _ if sys::is_permission(error) => ("permission denied", "make the folder writable for this user, or choose another one"),
        _ => {
            return Failure::system(error, format!("cannot listen on {shown}: {error} (check the folder and the descriptor limit)"));
        }
    };
    Failure::system(error, format!("cannot listen on {shown}: {what} ({advice})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_folder_and_a_name() {
        for (path, parts) in
            [("/run/a/b.sock", ("/run/a", "b.sock")), ("/b.sock", ("/", "b.sock")), ("b.sock", (".", "b.sock")), ("a/b", ("a", "b"))]
        {
            assert_eq!(split(path), parts);
        }
    }
}
