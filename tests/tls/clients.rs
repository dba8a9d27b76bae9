//! Real clients: curl, OpenSSL's s_client, Python and Node, each against a certificate made for the test.

use crate::support::secured;
use crate::{Folder, serve};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a program to its end with this input; a tool that is missing fails the test.
pub fn run(program: &str, arguments: &[&str], input: &[u8], package: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error} (apt-get install {package})"));
    // A program that reads nothing closes its end early.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn curl_is_served() {
    let (server, folder) = (serve(&[]), Folder::new("curl"));
    let ca = folder.put("ca.pem", &secured::pair().cert);
    let body = folder.put("body", vec![b'x'; 1 << 20]);
    let (url, upload) = (format!("https://localhost:{}/a", server.port()), format!("@{body}"));
    let to = format!("localhost:{}:127.0.0.1", server.port());
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
        let mut arguments = vec!["-sS", "--max-time", "20", "--http1.1", "--cacert", &ca, "--resolve", &to];
        arguments.extend_from_slice(version);
        arguments.extend(["--data-binary", &upload, &url, &url]);
        let (ok, text) = run("curl", &arguments, b"", "curl");
        let number = if version.len() == 1 { "304" } else { "303" };
        let expected = format!("https {number} [localhost] [http/1.1] 0 0 1048576");
        assert!(ok && text == expected.repeat(2), "{version:?}: {text}");
    }
    // A certificate that it does not trust ends the handshake on its side: an alert comes, and is counted.
    let (ok, text) = run("curl", &["-sS", "--max-time", "20", "--resolve", &to, &url], b"", "curl");
    assert!(!ok && text.contains("certificate"), "{text}");
    assert!(crate::support::eventually(|| server.stats().handshake_failures > 0));
    assert_eq!(server.stats().handshakes, 2);
}

#[test]
fn openssl_is_served_and_verifies() {
    let (server, folder) = (serve(&[]), Folder::new("openssl"));
    let ca = folder.put("ca.pem", &secured::pair().cert);
    let to = format!("127.0.0.1:{}", server.port());
    for (version, shown) in [("-tls1_3", "304"), ("-tls1_2", "303")] {
        let arguments =
            ["s_client", "-quiet", "-connect", &to, "-servername", "localhost", "-CAfile", &ca, "-verify_return_error", version];
        let (_, text) = run("openssl", &arguments, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "openssl");
        assert!(text.contains(&format!("https {shown} [localhost] [] 0 0 0")), "{version}: {text}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let (ok, text) = run("openssl", &["s_client", "-connect", &to, "-cipher", "ALL:@SECLEVEL=0", old], b"", "openssl");
        assert!(!ok, "{old}: {text}");
    }
}

#[test]
fn python_is_served_and_hears_close_notify() {
    const PROGRAM: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(["h2", "http/1.1"])
raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
    assert tls.selected_alpn_protocol() == "http/1.1"
    body = b"x" * 300000
    tls.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = b""
    while True:
        piece = tls.recv(65536)
        if not piece:
            break
        answer += piece
    assert answer.endswith(b"[localhost] [http/1.1] 0 0 300000"), answer
    tls.unwrap()
print("fine")
"#;
    let (server, folder) = (serve(&[]), Folder::new("python"));
    let ca = folder.put("ca.pem", &secured::pair().cert);
    let (ok, text) = run("python3", &["-c", PROGRAM, &server.port().to_string(), &ca], b"", "python3");
    assert!(ok && text.trim() == "fine", "{text}");
}

#[test]
fn node_is_served() {
    const PROGRAM: &str = r#"
const https = require("https"), fs = require("fs");
const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
const options = { port: Number(process.argv[1]), host: "127.0.0.1", servername: "localhost", ca: fs.readFileSync(process.argv[2]), agent };
let left = 3;
function next() {
  https.get(options, (answer) => {
    let text = "";
    answer.on("data", (piece) => text += piece);
    answer.on("end", () => { console.log(text); if (--left) next(); else agent.destroy(); });
  }).on("error", (error) => { console.log(String(error)); process.exit(1); });
}
next();
"#;
    let (server, folder) = (serve(&[]), Folder::new("node"));
    let ca = folder.put("ca.pem", &secured::pair().cert);
    let (ok, text) = run("node", &["-e", PROGRAM, &server.port().to_string(), &ca], b"", "nodejs");
    let lines: Vec<&str> = text.lines().collect();
    assert!(ok && lines.len() == 3 && lines.iter().all(|line| line.starts_with("https 304 [localhost]")), "{text}");
    assert_eq!(server.stats().handshakes, 1, "one connection is enough");
}
