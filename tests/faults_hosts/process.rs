//! Hosts in C that change or end their own process under the library: H03, H05, H16, H17.

use crate::program;
use crate::runner::{Ended, Server};
use crate::support::client::Client;
use crate::support::eventually;
use std::time::{Duration, Instant};

/// Asks for a stop, and wants what the host prints at a clean end.
fn ends_well(server: Server) {
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, ["join 0", "free 0"]);
}

fn finish_within(server: Server, bound: Duration) -> Ended {
    let began = Instant::now();
    let ended = server.finish();
    assert!(began.elapsed() < bound, "it took {:?}", began.elapsed());
    ended
}

/// The contract forbids it. It leaves the turn for ever: nothing of that server can be used any more, and every call says so and returns.
#[test]
fn h03_a_longjmp_out_of_a_turn_leaves_a_server_that_refuses_every_call() {
    let server = program::start(&["--turn", "topology=inline"]);
    let mut client = Client::connect(server.port());
    assert_eq!(client.get("/hello").text(), "hello");
    client.send("GET /jump HTTP/1.1\r\nHost: x\r\n\r\n");
    let ended = finish_within(server, Duration::from_secs(20));
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    // INGEST_E_STATE from each: the turn has not ended.
    assert_eq!(ended.stdout, ["jumped: fd -2, turn -2, join -2", "free -2"]);
}

#[test]
fn h05_a_callback_that_forks() {
    for delivery in ["delivery=threads", "delivery=inline"] {
        let server = program::start(&[delivery]);
        let mut client = Client::connect(server.port());
        for _ in 0..5 {
            // 40 and one for each call that was refused with INGEST_E_FORKED.
            assert_eq!(client.get("/fork").text(), "child 43", "{delivery}");
        }
        assert_eq!(Client::connect(server.port()).get("/hello").text(), "hello", "the child took the sockets with it");
        ends_well(server);
    }
}

#[test]
fn h05_a_callback_that_exits() {
    for delivery in ["delivery=threads", "delivery=inline"] {
        let server = program::start(&[delivery, "topology=shards", "io_threads=2"]);
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(server.port())).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/hello").text(), "hello"));
        clients[0].send("GET /exit HTTP/1.1\r\nHost: x\r\n\r\n");
        let ended = finish_within(server, Duration::from_secs(20));
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(7), ""), "{delivery}");
    }
}

/// Processor time of a process, in milliseconds.
fn cpu_ms(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields behind the name").split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    ticks * 10
}

#[test]
fn h16_a_host_that_closes_our_descriptors_hears_of_it_and_can_still_free() {
    for arguments in [
        &["delivery=threads", "handler_threads=3", "events=fault"][..],
        &["delivery=inline", "events=fault"],
        &["delivery=threads", "topology=shards", "io_threads=3", "events=fault"],
        &["delivery=threads", "topology=acceptor", "io_threads=2", "events=fault"],
        &["delivery=threads", "topology=cut", "events=fault"],
    ] {
        let server = Server::start(program::shipped_host().args(arguments), 1);
        let mut client = Client::connect(server.port());
        assert_eq!(client.get("/hello").text(), "hello");
        client.send("GET /close HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.is_closed());
        assert!(eventually(|| Client::connect_to(([127, 0, 0, 1], server.port()).into()).is_err()), "the listener is still there");
        // Every thread has had time to look at what is left to it, and to find that it is nothing.
        std::thread::sleep(Duration::from_millis(1_500));
        let before = cpu_ms(server.process());
        std::thread::sleep(Duration::from_millis(1_000));
        let used = cpu_ms(server.process()) - before;
        assert!(used <= 200, "{arguments:?}: {used} ms of a processor in a second: a thread goes round and round");
        server.signal(libc::SIGTERM);
        let ended = finish_within(server, Duration::from_secs(20));
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert_eq!(ended.stdout.iter().filter(|line| *line != "fault").collect::<Vec<_>>(), ["join 0", "free 0"], "{arguments:?}");
        assert!(ended.stdout.contains(&"fault".to_string()), "{arguments:?}: the host heard of no fault");
    }
}

/// Signal mask, umask, root folder and user are other ones than at the start. Freezing by a control group looks like SIGSTOP from inside, which
/// is row S13.
#[test]
fn h17_a_host_that_changes_its_mask_its_root_and_its_user() {
    // SAFETY: it takes nothing and cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "chroot and setuid need root: run this test with sudo");
    let prison = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults_hosts").join(format!("prison-{}", std::process::id()));
    std::fs::create_dir_all(&prison).expect("a folder can be made");
    for delivery in ["delivery=threads", "delivery=inline"] {
        let server = program::start(&[delivery, "topology=shards", "io_threads=2", &format!("--prison={}", prison.display())]);
        let (mut old, port) = (Client::connect(server.port()), server.port());
        assert_eq!(old.get("/hello").text(), "hello");
        assert_eq!(old.get("/change").text(), "changed", "{delivery}");
        assert_eq!(old.get("/hello").text(), "hello", "{delivery}");
        for _ in 0..20 {
            assert_eq!(Client::connect(port).get("/hello").text(), "hello", "{delivery}");
        }
        // The library renders a new Date, which needs no file of a time zone.
        std::thread::sleep(Duration::from_millis(1_100));
        assert!(old.get("/hello").header("date").is_some());
        ends_well(server);
    }
    std::fs::remove_dir(&prison).expect("it is empty");
}
