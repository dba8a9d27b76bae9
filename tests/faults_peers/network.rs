//! Bad networks: delay, pieces and resets by a proxy (N05), and a black hole made with nft in a network of the test's own (N06).

use crate::crowd::{connect, will_reset};
use crate::far::FarServer;
use crate::many;
use crate::proxy::{Proxy, Weather};
use crate::support::client::Client;
use crate::support::secured;
use crate::support::{Random, alone_behind, checksum, eventually};
use crate::survival::{Stall, Survival};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Every answer is right, and none is lost but where the network resets.
fn through(secure: bool, weather: Weather, clients: usize, seed: u64) {
    // Behind such a network a handshake takes more than half a second, and is what gives way to others where they are bounded.
    let unbounded = [("tls.handshakes_max", "unlimited")];
    let server = FarServer::of(secure, &unbounded);
    let survival = Survival::begin(&server, clients);
    let proxy = Proxy::start(server.port(), weather, seed);
    let port = proxy.port;
    secured::note(port, secure);
    let lost: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || ask(port, seed + 1 + client as u64))).collect();
        threads.into_iter().map(|thread| usize::from(!thread.join().expect("every answer is right"))).sum()
    });
    println!("{clients} clients through {weather:?} with seed {seed}: {lost} were reset");
    assert!(if weather.resets > 0 { lost > 0 && lost < clients } else { lost == 0 }, "{lost} of {clients} were reset");
    proxy.finish();
    survival.end();
    server.finish();
}

/// Asks with bodies of both kinds and compares; false if the network reset the connection meanwhile.
fn ask(port: u16, seed: u64) -> bool {
    // With TLS the handshake comes first, and may be what is reset.
    let Ok(mut client) = Client::connect_to(SocketAddr::from(([127, 0, 0, 1], port))) else { return false };
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for round in 0..6 {
        let length = (random.next() % [3, 50, 700][round % 3]) as usize;
        let body = random.bytes(length);
        let mut wire = b"POST /sum HTTP/1.1\r\nHost: example.test\r\n".to_vec();
        if round % 2 == 0 {
            wire.extend(format!("Content-Length: {length}\r\n\r\n").bytes());
            wire.extend(&body);
        } else {
            wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(37) {
                wire.extend(format!("{:x}\r\n", piece.len()).bytes());
                wire.extend(piece);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
        }
        wire.extend(b"GET /big/900 HTTP/1.1\r\nHost: x\r\n\r\n");
        if client.try_send(&wire).is_err() {
            return false;
        }
        let Ok(Some(answer)) = client.read_answer(false) else { return false };
        assert_eq!(answer.text(), format!("{length} {:016x}", checksum(&body)));
        let Ok(Some(answer)) = client.read_answer(false) else { return false };
        assert_eq!(answer.body, vec![b'x'; 900]);
    }
    true
}

#[test]
fn n05_delay_and_pieces_change_nothing() {
    through(false, Weather { delay: Duration::from_millis(200), piece: 300, resets: 0 }, many(20, 200), 1);
}

#[test]
fn n05_single_octets_change_nothing() {
    through(false, Weather { delay: Duration::ZERO, piece: 1, resets: 0 }, many(10, 100), 2);
}

#[test]
fn n05_resets_harm_nobody_else() {
    through(false, Weather { delay: Duration::from_millis(2), piece: 100, resets: 3 }, many(40, 400), 3);
}

/// Handshakes and records are torn apart.
#[test]
fn n05_records_come_through_a_bad_network() {
    through(true, Weather { delay: Duration::from_millis(100), piece: 300, resets: 0 }, many(20, 200), 11);
    through(true, Weather { delay: Duration::ZERO, piece: 1, resets: 0 }, many(5, 50), 12);
    through(true, Weather { delay: Duration::from_millis(2), piece: 100, resets: 3 }, many(40, 400), 13);
}

/// Delay is no excuse: a head that takes longer than its deadline is refused, one that is delayed but in time is served.
#[test]
fn n05_deadlines_are_kept_through_a_slow_network() {
    let server = FarServer::start(&[("header_timeout", "2s")]);
    let weather = Weather { delay: Duration::from_millis(100), piece: 16, resets: 0 };
    let proxy = Proxy::start(server.port(), weather, 5);
    // About four pieces, 50 ms each.
    let mut client = Client::connect(proxy.port);
    let (start, stall) = (Instant::now(), Stall::watch());
    client.send("GET /in-time HTTP/1.1\r\nHost: example.test\r\nX: y\r\n\r\n");
    let status = client.answer().status;
    assert!(status == 200 || start.elapsed() + stall.longest() > Duration::from_secs(2), "refused though it was in time");
    drop(client);
    // Some hundreds of them.
    let mut client = Client::connect(proxy.port);
    let _ = client.try_send(format!("GET /late HTTP/1.1\r\nHost: example.test\r\nX: {}\r\n\r\n", "y".repeat(3_000)).as_bytes());
    assert_eq!(client.answer().status, 408);
    drop(client);
    proxy.finish();
    server.finish();
}

/// A network of the test's own, whose packets it may drop; without root it is one that a user may make.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce()) {
    // SAFETY: no argument, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let wrapper: &[&str] = if is_root { &["unshare", "--net"] } else { &["unshare", "--net", "--map-root-user"] };
    alone_behind(wrapper, test, || {
        run("ip", "link set lo up");
        run("nft", "add table inet hole");
        run("nft", "add chain inet hole input { type filter hook input priority 0 ; }");
        body();
    });
}

