//! Builds `tests/cpp/host.cpp`, the host in C++17, and asks it for everything that it can do.

use super::client::{self, Client};
use super::streams::Wire;
use super::{Server, built, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Long enough for a sanitizer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compiles the host against the header and the library that `make -C examples-c` put into `folder` (below its build folder).
pub fn build(folder: &str, flags: &[&str]) -> PathBuf {
    let libraries = built(folder);
    let library = std::fs::read_dir(&libraries)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", libraries.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libingest.so.")))
        .unwrap_or_else(|| panic!("no libingest.so in {}", libraries.display()));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cpp_host{folder}"));
    let ended = run(Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(root().join("include"))
        .args(["-o".as_ref(), program.as_os_str()])
        .arg(root().join("tests/cpp/host.cpp"))
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", libraries.display())));
    assert!(ended.status.success(), "tests/cpp/host.cpp does not compile:\n{}", ended.stderr);
    program
}

/// Asks for everything, from several connections at once, and ends the host while a stream is still written.
pub fn exercise(command: &mut Command, options: &[&str], drain: Duration) {
    let server = Server::start(command.arg("http://127.0.0.1:0").args(options), 1);
    let port = server.port();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || one_connection(port))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every answer was right"));
    slow_and_lost_readers(port);
    until_nothing_is_kept(port);
    // A drain lets the stream come to its end. It has begun, since its head is here.
    let mut last = Wire::get(port, "/stream?lines=300000");
    let head = last.section();
    let reader = std::thread::spawn(move || judge_lines(&mut last, &head, 300_000));
    server.stop_cleanly(drain);
    reader.join().expect("a drain waits for a stream that has begun");
}

fn one_connection(port: u16) {
    let mut client = Client::connect(port);
    for length in [0, 1, 5000, 300_000] {
        let body: String = "0123456789".chars().cycle().take(length).collect();
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nX-Note: n{length}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
        let response = client.receive(false);
        assert!(response.status == 200 && response.body == body.as_bytes(), "{}", response.head);
        assert!(response.head.contains(&format!("X-Note: n{length}\r\n")), "{}", response.head);
    }
    // What a handler throws becomes a 500, and the connection goes on.
    for (target, why) in [
        ("/throw/exception", "the handler gave up"),
        ("/throw/number", "something that is no exception was thrown"),
        ("/throw/memory", "std::bad_alloc"),
        ("/stream?lines=many", "stoull"),
    ] {
        let response = client.get(target);
        assert_eq!((response.status, String::from_utf8_lossy(&response.body).as_ref()), (500, why), "{target}");
        assert_eq!(client.get("/nothing").status, 404);
    }
    for octets in [0, 1, 70_000, 3_000_000] {
        let response = client.get(&format!("/lent?octets={octets}"));
        assert!(response.status == 200 && response.body.len() == octets && response.body.iter().all(|octet| *octet == b'x'));
    }
    let mut wire = Wire::connect(port);
    for lines in [0, 1, 100, 50_000] {
        wire.send(&client::get(&format!("/stream?lines={lines}")));
        let head = wire.section();
        judge_lines(&mut wire, &head, lines);
    }
    wire.send(&client::get("/hints"));
    assert_eq!(wire.section(), ["HTTP/1.1 103 Early Hints", "Link: </style.css>; rel=preload"]);
    assert_eq!(wire.section()[0], "HTTP/1.1 200 OK");
    assert_eq!(wire.octets(7), b"hinted\n");
    // Behind the head of an answer nothing can be said any more: the body must not look complete.
    wire.send(&client::get("/throw/begun"));
    assert!(wire.is_cut_off(), "a stream whose handler threw looks complete");
}

fn judge_lines(wire: &mut Wire, head: &[String], last: u64) {
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    let (body, trailers) = wire.chunked();
    let expected: String = (1..=last).map(|line| format!("line {line}\n")).collect();
    assert!(body == expected.as_bytes(), "the octets of {last} lines");
    assert!(trailers.is_empty());
}

/// Some read nothing for a while, some leave in the middle.
fn slow_and_lost_readers(port: u16) {
    let mut slow: Vec<Wire> = (0..3).map(|_| Wire::get(port, "/stream?lines=500000")).collect();
    let lost: Vec<Wire> = (0..6).map(|at| Wire::get(port, ["/stream?lines=100000000", "/lent?octets=20000000"][at % 2])).collect();
    one_connection(port); // whoever reads is served while they do not
    lost.into_iter().for_each(Wire::reset);
    for wire in &mut slow {
        let head = wire.section();
        judge_lines(wire, &head, 500_000);
    }
}

/// Every stream ends and every lent body comes back, also those of the clients that left.
fn until_nothing_is_kept(port: u16) {
    let began = Instant::now();
    let mut client = Client::connect(port);
    loop {
        let kept = String::from_utf8(client.get("/kept").body).expect("it is ASCII");
        if kept == "0 streams, 0 lent" {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{kept} although nobody is there");
        std::thread::sleep(Duration::from_millis(10));
    }
}
