//! A large upload costs a file and next to no memory.

use super::support::host::{Delivery, Server, on_requests};
use super::support::{Random, alone};
use super::{SPOOL, is_clean};
use ingest::status::INGEST_OK;
use std::io::Write;
use std::net::TcpStream;

/// More than this above an idle server is too much.
const MOST_KIB: u64 = 4 * 1024;

/// The most that this process has held in memory; `reset` begins anew.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn reset() {
    std::fs::write("/proc/self/clear_refs", "5").expect("it may be reset");
}

fn length() -> usize {
    let is_full = std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full");
    if is_full { 1 << 30 } else { 64 << 20 }
}

/// Sends so many octets of a body, octets that repeat.
fn pour(stream: &mut TcpStream, mut left: usize) {
    let piece = Random(1).bytes(64 * 1024);
    while left > 0 {
        let count = left.min(piece.len());
        stream.write_all(&piece[..count]).expect("it is taken");
        left -= count;
    }
}

fn costs(test: &str, head: &'static str, foot: &'static str) {
    alone(test, || {
        let handler = on_requests(|host, request| {
            let text = format!("{} {}", request.0.body_fd >= 0, request.0.body_len);
            assert_eq!(host.text(request.0.token, text.as_bytes()), INGEST_OK);
        });
        let options = [&SPOOL[..], &[("body_max", "2GiB"), ("spool_max", "3GiB")]].concat();
        let server = Server::serve(&options, Delivery::Inline, handler);
        let length = length();
        let whole = head.len() + length + foot.len();
        let upload = |length: usize| {
            let whole = head.len() + length + foot.len();
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
            let kind = "Content-Type: multipart/form-data; boundary=bound\r\n";
            write!(stream, "POST / HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {whole}\r\n\r\n{head}").expect("it is taken");
            pour(&mut stream, length);
            stream.write_all(foot.as_bytes()).expect("it is taken");
            let mut answer = [0; 1024];
            let count = std::io::Read::read(&mut stream, &mut answer).expect("it is answered");
            let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
            assert!(answer.ends_with(&format!("true {whole}")), "{answer}");
        };
        // A first one, so that what is had once does not count.
        upload(200_000);
        assert!(is_clean(&server));
        reset();
        let before = peak_kib();
        upload(length);
        let cost = peak_kib() - before;
        println!("{whole} octets cost {cost} KiB above {before} KiB");
        assert!(cost < MOST_KIB, "{cost} KiB for {whole} octets");
        assert!(is_clean(&server));
        server.finish();
    });
}

#[test]
fn an_upload_costs_less_than_four_mebibytes() {
    costs(
        "memory::an_upload_costs_less_than_four_mebibytes",
        "--bound\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n",
        "\r\n--bound--\r\n",
    );
}
