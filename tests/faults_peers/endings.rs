//! Connections that end at the wrong time, or begin with something else than HTTP/1: N01, N02, N03, N15.

use crate::crowd::{connect, will_reset};
use crate::far::FarServer;
use crate::many;
use crate::support::client::Client;
use crate::survival::Survival;
use std::io::Write;
use std::time::Instant;

/// Deadlines that no test here may have to wait for: what ends, ends because of the peer.
const PATIENT: [(&str, &str); 4] =
    [("header_timeout", "1h"), ("keepalive_timeout", "1h"), ("body_timeout", "1h"), ("events", "gone,fault")];

#[test]
fn n01_a_reset_right_after_accept_is_nobodys_business() {
    let server = FarServer::start(&PATIENT);
    let survival = Survival::begin(&server, 100);
    let count = many(5_000, 50_000);
    for _ in 0..count {
        will_reset(&connect(server.port(), 0));
    }
    let accepted = survival.base().accepted + count as i64;
    assert!(crate::support::eventually(|| server.report().accepted >= accepted), "each of them was accepted, and then found reset");
    is_unheard(&server, &survival);
    survival.end();
    server.finish();
}

#[test]
fn n01_a_reset_before_accept_is_nobodys_business() {
    let server = FarServer::start(&PATIENT);
    let survival = Survival::begin(&server, 100);
    for round in 1..=many(20, 200) as i64 {
        // They stand in the backlog and are reset there, since the server cannot accept. It must not last: the witness waits too.
        server.signal(libc::SIGSTOP);
        let streams: Vec<_> = (0..100).map(|_| connect(server.port(), 0)).collect();
        for (index, mut stream) in streams.into_iter().enumerate() {
            will_reset(&stream);
            if index % 2 == 0 {
                // Not a whole request: that would be delivered, since it came before the reset.
                stream.write_all(b"GET /reset HTTP/1.1\r\n").expect("the kernel takes it");
            }
        }
        server.signal(libc::SIGCONT);
        // Before it is stopped again it has to have run: what it leaves in the backlog would fill that.
        assert!(crate::support::eventually(|| server.report().accepted >= survival.base().accepted + 100 * round), "round {round}");
    }
    is_unheard(&server, &survival);
    survival.end();
    server.finish();
}

/// Nothing was logged and nothing told to the host.
fn is_unheard(server: &FarServer, survival: &Survival) {
    server.settles_at(survival.base().open);
    let (base, now) = (survival.base(), server.report());
    assert_eq!((now.log_lines, now.other_events), (base.log_lines, base.other_events), "{now:?}");
    assert_eq!((now.strangers, now.panics), (base.strangers, 0), "{now:?}");
}

#[test]
fn n02_a_half_close_after_the_request_gets_its_answer() {
    half_closes(false);
}

#[test]
fn n02_close_notify_and_a_half_close_get_their_answer() {
    half_closes(true);
}

