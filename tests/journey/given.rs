//! Sockets that the host gives: inherited ones by number (`http+fd:`), its own by call; what is taken, what is refused, and what is left alone.

use crate::local::{Folder, to};
use crate::support::alone;
use crate::support::client::Client;
use crate::support::hold::holding;
use crate::support::host::abi::{ingest_log_record, ingest_server_log_next, ingest_server_port};
use crate::support::host::{Delivery, Refused, Server, listen, listen_fd, on_requests};
use crate::{Handler, Shape, Witness, plain_shapes};
use ingest::status::*;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

fn telling() -> Handler {
    on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, format!("{} {}", request.0.listener, request.peer()).as_bytes()), INGEST_OK);
    })
}

/// Something that tells one open socket from all others, by whatever number; none for a number that is not open.
fn inode(fd: i32) -> Option<u64> {
    // SAFETY: stat is plain data, and outlives the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &mut stat) == 0).then_some(stat.st_ino)
    }
}

/// Every number by which this process has the socket.
fn numbers_of(socket: u64) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("there is /proc");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number| inode(*number) == Some(socket)).collect()
}

fn flags(fd: i32) -> (bool, bool) {
    // SAFETY: no pointers.
    unsafe {
        let (descriptor, description) = (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL));
        assert!(descriptor >= 0 && description >= 0, "{fd} is not open");
        (descriptor & libc::FD_CLOEXEC != 0, description & libc::O_NONBLOCK != 0)
    }
}

fn give_by(way: &str, server: &mut Server, fd: i32) -> Result<i32, Refused> {
    match way {
        "address" => listen(server.host, &format!("http+fd:{fd}")),
        _ => listen_fd(server.host, fd, "http"),
    }
}

fn port(server: &Server, listener: i32) -> i32 {
    // SAFETY: the server lives.
    unsafe { ingest_server_port(server.host.0, listener) }
}

#[test]
fn given_sockets_are_served_everywhere() {
    for shape in plain_shapes() {
        let _witness = Witness(shape);
        let Shape { options, delivery, .. } = shape;
        let folder = Folder::new();
        let path = folder.path("a.sock");
        let internet = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        let port = internet.local_addr().expect("it is bound").port();
        let local = UnixListener::bind(&path).expect("the folder can be written");
        let addresses = [internet.into_raw_fd(), local.into_raw_fd()].map(|fd| format!("http+fd:{fd}"));
        let server = Server::serve_on(&[&addresses[0], &addresses[1]], &options, delivery, telling());
        assert_eq!(server.ports, [port, 0]);
        for _ in 0..10 {
            let mut client = server.connect();
            let me = client.local();
            assert_eq!(client.get("/").text(), format!("0 {me}"));
            assert_eq!(to(&path).get("/").text(), "1 ");
        }
        server.finish();
        assert!(path.exists(), "the file is the host's");
    }
}

#[test]
fn the_descriptor_is_taken() {
    alone("given::the_descriptor_is_taken", || {
        for way in ["address", "call"] {
            let mut server = Server::unstarted(&[("delivery", "inline")]);
            server.call_back(telling());
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
            let address = listener.local_addr().expect("it is bound");
            let shared = listener.try_clone().expect("a descriptor is to be had");
            let fd = listener.into_raw_fd();
            let socket = inode(fd).expect("it is open");
            assert_eq!(give_by(way, &mut server, fd).expect("it listens"), 0);
            assert_eq!(port(&server, 0), i32::from(address.port()));
            assert_ne!(inode(fd), Some(socket), "the number is still the host's");
            assert!(give_by(way, &mut server, fd).is_err(), "it is given away");
            // It is non-blocking for everybody who shares it, which the header says.
            assert!(flags(shared.as_raw_fd()).1);
            drop(shared);
            for when in ["before", "after"] {
                let numbers = numbers_of(socket);
                assert!(!numbers.is_empty() && numbers.iter().all(|fd| flags(*fd) == (true, true)), "{when}: {numbers:?}");
                if when == "before" {
                    server.start().expect("the server starts");
                }
            }
            assert_eq!(Client::connect_to(address).expect("the server accepts").get("/").status, 200);
            server.finish();
            assert_eq!(numbers_of(socket), []);
        }
    });
}

