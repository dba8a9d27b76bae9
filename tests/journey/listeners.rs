//! Listeners: addresses, several at once, IPv4 and IPv6, and errors that say what to do.

use crate::support::alone_behind;
use crate::support::client::Client;
use crate::support::host::{Delivery, Refused, Server, listen, on_requests};
use ingest::status::*;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

/// Answers with the listener's index and the peer.
fn telling() -> crate::Handler {
    on_requests(|host, request| {
        let text = format!("{} {} {}", request.0.listener, family(&request), request.peer());
        assert_eq!(host.text(request.0.token, text.as_bytes()), INGEST_OK);
    })
}

fn family(request: &crate::support::request_view::RequestView) -> u16 {
    // SAFETY: `peer` is never NULL and lives as long as the request.
    let peer = unsafe { &*request.0.peer };
    let address = String::from_utf8_lossy(crate::support::request_view::octets(&peer.address)).into_owned();
    let port = peer.port;
    let joined = if peer.family == 6 { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    assert_eq!(joined, request.peer(), "the parts and the text are the same address");
    peer.family
}

fn on(addresses: &[&str], topology: &str) -> Server {
    let mut server =
        Server::unstarted(&[("delivery", "inline"), ("topology", topology), ("io_threads", if topology == "inline" { "1" } else { "2" })]);
    server.call_back(telling());
    for address in addresses {
        server.listen(address).unwrap_or_else(|refused| panic!("{address}: {refused:?}"));
    }
    server.start().expect("the server starts");
    server
}

/// Machines without IPv6 are known from an ordinary socket.
fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("no IPv6 on this machine, the IPv6 part is left out");
    }
    has
}

fn over_ipv6(port: u16) -> std::io::Result<Client> {
    Client::connect_to(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))
}

fn refused(address: &str) -> Refused {
    let server = Server::unstarted(&[]);
    let refused = listen(server.host, address).expect_err(address);
    let text = &refused.text;
    assert!(!text.is_empty() && !text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text:?} is not in the house style");
    server.finish();
    refused
}

#[test]
fn several_listeners_on_one_server() {
    for topology in ["inline", "shards", "acceptor"] {
        let server = on(&["http://127.0.0.1:0", "http://127.0.0.1:0", "http://127.0.0.2:0"], topology);
        assert_eq!(server.ports.len(), 3);
        for (index, port) in server.ports.iter().enumerate() {
            let host = if index == 2 { [127, 0, 0, 2] } else { [127, 0, 0, 1] };
            for _ in 0..4 {
                let mut client = Client::connect_to(SocketAddr::from((host, *port))).expect("the server accepts");
                let local = client.local();
                assert_eq!(client.get("/").text(), format!("{index} 4 {local}"));
            }
        }
        server.finish();
    }
}

#[test]
fn ipv6_alone() {
    if !has_ipv6() {
        return;
    }
    for topology in ["inline", "shards", "acceptor"] {
        let server = on(&["http://[::1]:0"], topology);
        let mut client = over_ipv6(server.port()).expect("the server accepts");
        let local = client.local();
        assert_eq!(client.get("/").text(), format!("0 6 {local}"));
        server.finish();
    }
}

#[test]
fn dual_stack_shows_ipv4_peers_as_ipv4() {
    if !has_ipv6() {
        return;
    }
    for topology in ["inline", "shards", "acceptor"] {
        let server = on(&["http://[::]:0"], topology);
        let mut client = server.connect();
        let local = client.local();
        assert_eq!(client.get("/").text(), format!("0 4 {local}"));
        let mut client = over_ipv6(server.port()).expect("the server accepts");
        let local = client.local();
        assert_eq!(client.get("/").text(), format!("0 6 {local}"));
        server.finish();
    }
}

#[test]
fn v6only_leaves_ipv4_out() {
    if !has_ipv6() {
        return;
    }
    let server = on(&["http://[::]:0?v6only=on"], "inline");
    assert!(Client::connect_to(SocketAddr::from(([127, 0, 0, 1], server.port()))).is_err());
    assert!(over_ipv6(server.port()).is_ok());
    server.finish();
}

