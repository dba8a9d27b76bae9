//! Each limit on how long a peer may take, crossed and just kept (limits.md, section 2), and the limits on how many peers there are.

use crate::crowd::{Crowd, Habit, connect, connect_from, will_reset};
use crate::limits::serve;
use crate::support::client::Client;
use crate::support::host::{Delivery, Server, on_requests};
use crate::support::{PATIENCE, eventually};
use crate::survival::Stall;
use ingest::status::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(1);
const HALF: Duration = Duration::from_millis(500);
/// What a deadline may be late by, beside what the machine stalls for.
const LATE: Duration = Duration::from_secs(1);

/// Runs a body that keeps a limit by half of it. If the machine has kept it waiting for the other half, it proves nothing and is tried
/// again; a limit that is too short fails every time.
fn within(mut body: impl FnMut() -> Result<(), String>) {
    let mut said = Vec::new();
    for _ in 0..4 {
        match body() {
            Ok(()) => return,
            Err(text) => said.push(text),
        }
    }
    panic!("not within the limit, four times: {said:?}");
}

/// The answer of a client that has kept its limit.
fn is_served(client: &mut Client) -> Result<(), String> {
    match client.read_answer(false) {
        Ok(Some(answer)) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Closed no earlier than the limit after `start`, and no later than it may be; with this status before, or without a word.
fn is_cut(client: &mut Client, status: Option<u16>, start: Instant, limit: Duration) {
    let stall = Stall::watch();
    let answer = client.read_answer(false).expect("an orderly end");
    assert_eq!(answer.as_ref().map(|answer| answer.status), status);
    assert!(answer.is_none_or(|answer| answer.says_close()));
    assert!(client.is_closed());
    let took = start.elapsed();
    // The grain of the clock is a millisecond.
    assert!(took + Duration::from_millis(2) >= limit, "cut after {took:?}, before its limit of {limit:?}");
    assert!(took < limit + LATE + stall.longest(), "cut after {took:?}, its limit is {limit:?}");
}

#[test]
fn limits_header_timeout() {
    let server = serve(&[("header_timeout", "1s")]);
    // The first octet after accept, then a head from its first octet on.
    let start = Instant::now();
    is_cut(&mut server.connect(), Some(408), start, LIMIT);
    let mut client = server.connect();
    std::thread::sleep(HALF);
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    is_cut(&mut client, Some(408), start, LIMIT);
    // Also a later head of a connection, and one behind empty lines.
    for first in ["G", "\r\n"] {
        let mut client = server.connect();
        assert_eq!(client.get("/").status, 200);
        let start = Instant::now();
        client.send(first);
        is_cut(&mut client, Some(408), start, LIMIT);
    }
    within(|| {
        let mut client = server.connect();
        std::thread::sleep(HALF);
        client.try_send(b"GET / HTTP/1.1\r\n").map_err(|error| error.to_string())?;
        std::thread::sleep(HALF);
        client.try_send(b"Host: x\r\n\r\n").map_err(|error| error.to_string())?;
        is_served(&mut client)
    });
    server.finish();
}

#[test]
fn limits_keepalive_timeout() {
    let server = serve(&[("keepalive_timeout", "1s"), ("header_timeout", "1h")]);
    within(|| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.try_send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").map_err(|error| error.to_string())?;
            is_served(&mut client)?;
            std::thread::sleep(HALF);
        }
        Ok(())
    });
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    let start = Instant::now();
    // The answer left a little before we had it.
    is_cut(&mut client, None, start - Duration::from_millis(20), LIMIT);
    server.finish();
}

#[test]
fn limits_body_timeout() {
    let server = serve(&[("body_timeout", "1s"), ("body_rate_min", "unlimited")]);
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
    within(|| {
        let mut client = server.connect();
        client.send(head);
        for octet in ["b", "o", "d", "y"] {
            std::thread::sleep(HALF);
            client.try_send(octet.as_bytes()).map_err(|error| error.to_string())?;
        }
        is_served(&mut client)
    });
    let mut client = server.connect();
    client.send(format!("{head}bo"));
    is_cut(&mut client, Some(408), Instant::now() - Duration::from_millis(20), LIMIT);
    server.finish();
}

/// After the grace of five seconds: 500 octets a second are kept by 1,500 and crossed by 50.
#[test]
fn limits_body_rate_min() {
    let server = serve(&[("body_timeout", "1h"), ("body_rate_min", "500")]);
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n";
    let stall = Stall::watch();
    let mut slow = Crowd::gather(server.port(), 3, 0, head);
    let mut fast = server.connect();
    fast.send(head);
    let writer = std::thread::spawn(move || {
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(100));
            if fast.try_send(&[b'x'; 150]).is_err() {
                break;
            }
        }
        fast.answer().status
    });
    slow.live(Habit { drip: b"xxxxx", read: 0, every: Duration::from_millis(100) }, PATIENCE);
    let stall = stall.longest();
    slow.was_cut(Duration::from_secs(5), Duration::from_secs(6) + LATE + stall);
    assert!(slow.members.iter().all(|member| member.status() == Some(408)));
    let status = writer.join().expect("the fast one is answered");
    assert!(status == 200 || stall > Duration::from_secs(2), "1,500 octets a second were too slow: {status}");
    server.finish();
}

