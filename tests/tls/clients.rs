//! Real clients: curl, OpenSSL's s_client, Python and Node, each against certificates made for the test.
//!
//! Each does the same with both versions and two names that have certificates of their own: shows its own certificate, asks on a connection and
//! posts a mebibyte on it, which comes back, then does so again in a session that it resumes.

use crate::support::host::{Delivery, Server, on_requests};
use crate::support::request_view::octets;
use crate::support::secured::{self, certify};
use crate::{Facts, Folder, keys, serve};
use ingest::request::INGEST_TLS_RESUMED;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a program that has ended has said.
pub struct Said {
    pub ok: bool,
    pub out: Vec<u8>,
    pub text: String,
}

/// Runs a program to its end with this input; a tool that is missing fails the test.
pub fn run(program: &str, arguments: &[&str], input: &[u8], package: &str) -> Said {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error} (apt-get install {package})"));
    let (mut stdin, input) = (child.stdin.take().expect("it is piped"), input.to_vec());
    // Answers come while the input goes; a program that reads nothing closes its end early.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it writes what is taken");
    let text = [&output.stdout[..], b"\n", &output.stderr].concat();
    Said { ok: output.status.success(), out: output.stdout, text: String::from_utf8_lossy(&text).into_owned() }
}

const NAMES: [&str; 2] = ["localhost", "second.test"];

/// A server with two names that asks for certificates, and the files that a client needs.
struct Bench {
    server: Server,
    folder: Folder,
    /// Whom to trust, the client's certificate and key, and a body.
    ca: String,
    cert: String,
    key: String,
    body: String,
    octets: Vec<u8>,
    /// Of the client's certificate.
    length: usize,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = Folder::new(name);
        let second = certify(&[NAMES[1]]);
        let (signer, client) = keys::client_pair();
        let mebibyte: Vec<u8> = (0..1u32 << 20).map(|at| (at * 7 + at / 251) as u8).collect();
        let put = |name: &str, text: &[u8]| folder.put(name, text);
        let (ca, cert) =
            (put("ca.pem", [&secured::pair().cert[..], &second.cert].concat().as_bytes()), put("cert.pem", client.cert.as_bytes()));
        let (key, body, signer) = (put("key.pem", client.key.as_bytes()), put("body", &mebibyte), put("signer.pem", signer.as_bytes()));
        let (chains, private) = (format!("{},{}", secured::pair().cert, second.cert), format!("{},{}", secured::pair().key, second.key));
        // A body comes back as it is; without one the answer says what was agreed on.
        let handler = on_requests(|host, request| {
            if request.method() == b"POST" {
                host.bytes(request.0.token, 200, "application/octet-stream", request.body());
                return;
            }
            // SAFETY: NULL, or a struct that lives as long as the request, which is held.
            let facts = unsafe { request.0.tls.as_ref() }.map(Facts::of).unwrap_or_default();
            let (name, alpn) = (facts.server_name.unwrap_or_default(), facts.alpn.unwrap_or_default());
            let scheme = String::from_utf8_lossy(octets(&request.0.scheme)).into_owned();
            let resumed = facts.flags & INGEST_TLS_RESUMED;
            let text = format!("{scheme} {:x} [{name}] [{alpn}] {resumed} {}", facts.version, facts.certificate.len());
            host.text(request.0.token, text.as_bytes());
        });
        let options = [("tls.cert", chains.as_str()), ("tls.key", &private), ("tls.client_ca", &signer), ("tls.client_auth", "required")];
        let server = Server::serve(&options, Delivery::Inline, handler);
        Bench { server, ca, cert, key, body, octets: mebibyte, length: client.der.len(), folder }
    }

    fn port(&self) -> String {
        self.server.port().to_string()
    }

    /// What is said in the first session and in the one that is resumed.
    fn lines(&self, version: u16, name: &str) -> [String; 2] {
        [0, 1].map(|resumed| format!("https {version:x} [{name}] [http/1.1] {resumed} {}", self.length))
    }

    /// All that is said, for clients that do everything in one process.
    fn all_lines(&self) -> Vec<String> {
        let pairs = [0x303, 0x304].into_iter().flat_map(|version| NAMES.map(|name| self.lines(version, name)));
        pairs.flatten().collect()
    }

    /// So many connections were enough for everything.
    fn ends(self, connections: u64) {
        let stats = self.server.stats();
        assert_eq!((stats.handshakes, stats.handshake_failures), (connections, 0));
        self.server.finish();
    }
}

