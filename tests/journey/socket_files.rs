//! The files of unix sockets: their mode, stale and live ones, what is never removed, and what is left behind.

use crate::local::{Folder, refused_by, serve, telling, to, url};
use crate::support::host::{Delivery, Refused, Server, listen};
use crate::support::{alone, eventually};
use crate::{Witness, plain_shapes};
use ingest::status::*;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket that nobody listens on any more.
fn stale(path: &Path) {
    drop(UnixListener::bind(path).expect("the folder can be written"));
    // A process that another test starts just now may have the socket for a moment, until it has become another program.
    assert!(eventually(|| UnixStream::connect(path).is_err()), "nobody has it any more");
    assert!(fs::symlink_metadata(path).expect("it stays").file_type().is_socket());
}

/// In use, and what is there is still there afterwards.
fn in_use(address: &str, path: &Path) -> Refused {
    let server = Server::unstarted(&[]);
    let before = fs::symlink_metadata(path).expect("it is there").ino();
    let refused = refused_by(&server, address);
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_ADDRESS, libc::EADDRINUSE), "{}", refused.text);
    server.finish();
    assert_eq!(fs::symlink_metadata(path).expect("it is still there").ino(), before);
    refused
}

/// The process' umask, without changing it.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("the line is always there");
    u32::from_str_radix(line.trim(), 8).expect("it is octal")
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

#[test]
fn the_mode_is_exact_whatever_the_umask_is() {
    alone("socket_files::the_mode_is_exact_whatever_the_umask_is", || {
        let folder = Folder::new();
        for mask in [0o022, 0o077, 0o000, 0o177] {
            // SAFETY: no pointer; this process runs this test alone.
            unsafe { libc::umask(mask) };
            let server = Server::unstarted(&[]);
            for (name, mode) in [("a", 0o660), ("b", 0o600), ("c", 0o777), ("d", 0o666), ("e", 0)] {
                let path = folder.path(name);
                listen(server.host, &format!("{}?mode={mode:04o}", url(&path))).expect("the folder can be written");
                assert_eq!(mode_of(&path), mode, "umask {mask:04o}");
            }
            let path = folder.path("f");
            listen(server.host, &url(&path)).expect("the folder can be written");
            assert_eq!(mode_of(&path), 0o777 & !mask, "without a mode the umask decides");
            assert_eq!(umask(), mask, "the umask was changed");
            server.finish();
        }
    });
}

#[test]
fn the_mode_is_never_wider() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let done = AtomicBool::new(false);
    let wanted = 0o600;
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut seen, mut wider) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                if let Ok(found) = fs::symlink_metadata(&path) {
                    seen += 1;
                    let mode = found.permissions().mode() & 0o777;
                    if mode & !wanted != 0 {
                        wider.push(mode);
                    }
                }
            }
            (seen, wider)
        });
        for _ in 0..300 {
            let server = Server::unstarted(&[]);
            listen(server.host, &format!("{}?mode={wanted:o}", url(&path))).expect("the folder can be written");
            server.finish();
        }
        done.store(true, Ordering::Relaxed);
        let (seen, wider) = watcher.join().expect("the watcher does not panic");
        assert!(seen > 0, "the file was never seen");
        assert!(wider.is_empty(), "seen with {wider:?}");
    });
}

#[test]
fn a_stale_socket_is_removed() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    stale(&path);
    let server = serve(&path, &[]);
    assert_eq!(to(&path).get("/").status, 200);
    server.finish();
    assert!(!path.exists());
}

