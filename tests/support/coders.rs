//! Bodies with content-codings, made by the tools that people use: gzip, brotli and zstd, and Python's zlib for deflate.

use super::posts;
use std::io::Write;
use std::process::{Command, Stdio};

/// Name of the coding, and the command that makes it.
pub const TOOLS: [(&str, &[&str]); 6] = [
    ("gzip", &["gzip", "-c"]),
    ("x-gzip", &["gzip", "-1c"]),
    ("deflate", &["python3", "-c", "import sys,zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))"]),
    (
        "Deflate",
        &[
            "python3",
            "-c",
            "import sys,zlib; c=zlib.compressobj(wbits=-15); sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())",
        ],
    ),
    ("br", &["brotli", "-c", "-q", "5"]),
    ("zstd", &["zstd", "-q", "-c"]),
];

/// Encodes with the first tool of that name.
pub fn encode(coding: &str, data: &[u8]) -> Vec<u8> {
    let (_, command) = TOOLS.iter().find(|(name, _)| *name == coding).unwrap_or_else(|| panic!("no tool makes {coding}"));
    pipe(command, data)
}

/// What a command makes of its input.
pub fn pipe(command: &[&str], data: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error} (install gzip, brotli, zstd and python3)", command[0]));
    let mut input = child.stdin.take().expect("it was asked for");
    std::thread::scope(|scope| {
        // It may write before it has read everything.
        scope.spawn(move || input.write_all(data));
        let output = child.wait_with_output().expect("it was started");
        assert!(output.status.success(), "{command:?}: {}", output.status);
        output.stdout
    })
}

/// Something like the text that is sent: it shrinks to a quarter or less.
pub fn records(len: usize) -> Vec<u8> {
    let mut random = super::Random(88_172_645_463_325_252);
    let mut text = Vec::with_capacity(len + 64);
    while text.len() < len {
        let (id, user) = (random.next() % 100_000, random.next() >> 40);
        text.extend_from_slice(format!("{{\"id\":{id},\"name\":\"user{user}\",\"ok\":true}},").as_bytes());
    }
    text.truncate(len);
    text
}

/// A POST with a body as it is, framed by its length.
pub fn post(coding: &str, body: &[u8]) -> Vec<u8> {
    posts::whole(&format!("Content-Encoding: {coding}\r\n"), body)
}

/// The same in chunks of this size.
pub fn chunked(coding: &str, body: &[u8], size: usize) -> Vec<u8> {
    posts::chunked(&format!("Content-Encoding: {coding}\r\n"), body, size)
}
