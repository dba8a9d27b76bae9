//! Forms and files as curl, Python's requests and Node's fetch send them arrive octet for octet.

use super::conformance::{python, run, script};
use super::support::Random;
use super::support::host::{Delivery, Server};
use super::view::{Seen, watching};
use std::path::Path;
use std::process::Command;

#[test]
fn requests_sends_forms_and_files() {
    let server = Server::serve(&[], Delivery::Queue(1), watching(&Seen::default()));
    assert_eq!(run(Command::new(python()).arg(script("clients.py")).arg(server.port().to_string())), "requests: all arrived\n");
    server.finish();
}

#[test]
fn fetch_sends_forms_and_files() {
    let server = Server::serve(&[], Delivery::Queue(1), watching(&Seen::default()));
    assert_eq!(run(Command::new("node").arg(script("clients.mjs")).arg(server.port().to_string())), "fetch: all arrived\n");
    server.finish();
}

#[test]
fn curl_sends_forms_and_files() {
    let seen = Seen::default();
    let server = Server::serve(&[], Delivery::Queue(1), watching(&seen));
    let url = format!("http://127.0.0.1:{}/", server.port());
    let curl = |arguments: &[&str]| {
        run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20"])
            .args(arguments)
            .arg(&url));
        seen.take()
    };
    let form = curl(&["--data-urlencode", "n\u{e4}me=a b&c=+%", "--data", "d=%41+"]).form.expect("a form");
    assert_eq!(form, [("n\u{e4}me".into(), "a b&c=+%".into()), (b"d".to_vec(), b"A ".to_vec())]);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (number, content) in [Vec::new(), Random(3).bytes(2_000_000), b"\r\n--".repeat(100_000)].into_iter().enumerate() {
        let path = folder.join(format!("forms-curl-{number}"));
        std::fs::write(&path, &content).expect("the folder is there");
        for name in ["plain.bin", "a;b c.bin", "quo\\\"te.bin", "\u{fc}.bin", "back\\\\slash"] {
            let field = format!("file=@{};filename=\"{name}\"", path.display());
            let parts = curl(&["--form", "text=va\nlue", "--form", &field]).parts.expect("parts");
            assert_eq!(parts.len(), 2);
            assert_eq!((parts[0].name.as_slice(), parts[0].body.as_slice()), (b"text".as_slice(), b"va\nlue".as_slice()));
            // What curl's own syntax has escaped is as plain as before.
            let plain = name.replace("\\\"", "\"").replace("\\\\", "\\");
            assert_eq!(parts[1].filename.as_deref().map(String::from_utf8_lossy).as_deref(), Some(plain.as_str()));
            assert!(parts[1].body == content, "{name} with {} octets", content.len());
        }
        std::fs::remove_file(path).expect("it was written");
    }
    server.finish();
}
