//! Which certificate a client sees, whose certificate the server takes, and what is refused before anything is served.

use crate::support::host::{Delivery, Options, Server, abi, listen, set_up};
use crate::support::secured::{self, Pair, Secured, certify, config_trusting};
use crate::{Folder, serve, telling};
use ingest::status::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use std::ffi::CString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Asks for `/` in a session of its own: the body of the answer, and the certificate that was shown.
pub fn ask(port: u16, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<(String, CertificateDer<'static>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(crate::support::PATIENCE))?;
    let tls = Secured::connect_with(&stream, Arc::clone(config), name)?;
    tls.write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    loop {
        let mut room = [0; 4096];
        match tls.read(&mut stream, &mut room)? {
            0 => break,
            count => text.extend_from_slice(&room[..count]),
        }
    }
    let shown = tls.with(|session| session.peer_certificates().expect("one was shown")[0].clone().into_owned());
    let text = String::from_utf8(text).expect("text");
    Ok((text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned(), shown))
}

#[test]
fn a_request_shows_what_was_negotiated_and_tickets_resume() {
    let server = serve(&[]);
    let config = Arc::new(secured::config());
    for flags in [0, ingest::request::INGEST_TLS_RESUMED] {
        let (text, _) = ask(server.port(), &config, "example.test").expect("an answer");
        assert_eq!(text, format!("https 304 [example.test] [] {flags} 0 0"));
    }
    let server = serve(&[("tls.tickets", "0")]);
    let config = Arc::new(secured::config());
    for _ in 0..2 {
        let (text, _) = ask(server.port(), &config, "localhost").expect("an answer");
        assert_eq!(text, "https 304 [localhost] [] 0 0 0", "no ticket, nothing to resume with");
    }
}

#[test]
fn the_name_chooses_the_certificate() {
    let pairs = [certify(&["one.test"]), certify(&["*.two.test"]), certify(&["three.test", "*.three.test"])];
    let folder = Folder::new("names");
    let put =
        |index: usize| (folder.put(&format!("{index}.pem"), &pairs[index].cert), folder.put(&format!("{index}.key"), &pairs[index].key));
    let files = [put(0), put(1)];
    // Files and text side by side.
    let options = Options::new(&[
        ("tls.cert", &format!("{}, {},{}", files[0].0, files[1].0, pairs[2].cert)),
        ("tls.key", &format!("{},{},{}", files[0].1, files[1].1, pairs[2].key)),
    ]);
    let mut server = Server::unstarted(&[("delivery", "inline")]);
    server.call_back(telling());
    let address = CString::new("https://127.0.0.1:0").expect("no NUL");
    // SAFETY: all pointers are good for the call.
    set_up(|error| unsafe { abi::ingest_server_listen(server.host.0, address.as_ptr(), options.0, error) }).expect("it listens");
    // SAFETY: the server lives.
    let port = unsafe { abi::ingest_server_port(server.host.0, 0) } as u16;
    server.start().expect("the server starts");
    let ders: Vec<_> = pairs.iter().map(|pair| &pair.der).collect();
    let config = Arc::new(config_trusting(&ders));
    for (name, index) in [("one.test", 0), ("a.two.test", 1), ("b.two.test", 1), ("three.test", 2), ("x.three.test", 2)] {
        let (text, shown) = ask(port, &config, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(shown == pairs[index].der && text.contains(&format!("[{name}]")), "{name}: {text}");
    }
    // A name that nobody has gets the first, which this client refuses.
    let error = ask(port, &config, "a.b.two.test").expect_err("no certificate is for it");
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// A signer of clients, and one client's certificate and key, in PEM.
pub fn client_pair() -> (String, Pair) {
    let mut params = CertificateParams::new(vec!["signer".to_owned()]).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["client.test".to_owned()]).expect("names").signed_by(&key, &signer).expect("a certificate");
    (signer.pem(), Pair { cert: leaf.pem(), key: key.serialize_pem(), der: leaf.der().clone() })
}

/// The signer, what such a client has, and the length of its certificate.
pub fn signed() -> (String, ClientConfig, usize) {
    let (signer, Pair { key, der, .. }) = client_pair();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(secured::pair().der.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let length = der.len();
    let config = builder.with_root_certificates(roots).with_client_auth_cert(vec![der], key).expect("they match");
    (signer, config, length)
}

#[test]
fn client_certificates_are_asked_for_verified_and_shown() {
    let (signer, with, length) = signed();
    let (_, stranger, _) = signed();
    let (with, stranger, without) = (Arc::new(with), Arc::new(stranger), Arc::new(secured::config()));
    let folder = Folder::new("clients");
    let signer: &'static str = Box::leak(folder.put("signer.pem", signer).into_boxed_str());
    for (auth, may_have_none) in [("optional", true), ("required", false)] {
        let server = serve(&[("tls.client_ca", signer), ("tls.client_auth", auth)]);
        for resumed in [0, 1] {
            let (text, _) = ask(server.port(), &with, "localhost").expect("an answer");
            assert_eq!(text, format!("https 304 [localhost] [] {resumed} {length} 0"), "{auth}");
        }
        let error = ask(server.port(), &stranger, "localhost").expect_err("nobody knows its signer");
        assert!(error.to_string().contains("alert"), "{error}");
        match ask(server.port(), &without, "localhost") {
            Ok((text, _)) => assert!(may_have_none && text == "https 304 [localhost] [] 0 0 0", "{text}"),
            Err(error) => assert!(!may_have_none && error.to_string().contains("alert"), "{error}"),
        }
    }
}

#[test]
fn old_versions_and_other_protocols_are_refused() {
    let of = |versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]| {
        let mut roots = RootCertStore::empty();
        roots.add(secured::pair().der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let server = serve(&[("tls.min_version", "1.3")]);
    assert!(ask(server.port(), &of(&[&TLS12], &[]), "localhost").is_err());
    assert!(ask(server.port(), &of(&[&TLS13], &[]), "localhost").is_ok());
    let server = serve(&[]);
    let (text, _) = ask(server.port(), &of(&[&TLS12], &["h2", "http/1.1"]), "localhost").expect("an answer");
    assert_eq!(text, "https 303 [localhost] [http/1.1] 0 0 0");
    // RFC 7301 section 3.2.
    let error = ask(server.port(), &of(&[&TLS13], &["h2"]), "localhost").expect_err("no protocol in common");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn what_cannot_be_used_is_refused_when_the_server_listens() {
    let (good, other) = (certify(&["a.test"]), certify(&["b.test"]));
    let Pair { cert, key, .. } = &good;
    let folder = Folder::new("refused");
    let (missing, empty, large) = (folder.path("none"), folder.put("empty", ""), folder.put("large", vec![b'x'; 2 << 20]));
    let broken = folder.put("broken.pem", "-----BEGIN CERTIFICATE-----\nno! nonsense\n-----END CERTIFICATE-----\n");
    let wrong = cert.replace("MII", "AII");
    for (options, part) in [
        (vec![], "set tls.cert and tls.key"),
        (vec![("tls.cert", cert.as_str())], "name as many"),
        (vec![("tls.cert", &missing), ("tls.key", &missing)], "cannot read tls.cert"),
        (vec![("tls.cert", &empty), ("tls.key", key)], "has no certificate"),
        (vec![("tls.cert", &large), ("tls.key", key)], "larger than 1 MiB"),
        (vec![("tls.cert", &broken), ("tls.key", key)], "is not PEM"),
        (vec![("tls.cert", &wrong), ("tls.key", key)], "cannot be read"),
        (vec![("tls.cert", cert), ("tls.key", cert)], "has no private key"),
        (vec![("tls.cert", cert), ("tls.key", &other.key)], "does not belong to the certificate"),
        (vec![("tls.cert", cert), ("tls.key", key), ("tls.client_auth", "required")], "set tls.client_ca"),
        (vec![("tls.cert", cert), ("tls.key", key), ("tls.client_ca", cert)], "set tls.client_auth"),
    ] {
        let server = Server::unstarted(&options);
        let refused = listen(server.host, "https://127.0.0.1:0").expect_err(part);
        assert_eq!(refused.status, INGEST_E_TLS, "{part}");
        assert!(refused.text.contains(part), "{part}: {}", refused.text);
        assert!(!refused.text.contains("PRIVATE KEY"), "{}", refused.text);
        assert_eq!(listen(server.host, "http://127.0.0.1:0").expect("a plain listener needs none of it"), 0);
    }
}

#[test]
fn secrets_are_logged_where_that_was_asked_for() {
    let folder = Folder::new("keylog");
    let path: &'static str = Box::leak(folder.path("secrets").into_boxed_str());
    let server = serve(&[("tls.keylog", path), ("fd_floor", "200")]);
    let open = std::fs::read_dir("/proc/self/fd").expect("there is /proc").filter_map(Result::ok);
    let ours = open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_str() == Some(path)));
    let numbers: Vec<i32> = ours.map(|entry| entry.file_name().to_str().expect("digits").parse().expect("a number")).collect();
    assert!(numbers.len() == 1 && numbers[0] >= 200, "{numbers:?} is below the floor");
    assert_eq!(server.connect().get("/").status, 200);
    let text = std::fs::read_to_string(path).expect("it was written");
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(
            text.lines().any(|line| line.starts_with(label) && line.split(' ').nth(1).is_some_and(|random| random.len() == 64)),
            "{text}"
        );
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn unix_sockets_have_tls_too() {
    let folder = Folder::new("unix");
    let path = folder.path("a.sock");
    let server = Server::serve_on(&[&format!("https+unix:{path}")], &secured::options(), Delivery::Inline, telling());
    let stream = TcpStream::from(std::os::fd::OwnedFd::from(std::os::unix::net::UnixStream::connect(&path).expect("it listens")));
    let tls = Secured::connect(&stream).expect("a session");
    let mut handle = secured::Handle { tls: Some(tls), stream };
    handle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("the server reads");
    let mut text = String::new();
    handle.read_to_string(&mut text).expect("text");
    assert!(text.ends_with("https 304 [localhost] [] 0 0 0"), "{text}");
    server.finish();
}
