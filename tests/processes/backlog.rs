//! SO_REUSEPORT: each process has a socket of its own, and with it a backlog of its own. What becomes of those who wait there when it dies
//! depends on who else has the socket, and on `net.ipv4.tcp_migrate_req`.

use crate::signal;
use crate::support::client::Client;
use crate::support::host::{Server, listen_fd, on_requests};
use std::io::ErrorKind;
use std::mem::size_of;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

const CLIENTS: usize = 64;
const SETTING: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// Whether the kernel moves those who wait to another socket of the port. Before Linux 5.14 there is no such setting, and it never does.
fn migrates() -> bool {
    std::fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "1")
}

/// A socket that listens with SO_REUSEPORT on this port, or on any.
fn listener(port: u16) -> TcpListener {
    let on: libc::c_int = 1;
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    // SAFETY: the option and the address have the sizes that are said, and the descriptor becomes the owner's.
    unsafe {
        let made = OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
        let length = size_of::<libc::c_int>() as u32;
        assert_eq!(libc::setsockopt(made.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, (&raw const on).cast(), length), 0);
        assert_eq!(libc::bind(made.as_raw_fd(), (&raw const name).cast(), size_of::<libc::sockaddr_in>() as u32), 0);
        assert_eq!(libc::listen(made.as_raw_fd(), 1024), 0);
        TcpListener::from(made)
    }
}

/// A process that has the socket and never accepts: a worker that hangs.
fn hanging(socket: &TcpListener) -> Child {
    let given = socket.as_raw_fd();
    let mut command = Command::new("sleep");
    command.arg("600");
    // SAFETY: fcntl is async-signal-safe; the descriptor is no longer closed by exec, in the child alone.
    unsafe {
        command.pre_exec(move || if libc::fcntl(given, libc::F_SETFD, 0) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) });
    }
    command.spawn().expect("sleep can be started")
}

fn serving(socket: TcpListener) -> Server {
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.call_back(on_requests(|host, request| {
        let _ = host.text(request.0.token, b"served");
    }));
    listen_fd(server.host, socket.into_raw_fd(), "http").expect("it listens");
    server.start().expect("it starts");
    server
}

/// Clients that have asked, before half of them the one process and before half the other.
struct Scene {
    port: u16,
    kept: TcpListener,
    worker: Child,
    server: Server,
    clients: Vec<Client>,
}

fn scene() -> Scene {
    let kept = listener(0);
    let port = kept.local_addr().expect("it is bound").port();
    let worker = hanging(&kept);
    let server = serving(listener(port));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    Scene { port, kept, worker, server, clients }
}

/// How many were served, and how many reset.
fn ends(clients: &mut [Client]) -> (usize, usize) {
    let (mut served, mut reset) = (0, 0);
    for client in clients {
        match client.read_answer(false) {
            Ok(Some(answer)) => served += usize::from(answer.text() == "served"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => reset += 1,
            other => panic!("neither served nor reset: {other:?}"),
        }
    }
    (served, reset)
}

fn kill(worker: &mut Child) {
    signal(worker.id(), libc::SIGKILL);
    let _ = worker.wait();
}

/// The last descriptor goes with the process: what waited is reset, unless the kernel moves it to who still listens.
#[test]
fn what_waits_for_a_process_that_dies_is_reset_unless_it_migrates() {
    let mut scene = scene();
    drop(scene.kept);
    kill(&mut scene.worker);
    let (served, reset) = ends(&mut scene.clients);
    println!("tcp_migrate_req is {}: of {CLIENTS} clients {served} were served and {reset} reset", u8::from(migrates()));
    assert_eq!(served + reset, CLIENTS);
    // Which socket a connection goes to is a matter of a hash: none out of 64 at one of the two would be a wonder.
    assert_eq!(reset > 0, !migrates(), "{reset} were reset");
    // Who connects from now on goes to the one that is left.
    assert_eq!(Client::connect(scene.port).get("/").text(), "served");
    drop(scene.clients);
    scene.server.finish();
}

/// A first process that keeps a descriptor of each socket keeps what waits there, whatever the setting: the next worker serves it.
#[test]
fn what_waits_in_a_socket_that_is_kept_is_served_by_the_next_worker() {
    let mut scene = scene();
    kill(&mut scene.worker);
    let next = serving(scene.kept);
    assert_eq!(ends(&mut scene.clients), (CLIENTS, 0));
    drop(scene.clients);
    next.finish();
    scene.server.finish();
}