#[test]
fn limits_queue_age_and_response_timeout() {
    for (option, status, takes) in [("queue_age", 503, false), ("response_timeout", 504, true)] {
        let server = Server::queued(&[(option, "1s")]);
        within(|| {
            let mut client = server.connect();
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            std::thread::sleep(if takes { Duration::ZERO } else { HALF });
            let mut batch = [crate::support::host::blank_event(); 1];
            if server.queue().wait(&mut batch, 5_000) != 1 {
                return Err("it was not delivered".to_owned());
            }
            std::thread::sleep(if takes { HALF } else { Duration::ZERO });
            server.text(batch[0].token, b"in time");
            is_served(&mut client)
        });
        let mut client = server.connect();
        let (start, stall) = (Instant::now(), Stall::watch());
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let taken = if takes { server.queue().take(1) } else { Vec::new() };
        let answer = client.answer();
        let (took, late) = (start.elapsed(), LATE + stall.longest());
        assert_eq!(answer.status, status, "{option}");
        assert!(took >= LIMIT && took < LIMIT + late, "{option}: after {took:?}");
        assert_eq!(answer.header("retry-after"), (!takes).then_some("1"), "{option}");
        for event in taken {
            assert_eq!(server.text(event.token, b"late"), INGEST_E_GONE);
        }
        server.finish();
    }
}

/// Who reads nothing for the time is reset; who reads a little every half of it is served to the end.
#[test]
fn limits_write_timeout() {
    let length = 12 << 20;
    let handler = on_requests(move |host, request| assert_eq!(host.text(request.0.token, &vec![b'x'; length]), INGEST_OK));
    let server = Server::serve(&[("write_timeout", "1s"), ("write_rate_min", "unlimited")], Delivery::Threads, handler);
    let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let stall = Stall::watch();
    let mut never = Crowd::gather(server.port(), 3, 4096, ask);
    never.live(Habit { drip: b"", read: 0, every: PATIENCE }, PATIENCE);
    never.was_cut(LIMIT, LIMIT + LATE + LATE + stall.longest());
    assert!(never.members.iter().all(|member| member.reset));
    within(|| {
        let mut stream = connect(server.port(), 256 * 1024);
        will_reset(&stream);
        stream.write_all(ask).map_err(|error| error.to_string())?;
        let (mut read, mut octets) = (0, vec![0; 2 << 20]);
        // Six pauses of half the limit, then all the rest.
        for round in 0.. {
            if round < 6 {
                std::thread::sleep(HALF);
            }
            match stream.read(&mut octets) {
                Ok(count) => read += count,
                Err(error) => return Err(error.to_string()),
            }
            if read > length {
                return Ok(());
            }
        }
        Ok(())
    });
    server.finish();
}

/// After the grace of five seconds, an answer that leaves at less than the rate is cut; one above it goes on.
#[test]
fn limits_write_rate_min() {
    let length = 24 << 20;
    let handler = on_requests(move |host, request| assert_eq!(host.text(request.0.token, &vec![b'x'; length]), INGEST_OK));
    let server = Server::serve(&[("write_timeout", "1h"), ("write_rate_min", "1MiB")], Delivery::Threads, handler);
    let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let stall = Stall::watch();
    let habit = |read| Habit { drip: b"", read, every: Duration::from_millis(100) };
    // 10 KiB a second against 3 MiB; what the kernel holds counts as sent.
    let mut slow = Crowd::gather(server.port(), 2, 4096, ask);
    let mut fast = Crowd::gather(server.port(), 1, 256 * 1024, ask);
    let fast = std::thread::spawn(move || {
        fast.live(habit(320 * 1024), Duration::from_secs(7));
        fast
    });
    slow.live(habit(1024), PATIENCE);
    slow.was_cut(Duration::from_secs(5), Duration::from_secs(9) + LATE + stall.longest());
    assert!(slow.members.iter().all(|member| member.reset));
    let fast = fast.join().expect("it only reads");
    assert!(fast.members[0].cut.is_none(), "3 MiB a second were too slow: cut after {:?}", fast.members[0].cut);
    server.finish();
}

