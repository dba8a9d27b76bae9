//! Who a peer is: its address, whatever kind of socket it comes by (N21), and never what it says of itself (N22).

use crate::support::client::Client;
use crate::support::host::{Delivery, Handler, Server, listen, on_requests};
use crate::support::request_view::octets;
use ingest::status::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as LocalAddress;

/// Answers with all that the library says of where a request comes from.
fn telling() -> Handler {
    on_requests(|host, request| {
        // SAFETY: `peer` is never NULL and lives as long as the request.
        let peer = unsafe { &*request.0.peer };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (scheme, authority) = (text(octets(&request.0.scheme)), text(octets(&request.0.authority)));
        let said = format!("{} {} {} {} {scheme} {authority}", peer.family, text(octets(&peer.address)), peer.port, request.peer());
        assert_eq!(host.text(request.0.token, said.as_bytes()), INGEST_OK);
    })
}

fn expected(family: u16, address: &str, local: SocketAddr) -> String {
    let joined = if family == 6 { format!("[{address}]:{}", local.port()) } else { format!("{address}:{}", local.port()) };
    format!("{family} {address} {} {joined} http example.test", local.port())
}

#[test]
fn n21_every_kind_of_peer_has_its_address() {
    let folder = std::env::temp_dir().join(format!("ingest-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temp folder");
    let (file, name) = (folder.join("socket"), format!("ingest-peers-{}", std::process::id()));
    let addresses = [
        "http://127.0.0.1:0".to_owned(),
        "http://[::1]:0".to_owned(),
        "http://[::]:0".to_owned(),
        format!("http+unix:{}", file.display()),
        format!("http+unix:@{name}"),
    ];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for (topology, threads) in [("inline", "1"), ("shards", "2")] {
        let server = Server::serve_on(&addresses, &[("topology", topology), ("io_threads", threads)], Delivery::Inline, telling());
        let ip = |address: IpAddr, listener: usize| Client::connect_to(SocketAddr::new(address, server.ports[listener])).expect("accepted");
        let cases = [
            (ip(Ipv4Addr::LOCALHOST.into(), 0), 4, "127.0.0.1"),
            (ip(Ipv6Addr::LOCALHOST.into(), 1), 6, "::1"),
            (ip(Ipv6Addr::LOCALHOST.into(), 2), 6, "::1"),
            // Through the dual-stack listener it arrives as ::ffff:127.0.0.1, and is shown as what it is.
            (ip(Ipv4Addr::LOCALHOST.into(), 2), 4, "127.0.0.1"),
        ];
        for (mut client, family, address) in cases {
            let local = client.local();
            for _ in 0..3 {
                assert_eq!(client.get("/").text(), expected(family, address, local));
            }
        }
        let locals = [LocalAddress::from_pathname(&file), LocalAddress::from_abstract_name(&name)];
        for local in locals {
            let mut client = Client::connect_local(&local.expect("a name")).expect("accepted");
            for _ in 0..3 {
                assert_eq!(client.get("/").text(), "0  0  http example.test", "a unix socket has no address");
            }
        }
        server.finish();
        assert!(!file.exists(), "its file goes with the server");
    }
    // A path of no length would be an unnamed socket, which nobody can connect to.
    let server = Server::unstarted(&[]);
    for address in ["http+unix:", "http+unix:@"] {
        assert_eq!(listen(server.host, address).expect_err(address).status, INGEST_E_ADDRESS, "{address}");
    }
    server.finish();
    std::fs::remove_dir(&folder).expect("it is empty");
}

#[test]
fn n22_what_a_peer_says_of_itself_is_not_believed() {
    let server = Server::serve(&[], Delivery::Inline, telling());
    let mut client = server.connect();
    let told = expected(4, "127.0.0.1", client.local());
    let claims = [
        "X-Forwarded-For: 192.0.2.66",
        "X-Forwarded-For: 192.0.2.66, 198.51.100.1\r\nX-Forwarded-Port: 66",
        "Forwarded: for=192.0.2.66;proto=https;host=evil.test",
        "Forwarded: for=\"[2001:db8::66]:66\"",
        "X-Real-IP: 192.0.2.66",
        "True-Client-IP: 192.0.2.66",
        "CF-Connecting-IP: 192.0.2.66",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Ssl: on",
        "Front-End-Https: on\r\nX-Url-Scheme: https",
        "Via: 1.1 evil.test",
    ];
    for claim in claims {
        client.send(format!("GET / HTTP/1.1\r\nHost: example.test\r\n{claim}\r\n\r\n"));
        assert_eq!(client.answer().text(), told, "{claim}");
    }
    // The PROXY protocol has no option yet, so its line is garbage, however it is dressed.
    for line in ["PROXY TCP4 192.0.2.66 192.0.2.1 66 80\r\n", "PROXY UNKNOWN\r\n", "\r\nPROXY TCP6 2001:db8::66 ::1 66 80\r\n"] {
        let mut client = server.connect();
        client.send(format!("{line}GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.says_close()), (400, true), "{line:?}");
        assert!(client.is_closed());
    }
    // In the middle of a connection it is no better.
    client.send("PROXY TCP4 192.0.2.66 192.0.2.1 66 80\r\nGET / HTTP/1.1\r\nHost: example.test\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(client.is_closed());
    server.finish();
}
