//! Row N20: certificates change while the server serves; every handshake sees one pair, and what is broken changes nothing.

use crate::support::client::Client;
use crate::support::host::{Delivery, Host, Refused, Server, abi, listen, set_up};
use crate::support::secured::{self, Pair, Secured, certify, certify_between, config_trusting};
use crate::{Folder, telling};
use ingest::status::*;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn reload(host: Host) -> Result<i32, Refused> {
    // SAFETY: the server lives, and the error is good for the call.
    set_up(|error| unsafe { abi::ingest_server_reload_tls(host.0, error) })
}

/// A server with the files of this pair, which are then changed.
fn serve(folder: &Folder, pair: &Pair) -> Server {
    let (cert, key) = (folder.put("cert.pem", &pair.cert), folder.put("key.pem", &pair.key));
    let options = [("tls.cert", cert.as_str()), ("tls.key", key.as_str()), ("topology", "shards"), ("io_threads", "2")];
    Server::serve(&options, Delivery::Inline, telling())
}

/// Which of the pairs a new client is shown.
pub fn shown(port: u16, pairs: &[&Pair]) -> usize {
    let ders: Vec<_> = pairs.iter().map(|pair| &pair.der).collect();
    let mut config = config_trusting(&ders);
    config.resumption = rustls::client::Resumption::disabled();
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
    let tls = Secured::connect_with(&stream, Arc::new(config), "localhost").expect("a consistent pair");
    let der = tls.with(|session| session.peer_certificates().expect("one is shown")[0].clone().into_owned());
    pairs.iter().position(|pair| pair.der == der).expect("one of those")
}

#[test]
fn n20_a_reload_changes_what_new_clients_see_and_nothing_else() {
    let (folder, old, new) = (Folder::new("reload"), certify(&["localhost"]), certify(&["localhost"]));
    let server = serve(&folder, &old);
    let pairs = [&old, &new];
    secured::note(server.port(), false);
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts");
    let tls = Secured::connect_with(&stream, Arc::new(config_trusting(&[&old.der])), "localhost").expect("a session");
    let mut handle = secured::Handle { tls: Some(tls), stream };
    assert_eq!(shown(server.port(), &pairs), 0);
    let (expired, early) = (certify_between(&["localhost"], [2001, 2002]), certify_between(&["localhost"], [2990, 3000]));
    // Each of these is refused with a reason, and the old pair stays.
    for (cert, key, part) in [
        (expired.cert.as_str(), expired.key.as_str(), "has expired: it was valid until Jan  1 00:00:00 2002"),
        (early.cert.as_str(), early.key.as_str(), "is not valid yet: it will be from Jan  1 00:00:00 2990"),
        (new.cert.as_str(), old.key.as_str(), "does not belong"),
        ("nothing", new.key.as_str(), "has no certificate"),
        (&new.cert[..new.cert.len() / 2], new.key.as_str(), "is not PEM"),
        (new.cert.as_str(), "", "has no private key"),
    ] {
        folder.put("cert.pem", cert);
        folder.put("key.pem", key);
        let refused = reload(server.host).expect_err(part);
        assert!(refused.status == INGEST_E_TLS && refused.text.contains(part), "{part}: {}", refused.text);
        assert_eq!(shown(server.port(), &pairs), 0, "{part}");
    }
    folder.put("cert.pem", &new.cert);
    folder.put("key.pem", &new.key);
    assert_eq!(reload(server.host).expect("the new pair is fine"), INGEST_OK);
    assert_eq!(shown(server.port(), &pairs), 1);
    // Who was there before notices nothing.
    std::io::Write::write_all(&mut handle, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is served");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut handle, &mut text).expect("it ends politely");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[test]
fn n20_every_handshake_during_reloads_sees_one_pair() {
    let (folder, old, new) = (Folder::new("storm"), certify(&["localhost"]), certify(&["localhost"]));
    let server = serve(&folder, &old);
    let (port, over) = (server.port(), AtomicBool::new(false));
    let full = std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full");
    let handshakes = if full { 1000 } else { 100 };
    let (mut reloads, mut counts) = (0, [0, 0]);
    let expired = certify_between(&["localhost"], [2001, 2002]);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut counts = [0, 0];
            // Chain and key that do not belong together would fail the handshake. A busy machine may not let the other thread run for a while.
            for number in 0..20 * handshakes {
                counts[shown(port, &[&old, &new])] += 1;
                if number + 1 >= handshakes && counts[0] > 0 && counts[1] > 0 {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
            counts
        });
        while !over.load(Ordering::Relaxed) || reloads < 100 {
            let pair = [&new, &old][reloads % 2];
            folder.put("cert.pem", &pair.cert);
            folder.put("key.pem", &pair.key);
            reload(server.host).expect("each pair is fine");
            reloads += 1;
            if reloads % 10 == 0 {
                // One that nobody may see, and a key that does not belong to the certificate.
                folder.put("cert.pem", &expired.cert);
                reload(server.host).expect_err("a key of another certificate");
                folder.put("key.pem", &expired.key);
                let refused = reload(server.host).expect_err("it has expired");
                assert!(refused.text.contains("has expired"), "{}", refused.text);
            }
        }
        counts = clients.join().expect("every handshake has succeeded");
    });
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?} with {reloads} reloads");
    assert_eq!(server.stats().handshake_failures, 0);
}

#[test]
fn n20_what_is_not_valid_now_is_not_listened_with() {
    for (years, part) in [([2001, 2002], "has expired: it was valid until"), ([2990, 3000], "is not valid yet: it will be from")] {
        let (bad, good) = (certify_between(&["localhost"], years), certify(&["other.test"]));
        let folder = Folder::new("not-valid");
        let cert = folder.put("bad.pem", &bad.cert);
        // Also when it is not the first.
        let (certs, keys) = (format!("{},{cert}", good.cert), format!("{},{}", good.key, bad.key));
        let server = Server::unstarted(&[("tls.cert", &certs), ("tls.key", &keys)]);
        let refused = listen(server.host, "https://127.0.0.1:0").expect_err(part);
        assert_eq!(refused.status, INGEST_E_TLS);
        assert!(refused.text.contains(part) && refused.text.contains("bad.pem"), "{}", refused.text);
    }
}

#[test]
fn a_server_without_tls_has_nothing_to_reload() {
    let server = Server::serve(&[], Delivery::Inline, telling());
    assert_eq!(reload(server.host).expect_err("no listener has tls").status, INGEST_E_STATE);
    assert_eq!(Client::connect(server.port()).get("/").status, 200);
}

#[test]
fn a_reload_before_the_start_counts() {
    let (folder, old, new) = (Folder::new("before"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = (folder.put("cert.pem", &old.cert), folder.put("key.pem", &old.key));
    let mut server = Server::unstarted(&[("delivery", "inline"), ("tls.cert", &cert), ("tls.key", &key)]);
    server.call_back(telling());
    server.listen("https://127.0.0.1:0").expect("loopback can be listened on");
    folder.put("cert.pem", &new.cert);
    folder.put("key.pem", &new.key);
    reload(server.host).expect("the new pair is fine");
    server.start().expect("the server starts");
    assert_eq!(shown(server.port(), &[&old, &new]), 1);
}