fn half_closes(secure: bool) {
    let server = FarServer::of(secure, &PATIENT);
    let survival = Survival::begin(&server, 50);
    for round in 0..many(3, 30) {
        let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            let wait = if index % 2 == 0 { 0 } else { 30 };
            client.send(format!("GET /late/{wait} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(3));
            client.finish_sending();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let target = if index % 2 == 0 { "/late/0" } else { "/late/30" };
            for _ in 0..3 {
                assert_eq!(client.answer().text(), target, "client {index} of round {round}");
            }
            assert!(client.is_closed());
        }
    }
    survival.end();
    server.finish();
}

#[test]
fn n03_what_a_fin_cuts_short_is_not_delivered() {
    fins(false);
}

#[test]
fn n03_what_close_notify_cuts_short_is_not_delivered() {
    fins(true);
}

/// A record is nothing until it is whole, whatever it holds: cut by FIN or by RST, in its header, its octets, or before the last of them.
#[test]
fn n03_a_record_that_is_cut_short_is_not_delivered() {
    let server = FarServer::of(true, &PATIENT);
    let cuts = [1, 4, 5, 30, usize::MAX];
    let survival = Survival::begin(&server, cuts.len());
    for round in 0..many(30, 300) {
        let mut clients: Vec<Client> = cuts.iter().map(|_| server.connect()).collect();
        for (client, cut) in clients.iter_mut().zip(cuts) {
            assert_eq!(client.get("/witness/before").status, 200);
            let mut sealed = Vec::new();
            let tls = client.tls().expect("its port has TLS");
            tls.write_all(&mut sealed, b"GET /cut HTTP/1.1\r\nHost: x\r\n\r\n").expect("a vector takes everything");
            client.send_raw(&sealed[..cut.min(sealed.len() - 1)]);
            if round % 2 == 0 {
                client.writer().stream.shutdown(std::net::Shutdown::Write).expect("it is open");
            }
        }
        if round % 2 == 0 {
            assert!(clients.iter_mut().all(Client::is_closed), "something was answered to a part of a record");
        }
        // The others are reset.
    }
    server.settles_at(survival.base().open);
    assert_eq!(server.report().strangers, survival.base().strangers, "a part of a record was delivered");
    survival.end();
    server.finish();
}

fn fins(secure: bool) {
    let server = FarServer::of(secure, &PATIENT);
    let whole = ["", "GET /witness/before HTTP/1.1\r\nHost: x\r\n\r\n"];
    let cut = [
        "G",
        "GET /cut HTTP/1.1\r\n",
        "GET /cut HTTP/1.1\r\nHost: x\r\nAccept: ",
        "GET /cut HTTP/1.1\r\nHost: x\r\n\r",
        "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n",
        "POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\nTrailer: half",
    ];
    let survival = Survival::begin(&server, cut.len());
    for _ in 0..many(30, 300) {
        for before in whole {
            let mut clients: Vec<Client> = cut.iter().map(|_| server.connect()).collect();
            for (client, text) in clients.iter_mut().zip(cut) {
                client.send(format!("{before}{text}"));
                client.finish_sending();
            }
            for (client, text) in clients.iter_mut().zip(cut) {
                if !before.is_empty() {
                    assert_eq!(client.answer().text(), "/witness/before");
                }
                assert!(client.is_closed(), "something was answered to {text:?}");
            }
        }
    }
    let report = server.report();
    assert_eq!(report.strangers, survival.base().strangers, "something that was cut short was delivered");
    survival.end();
    server.finish();
}

#[test]
fn n15_what_is_no_http_1_is_refused_without_delay() {
    let server = FarServer::start(&PATIENT);
    // What a browser sends to an https port (RFC 8446 section 4.1.2): record and handshake header, version, random.
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend((0..500_u32).map(|index| (index * 37 % 251) as u8));
    let random = crate::support::Random(4711).bytes(4096);
    // The first octet decides: it is no token, as in most garbage, so nothing has to be waited for.
    let garbage = [&b"\x00"[..], &random].concat();
    let openings: [(&str, &[u8], u16); 9] = [
        ("garbage", &garbage, 400),
        ("a ClientHello", &hello, 400),
        ("the first octet of a ClientHello", &hello[..1], 400),
        ("an SSLv2 hello", b"\x80\x2e\x01\x03\x01\x00\x15", 400),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
        ("PROXY, version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("PROXY, version 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\x57\x00\x50", 400),
        ("SMTP", b"EHLO example.test\r\n", 400),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    ];
    let survival = Survival::begin(&server, 50);
    let stall = crate::survival::Stall::watch();
    let mut longest = std::time::Duration::ZERO;
    for _ in 0..many(100, 1_000) {
        for (name, octets, status) in openings {
            let start = Instant::now();
            let mut client = server.connect();
            // Refused so early that the rest may find the connection closed.
            let _ = client.try_send(octets);
            let answer = client.answer();
            assert_eq!((answer.status, answer.says_close()), (status, true), "{name}");
            assert!(client.is_closed(), "{name}");
            longest = longest.max(start.elapsed());
        }
    }
    let stall = stall.longest();
    assert!(longest < std::time::Duration::from_secs(1) + stall, "refused after {longest:?}, the machine stalled for {stall:?}");
    assert_eq!(server.report().strangers, survival.base().strangers);
    survival.end();
    server.finish();
}
