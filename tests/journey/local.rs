//! Unix sockets, served like any other: every shape, all threads from one socket, large bodies, short reads; names without a file.

use crate::support::client::Client;
use crate::support::hold::holding;
use crate::support::host::{Delivery, Host, Refused, Server, has, listen, on_requests};
use crate::support::request_view::{RequestView, octets};
use crate::support::{Random, checksum, eventually};
use crate::{Handler, Shape, Witness, plain_shapes};
use ingest::status::*;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of a test's own with a short name, since the path of a socket may not be long.
pub struct Folder(pub PathBuf);

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

pub fn url(path: &Path) -> String {
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

pub fn refused_by(server: &Server, address: &str) -> Refused {
    let refused = listen(server.host, address).expect_err(address);
    let text = &refused.text;
    assert!(text.starts_with("cannot ") && text.ends_with(')') && text.contains(" ("), "{text:?} does not say what to do");
    refused
}

/// Echoes bodies, sends the file of that path, and tells who asks.
pub fn telling() -> Handler {
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

pub fn serve(path: &Path, options: &[(&str, &str)]) -> Server {
    Server::serve_on(&[&url(path)], options, Delivery::Inline, telling())
}

#[test]
fn the_build_has_them() {
    assert!(has("unix") && has("fd"));
}

#[test]
fn files_and_names_are_served_everywhere() {
    let body = Random(7).bytes(3_000_000);
    for shape in plain_shapes() {
        let _witness = Witness(shape);
        let folder = Folder::new();
        let (path, name) = (folder.path("a.sock"), named("ingest-served"));
        let Shape { options, delivery, .. } = shape;
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
        // A process that another test starts just now may have the socket for a moment, until it has become another program.
        assert!(eventually(|| Client::connect_local(&abstractly(&name)).is_err()), "the name is left behind");
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
    let (hold, handler) = holding();
    let server = Server::serve_on(&[&url(&path)], &[("topology", "shards"), ("io_threads", "2")], Delivery::Inline, handler);
    let mut first = to(&path);
    first.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    hold.has_begun();
    let threads: Vec<String> = (0..20).map(|_| to(&path).get("/").text()).collect();
    hold.release();
    let held = first.answer().text();
    assert!(threads.iter().all(|thread| *thread != held), "the thread that is free takes what comes: {threads:?}, {held}");
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

#[test]
fn an_abstract_name_is_taken_or_free() {
    let address = format!("http+unix:@{}", named("ingest-taken"));
    let server = Server::serve_on(&[&address], &[], Delivery::Inline, telling());
    let other = Server::unstarted(&[]);
    let refused = refused_by(&other, &address);
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_ADDRESS, libc::EADDRINUSE));
    assert!(refused.text.contains("in use"), "{}", refused.text);
    server.finish();
    assert!(eventually(|| listen(other.host, &address).is_ok()), "the name is still taken");
    other.finish();
}
