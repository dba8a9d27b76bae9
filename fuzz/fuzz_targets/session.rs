//! Any octets for a session of TLS, as a hello or in the place of a real client's records: nothing opens but what that client sealed.
#![no_main]

use ingest::decrypt::keys::{ClientAuth, Material, Named};
use ingest::decrypt::tickets::Tickets;
use ingest::decrypt::{Keys, Opened, Secure, Session};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::Write;
use std::sync::{Arc, LazyLock};

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";

static MADE: LazyLock<(Keys, Arc<ClientConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let pem = |text: String| Named { name: "made".to_owned(), octets: text.into_bytes() };
    let keys = Keys::new(Material {
        pairs: vec![(pem(made.cert.pem()), pem(made.signing_key.serialize_pem()))],
        staples: Vec::new(),
        client_ca: None,
        client_auth: ClientAuth::None,
        only_13: false,
        alpn: vec![b"http/1.1".to_vec()],
        tickets: Some((1, Tickets::of_our_own().expect("keys"))),
        keylog: None,
        handshake_timeout_ms: 10_000,
        now_s: 1_800_000_000,
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    (keys.expect("they match"), Arc::new(client))
});

fn begin() -> Box<Secure> {
    match MADE.0.session(1) {
        Some(Session::Tls(secure)) => secure,
        _ => panic!("a session begins"),
    }
}

fn sealed(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).expect("memory takes all");
    }
    out
}

/// A session whose handshake is done, and the records of a request.
fn established() -> (Box<Secure>, Vec<u8>) {
    let mut server = begin();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&MADE.1), name).expect("a session");
    while client.is_handshaking() || client.wants_write() {
        let (mut octets, mut plain, mut out) = (sealed(&mut client), Vec::new(), Vec::new());
        assert_eq!(server.open(&mut octets, &mut plain, 2), Opened::Going);
        server.take_pending(&mut out);
        client.read_tls(&mut &out[..]).expect("memory");
        client.process_new_packets().expect("a good handshake");
    }
    assert!(server.is_established());
    client.writer().write_all(REQUEST).expect("room");
    (server, sealed(&mut client))
}

/// Feeds the octets in pieces; what opens is at most what the client sealed.
fn feed(mut server: Box<Secure>, octets: &mut [u8], size: usize, sent: &[u8]) {
    let mut plain = Vec::new();
    for piece in octets.chunks_mut(size) {
        let opened = server.open(piece, &mut plain, 3);
        assert!(sent.starts_with(&plain), "it opened what nobody sealed");
        match opened {
            Opened::Going => {}
            Opened::Finished | Opened::PlainHttp => return,
            Opened::Failed => {
                let mut out = Vec::new();
                server.take_pending(&mut out);
                assert!(!server.seal(b"more", &mut out), "nothing is sealed after a failure");
                return;
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [mode, size, octets @ ..] = data else { return };
    let size = usize::from(*size) + 1;
    if mode % 2 == 0 {
        return feed(begin(), &mut octets.to_vec(), size, b"");
    }
    // Octets that are laid over a real client's records from some place on, or put in front of them.
    let (server, mut records) = established();
    let at = usize::from(*mode) / 2;
    if at % 2 == 0 {
        for (octet, change) in records.iter_mut().skip(at).zip(octets) {
            *octet ^= change;
        }
    } else {
        records.splice(..0, octets.iter().copied());
    }
    feed(server, &mut records, size, REQUEST);
});
