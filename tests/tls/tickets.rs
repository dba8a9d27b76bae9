//! Tickets of a fleet: a session that began in one process goes on in another that has the same keys, and nowhere else.

use crate::keys::{ask, signed};
use crate::reload::reload;
use crate::support::guest_process::Guest;
use crate::support::host::{Delivery, Options, Server, abi, set_up};
use crate::support::secured::{self, Pair};
use crate::{Folder, clients, telling};
use ingest::status::*;
use std::ffi::CString;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;

const KEY_BYTES: usize = 64;

/// A key that is as good as random for a test.
fn key(number: u8) -> Vec<u8> {
    (0..KEY_BYTES as u8).map(|octet| octet.wrapping_mul(37) ^ number).collect()
}

fn serve(folder: &Folder, pair: &Pair, more: &[(&str, &str)]) -> Server {
    let (cert, key) = (folder.put("cert.pem", &pair.cert), folder.put("key.pem", &pair.key));
    let options = [&[("tls.cert", cert.as_str()), ("tls.key", key.as_str())], more].concat();
    Server::serve(&options, Delivery::Inline, telling())
}

/// What a server in a process of its own is told: the folder with its certificate, and its file of keys.
const ROLE: &str = "INGEST_TICKETS_SERVER";

/// A server in another process, with this file of keys; it ends with what is returned.
fn elsewhere(test: &str, folder: &Folder, keys: &str) -> (Guest, u16) {
    let program = std::env::current_exe().expect("a test program knows where it lies");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, format!("{},{keys}", folder.path("")));
    let guest = Guest::spawn_with_input(&mut command, Stdio::piped());
    guest.wait_for("port ");
    let port = guest.port(0);
    (guest, port)
}

/// In the other process: serves until the one that started it ends. False in the first.
fn serves_elsewhere() -> bool {
    let Ok(told) = std::env::var(ROLE) else { return false };
    let (folder, keys) = told.split_once(',').expect("two parts");
    let (cert, key) = (format!("{folder}/cert.pem"), format!("{folder}/key.pem"));
    let options = [("tls.cert", cert.as_str()), ("tls.key", key.as_str()), ("tls.ticket_keys", keys)];
    let server = Server::serve(&options, Delivery::Inline, telling());
    println!("\nport {}", server.port());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
    true
}

/// Three processes: one with an old key, one that has a new key before it, one with another.
struct Fleet {
    guests: [(Guest, u16); 3],
    folder: Folder,
    ca: String,
}

impl Fleet {
    fn start(test: &str) -> Fleet {
        let folder = Folder::new(test.rsplit(':').next().expect("a name"));
        let pair = secured::pair();
        let ca = folder.put("cert.pem", &pair.cert);
        folder.put("key.pem", &pair.key);
        let files = [folder.put("old", key(1)), folder.put("rotated", [key(2), key(1)].concat()), folder.put("other", key(3))];
        Fleet { guests: files.map(|file| elsewhere(test, &folder, &file)), folder, ca }
    }

    fn ports(&self) -> [u16; 3] {
        [0, 1, 2].map(|index| self.guests[index].1)
    }
}

/// Asks with s_client, which takes a session from a file and puts another into one: whether the server has resumed it.
fn s_client(port: u16, version: &str, ca: &str, files: &[&str]) -> bool {
    let to = format!("127.0.0.1:{port}");
    let mut arguments = vec!["s_client", "-quiet", "-connect", &to, "-servername", "localhost", "-CAfile", ca, "-verify_return_error"];
    arguments.push(version);
    arguments.extend_from_slice(files);
    let clients::Said { text, .. } =
        clients::run("openssl", &arguments, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "openssl");
    let resumed = [0, 1].map(|flags| text.contains(&format!("[localhost] [] {flags} 0 0")));
    assert!(resumed[0] != resumed[1], "{version} at {port}: {text}");
    resumed[1]
}