#[test]
fn a_port_that_is_not_there() {
    let mut server = Server::unstarted(&[]);
    server.listen("http://127.0.0.1:0").expect("loopback can be listened on");
    for listener in [-1, 1, 1000] {
        // SAFETY: the server lives.
        assert_eq!(unsafe { crate::support::host::abi::ingest_server_port(server.host.0, listener) }, INGEST_E_ARGUMENT);
    }
    server.finish();
}

#[test]
fn an_address_in_use_is_named() {
    let occupant = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
    let port = occupant.local_addr().expect("a bound socket has an address").port();
    let refused = refused(&format!("http://127.0.0.1:{port}"));
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EADDRINUSE));
    assert!(refused.text.contains(&format!("127.0.0.1:{port}")) && refused.text.contains("in use"), "{:?}", refused.text);
}

#[test]
fn two_servers_cannot_share_a_port_by_accident() {
    let one = on(&["http://127.0.0.1:0"], "inline");
    let other = Server::unstarted(&[]);
    let refused = listen(other.host, &format!("http://127.0.0.1:{}", one.port())).expect_err("the port is taken");
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EADDRINUSE));
    other.finish();
    one.finish();
}

#[test]
fn a_privileged_port_says_what_to_do() {
    // SAFETY: no argument, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    // Root is refused too once it has lost the capability.
    let wrapper: &[&str] = if is_root { &["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-all"] } else { &[] };
    alone_behind(wrapper, "listeners::a_privileged_port_says_what_to_do", || {
        let lowest = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
        if lowest.trim().parse::<u16>().is_ok_and(|lowest| lowest <= 1) {
            // This kernel lets everybody bind every port.
            Server::unstarted(&[]).listen("http://127.0.0.1:1").expect("no port is privileged here");
            return;
        }
        let refused = refused("http://127.0.0.1:1");
        assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EACCES));
        assert!(refused.text.contains("127.0.0.1:1") && refused.text.contains("1023"), "{:?}", refused.text);
    });
}

#[test]
fn an_address_of_no_interface_is_an_error_of_the_system() {
    let refused = refused("http://203.0.113.1:0");
    assert_eq!((refused.status, refused.os_errno), (INGEST_E_SYSTEM, libc::EADDRNOTAVAIL));
}

#[test]
fn addresses_that_cannot_be_understood() {
    let bad = [
        "",
        "http",
        "http:",
        "http://",
        "127.0.0.1:8080",
        "://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:http",
        "http://127.0.0.1:0x50",
        "http://::1:8080",
        "http://[::1:8080",
        "http://[::1]8080",
        "http://[127.0.0.1]:0",
        "http://256.0.0.1:0",
        "http://1.2.3:0",
        "http://example.test:0",
        "http://user@127.0.0.1:0",
        "http://127.0.0.1:0/path",
        "http://127.0.0.1:0?nonsense=on",
        "http://[::1]:0?v6only=maybe",
        "http://127.0.0.1:0 ",
        " http://127.0.0.1:0",
        "gopher://127.0.0.1:0",
    ];
    for address in bad {
        let refused = refused(address);
        assert_eq!(refused.status, INGEST_E_ADDRESS, "{address:?}: {:?}", refused.text);
    }
}

#[test]
fn tls_without_a_certificate_says_what_is_missing() {
    for address in ["https://127.0.0.1:0", "https+unix:@ingest-test", "https+fd:3"] {
        let refused = refused(address);
        assert_eq!(refused.status, INGEST_E_TLS, "{address}");
        assert!(refused.text.contains("set tls.cert and tls.key"), "{}", refused.text);
    }
}

#[test]
fn a_failed_listen_leaves_the_server_usable() {
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.call_back(telling());
    assert!(listen(server.host, "http://nowhere:0").is_err());
    assert_eq!(server.listen("http://127.0.0.1:0").expect("loopback can be listened on"), 0);
    server.start().expect("the server starts");
    assert_eq!(server.connect().get("/").status, 200);
    server.finish();
}

#[test]
fn the_scheme_of_a_request_is_the_listeners() {
    let handler = on_requests(|host, request| {
        assert!(request.0.tls.is_null());
        assert_eq!(host.text(request.0.token, crate::support::request_view::octets(&request.0.scheme)), INGEST_OK);
    });
    let server = Server::serve(&[], Delivery::Inline, handler);
    assert_eq!(server.connect().get("/").text(), "http");
    server.finish();
}
