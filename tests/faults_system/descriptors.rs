//! Whose numbers are whose: `fd_floor`, sockets that are given twice, standard streams (promise 8 of the limits; no rows of the matrix).

use crate::support::alone;
use crate::support::client::Client;
use crate::support::host::{Delivery, Handler, Server, listen, listen_fd, on_requests};
use ingest::status::*;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};

fn echo() -> Handler {
    on_requests(|host, request| assert_eq!(host.text(request.0.token, request.target()), INGEST_OK))
}

fn descriptors() -> BTreeSet<i32> {
    let names = std::fs::read_dir("/proc/self/fd").expect("procfs").map(|entry| entry.expect("an entry").file_name());
    let numbers: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    // SAFETY: F_GETFD on any number is harmless; the listing's own is closed by now.
    numbers.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

#[test]
fn descriptors_lie_above_the_floor() {
    alone("descriptors::descriptors_lie_above_the_floor", || {
        for topology in ["shards", "cut-each"] {
            let before = descriptors();
            let path = std::env::temp_dir().join(format!("ingest-floor-{}", std::process::id()));
            let given = TcpListener::bind("127.0.0.1:0").expect("loopback");
            let address = given.local_addr().expect("it is bound");
            let addresses =
                ["http://127.0.0.1:0".to_owned(), format!("http+unix:{}", path.display()), format!("http+fd:{}", given.into_raw_fd())];
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let options = [("fd_floor", "200"), ("topology", topology), ("io_threads", "2"), ("handler_threads", "2")];
            for delivery in [Delivery::Queue(2), Delivery::Threads] {
                if delivery == Delivery::Threads && before != descriptors() {
                    continue;
                }
                let server = Server::serve_on(&addresses, &options, delivery, echo());
                let clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
                let mut clients: Vec<Client> = clients.into_iter().chain([Client::connect_to(address).expect("it listens")]).collect();
                clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "/"));
                let theirs: BTreeSet<i32> = clients.iter().map(|client| client.writer().stream.into_raw_fd()).collect();
                let mine: BTreeSet<i32> = descriptors().difference(&before).copied().collect();
                let notify = server.queue().fd();
                assert!(notify < 200, "the queue's descriptor is a small number");
                // What is neither a client's of this test nor the queue's is the library's.
                let low: Vec<i32> = mine
                    .iter()
                    .copied()
                    .filter(|fd| *fd < 200 && *fd != notify && !theirs.contains(fd) && !is_client(*fd, &server))
                    .collect();
                assert_eq!(low, [] as [i32; 0], "below the floor");
                let high = mine.iter().filter(|fd| **fd >= 200).count();
                assert!(high >= 2 * 3 + 2 + 5, "only {high} descriptors above it: {mine:?}");
                // SAFETY: ours, closed once.
                assert!(theirs.iter().all(|fd| unsafe { libc::close(*fd) } == 0));
                server.finish();
                break;
            }
        }
    });
}

/// Whether the number is the client's end of a connection to this server: its peer is the server's port.
fn is_client(fd: i32, server: &Server) -> bool {
    // SAFETY: plain data, for which zero is a value; both pointers are good for the call.
    unsafe {
        let mut name: libc::sockaddr_in = std::mem::zeroed();
        let mut length = std::mem::size_of_val(&name) as libc::socklen_t;
        libc::getpeername(fd, (&raw mut name).cast(), &mut length) == 0 && (server.ports.contains(&u16::from_be(name.sin_port)))
    }
}

#[test]
fn a_floor_above_the_limit_is_an_error() {
    alone("descriptors::a_floor_above_the_limit_is_an_error", || {
        let options = crate::support::host::Options::new(&[("fd_floor", "1000000")]);
        // SAFETY: the options live for the call.
        let server = unsafe { crate::support::host::abi::ingest_server_new(options.0) };
        assert!(server.is_null(), "there are no descriptors above the limit");
    });
}

#[test]
fn a_number_that_any_server_listens_on_is_refused() {
    alone("descriptors::a_number_that_any_server_listens_on_is_refused", || {
        let given = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let (address, number) = (given.local_addr().expect("it is bound"), given.into_raw_fd());
        let first = Server::serve_on(&[&format!("http+fd:{number}")], &[], Delivery::Inline, echo());
        // The number is free again, and the lowest that is free, so the first server's own may have got it.
        let listening: Vec<i32> = descriptors().into_iter().filter(|fd| listens(*fd)).collect();
        assert_eq!(listening.len(), 1);
        let second = Server::unstarted(&[]);
        for number in [number, listening[0]] {
            let refused = listen(second.host, &format!("http+fd:{number}")).expect_err("it is not the host's");
            assert_eq!(refused.status, INGEST_E_ADDRESS, "{}", refused.text);
            assert_eq!(listen_fd(second.host, number, "http").expect_err("as above").status, INGEST_E_ARGUMENT);
        }
        let refused = listen(second.host, &format!("http+fd:{}", listening[0])).expect_err("it is the first server's");
        assert!(refused.text.contains("a server of this process listens on it already"), "{}", refused.text);
        assert_eq!(Client::connect_to(address).expect("it listens").get("/").text(), "/");
        second.finish();
        first.finish();
    });
}

fn listens(fd: i32) -> bool {
    let (mut on, mut size): (libc::c_int, libc::socklen_t) = (0, 4);
    // SAFETY: both pointers are good for the call.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, (&raw mut on).cast(), &mut size) == 0 && on == 1 }
}

#[test]
fn standard_streams_stay_streams() {
    alone("descriptors::standard_streams_stay_streams", || {
        // As inetd does it: the socket is standard input.
        let given = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = given.local_addr().expect("it is bound");
        // SAFETY: standard input is this process's own.
        assert_eq!(unsafe { libc::dup2(given.as_raw_fd(), 0) }, 0);
        drop(given);
        let server = Server::serve_on(&["http+fd:0"], &[], Delivery::Inline, echo());
        assert_eq!(Client::connect_to(address).expect("it listens").get("/").text(), "/");
        assert_eq!(std::fs::read_link("/proc/self/fd/0").expect("it is open").to_string_lossy(), "/dev/null");
        server.finish();
        // A host that has closed its standard input does not find a socket of the library there.
        // SAFETY: as above.
        assert_eq!(unsafe { libc::close(0) }, 0);
        let server = Server::serve(&[("topology", "shards"), ("io_threads", "2")], Delivery::Queue(1), echo());
        assert_eq!(server.connect().get("/").text(), "/");
        let what = std::fs::read_link("/proc/self/fd/0").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        // The clients of this test may have got it; the library has not.
        assert!(!what.contains("anon_inode") && !listens(0), "the library has taken {what} for standard input");
        server.finish();
    });
}