#[test]
fn curl_is_served() {
    let bench = Bench::new("curl");
    for (limit, version) in [("1.2", 0x303), ("1.3", 0x304)] {
        for name in NAMES {
            let (url, to) = (format!("https://{name}:{}/a", bench.port()), format!("{name}:{}:127.0.0.1", bench.port()));
            let (upload, back) = (format!("@{}", bench.body), bench.folder.path("back"));
            let minimum = format!("--tlsv{limit}");
            let common = ["-sS", "--max-time", "20", "--http1.1", "--cacert", &bench.ca, "--cert", &bench.cert, "--key", &bench.key];
            let version_of = ["--resolve", &to, &minimum, "--tls-max", limit, "-w", " %{num_connects}\n"];
            let mut arguments = Vec::new();
            // Without a type curl says that it is a form, which would be split into its fields.
            let post = ["--data-binary", &upload, "-H", "Content-Type: application/octet-stream", "-H", "Connection: close", "-o", &back];
            for _ in 0..2 {
                // The connection is used again, and then it is over.
                for last in [&["-o", "-"][..], &post] {
                    arguments.extend(if arguments.is_empty() { &[][..] } else { &["--next"] });
                    arguments.extend([&common[..], &version_of, last, &[&url]].concat());
                }
            }
            let said = run("curl", &arguments, b"", "curl");
            let [first, second] = bench.lines(version, name);
            let told = |second: &str| said.text.trim() == format!("{first} 1\n 0\n{second} 1\n 0");
            // Some versions of curl ask for no ticket with TLS 1.2, and nothing else is kept for sessions.
            assert!(said.ok && (told(&second) || (version == 0x303 && told(&first))), "{}", said.text);
            assert!(std::fs::read(&back).expect("it was written") == bench.octets, "another body came back");
        }
    }
    bench.ends(8);
}

#[test]
fn curl_trusts_nobody_else() {
    let server = serve(&[]);
    let (url, to) = (format!("https://localhost:{}/a", server.port()), format!("localhost:{}:127.0.0.1", server.port()));
    // An alert comes from its side, and is counted.
    let said = run("curl", &["-sS", "--max-time", "20", "--resolve", &to, &url], b"", "curl");
    assert!(!said.ok && said.text.contains("certificate"), "{}", said.text);
    assert!(crate::support::eventually(|| server.stats().handshake_failures > 0));
    assert_eq!(server.stats().handshakes, 0);
}

#[test]
fn openssl_is_served() {
    let bench = Bench::new("openssl");
    let to = format!("127.0.0.1:{}", bench.port());
    for (option, version) in [("-tls1_2", 0x303), ("-tls1_3", 0x304)] {
        for name in NAMES {
            let session = bench.folder.path("session");
            for (how, line) in ["-sess_out", "-sess_in"].into_iter().zip(bench.lines(version, name)) {
                let mut input = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
                input.extend(format!("Content-Length: {}\r\n\r\n", bench.octets.len()).bytes());
                input.extend(&bench.octets);
                let said = run(
                    "openssl",
                    &[
                        &[
                            "s_client",
                            "-quiet",
                            "-nocommands",
                            "-connect",
                            &to,
                            "-servername",
                            name,
                            "-verify_hostname",
                            name,
                            "-alpn",
                            "http/1.1",
                        ][..],
                        &["-CAfile", &bench.ca, "-verify_return_error", "-cert", &bench.cert, "-key", &bench.key, option, how, &session],
                    ]
                    .concat(),
                    &input,
                    "openssl",
                );
                let shown = String::from_utf8_lossy(&said.out);
                assert!(
                    shown.contains(&format!("\r\n\r\n{line}HTTP/1.1 200 ")),
                    "{how} {line}: {}",
                    said.text.chars().take(2_000).collect::<String>()
                );
                assert!(said.out.ends_with(&bench.octets), "another body came back");
            }
        }
    }
    bench.ends(8);
}

