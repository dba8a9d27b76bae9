//! S05 to S07 and S24: system calls that are interrupted, take or give one octet, fail, or are not to be had.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::guest_process::{Guest, injecting};
use crate::{program, serve, serve_both, strings};
use std::io::{Read, Write};
use std::os::unix::net::{SocketAddr, UnixStream};

/// A conversation that touches what there is of framing, and how it has to go.
fn conversation(client: &mut Client) {
    for round in 0..3 {
        assert_eq!(client.get(&format!("/round/{round}")).text(), format!("/round/{round}"));
    }
    client.send("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nhello\r\n\r\nabc");
    assert_eq!(client.answer().text(), "/length");
    client.send("POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n4\r\ndefg\r\n0\r\nT: v\r\n\r\n");
    assert_eq!(client.answer().text(), "/chunks");
    let body = "x".repeat(100_000);
    client.send(format!("POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.answer().text(), "/long");
    client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10));
    for _ in 0..10 {
        assert_eq!(client.answer().text(), "/a");
    }
    client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().body[..4], *b"\x7fELF");
    client.send("GET /bad HTTP/1.1\r\nHost : x\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(client.is_closed());
}

#[test]
fn s05_an_interrupted_call_is_invisible() {
    let wrapper = injecting(&[
        "recvfrom:error=EINTR:when=1+2",
        "sendto:error=EINTR:when=1+2",
        "sendmsg:error=EINTR:when=1+2",
        "sendfile:error=EINTR:when=1+2",
        "epoll_wait,epoll_pwait:error=EINTR:when=1+2",
        "accept4:error=EINTR:when=1+2",
        "write:error=EINTR:when=50+50",
    ]);
    for options in [&[][..], &["topology=shards", "io_threads=2"], &["delivery=threads", "handler_threads=2"]] {
        let guest = serve_both(&wrapper, options, &[]);
        let mut clients: Vec<Client> = (0..4).map(|index| Client::connect(guest.port(index % 2))).collect();
        clients.iter_mut().for_each(conversation);
        guest.finish();
    }
}

#[test]
fn s06_short_reads_and_writes_change_nothing() {
    let shim = strings(&program("short", &["-shared", "-fPIC"]));
    let name = format!("ingest-s06-{}", std::process::id());
    let guest = serve_both(&[], &[&format!("http+unix:@{name}")], &[("LD_PRELOAD", &shim)]);
    conversation(&mut Client::connect(guest.port(0)));
    conversation(&mut Client::connect(guest.port(1)));
    let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name.as_bytes()).expect("a name");
    conversation(&mut Client::connect_local(&address).expect("it listens"));
    // The reads of TCP are short when the octets come one by one.
    let mut client = Client::connect(guest.port(0));
    for octet in b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" {
        client.send([*octet]);
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    assert_eq!(client.answer().text(), "/slow");
    guest.finish();
}

#[test]
fn s07_a_failed_receive_or_send_closes_one_connection() {
    for error in ["ECONNRESET", "EPIPE", "ETIMEDOUT", "EIO"] {
        // The second receive of the I/O thread fails, while the first request is with the host.
        let guest = serve(&injecting(&[&format!("recvfrom:error={error}:when=2")]), &["events=gone"]);
        let mut held = Client::connect(guest.port(0));
        held.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
        guest.wait_for("held");
        held.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        guest.wait_for("gone");
        assert!(held.is_closed(), "{error}");
        let mut other = Client::connect(guest.port(0));
        assert_eq!(other.get("/other").text(), "/other");
        assert_eq!(guest.count("gone"), 1, "{error}: {:?}", guest.lines());
        guest.finish();
        // The first send fails, and nobody dies of SIGPIPE.
        let guest = serve(&injecting(&[&format!("sendto:error={error}:when=1")]), &["events=gone"]);
        let mut broken = Client::connect(guest.port(0));
        broken.send("GET /lost HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(broken.is_closed(), "{error}");
        assert_eq!(Client::connect(guest.port(0)).get("/other").text(), "/other");
        guest.finish();
        // With TLS the first is of the handshake, and the second of the answer.
        for (when, at) in [(1, "the handshake"), (2, "the answer")] {
            let guest = serve_both(&injecting(&[&format!("sendto:error={error}:when={when}")]), &["events=gone"], &[]);
            let lost = Client::connect_to(([127, 0, 0, 1], guest.port(1)).into()).map(|mut broken| {
                broken.send("GET /lost HTTP/1.1\r\nHost: x\r\n\r\n");
                broken.is_closed()
            });
            assert!(if when == 1 { lost.is_err() } else { lost.is_ok_and(|closed| closed) }, "{error} in {at}");
            assert_eq!(Client::connect(guest.port(1)).get("/other").text(), "/other");
            guest.finish();
        }
    }
    // Clients that reset in the middle of everything.
    let guest = serve(&[], &["events=gone"]);
    for round in 0..20 {
        let held = guest.count("held");
        let mut client = Client::connect(guest.port(0));
        client.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
        // A reset may throw away what the server has not read, so every other client waits until it has.
        assert!(round % 2 == 0 || eventually(|| guest.count("held") > held));
    }
    assert!(eventually(|| guest.count("held") == guest.count("gone") && guest.count("held") > 0), "{:?}", guest.lines());
    guest.finish();
}

#[test]
fn s24_a_call_that_is_not_to_be_had_fails_at_the_start_or_is_done_without() {
    for (call, error) in [("accept4", "ENOSYS"), ("epoll_create1", "ENOSYS"), ("eventfd2", "ENOSYS")] {
        let mut words = injecting(&[&format!("{call}:error={error}")]);
        words.push(strings(&program("serve", &[])));
        words.push("http://127.0.0.1:0".to_owned());
        let mut guest = Guest::spawn(std::process::Command::new(&words[0]).args(&words[1..]));
        let code = guest.wait().code();
        // 3: a call said why; 4: ingest_server_new returned NULL.
        assert!(code == Some(3) || (call == "eventfd2" && code == Some(4)), "{call}: {code:?} {:?}", guest.lines());
        assert_eq!(guest.count("started"), 0, "{call}");
    }
    for (call, error) in [("sendfile", "ENOSYS"), ("sendfile", "EPERM"), ("madvise", "EINVAL"), ("fchmod", "ENOSYS")] {
        let path = std::env::temp_dir().join(format!("ingest-s24-{}", std::process::id()));
        let local = format!("http://127.0.0.1:0,http+unix:{}?mode=0600", path.display());
        let wrapper = injecting(&[&format!("{call}:error={error}")]);
        let guest = Guest::serving(&wrapper, &program("serve", &[]), &[&local], &[]);
        conversation(&mut Client::connect(guest.port(0)));
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(b"GET /local HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.ends_with("/local"), "{call}: {answer}");
        guest.finish();
    }
}