/// Changes one octet of the ticket in a session file: its key, salt and tag stay what they are.
fn corrupt(folder: &Folder, session: &str) -> String {
    let (der, bad, pem) = (folder.path("session.der"), folder.path("bad.der"), folder.path("bad.pem"));
    let convert = |arguments: &[&str]| assert!(clients::run("openssl", arguments, b"", "openssl").ok, "{arguments:?}");
    convert(&["sess_id", "-in", session, "-outform", "DER", "-out", &der]);
    let mut octets = std::fs::read(&der).expect("it was written");
    // SSL_SESSION_ASN1: the ticket is an octet string within the context tag 10, and longer than 127 octets.
    let found = octets.windows(6).position(|at| at[0] == 0xaa && at[1] == 0x81 && at[3] == 0x04 && at[4] == 0x81).expect("a ticket");
    octets[found + 6 + 60] ^= 1;
    std::fs::write(&bad, octets).expect("the folder can be written");
    convert(&["sess_id", "-inform", "DER", "-in", &bad, "-out", &pem]);
    pem
}

#[test]
fn openssl_resumes_in_another_process() {
    if serves_elsewhere() {
        return;
    }
    let fleet = Fleet::start("tickets::openssl_resumes_in_another_process");
    let [old, rotated, other] = fleet.ports();
    for version in ["-tls1_3", "-tls1_2"] {
        let (first, second) = (fleet.folder.path(&format!("first{version}")), fleet.folder.path(&format!("second{version}")));
        assert!(!s_client(old, version, &fleet.ca, &["-sess_out", &first]));
        assert!(s_client(old, version, &fleet.ca, &["-sess_in", &first]), "{version}: the same process");
        assert!(s_client(rotated, version, &fleet.ca, &["-sess_in", &first]), "{version}: the key has become the second");
        // A key that is gone means a full handshake, and so does a ticket that nobody made.
        assert!(!s_client(other, version, &fleet.ca, &["-sess_in", &first]), "{version}: a key that is not there");
        assert!(!s_client(old, version, &fleet.ca, &["-sess_in", &corrupt(&fleet.folder, &first)]), "{version}: a changed ticket");
        // The first key of the file makes tickets: the other process has not got it.
        assert!(!s_client(rotated, version, &fleet.ca, &["-sess_out", &second]));
        assert!(s_client(rotated, version, &fleet.ca, &["-sess_in", &second]));
        assert!(!s_client(old, version, &fleet.ca, &["-sess_in", &second]), "{version}: a key that is not there yet");
    }
}

#[test]
fn python_resumes_in_another_process() {
    const PROGRAM: &str = r#"
import socket, ssl, sys
ports, ca = [int(port) for port in sys.argv[1:4]], sys.argv[4]
def ask(context, port, session):
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := tls.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return tls.session_reused, tls.session
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    resumed, session = ask(context, ports[0], None)
    assert not resumed
    print([ask(context, port, session)[0] for port in ports])
"#;
    if serves_elsewhere() {
        return;
    }
    let fleet = Fleet::start("tickets::python_resumes_in_another_process");
    let ports = fleet.ports().map(|port| port.to_string());
    let clients::Said { ok, text, .. } =
        clients::run("python3", &["-c", PROGRAM, &ports[0], &ports[1], &ports[2], &fleet.ca], b"", "python3");
    assert!(ok && text.trim_end() == "[True, True, False]\n[True, True, False]", "{text}");
}

#[test]
fn keys_are_read_again_and_a_bad_file_changes_nothing() {
    let folder = Folder::new("ticket-keys");
    let keys = folder.put("keys", key(1));
    let server = serve(&folder, secured::pair(), &[("tls.ticket_keys", &keys)]);
    let client = Arc::new(secured::config());
    let resumed = || ask(server.port(), &client, "localhost").expect("an answer").0 == "https 304 [localhost] [] 1 0 0";
    assert!(!resumed() && resumed());
    folder.put("keys", [key(2), key(1)].concat());
    assert_eq!(reload(server.host).expect("two keys"), INGEST_OK);
    // This one brings a ticket of the new key.
    assert!(resumed());
    for (octets, part) in [(vec![], "has 0 octets"), (vec![1; 63], "has 63 octets"), (vec![1; 65 * 64], "has 65 keys")] {
        folder.put("keys", octets);
        let refused = reload(server.host).expect_err(part);
        assert!(refused.status == INGEST_E_TLS && refused.text.contains(part), "{}", refused.text);
        let listening =
            Server::unstarted(&[("tls.cert", &secured::pair().cert), ("tls.key", &secured::pair().key), ("tls.ticket_keys", &keys)]);
        let refused = crate::support::host::listen(listening.host, "https://127.0.0.1:0").expect_err(part);
        assert!(refused.status == INGEST_E_TLS && refused.text.contains(part), "{}", refused.text);
        assert!(resumed(), "{part}: the keys from before are still there");
    }
    folder.put("keys", key(2));
    reload(server.host).expect("one key");
    assert!(resumed(), "the old key has gone, but the new one has made the ticket");
    folder.put("keys", key(3));
    reload(server.host).expect("one key");
    assert!(!resumed() && resumed(), "a key that is gone costs a full handshake");
}

