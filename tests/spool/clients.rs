//! Large files as curl and Python's requests send them, hashed where the parts are said to lie.

use super::support::Random;
use super::support::host::{Delivery, Server};
use super::support::python::{python, run};
use super::view::{Seen, keeping};
use super::{IN_MEMORY, SPOOL, is_clean};
use std::path::{Path, PathBuf};
use std::process::Command;

fn length() -> usize {
    let is_full = std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full");
    if is_full { 100 << 20 } else { 9 << 20 }
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the folder is there");
    path
}

#[test]
fn curl_sends_a_large_file() {
    let content = Random(31).bytes(length());
    let path = file("spool-curl", &content);
    for place in [SPOOL, IN_MEMORY] {
        let seen = Seen::default();
        let server =
            Server::serve(&[&place[..], &[("body_max", "1GiB"), ("response_timeout", "5m")]].concat(), Delivery::Queue(1), keeping(&seen));
        for arguments in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
            let url = format!("http://127.0.0.1:{}/", server.port());
            run(Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output", "/dev/null", "--max-time", "300"])
                .args(arguments)
                .args(["--form", "text=value", "--form", &format!("file=@{}", path.display()), &url]));
            let found = seen.take();
            let parts = found.parts.as_ref().expect("parts");
            assert_eq!((parts.len(), parts[0].body.as_slice(), parts[0].is_in_memory), (2, &b"value"[..], true));
            assert!(parts[1].body == content && !parts[1].is_in_memory && found.is_spooled);
        }
        assert!(is_clean(&server));
        server.finish();
    }
    std::fs::remove_file(path).expect("it was written");
}

#[test]
fn requests_sends_a_large_file() {
    let content = Random(32).bytes(length());
    let path = file("spool-requests", &content);
    let seen = Seen::default();
    let server =
        Server::serve(&[&SPOOL[..], &[("body_max", "1GiB"), ("response_timeout", "5m")]].concat(), Delivery::Queue(1), keeping(&seen));
    let script = "import sys, requests\n\
                  file = open(sys.argv[2], 'rb')\n\
                  answer = requests.post(sys.argv[1], files={'file': file}, data={'text': 'value'}, timeout=300)\n\
                  assert (answer.status_code, answer.text) == (200, 'kept'), answer.text\n";
    let url = format!("http://127.0.0.1:{}/", server.port());
    run(Command::new(python()).args(["-c", script, &url]).arg(&path));
    let found = seen.take();
    let parts = found.parts.as_ref().expect("parts");
    assert_eq!((parts.len(), parts[0].body.as_slice()), (2, &b"value"[..]));
    assert!(parts[1].body == content && found.is_spooled);
    drop(found);
    assert!(is_clean(&server));
    server.finish();
    std::fs::remove_file(path).expect("it was written");
}
