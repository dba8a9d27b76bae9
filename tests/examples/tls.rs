//! The examples behind TLS: one makes its own certificate, and inspect shows what was negotiated and who the client is.

use crate::example;
use crate::runner::{Server, root};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn tls_makes_a_certificate_and_takes_it_away_again() {
    let server = Server::start(example("tls").args(["--listen", "https://127.0.0.1:0"]), 1);
    let url = format!("{}/plaintext", server.urls[0]);
    let asked = Command::new("curl").args(["-sSk", "--max-time", "20", &url]).output();
    let asked = asked.expect("curl can be run (apt-get install curl)");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "Hello, World!", "{}", String::from_utf8_lossy(&asked.stderr));
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let line = ended.stdout.iter().find(|line| line.starts_with("try: curl --cacert ")).expect("it says how to ask");
    let path = line.split(' ').nth(3).expect("a path");
    assert!(path.ends_with("/cert.pem") && !std::path::Path::new(path).exists(), "{line}");
}

/// A folder with a server's certificate and a client's.
fn certificates() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("inspect_tls");
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    for (name, subject, names) in
        [("server", "/CN=localhost", "DNS:localhost"), ("client", "/O=Bär/CN=client, one", "URI:spiffe://example.test/a,IP:2001:db8::1")]
    {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        let mut make = Command::new("openssl");
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
            "-utf8",
            "-subj",
            subject,
        ]);
        make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", &format!("subjectAltName={names}")]);
        let made = make.arg("-keyout").arg(path("key")).arg("-out").arg(path("pem")).output();
        let made = made.expect("openssl can be run (apt-get install openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    folder
}

/// The object `tls` of inspect's answer to curl.
fn inspected(url: &str, arguments: &[&str]) -> String {
    let asked = Command::new("curl").args(["-sSk", "--http1.1", "--max-time", "20"]).args(arguments).arg(url).output();
    let asked = asked.expect("curl can be run (apt-get install curl)");
    let text = String::from_utf8(asked.stdout).expect("JSON is UTF-8");
    let found = text.split_once("\"tls\":").and_then(|(_, rest)| rest.split_once(",\"journey\""));
    let (tls, _) = found.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&asked.stderr)));
    tls.to_owned()
}

#[test]
fn inspect_shows_what_tls_tells() {
    let folder = certificates();
    let file = |name: &str| folder.join(name).to_str().expect("an ordinary name").to_owned();
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("client.pem"));
    let mut program = example("inspect");
    program.args(["--listen", "https://127.0.0.1:0", "--set", &format!("tls.cert={cert}"), "--set", &format!("tls.key={key}")]);
    program.args(["--set", &format!("tls.client_ca={ca}"), "--set", "tls.client_auth=optional"]);
    let server = Server::start(&mut program, 1);
    let to = server.urls[0].replace("127.0.0.1", "localhost");
    let resolve = format!("localhost:{}:127.0.0.1", server.port());

    let without = inspected(&to, &["--resolve", &resolve, "--tls-max", "1.2"]);
    assert!(without.starts_with(r#"{"version":"TLS 1.2","cipher_suite":"TLS_ECDHE_ECDSA_WITH_"#), "{without}");
    let end = r#","resumed":false,"server_name":"localhost","alpn":"http/1.1","client_certificate":null}"#;
    assert!(without.ends_with(end), "{without}");

    let key = file("client.key");
    let with = inspected(&to, &["--resolve", &resolve, "--cert", &ca, "--key", &key, "--no-alpn"]);
    assert!(with.starts_with(r#"{"version":"TLS 1.3","cipher_suite":"TLS_"#) && !with.contains(r#""group":"0x"#), "{with}");
    for part in [
        r#""alpn":null,"client_certificate":{"subject":"CN=client\\, one,O=Bär","issuer":"CN=client\\, one,O=Bär","serial":""#,
        r#","names":[["URI","spiffe://example.test/a"],["IP Address","2001:db8::1"]],"sha256":""#,
    ] {
        assert!(with.contains(part), "no {part} in {with}");
    }
    let asked = Command::new("openssl").args(["x509", "-in", &ca, "-noout", "-fingerprint", "-sha256"]).output();
    let fingerprint = String::from_utf8(asked.expect("openssl can be run").stdout).expect("text");
    let digits = fingerprint.trim().split_once('=').expect("name=value").1.replace(':', "").to_ascii_lowercase();
    assert!(with.contains(&format!(r#""sha256":"{digits}""#)), "{with}");

    // The README shows the same fields, in the same order.
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README is there");
    let shown = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the README shows what inspect says");
    assert_eq!(fields(shown), fields(&with));
    server.stop_cleanly(std::time::Duration::from_secs(10));
}

/// The names of the fields of an object, those inside it included.
fn fields(json: &str) -> Vec<&str> {
    let pieces: Vec<&str> = json.split('"').collect();
    pieces.windows(2).enumerate().filter(|(at, pair)| at % 2 == 1 && pair[1].starts_with(':')).map(|(_, pair)| pair[0]).collect()
}