/// After a refusal what still comes is read and thrown away: for a while, up to so much, so that the peer gets the last words.
#[test]
fn limits_linger_timeout_and_linger_bytes() {
    let server = serve(&[("linger_timeout", "1s"), ("linger_bytes", "100000")]);
    let refused = || {
        let mut stream = connect(server.port(), 0);
        stream.write_all(b"BAD\r\n\r\n").expect("the server reads");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("the refusal and FIN come, and no reset");
        assert!(heard.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&heard));
        stream
    };
    // Who closes in time is closed in order.
    drop(refused());
    assert!(eventually(|| server.stats().connections_open == 0));
    // Within both: still there when it sends, and gone when it closes.
    within(|| {
        let mut stream = refused();
        stream.write_all(&vec![b'x'; 90_000]).map_err(|error| error.to_string())?;
        std::thread::sleep(HALF);
        if is_reset(&stream) { Err("reset within the limits".to_owned()) } else { Ok(()) }
    });
    assert!(eventually(|| server.stats().connections_open == 0));
    // More than it throws away.
    let (mut stream, start) = (refused(), Instant::now());
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    assert!(eventually(|| is_reset(&stream)), "linger_bytes is no bound");
    assert!(start.elapsed() < LIMIT, "that was the time, not the octets (or the machine stalled)");
    // Longer than it waits.
    let (stream, start, stall) = (refused(), Instant::now(), Stall::watch());
    assert!(eventually(|| server.stats().connections_open == 0), "linger_timeout is no bound");
    let took = start.elapsed();
    assert!(took + Duration::from_millis(20) >= LIMIT && took < LIMIT + LATE + stall.longest(), "lingered for {took:?}");
    assert!(is_reset(&stream), "who does not close is reset");
    server.finish();
}

/// Whether the connection was reset, whatever there is to read.
fn is_reset(stream: &TcpStream) -> bool {
    stream.take_error().expect("a socket can be asked").is_some() || {
        stream.set_nonblocking(true).expect("a socket");
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a socket");
        matches!(seen, Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }
}

#[test]
fn limits_max_connections() {
    for (topology, threads) in [("inline", "1"), ("shards", "2")] {
        let server = serve(&[("max_connections", "3"), ("topology", topology), ("io_threads", threads)]);
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200, "three may be here");
        }
        for _ in 0..3 {
            let mut next = server.connect();
            next.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
            let open = server.stats().connections_open;
            // Threads that accept at the same moment may each take one more.
            assert!(open == 3 || topology == "shards", "{open} are open");
            if topology == "inline" {
                assert!(next.is_silent(Duration::from_millis(100)), "a fourth was served");
            }
            drop(clients.remove(0));
            assert_eq!(next.answer().status, 200, "it is accepted when another leaves");
            clients.push(next);
        }
        server.finish();
    }
}

#[test]
fn limits_max_connections_per_ip() {
    for (topology, threads) in [("inline", "1"), ("shards", "2"), ("cut-each", "2")] {
        let name = format!("ingest-per-ip-{}", std::process::id());
        let addresses = ["http://0.0.0.0:0".to_owned(), "http://[::]:0".to_owned(), format!("http+unix:@{name}")];
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let options = [("max_connections_per_ip", "2"), ("topology", topology), ("io_threads", threads)];
        let server = Server::serve_on(&addresses, &options, Delivery::Inline, crate::limits::telling());
        let from = |host: [u8; 4], port: u16| Client::connect_to(SocketAddr::from((host, port))).expect("the kernel accepts");
        // From 127.0.0.1, one of them by the dual-stack listener, where it comes as ::ffff:127.0.0.1.
        let mut first = from([127, 0, 0, 1], server.ports[0]);
        let mut second = from([127, 0, 0, 1], server.ports[1]);
        assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
        for port in [server.ports[0], server.ports[1]] {
            assert!(asked(SocketAddr::from(([127, 0, 0, 1], port))).is_none(), "a third of the same address was served");
        }
        assert!(eventually(|| server.stats().limit_connections_per_ip == 2), "both are counted");
        // Others have a count of their own: another address, IPv6, and unix sockets, which have none at all.
        let mut others = Vec::new();
        for index in 0..2 {
            let mut other = connect_from([127, 0, 0, 2], server.ports[0], 0);
            other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
            assert!(other.read(&mut [0; 1000]).is_ok_and(|count| count > 0), "number {index} of another address");
            others.push(other);
        }
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, server.ports[1]));
        let _six = [asked(six).expect("the first of its network"), asked(six).expect("the second")];
        assert!(asked(six).is_none(), "a third of the same network was served");
        let local = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).expect("a name");
        let mut locals: Vec<Client> = (0..4).map(|_| Client::connect_local(&local).expect("the kernel accepts")).collect();
        assert!(locals.iter_mut().all(|client| client.get("/").status == 200));
        // A place is free again as soon as one has left.
        for _ in 0..5 {
            drop(first);
            let mut again = None;
            assert!(eventually(|| {
                again = asked(SocketAddr::from(([127, 0, 0, 1], server.ports[0])));
                again.is_some()
            }));
            first = again.expect("it was just there");
            assert!(asked(SocketAddr::from(([127, 0, 0, 1], server.ports[1]))).is_none(), "a third again");
            assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
        }
        server.finish();
    }
}

/// A client that is answered; `None` for one that is reset, which may show as early as when it connects.
fn asked(address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect_to(address).ok()?;
    client.try_send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    match client.read_answer(false) {
        Ok(Some(answer)) => (answer.status == 200).then_some(client),
        Ok(None) => panic!("closed in order instead of reset"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
            None
        }
    }
}
