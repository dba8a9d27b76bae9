//! Row N19: clients that use what TLS offers against the server. Each ends with an alert or without anything, and the host hears of nothing.

use crate::keys::client_pair;
use crate::support::eventually;
use crate::support::host::Server;
use crate::support::secured::{self, Secured};
use crate::{Folder, serve};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
    stream
}

/// What a client says first.
fn hello() -> Vec<u8> {
    let name = "localhost".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(Arc::new(secured::config()), name).expect("a session");
    let mut octets = Vec::new();
    session.write_tls(&mut octets).expect("a vector takes everything");
    octets
}

#[test]
fn n19_a_flood_of_key_updates_ends_the_session() {
    let server = serve(&[]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    let mut stream = client.writer().stream;
    let tls = client.tls().expect("its port has TLS").clone();
    let mut sent = 0;
    let broken = loop {
        let mut sealed = Vec::new();
        tls.with(|session| {
            session.refresh_traffic_keys().expect("TLS 1.3 is spoken");
            while session.wants_write() {
                session.write_tls(&mut sealed).expect("a vector takes everything");
            }
        });
        if let Err(error) = stream.write_all(&sealed) {
            break error;
        }
        sent += 1;
        assert!(sent < 1_000_000, "there is no bound");
    };
    assert!(matches!(broken.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{broken}");
    assert!(eventually(|| server.stats().connections_open == 0));
    // Who changes keys between requests is served.
    let mut client = server.connect();
    for _ in 0..100 {
        client.tls().expect("its port has TLS").with(|session| session.refresh_traffic_keys()).expect("TLS 1.3 is spoken");
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(server.stats().requests_delivered, 101);
}

/// RFC 8446 section 4.2.10 lets a client send before the server has spoken, and anybody send it again.
#[test]
fn n19_early_data_is_not_accepted() {
    // A ticket of ours does not allow it, so it is written into the session that the client has kept (SSL_SESSION: [15] max_early_data).
    const FORGE: &str = r#"
import base64, sys
lines = open(sys.argv[1]).read().split("-----")
der = base64.b64decode(lines[2])
def piece(at):
    head, length = 2, der[at + 1]
    if length & 0x80:
        head += length & 0x7f
        length = int.from_bytes(der[at + 2:at + head], "big")
    return head, at + head + length
start, _ = piece(0)
body, at = b"", start
while at < len(der):
    _, end = piece(at)
    if der[at] < 0xb0:
        assert der[at] != 0xaf, "it allows early data"
        body, rest = body + der[at:end], end
    at = end
body += bytes([0xaf, 4, 2, 2, 0x40, 0]) + der[rest:]
der = b"\x30\x82" + len(body).to_bytes(2, "big") + body
open(sys.argv[1], "w").write("-----BEGIN SSL SESSION PARAMETERS-----\n" + base64.encodebytes(der).decode() + "-----END SSL SESSION PARAMETERS-----\n")
"#;
    let (server, folder) = (serve(&[]), Folder::new("early"));
    let (session, early) = (folder.path("session"), folder.put("early", "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
    let to = format!("127.0.0.1:{}", server.port());
    let ask = |more: &[&str], input: &[u8]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-ign_eof", "-nocommands", "-tls1_3", "-connect", &to, "-servername", "localhost"]).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl is installed");
        child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
        String::from_utf8_lossy(&child.wait_with_output().expect("it ends").stdout).into_owned()
    };
    let text = ask(&["-sess_out", &session], GET);
    assert!(text.contains("https 304 [localhost] [] 0 0 0"), "{text}");
    let forged = Command::new("python3").args(["-c", FORGE, &session]).status().expect("python3 is installed");
    assert!(forged.success());
    let text = ask(&["-sess_in", &session, "-early_data", &early], GET);
    assert!(text.contains("Early data was rejected"), "{text}");
    // It resumes all the same, and what was sent early is thrown away.
    assert!(text.contains("https 304 [localhost] [] 1 0 0"), "{text}");
    assert_eq!(server.stats().requests_delivered, 2);
}

#[test]
fn n19_renegotiation_is_refused() {
    let server = serve(&[]);
    let to = format!("127.0.0.1:{}", server.port());
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-connect", &to]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    let mut input = child.stdin.take().expect("it is piped");
    assert!(eventually(|| server.stats().handshakes == 1));
    // A line that begins so has it begin a handshake within the session.
    input.write_all(b"R\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends by itself");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("RENEGOTIATING"), "{text}");
    drop(input);
    assert_eq!((server.stats().handshakes, server.stats().requests_delivered), (1, 0));
    assert!(eventually(|| server.stats().connections_open == 0));
}

/// The message announces this size, comes in records of so many octets, and so many of them are enough to have it refused.
#[test]
fn n19_a_hello_that_is_too_large_is_refused() {
    let server = serve(&[]);
    // In records of one octet headers are five times as much. The last announces more than a handshake message may have.
    for (size, fragment, records) in [(0xfff0u32, 1, 17_000), (0xfff0, 16_384, 4), (0xff_ffff, 16_384, 1)] {
        let mut stream = raw(&server);
        let mut message = vec![1];
        message.extend(&size.to_be_bytes()[1..]);
        message.resize(size.min(0x2_0000) as usize + 4, 0);
        let mut octets = Vec::new();
        for piece in message.chunks(fragment).take(records) {
            octets.extend([22, 3, 1]);
            octets.extend((piece.len() as u16).to_be_bytes());
            octets.extend(piece);
        }
        stream.write_all(&octets).expect("the server reads");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert_eq!(heard.first(), Some(&21), "an alert, after {} octets", octets.len());
    }
    assert!(
        eventually(|| server.stats().handshake_failures == 3 && server.stats().connections_open == 0),
        "{}",
        server.stats().handshake_failures
    );
    assert_eq!(server.stats().memory_bytes, 0);
    // One that is in small pieces and not large is served: ours, an octet a record.
    let mut stream = raw(&server);
    for octet in &hello()[5..] {
        stream.write_all(&[22, 3, 1, 0, 1, *octet]).expect("the server reads");
    }
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).expect("a ServerHello");
    assert_eq!((answer[0], answer[5]), (22, 2), "{answer:?}");
}

/// What is no whole record yet is memory that a peer has: it counts, and is given back.
#[test]
fn limits_memory_max_counts_parts_of_records() {
    let server = serve(&[]);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
        client.send_raw(&[&b"\x17\x03\x03\x40\x00"[..], &[0; 10_000]].concat());
    }
    // Hellos of which a part has come.
    let mut strangers: Vec<TcpStream> = (0..50).map(|_| raw(&server)).collect();
    strangers.iter_mut().for_each(|stranger| stranger.write_all(&hello()[..500]).expect("the server reads"));
    let wanted = 50 * (10_005 + 500);
    assert!(eventually(|| server.stats().memory_bytes >= wanted), "{} octets are charged of {wanted}", server.stats().memory_bytes);
    drop((clients, strangers));
    assert!(eventually(|| server.stats().memory_bytes == 0), "{} octets are still charged", server.stats().memory_bytes);
}

#[test]
fn n19_garbage_for_a_client_certificate_is_refused() {
    let (signer, pair) = client_pair();
    let folder = Folder::new("garbage");
    let signer: &'static str = Box::leak(folder.put("signer.pem", signer).into_boxed_str());
    let server = serve(&[("tls.client_ca", signer), ("tls.client_auth", "required")]);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = pair.der.to_vec();
        change(&mut octets);
        vec![CertificateDer::from(octets)]
    };
    let chains = [
        vec![CertificateDer::from(vec![])],
        vec![CertificateDer::from(vec![b'x'; 10_000])],
        changed(&|octets| octets.truncate(octets.len() / 2)),
        changed(&|octets| octets.extend([0; 10])),
        // Its signature, and the key that it is for.
        changed(&|octets| *octets.last_mut().expect("it is not empty") ^= 1),
        changed(&|octets| (100..200).for_each(|at| octets[at] ^= 0x55)),
        vec![pair.der.clone(); 40],
    ];
    let count = chains.len() as u64;
    for (index, chain) in chains.into_iter().enumerate() {
        #[derive(Debug)]
        struct Shown(Arc<rustls::sign::CertifiedKey>);
        impl rustls::client::ResolvesClientCert for Shown {
            fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
                Some(Arc::clone(&self.0))
            }
            fn has_certs(&self) -> bool {
                true
            }
        }
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        let mut config = secured::config();
        config.client_auth_cert_resolver = Arc::new(Shown(Arc::new(rustls::sign::CertifiedKey::new(chain, key))));
        let mut stream = raw(&server);
        let asked = Secured::connect_with(&stream, Arc::new(config), "localhost").and_then(|tls| {
            tls.write_all(&mut stream, GET)?;
            tls.read(&mut stream, &mut [0; 100])
        });
        // A chain that repeats itself begins with a good certificate: it may be taken, or be too much.
        let is_fine = index as u64 + 1 == count;
        match asked {
            Ok(_) => assert!(is_fine, "chain {index} was taken"),
            Err(error) => assert!(
                error.to_string().contains("alert") || error.kind() == std::io::ErrorKind::ConnectionReset,
                "chain {index}: {error}"
            ),
        }
    }
    assert!(eventually(|| server.stats().handshake_failures >= count - 1));
    assert!(server.stats().requests_delivered <= 1);
    assert!(eventually(|| server.stats().connections_open == 0));
}
