//! Unix sockets: served like any other, their files with mode, stale or live ones, and what is left behind; names without a file.

use crate::support::client::Client;
use crate::support::host::{Delivery, Host, Refused, Server, has, listen, on_requests};
use crate::support::request_view::{RequestView, octets};
use crate::support::{Random, alone, checksum, eventually};
use crate::{Handler, Shape, Witness, shapes};
use ingest::status::*;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};

/// A folder of a test's own with a short name, since the path of a socket may not be long.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ingest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the temporary folder can be written");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn url(path: &Path) -> String {
    format!("http+unix:{}", path.display())
}

fn named(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn abstractly(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name).expect("the name is short")
}

pub fn to(path: &Path) -> Client {
    let address = SocketAddr::from_pathname(path).expect("the path is short");
    Client::connect_local(&address).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A socket that nobody listens on any more.
fn stale(path: &Path) {
    drop(UnixListener::bind(path).expect("the folder can be written"));
    assert!(fs::symlink_metadata(path).expect("it stays").file_type().is_socket());
}

fn refused_by(server: &Server, address: &str) -> Refused {
    let refused = listen(server.host, address).expect_err(address);
    let text = &refused.text;
    assert!(text.starts_with("cannot ") && text.ends_with(')') && text.contains(" ("), "{text:?} does not say what to do");
    refused
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

/// Echoes bodies, sends the file of that path, and tells who asks.
fn telling() -> Handler {
    on_requests(|host, request| {
        // SAFETY: `peer` is never NULL and lives as long as the request.
        let peer = unsafe { &*request.0.peer };
        let unnamed = peer.family == 0 && peer.port == 0 && octets(&peer.address).is_empty() && octets(&peer.text).is_empty();
        let token = request.0.token;
        let status = match request.path() {
            b"/echo" => host.bytes(token, 200, "application/octet-stream", request.body()),
            _ => host
                .text(token, format!("{} {} {unnamed}", request.0.listener, String::from_utf8_lossy(octets(&request.0.scheme))).as_bytes()),
        };
        assert_eq!(status, INGEST_OK);
    })
}

fn serve(path: &Path, options: &[(&str, &str)]) -> Server {
    Server::serve_on(&[&url(path)], options, Delivery::Inline, telling())
}

#[test]
fn the_build_has_them() {
    assert!(has("unix") && has("fd"));
}

#[test]
fn files_and_names_are_served_everywhere() {
    let body = Random(7).bytes(3_000_000);
    for shape in shapes() {
        let _witness = Witness(shape);
        let folder = Folder::new();
        let (path, name) = (folder.path("a.sock"), named("ingest-served"));
        let Shape { options, delivery } = shape;
        let server = Server::serve_on(&[&url(&path), &format!("http+unix:@{name}")], &options, delivery, telling());
        assert_eq!(server.ports, [0, 0], "a unix socket has no port");
        let mut clients: Vec<Client> = (0..8).map(|_| to(&path)).collect();
        for _ in 0..3 {
            for client in &mut clients {
                assert_eq!(client.get("/").text(), "0 http true");
            }
        }
        let mut client = Client::connect_local(&abstractly(&name)).expect("the server accepts");
        assert_eq!(client.get("/").text(), "1 http true");
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200));
        for _ in 0..200 {
            assert_eq!(client.answer().text(), "1 http true");
        }
        // More than the kernel keeps for a socket, in both directions.
        client.send(format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let echoed = client.answer().body;
        assert_eq!((echoed.len(), checksum(&echoed)), (body.len(), checksum(&body)));
        let stats = server.stats();
        assert_eq!((stats.panics, stats.connections_accepted), (0, 9));
        server.finish();
        assert!(!path.exists(), "the file is left behind");
        assert!(Client::connect_local(&abstractly(&name)).is_err(), "the name is left behind");
    }
}

#[test]
fn answers_are_streamed_and_files_are_sent() {
    let folder = Folder::new();
    let (path, content) = (folder.path("a.sock"), Random(8).bytes(1_500_000));
    fs::write(folder.path("content"), &content).expect("the folder can be written");
    let file = Arc::new(fs::File::open(folder.path("content")).expect("it was written"));
    let length = content.len() as u64;
    let handler = on_requests(move |host: Host, request: RequestView| {
        assert_eq!(host.file(request.0.token, file.as_raw_fd(), 0, length), INGEST_OK);
    });
    for delivery in [Delivery::Inline, Delivery::Queue(1)] {
        let server = Server::serve_on(&[&url(&path)], &[], delivery, handler.clone());
        let got = to(&path).get("/").body;
        assert_eq!((got.len(), checksum(&got)), (content.len(), checksum(&content)));
        server.finish();
    }
}

#[test]
fn every_thread_accepts_from_the_one_socket() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let (held, both) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(Vec::new())));
    let (holding, seen) = (Arc::clone(&held), Arc::clone(&both));
    let handler = on_requests(move |host: Host, request: RequestView| {
        seen.lock().expect("no thread panicked").push(std::thread::current().id());
        if request.path() == b"/hold" {
            // Twice: the test knows that it began, and lets it end.
            holding.wait();
            holding.wait();
        }
        assert_eq!(host.text(request.0.token, b""), INGEST_OK);
    });
    let server = Server::serve_on(&[&url(&path)], &[("topology", "shards"), ("io_threads", "2")], Delivery::Inline, handler);
    let mut first = to(&path);
    first.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    held.wait();
    for _ in 0..20 {
        assert_eq!(to(&path).get("/").status, 200, "the thread that is free takes what comes");
    }
    held.wait();
    assert_eq!(first.answer().status, 200);
    let seen = both.lock().expect("no thread panicked").clone();
    assert!(seen.len() == 21 && seen[1..].iter().all(|thread| *thread != seen[0]), "{seen:?}");
    server.finish();
}