fn run(program: &str, arguments: &str) {
    let package = if program == "ip" { "iproute2" } else { "nftables" };
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started: {error} (apt-get install {package})"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {text} (run it as root, or allow user namespaces)");
}

/// Nothing from or to this client arrives any more, from now on and without a word.
fn black_hole(stream: &TcpStream) {
    let port = stream.local_addr().expect("a connected socket has an address").port();
    run("nft", &format!("add rule inet hole input tcp sport {port} drop"));
    run("nft", &format!("add rule inet hole input tcp dport {port} drop"));
}

#[test]
fn n06_a_black_hole_ends_what_is_in_flight() {
    in_a_network_of_its_own("network::n06_a_black_hole_ends_what_is_in_flight", || {
        let limit = Duration::from_secs(2);
        let options = [("write_timeout", "2s"), ("keepalive_timeout", "1h"), ("response_timeout", "1h"), ("body_timeout", "2s")];
        let server = FarServer::start(&options);
        let survival = Survival::begin(&server, 8);
        let open = survival.base().open;

        // More than the kernel takes: the library waits for it.
        let mut reader = connect(server.port(), 4096);
        reader.write_all(b"GET /stream/104857600 HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
        reader.read_exact(&mut [0; 1000]).expect("the answer begins");
        // All of it with the kernel, and not yet acknowledged: to the library the connection looks idle.
        let mut asker = connect(server.port(), 0);
        asker.write_all(b"GET /late/300 HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
        // A body that stops half-way: the refusal that follows is not acknowledged either.
        let mut sender = connect(server.port(), 0);
        sender.write_all(b"POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf").expect("the server reads");
        server.settles_at(open + 3);
        assert!(eventually(|| server.report().strangers >= survival.base().strangers + 2), "both GETs were delivered");
        let (start, stall) = (Instant::now(), Stall::watch());
        [&reader, &asker, &sender].into_iter().for_each(black_hole);
        let mut left = open + 3;
        while left > open {
            assert!(start.elapsed() < Duration::from_secs(20), "{} connections into the black hole are still open", left - open);
            let now = server.report().open;
            if now < left {
                println!("{} of 3 are left after {:?}", now - open, start.elapsed());
                left = now;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // The body's deadline and the linger behind its refusal, or the kernel's user timeout, whichever is later.
        let took = start.elapsed();
        assert!(took < limit + limit + Duration::from_secs(1) + stall.longest(), "the last was ended after {took:?}");
        // Nothing of them stays in the kernel either: with user timeout orphans end too.
        for stream in [&reader, &asker, &sender] {
            will_reset(stream);
        }
        drop((reader, asker, sender));
        let report = server.report();
        assert_eq!(report.gone, 1, "the host hears that its stream is gone: {report:?}");
        survival.end();
        server.finish();
    });
}