#[test]
fn what_cannot_be_taken_is_left_alone() {
    alone("given::what_cannot_be_taken_is_left_alone", || {
        let mut server = Server::unstarted(&[]);
        let stream = UnixStream::pair().expect("descriptors are to be had").0;
        // SAFETY: no pointers; the socket is owned from here on.
        let bound = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        let file = std::fs::File::open("/proc/self/status").expect("there is /proc");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        let wrong: [(i32, &str, i32); 5] = [
            (1_048_575, "no such descriptor", libc::EBADF),
            (file.as_raw_fd(), "no socket", libc::ENOTSOCK),
            (datagrams.as_raw_fd(), "no stream socket", 0),
            (stream.as_raw_fd(), "does not listen", 0),
            (bound.as_raw_fd(), "does not listen", 0),
        ];
        for way in ["address", "call"] {
            for (fd, what, errno) in wrong {
                let before = inode(fd).map(|number| (number, flags(fd)));
                let refused = give_by(way, &mut server, fd).expect_err(what);
                let status = if way == "address" { INGEST_E_ADDRESS } else { INGEST_E_ARGUMENT };
                assert_eq!((refused.status, refused.os_errno), (status, errno), "{}", refused.text);
                assert!(refused.text.contains(what) && refused.text.contains(&format!("http+fd:{fd}:")), "{}", refused.text);
                assert_eq!(inode(fd).map(|number| (number, flags(fd))), before, "{what}: the host's descriptor was touched");
            }
        }
        // One of the server's own would be closed twice.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        let socket = inode(listener.as_raw_fd()).expect("it is open");
        listen_fd(server.host, listener.into_raw_fd(), "http").expect("it listens");
        let own = numbers_of(socket);
        assert_eq!(own.len(), 1);
        for way in ["address", "call"] {
            let refused = give_by(way, &mut server, own[0]).expect_err("it is the server's");
            assert!(refused.text.contains("this server listens on it already"), "{}", refused.text);
        }
        assert_eq!(numbers_of(socket), own);
        // Nothing is taken once the server was started.
        server.start().expect("the server starts");
        let late = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        assert_eq!(listen_fd(server.host, late.as_raw_fd(), "http").expect_err("too late").status, INGEST_E_STATE);
        assert!(!flags(late.as_raw_fd()).1, "the host's descriptor was touched");
        server.finish();
    });
}

#[test]
fn every_thread_accepts_from_a_given_socket() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0")).expect("there is loopback");
    let address = listener.local_addr().expect("it is bound");
    let (hold, handler) = holding();
    let options = [("topology", "shards"), ("io_threads", "2")];
    let server = Server::serve_on(&[&format!("http+fd:{}", listener.into_raw_fd())], &options, Delivery::Inline, handler);
    let mut first = Client::connect_to(address).expect("the server accepts");
    first.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    hold.has_begun();
    for _ in 0..20 {
        assert_eq!(Client::connect_to(address).expect("the server accepts").get("/").status, 200);
    }
    hold.release();
    assert_eq!(first.answer().status, 200);
    server.finish();
}

/// Every line of the log so far.
fn said(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        // SAFETY: every field is an integer or a pointer, for which zero is a value.
        let mut record: ingest_log_record = unsafe { std::mem::zeroed() };
        record.size = std::mem::size_of::<ingest_log_record>() as u32;
        let mut text = [0u8; 512];
        // SAFETY: the server lives, the record has the size it says and the buffer the length that is said.
        if unsafe { ingest_server_log_next(server.host.0, &mut record, text.as_mut_ptr().cast(), text.len()) } != INGEST_OK {
            return lines;
        }
        let length = text.iter().position(|octet| *octet == 0).expect("it is terminated");
        lines.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
}

#[test]
fn the_log_says_where() {
    let folder = Folder::new();
    let path = folder.path("a.sock");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
    let (address, fd) = (listener.local_addr().expect("it is bound"), listener.into_raw_fd());
    let name = format!("ingest-logged-{}", std::process::id());
    let addresses = [format!("http+unix:{}?mode=0600", path.display()), format!("http+unix:@{name}"), format!("http+fd:{fd}")];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let server = Server::serve_on(&addresses, &[], Delivery::Inline, telling());
    let said = said(&server);
    for line in [format!("http+unix:{}", path.display()), format!("http+unix:@{name}"), format!("http+fd:{fd} (http://{address})")] {
        let line = format!("listening on {line}");
        assert!(said.contains(&line), "{line:?} is not in {said:?}");
    }
    server.finish();
}