#[test]
fn openssl_may_not_speak_what_is_old() {
    let server = serve(&[]);
    let to = format!("127.0.0.1:{}", server.port());
    for old in ["-tls1", "-tls1_1"] {
        let said = run("openssl", &["s_client", "-connect", &to, "-cipher", "ALL:@SECLEVEL=0", old], b"", "openssl");
        assert!(!said.ok && said.text.contains("SSL alert number"), "{old}: {}", said.text);
    }
}

#[test]
fn python_is_served_and_hears_close_notify() {
    const PROGRAM: &str = r#"
import http.client, socket, ssl, sys
port, ca, cert, key, body = sys.argv[1:]
body = open(body, "rb").read()
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    for name in ("localhost", "second.test"):
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(cert, key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        session = None
        for resumed in (False, True):
            raw = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
            tls = context.wrap_socket(raw, server_hostname=name, session=session, suppress_ragged_eofs=False)
            assert tls.session_reused == resumed
            connection = http.client.HTTPConnection("x")
            connection.sock = tls
            connection.request("GET", "/")
            print(connection.getresponse().read().decode())
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
            session = tls.session
            tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            # The end is said with close_notify: without it this would raise.
            while tls.recv(65536):
                pass
            tls.unwrap()
"#;
    let bench = Bench::new("python");
    let said = run("python3", &["-c", PROGRAM, &bench.port(), &bench.ca, &bench.cert, &bench.key, &bench.body], b"", "python3");
    assert!(said.ok, "{}", said.text);
    assert_eq!(said.text.trim().lines().collect::<Vec<_>>(), bench.all_lines());
    bench.ends(8);
}

#[test]
fn node_is_served() {
    const PROGRAM: &str = r#"
const https = require("https"), fs = require("fs");
const [port, ca, cert, key, body] = process.argv.slice(1);
const read = (name) => fs.readFileSync(name), octets = read(body);
const files = { ca: read(ca), cert: read(cert), key: read(key) };
function ask(options, method, sent) {
  return new Promise((done, failed) => {
    const request = https.request({ ...options, method }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece)).on("end", () => done(Buffer.concat(pieces))).on("error", failed);
    });
    request.on("socket", (socket) => socket.on("session", (session) => options.sessions.push(session)));
    request.on("error", failed).end(sent);
  });
}
(async () => {
  for (const version of ["TLSv1.2", "TLSv1.3"])
    for (const servername of ["localhost", "second.test"]) {
      const sessions = [];
      for (const resumed of [false, true]) {
        const agent = new https.Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
        const options = { ...files, port, host: "127.0.0.1", servername, agent, sessions, ALPNProtocols: ["http/1.1"], minVersion: version, maxVersion: version };
        if (resumed) options.session = sessions[sessions.length - 1];
        console.log((await ask(options, "GET")).toString());
        if (!(await ask(options, "POST", octets)).equals(octets)) throw new Error("another body came back");
        agent.destroy();
      }
    }
})().catch((error) => { console.log(String(error)); process.exit(1); });
"#;
    let bench = Bench::new("node");
    let said = run("node", &["-e", PROGRAM, &bench.port(), &bench.ca, &bench.cert, &bench.key, &bench.body], b"", "nodejs");
    assert!(said.ok, "{}", said.text);
    assert_eq!(said.text.trim().lines().collect::<Vec<_>>(), bench.all_lines());
    bench.ends(8);
}
