//! S08, S10 and S20: starts that fail at any call leave nothing behind and can be tried again; ports that cannot be had.

use crate::support::client::Client;
use crate::support::guest_process::{Guest, injecting, need};
use crate::support::host::{Delivery, Server, listen, on_requests};
use crate::{behind, full, program, strings};
use ingest::status::*;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

/// Runs `start` to its end; what it says.
fn start(wrapper: &[String], arguments: &[&str]) -> Vec<String> {
    let mut words = wrapper.to_vec();
    words.push(strings(&program("start", &[])));
    words.extend(arguments.iter().map(|word| word.to_string()));
    let mut guest = Guest::spawn(std::process::Command::new(&words[0]).args(&words[1..]));
    let status = guest.wait();
    assert!(status.success(), "{words:?} ended with {status}: {:?}", guest.lines());
    assert!(crate::support::eventually(|| guest.count("served") == 1), "{words:?}: {:?}", guest.lines());
    let lines = guest.lines();
    assert!(!lines.iter().any(|line| line.starts_with("left")), "{words:?}: {lines:?}");
    lines
}

fn failures(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("failed")).count()
}

const THREADS: [&str; 5] = ["threads", "topology=shards", "io_threads=2", "delivery=threads", "handler_threads=2"];
const CUT: [&str; 5] = ["threads", "topology=cut-each", "io_threads=2", "delivery=threads", "handler_threads=2"];

#[test]
fn s08_a_start_that_fails_leaves_nothing_behind() {
    let mut failed = 0;
    for (call, error) in [
        ("epoll_create1", "EMFILE"),
        ("eventfd2", "ENFILE"),
        ("timerfd_create", "EMFILE"),
        ("epoll_ctl", "ENOSPC"),
        ("socket", "ENOBUFS"),
        ("setsockopt", "ENOMEM"),
        ("bind", "ENOMEM"),
        ("listen", "EADDRINUSE"),
        ("getsockname", "ENOBUFS"),
        ("fcntl", "EMFILE"),
    ] {
        let shape = if call == "timerfd_create" { &["turn"][..] } else { &THREADS[..] };
        let mut of_this = 0;
        for k in 1..=12 {
            let lines = start(&injecting(&[&format!("{call}:error={error}:when={k}")]), shape);
            of_this += failures(&lines);
            if !full() && failures(&lines) == 0 {
                // There is no k-th call of this kind.
                break;
            }
        }
        assert!(of_this > 0, "{call} never failed a start");
        failed += of_this;
    }
    assert!(failed > 20, "only {failed} failures");
}

#[test]
fn s10_a_thread_that_cannot_be_had_fails_the_start() {
    for shape in [THREADS, CUT] {
        let wanted = if shape == CUT { 6 } else { 4 };
        let mut failed = 0;
        for k in 1..=wanted + 1 {
            let lines = start(&injecting(&[&format!("clone3,clone:error=EAGAIN:when={k}")]), &shape);
            failed += failures(&lines);
        }
        assert_eq!(failed, wanted, "{shape:?}");
    }
    // Without room for their stacks.
    let mut memory = THREADS;
    (memory[0], memory[4]) = ("memory", "handler_threads=8");
    let lines = start(&[], &memory);
    assert!(failures(&lines) > 0, "{lines:?}");
}

fn echo() -> crate::support::host::Handler {
    on_requests(|host, request| assert_eq!(host.text(request.0.token, request.target()), INGEST_OK))
}

/// A listening socket that shares its port.
fn sharing(port: u16) -> TcpListener {
    // SAFETY: no pointers; the socket is owned from here on.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)) };
    let on: libc::c_int = 1;
    // SAFETY: plain data, for which zero is a value.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    (name.sin_family, name.sin_port, name.sin_addr.s_addr) =
        (libc::AF_INET as u16, port.to_be(), u32::from(std::net::Ipv4Addr::LOCALHOST).to_be());
    // SAFETY: both pointers are good for the calls, and the sizes are theirs.
    unsafe {
        assert_eq!(libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, (&raw const on).cast(), 4), 0);
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const name).cast(), std::mem::size_of_val(&name) as libc::socklen_t), 0);
        assert_eq!(libc::listen(socket.as_raw_fd(), 128), 0);
    }
    TcpListener::from(socket)
}

/// Passes a socket on to a program that is started, under the number 9.
fn inheriting(listener: TcpListener) -> Guest {
    let number = listener.into_raw_fd();
    let mut command = std::process::Command::new(program("serve", &[]));
    command.arg("http+fd:9");
    // SAFETY: dup2 and close are safe after a fork.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, move || match libc::dup2(number, 9) {
            9 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let guest = Guest::spawn(&mut command);
    guest.wait_for("started");
    // SAFETY: ours, closed once.
    unsafe { libc::close(number) };
    guest
}

#[test]
fn s20_ports_that_cannot_be_had_are_told_with_the_errno() {
    let server = Server::serve(&[], Delivery::Inline, echo());
    for threads in ["1", "2"] {
        let other = Server::unstarted(&[("topology", "shards"), ("io_threads", threads)]);
        let refused = listen(other.host, &format!("http://127.0.0.1:{}", server.port())).expect_err("it is in use");
        assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EADDRINUSE), "{}", refused.text);
        assert!(refused.text.contains("address in use"), "{}", refused.text);
        other.finish();
    }
    assert_eq!(server.connect().get("/").text(), "/");
    server.finish();

    need("setpriv", "util-linux");
    // SAFETY: no pointers.
    let is_root = unsafe { libc::geteuid() } == 0;
    // A network of its own has the kernel's default for which ports are privileged.
    let ordinary = ["unshare", "-n", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut words = if is_root { behind(&ordinary) } else { Vec::new() };
    let program_path = crate::for_everybody(&program("serve", &[]));
    words.push(strings(&program_path));
    words.push("http://0.0.0.0:81".to_owned());
    let folder = program_path.parent().expect("it lies in a folder");
    let mut guest = Guest::spawn(std::process::Command::new(&words[0]).args(&words[1..]).env("LD_LIBRARY_PATH", folder));
    assert_eq!(guest.wait().code(), Some(3), "{:?}", guest.lines());
    guest.wait_for(&format!("listen {INGEST_E_SYSTEM} {} cannot bind 0.0.0.0:81: permission denied", libc::EACCES));
    std::fs::remove_dir_all(folder).expect("it was made above");

    // Two processes share a port; one dies, and the other has it for itself.
    let first = sharing(0);
    let port = first.local_addr().expect("it is bound").port();
    let second = sharing(port);
    let (dies, lives) = (inheriting(first), inheriting(second));
    dies.signal(libc::SIGKILL);
    drop(dies);
    for _ in 0..20 {
        assert_eq!(Client::connect(port).get("/still").text(), "/still");
    }
    lives.finish();
}
