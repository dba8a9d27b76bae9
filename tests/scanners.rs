//! What those find who look for weak TLS: sslyze with Mozilla's profiles, and testssl.sh. `tests/run tls` installs both and runs this.

mod support;

#[path = "scanners/certificates.rs"]
mod certificates;
#[path = "scanners/tools.rs"]
mod tools;

use certificates::Authority;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::host::{Delivery, Server, on_requests};
use tools::{Folder, sslyze, testssl};

/// Answers in plain text without any coding, since BREACH is about answers that are compressed.
fn serve(options: &[(&'static str, &str)]) -> Server {
    let handler = on_requests(|host, request| {
        host.text(request.0.token, b"hello\n");
    });
    Server::serve(options, Delivery::Inline, handler)
}

#[test]
fn mozillas_intermediate_profile_is_kept_with_defaults() {
    let (authority, folder) = (Authority::new(), Folder::new("intermediate"));
    let ca = folder.put("ca.pem", &authority.pem());
    // A pair of each kind of key, chosen by what the client can verify: all suites of TLS 1.2 are offered.
    let (one, other) = (authority.certify_p256(), authority.certify_rsa());
    let (chains, keys) = (format!("{},{}", one.0, other.0), format!("{},{}", one.1, other.1));
    let server = serve(&[("tls.cert", &chains), ("tls.key", &keys)]);
    assert_eq!(sslyze(server.port(), "intermediate", &ca), Vec::<String>::new());
}

#[test]
fn mozillas_modern_profile_is_kept_with_tls_1_3_alone() {
    let (authority, folder) = (Authority::new(), Folder::new("modern"));
    let ca = folder.put("ca.pem", &authority.pem());
    let (chain, key) = authority.certify_p256();
    let server = serve(&[("tls.min_version", "1.3"), ("tls.cert", &chain), ("tls.key", &key)]);
    assert_eq!(sslyze(server.port(), "modern", &ca), Vec::<String>::new());
    // With the defaults TLS 1.2 is spoken, which that profile does not want: the check can tell.
    let server = serve(&[("tls.cert", &chain), ("tls.key", &key)]);
    let found = sslyze(server.port(), "modern", &ca);
    assert!(found.iter().any(|finding| finding.starts_with("tls_versions:") && finding.contains("TLSv1.2")), "{found:?}");
}

#[test]
fn testssl_finds_nothing() {
    let (authority, folder) = (Authority::new(), Folder::new("testssl"));
    let (chain, key) = authority.certify_p256();
    let server = serve(&[("tls.cert", &chain), ("tls.key", &key)]);
    assert_eq!(testssl(server.port(), &folder), Vec::<String>::new());
}

#[test]
fn testssl_finds_nothing_with_an_rsa_key() {
    let (authority, folder) = (Authority::new(), Folder::new("testssl-rsa"));
    let (chain, key) = authority.certify_rsa();
    let server = serve(&[("tls.cert", &chain), ("tls.key", &key)]);
    assert_eq!(testssl(server.port(), &folder), Vec::<String>::new());
}

/// OpenSSL's server with TLS 1.0 on and every cipher that it has; it goes when this is dropped.
struct Weak {
    child: Child,
    port: u16,
}

impl Weak {
    fn start(authority: &Authority, folder: &Folder) -> Weak {
        let (chain, key) = authority.certify_p256();
        let (chain, key) = (folder.put("cert.pem", &chain), folder.put("key.pem", &key));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-cert", &chain, "-key", &key]);
        command.args(["-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl can be run (apt-get install openssl)");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok());
        // It goes on writing, and must find somebody who reads.
        std::thread::spawn(move || lines.for_each(drop));
        Weak { child, port: port.expect("it says where it listens") }
    }
}

impl Drop for Weak {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn both_find_that_tls_1_0_is_on() {
    let (authority, folder) = (Authority::new(), Folder::new("weak"));
    let ca = folder.put("ca.pem", &authority.pem());
    let weak = Weak::start(&authority, &folder);
    let found = sslyze(weak.port, "intermediate", &ca);
    for part in ["tls_versions: TLS versions", "ciphers: Cipher suites"] {
        assert!(found.iter().any(|finding| finding.starts_with(part)), "{part}: {found:?}");
    }
    assert!(!found.iter().any(|finding| finding.starts_with("certificate")), "the certificate is as good as ours: {found:?}");
    let found = testssl(weak.port, &folder);
    for part in ["TLS1 LOW:", "TLS1_1 LOW:", "cipherlist_aNULL CRITICAL:", "BEAST LOW:"] {
        assert!(found.iter().any(|finding| finding.starts_with(part)), "{part}: {found:?}");
    }
}
