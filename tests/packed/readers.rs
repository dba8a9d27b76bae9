//! Runs the reference readers of `docs/packed.md`, in C and in Python, as programs of their own.

use crate::library;
use crate::support::client::Client;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REQUESTS: usize = 1000;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packed").join(name)
}

/// Starts the reader, sends it a thousand requests on four connections, and wants every answer.
fn serve_a_thousand(reader: &mut Command) {
    let mut child = reader
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {reader:?}: {error} (install it: the test needs cc and python3)"));
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the pipe can be read");
    let answered = line.trim().parse::<u16>().ok().map(|port| std::panic::catch_unwind(|| ask(port)));
    // The end of its input tells it that everything was read.
    drop(child.stdin.take());
    if !matches!(answered, Some(Ok(()))) {
        // It may wait for requests that nobody sends any more.
        let _ = child.kill();
    }
    let mut said = (String::new(), String::new());
    output.read_to_string(&mut said.0).expect("the pipe can be read");
    child.stderr.take().expect("a pipe").read_to_string(&mut said.1).expect("the pipe can be read");
    let status = child.wait().expect("it ends");
    assert!(matches!(answered, Some(Ok(()))) && status.success() && said.0.trim() == "served", "{status}: {line}{said:?}");
}

fn ask(port: u16) {
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(port)).collect();
    for round in 0..REQUESTS / 40 {
        for (which, client) in clients.iter_mut().enumerate() {
            let burst: String =
                (0..10).map(|each| format!("GET /{which}?{each} HTTP/1.1\r\nHost: h\r\nx-number: {round}\r\n\r\n")).collect();
            client.send(burst);
        }
        for (which, client) in clients.iter_mut().enumerate() {
            for each in 0..10 {
                let answer = client.answer();
                assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")));
                assert_eq!(answer.text(), format!("/{which}?{each};{round}"));
            }
        }
    }
}

#[test]
fn the_reader_in_c_serves() {
    let library = library::find();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packed");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::copy(&library, folder.join(library::soname())).unwrap_or_else(|error| panic!("cannot copy {}: {error}", library.display()));
    let program = folder.join("reader");
    let output = Command::new("cc")
        .args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg(format!("-I{}", Path::new(env!("CARGO_MANIFEST_DIR")).join("include").display()))
        .arg(source("reader.c"))
        .arg(&library)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error} (install a C compiler)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    serve_a_thousand(Command::new(&program).arg(REQUESTS.to_string()).env("LD_LIBRARY_PATH", &folder));
}

#[test]
fn the_reader_in_python_serves() {
    let library = library::find();
    serve_a_thousand(Command::new("python3").arg(source("reader.py")).arg(&library).arg(REQUESTS.to_string()));
}
