//! The example upload: a file of a form arrives as it streams in, and the server shows how far it has come.

use super::runner::Server;
use super::runner::client::Client;
use super::{LISTEN, example};

/// A form with one file of so many octets, and the head of its request.
fn form(octets: usize) -> Vec<u8> {
    let mut body =
        b"--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=\"one.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.resize(body.len() + octets, b'x');
    body.extend_from_slice(b"\r\n--limit--\r\n");
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=limit\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[test]
fn upload_shows_how_far_a_file_has_come() {
    let server = Server::start(example("upload").args(LISTEN), 1);
    let mut client = Client::connect(server.port());
    let page = client.get("/");
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("type=\"file\""));
    for octets in [5, 60_000, 20_000_000] {
        client.send(&form(octets));
        let answer = client.receive(false);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 200 && text.starts_with(&format!("name: one.bin\nsize: {octets}\n")), "{text}");
    }
    // One that is cut short is never taken for whole.
    let mut short = Client::connect(server.port());
    short.send(&form(1_000_000)[..500_000]);
    drop(short);
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(client);
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("] 100%     20000"), "{}", ended.stderr);
    assert!(ended.stderr.contains("]  10%      2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\ncut short after "), "{}", ended.stderr);
}
