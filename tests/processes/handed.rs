//! A listening socket that is passed over a unix socket (SCM_RIGHTS): to programs that were started without it, and that come and go.

use crate::signal;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::host::{Server, listen_fd, on_requests};
use std::io::Read;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

/// Where the program finds who has the socket, when this test is started in that role.
const PLACE: &str = "INGEST_HANDED";

/// One octet with a descriptor beside it; what is passed is the open socket, under a number of the receiver's.
fn message(run: impl FnOnce(&mut libc::msghdr)) {
    let mut octet = [1u8];
    let mut part = libc::iovec { iov_base: octet.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0u64; 8];
    // SAFETY: all zeros is an empty message.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: a computation.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;
    run(&mut message);
}

fn pass(to: &UnixStream, socket: RawFd) {
    message(|message| {
        // SAFETY: the message has room for one descriptor, and all it points to lives for the call.
        let sent = unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(socket);
            libc::sendmsg(to.as_raw_fd(), message, libc::MSG_NOSIGNAL)
        };
        assert_eq!(sent, 1, "{}", std::io::Error::last_os_error());
    });
}

fn receive(from: &UnixStream) -> RawFd {
    let mut socket = -1;
    message(|message| {
        // SAFETY: as above; the header is looked at only if the kernel has written one.
        unsafe {
            assert_eq!(libc::recvmsg(from.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC), 1);
            let header = libc::CMSG_FIRSTHDR(message);
            assert!(!header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS, "no descriptor came along");
            socket = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
        }
    });
    socket
}

/// A program that asks for the socket, serves on it, and lives as long as its input is open.
fn serve(place: &str) {
    let socket = receive(&UnixStream::connect(place).expect("somebody has the socket"));
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.call_back(on_requests(|host, request| {
        let _ = host.text(request.0.token, std::process::id().to_string().as_bytes());
    }));
    listen_fd(server.host, socket, "http").expect("it listens");
    server.start().expect("it starts");
    println!("@@");
    let _ = std::io::stdin().read(&mut [0]);
    assert_eq!(server.drain(2_000), 0);
    server.finish();
}

fn begin(test: &str, place: &std::path::Path, holder: &UnixListener, socket: RawFd) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a test program knows where it lies"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PLACE, place);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
    pass(&holder.accept().expect("the program asks").0, socket);
    let mut said = [0];
    let mut output = child.stdout.take().expect("it is piped");
    while said != *b"@" {
        assert_eq!(output.read(&mut said).expect("it says that it is ready"), 1, "it has ended");
    }
    // What the harness prints at the end has to go somewhere.
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    child
}

#[test]
fn a_socket_is_passed_to_one_program_after_the_other() {
    const TEST: &str = "handed::a_socket_is_passed_to_one_program_after_the_other";
    if let Ok(place) = std::env::var(PLACE) {
        return serve(&place);
    }
    let folder = std::env::temp_dir().join(format!("ingest-handed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let place = folder.join("socket");
    let holder = UnixListener::bind(&place).expect("the temporary folder can be written");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let ask = || Client::connect(port).get("/who").text().parse::<u32>().expect("its process id");

    let mut first = begin(TEST, &place, &holder, listener.as_raw_fd());
    assert_eq!(ask(), first.id());
    // The next version of the program is started beside it, and takes over when the old one drains.
    let mut second = begin(TEST, &place, &holder, listener.as_raw_fd());
    drop(first.stdin.take());
    assert!(first.wait().expect("a child").success(), "the first one ends cleanly");
    for _ in 0..5 {
        assert_eq!(ask(), second.id());
    }
    // It is killed. Whoever holds the socket still listens; what comes meanwhile waits for the third.
    signal(second.id(), libc::SIGKILL);
    let _ = second.wait();
    let mut waiting = Client::connect_to(SocketAddr::from(([127, 0, 0, 1], port))).expect("the socket still listens");
    waiting.send("GET /waited HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut third = begin(TEST, &place, &holder, listener.as_raw_fd());
    assert_eq!(waiting.answer().text(), third.id().to_string());
    // With the last descriptor the address is free.
    drop((waiting, listener));
    drop(third.stdin.take());
    assert!(third.wait().expect("a child").success());
    assert!(eventually(|| Client::connect_to(SocketAddr::from(([127, 0, 0, 1], port))).is_err()));
    std::fs::remove_dir_all(&folder).expect("it was made above");
}