#[test]
fn a_short_read_is_not_believed() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.call_back(telling());
    server.listen(&url(&path)).expect("the folder can be written");
    // Everything is in the kernel before the server looks: a read ends where a descriptor was sent along, though more is there,
    // and the kernel will not announce the rest again.
    let mut client = to(&path);
    send_with_descriptor(&client, b"POST /echo HTTP/1.1\r\nHost: x\r\nCont");
    client.send("ent-Length: 4\r\n\r\nrest");
    server.start().expect("the server starts");
    assert_eq!(client.answer().text(), "rest");
    // The same within the body, which is received elsewhere.
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    let half = Random(9).bytes(100_000);
    for part in half.chunks(10_000) {
        send_with_descriptor(&client, part);
        client.send(part);
    }
    assert_eq!(client.answer().body.len(), 200_000);
    server.finish();
}

/// Sends octets with one of our descriptors, which a server that does not ask for it never gets.
fn send_with_descriptor(client: &Client, octets: &[u8]) {
    let stream = client.writer();
    let mut piece = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    let mut control = [0u64; 8];
    // SAFETY: msghdr is plain data; the control buffer is aligned, large enough for one descriptor, and outlives the call.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let head = libc::CMSG_FIRSTHDR(&message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(head).cast::<i32>().write_unaligned(stream.as_raw_fd());
        libc::sendmsg(stream.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
    };
    assert_eq!(sent, octets.len() as isize, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_request_of_a_client_that_left_at_once_is_delivered() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let handler = on_requests(move |host: Host, request: RequestView| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = host.text(request.0.token, b"nobody hears this");
    });
    let server = Server::serve_on(&[&url(&path)], &[], Delivery::Inline, handler);
    for _ in 0..50 {
        let mut stream = UnixStream::connect(&path).expect("the server accepts");
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").expect("the server reads");
    }
    assert!(eventually(|| count.load(Ordering::Relaxed) == 50), "{} of 50 were delivered", count.load(Ordering::Relaxed));
    assert!(eventually(|| server.stats().connections_open == 0), "connections of clients that left stay open");
    server.finish();
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
    alone("local::the_mode_is_exact_whatever_the_umask_is", || {
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
    for shape in shapes().into_iter().filter(|shape| shape.delivery == Delivery::Queue(1)) {
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
    alone("local::a_relative_path_is_found_again_from_elsewhere", || {
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
    alone("local::what_an_ordinary_user_may_not_do", || {
        let folder = Folder::new();
        let closed = Folder::new();
        stale(&closed.path("a.sock"));
        fs::set_permissions(closed.path("a.sock"), fs::Permissions::from_mode(0)).expect("the file is ours");
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
fn an_abstract_name_is_taken_or_free() {
    let address = format!("http+unix:@{}", named("ingest-taken"));
    let server = Server::serve_on(&[&address], &[], Delivery::Inline, telling());
    let other = Server::unstarted(&[]);
    let refused = refused_by(&other, &address);
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_ADDRESS, libc::EADDRINUSE));
    assert!(refused.text.contains("in use"), "{}", refused.text);
    server.finish();
    listen(other.host, &address).expect("the name is free again");
    other.finish();
}