#[test]
fn a_live_socket_is_in_use() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let server = serve(&path, &[]);
    let mut client = to(&path);
    let refused = in_use(&url(&path), &path);
    assert!(refused.text.contains("in use") && refused.text.contains("a.sock"), "{}", refused.text);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(to(&path).get("/").status, 200);
    server.finish();
    // As live as a server that is too busy to accept.
    let busy = UnixListener::bind(&path).expect("the folder can be written");
    // SAFETY: no pointer; a backlog of no more than one.
    assert_eq!(unsafe { libc::listen(busy.as_raw_fd(), 0) }, 0);
    let _waiting = UnixStream::connect(&path).expect("one waits in the backlog");
    in_use(&url(&path), &path);
    // And as one of another type.
    let other = folder.path("b.sock");
    let _datagrams = UnixDatagram::bind(&other).expect("the folder can be written");
    in_use(&url(&other), &other);
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let folder = Folder::new();
    let [file, inner, link, fifo, dead] = ["file", "folder", "link", "fifo", "stale"].map(|name| folder.path(name));
    fs::write(&file, "precious").expect("the folder can be written");
    fs::create_dir(&inner).expect("the folder can be written");
    stale(&dead);
    std::os::unix::fs::symlink(&dead, &link).expect("the folder can be written");
    let name = CString::new(fifo.to_str().expect("plain")).expect("no NUL");
    // SAFETY: a terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    for path in [&file, &inner, &link, &fifo] {
        let refused = in_use(&url(path), path);
        assert!(refused.text.contains("no socket"), "{}", refused.text);
    }
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "precious");
    assert!(dead.exists(), "what the link leads to is still there");
}

#[test]
fn the_file_goes_as_soon_as_nobody_accepts() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    for shape in plain_shapes().into_iter().filter(|shape| shape.delivery == Delivery::Queue(1)) {
        let _witness = Witness(shape);
        let server = Server::serve_on(&[&url(&path)], &shape.options, Delivery::Queue(0), telling());
        let mut client = to(&path);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let events = server.queue().take(1);
        assert!(path.exists());
        assert_eq!(server.drain(10_000), INGEST_OK);
        assert!(eventually(|| !path.exists()), "a drain closes the listeners at once");
        // The next server can begin while the last one still answers.
        let next = serve(&path, &[]);
        assert_eq!(server.text(events[0].token, b"late"), INGEST_OK);
        assert_eq!(client.answer().text(), "late");
        server.finish();
        assert_eq!(to(&path).get("/").status, 200);
        next.finish();
        assert!(!path.exists());
    }
}

#[test]
fn the_file_goes_without_a_start_and_stays_after_one_that_failed() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.listen(&url(&path)).expect("the folder can be written");
    assert_eq!(server.start().expect_err("there is no callback").status, INGEST_E_STATE);
    assert!(path.exists());
    server.call_back(telling());
    server.start().expect("now there is one");
    assert_eq!(to(&path).get("/").status, 200);
    server.finish();
    assert!(!path.exists());
    let server = Server::unstarted(&[]);
    listen(server.host, &url(&path)).expect("the folder can be written");
    server.free_at_once();
    assert!(!path.exists());
}

#[test]
fn a_server_that_is_driven_removes_its_file() {
    use crate::support::host::abi::{ingest_server_fd, ingest_server_turn};
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let mut server = Server::unstarted(&[]);
    server.call_back(telling());
    server.listen(&url(&path)).expect("the folder can be written");
    // SAFETY: the server lives.
    assert!(unsafe { ingest_server_fd(server.host.0) } >= 0);
    let mut client = to(&path);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    // SAFETY: the server lives.
    assert!(eventually(|| unsafe { ingest_server_turn(server.host.0, 1) } >= 0 && client.has_input()));
    assert_eq!(client.answer().status, 200);
    drop(client);
    assert_eq!(server.stop(), INGEST_OK);
    // SAFETY: the server lives.
    assert!(eventually(|| unsafe { ingest_server_turn(server.host.0, 1) } == INGEST_E_STOPPED));
    assert!(!path.exists());
    server.finish();
}

#[test]
fn a_file_of_somebody_else_stays() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let server = serve(&path, &[]);
    fs::remove_file(&path).expect("the folder can be written");
    // A file system that hands out the same number again would make this one look like ours.
    let other = UnixListener::bind(&path).expect("the name is free");
    server.finish();
    assert!(path.exists(), "the other server lost its socket");
    drop(other);
    let server = serve(&folder.path("b.sock"), &[]);
    fs::rename(folder.path("b.sock"), folder.path("c.sock")).expect("the folder can be written");
    fs::write(folder.path("b.sock"), "precious").expect("the folder can be written");
    server.finish();
    assert_eq!(fs::read_to_string(folder.path("b.sock")).expect("it is still there"), "precious");
}