#[test]
fn no_tickets_are_made_with_none_asked_for() {
    let folder = Folder::new("no-tickets");
    let keys = folder.put("keys", key(1));
    let server = serve(&folder, secured::pair(), &[("tls.ticket_keys", &keys), ("tls.tickets", "0")]);
    let ca = folder.put("ca.pem", &secured::pair().cert);
    for version in ["-tls1_3", "-tls1_2"] {
        let file = folder.path(&format!("session{version}"));
        assert!(!s_client(server.port(), version, &ca, &["-sess_out", &file]));
        assert!(!std::path::Path::new(&file).exists() || !s_client(server.port(), version, &ca, &["-sess_in", &file]), "{version}");
    }
}

/// Listens with what the options say, on a server that is not started yet.
fn listen_with(server: &Server, options: &[(&str, &str)]) -> u16 {
    let (options, address) = (Options::new(options), CString::new("https://127.0.0.1:0").expect("no NUL"));
    // SAFETY: all pointers are good for the call.
    let listener = set_up(|error| unsafe { abi::ingest_server_listen(server.host.0, address.as_ptr(), options.0, error) });
    // SAFETY: the server lives.
    let port = unsafe { abi::ingest_server_port(server.host.0, listener.expect("it listens")) };
    u16::try_from(port).expect("a port")
}

#[test]
fn n19_a_ticket_from_an_open_door_does_not_open_the_one_that_asks_for_certificates() {
    let folder = Folder::new("two-doors");
    let keys = folder.put("keys", key(1));
    let (signer, with, _) = signed();
    let signer = folder.put("signer.pem", signer);
    let pair = secured::pair();
    let mut server =
        Server::unstarted(&[("delivery", "inline"), ("tls.cert", &pair.cert), ("tls.key", &pair.key), ("tls.ticket_keys", &keys)]);
    server.call_back(telling());
    let open = listen_with(&server, &[]);
    let optional = listen_with(&server, &[("tls.client_ca", &signer), ("tls.client_auth", "optional")]);
    let required = listen_with(&server, &[("tls.client_ca", &signer), ("tls.client_auth", "required")]);
    server.start().expect("the server starts");
    let without = Arc::new(secured::config());
    for door in [open, optional] {
        assert!(ask(door, &without, "localhost").is_ok());
        let error = ask(required, &without, "localhost").expect_err("it has a ticket, and no certificate");
        assert!(error.to_string().contains("alert"), "{error}");
    }
    // Who has shown one resumes where that was asked for.
    let with = Arc::new(with);
    for flags in [0, 1] {
        let (text, _) = ask(required, &with, "localhost").expect("an answer");
        assert!(text.starts_with(&format!("https 304 [localhost] [] {flags} ")), "{text}");
    }
}

#[test]
fn a_client_whose_signer_is_trusted_no_more_cannot_resume() {
    for shared in [false, true] {
        let folder = Folder::new(if shared { "signers-shared" } else { "signers" });
        let ((old, with_old, _), (new, with_new, _)) = (signed(), signed());
        let signer = folder.put("signer.pem", &old);
        let keys = folder.put("keys", key(1));
        let mut options = vec![("tls.client_ca", signer.as_str()), ("tls.client_auth", "required")];
        if shared {
            options.push(("tls.ticket_keys", &keys));
        }
        let server = serve(&folder, secured::pair(), &options);
        let (with_old, with_new) = (Arc::new(with_old), Arc::new(with_new));
        for flags in [0, 1] {
            let (text, _) = ask(server.port(), &with_old, "localhost").expect("an answer");
            assert!(text.starts_with(&format!("https 304 [localhost] [] {flags} ")), "{text}");
        }
        folder.put("signer.pem", &new);
        reload(server.host).expect("another signer");
        let error = ask(server.port(), &with_old, "localhost").expect_err("nobody trusts its signer any more");
        assert!(error.to_string().contains("alert"), "{error}");
        assert!(ask(server.port(), &with_new, "localhost").is_ok());
    }
}