#[test]
fn a_relative_path_is_found_again_from_elsewhere() {
    alone("socket_files::a_relative_path_is_found_again_from_elsewhere", || {
        let folder = Folder::new();
        std::env::set_current_dir(&folder.0).expect("the folder is there");
        let server = serve(Path::new("a.sock"), &[]);
        std::env::set_current_dir("/").expect("there is always a root");
        assert_eq!(to(&folder.path("a.sock")).get("/").status, 200);
        server.finish();
        assert!(!folder.path("a.sock").exists());
    });
}

#[test]
fn one_of_many_gets_a_stale_socket() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    for _ in 0..20 {
        stale(&path);
        let barrier = Barrier::new(4);
        let winners: Vec<Server> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut server = Server::unstarted(&[("delivery", "inline")]);
                        server.call_back(telling());
                        barrier.wait();
                        match server.listen(&url(&path)) {
                            Ok(_) => Some(server),
                            Err(refused) => {
                                assert_eq!(refused.status, INGEST_E_ADDRESS, "{}", refused.text);
                                None
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no thread panics")).collect()
        });
        assert_eq!(winners.len(), 1, "a socket that somebody had just made was taken for a stale one");
        winners[0].start().expect("the server starts");
        assert_eq!(to(&path).get("/").status, 200);
    }
}

#[test]
fn places_where_no_socket_can_be() {
    let folder = Folder::new();
    let server = Server::unstarted(&[]);
    let long = folder.path(&"x".repeat(120));
    let refused = refused_by(&server, &url(&long));
    assert!(refused.status == INGEST_E_ADDRESS && refused.text.contains("107 is the most"), "{refused:?}");
    let refused = refused_by(&server, &url(&folder.path("nowhere/a.sock")));
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::ENOENT));
    assert!(refused.text.contains("no such folder"), "{}", refused.text);
    fs::write(folder.path("file"), "").expect("the folder can be written");
    let refused = refused_by(&server, &url(&folder.path("file/a.sock")));
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::ENOTDIR));
    server.finish();
}

#[test]
fn what_an_ordinary_user_may_not_do() {
    alone("socket_files::what_an_ordinary_user_may_not_do", || {
        let folder = Folder::new();
        let closed = Folder::new();
        stale(&closed.path("a.sock"));
        fs::set_permissions(closed.path("a.sock"), fs::Permissions::from_mode(0o000)).expect("the file is ours");
        fs::set_permissions(&closed.0, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).expect("the folder is ours");
        // SAFETY: no pointers. Root may write everywhere, so this process becomes somebody else; it runs this test alone.
        let is_somebody = unsafe { libc::geteuid() != 0 || (libc::setegid(65_534) == 0 && libc::seteuid(65_534) == 0) };
        assert!(is_somebody, "root cannot become an ordinary user");
        let server = Server::unstarted(&[]);
        let refused = refused_by(&server, &url(&folder.path("a.sock")));
        assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EACCES));
        assert!(refused.text.contains("permission denied"), "{}", refused.text);
        // Whether somebody listens there cannot be found out, so it is not taken for a stale one.
        let refused = refused_by(&server, &url(&closed.path("a.sock")));
        assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EACCES));
        assert!(refused.text.contains("may not be asked"), "{}", refused.text);
        server.finish();
        assert!(closed.path("a.sock").exists());
        // SAFETY: no pointers; root again, if it was before, to clear the folder away.
        unsafe { libc::seteuid(libc::getuid()) };
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    });
}

#[test]
fn a_listen_that_fails_half_way_leaves_nothing() {
    alone("socket_files::a_listen_that_fails_half_way_leaves_nothing", || {
        let folder = Folder::new();
        let path = folder.path("a.sock");
        let server = Server::unstarted(&[]);
        let lowest = fs::File::open("/dev/null").expect("it is always there").as_raw_fd() as u64;
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is good for the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
        for more in 0.. {
            // SAFETY: the pointer is good for the call; this process runs this test alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: lowest + more, ..limit }) }, 0);
            let listened = listen(server.host, &format!("{}?mode=0600", url(&path)));
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
            let Err(refused) = listened else {
                assert!(more > 2, "folder, socket and file need a descriptor each");
                break;
            };
            assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EMFILE), "{}", refused.text);
            assert!(!path.exists(), "a file is left behind with {more} descriptors");
            assert_eq!(fs::File::open("/dev/null").expect("it is always there").as_raw_fd() as u64, lowest, "a descriptor is left behind");
        }
        server.finish();
        assert!(!path.exists());
    });
}
