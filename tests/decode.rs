//! Proves that content-codings are undone within bounds: every coding against every attack, over real connections, with bodies that real
//! tools made, and with the memory that it takes measured. docs/decode.md has the table.

mod support;

#[path = "decode/attacks.rs"]
mod attacks;
#[path = "decode/core.rs"]
mod core;
#[path = "decode/limits.rs"]
mod limits;
#[path = "decode/memory.rs"]
mod memory;
#[path = "decode/offload.rs"]
mod offload;
#[path = "decode/table.rs"]
mod table;

use ingest::status::INGEST_OK;
use support::checksum;
use support::client::Client;
use support::coders::{pipe, post};
use support::host::{Delivery, Server, on_requests};

/// One coding, or two of them, and the commands that make it.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    /// As Content-Encoding says it.
    pub field: &'static str,
    pub commands: &'static [&'static [&'static str]],
    /// What is decoded is checked against a sum.
    pub is_checked: bool,
}

const GZIP: &[&str] = &["gzip", "-nc"];
const ZLIB: &[&str] = &["python3", "-c", "import sys,zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))"];
const RAW: &[&str] = &[
    "python3",
    "-c",
    "import sys,zlib; c=zlib.compressobj(wbits=-15); sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())",
];
const BR: &[&str] = &["brotli", "-c", "-q", "6"];
const ZSTD: &[&str] = &["zstd", "-q", "-c"];

pub const SUBJECTS: [Subject; 6] = [
    Subject { name: "gzip", field: "gzip", commands: &[GZIP], is_checked: true },
    Subject { name: "zlib", field: "deflate", commands: &[ZLIB], is_checked: true },
    Subject { name: "raw", field: "deflate", commands: &[RAW], is_checked: false },
    Subject { name: "br", field: "br", commands: &[BR], is_checked: false },
    Subject { name: "zstd", field: "zstd", commands: &[ZSTD], is_checked: true },
    Subject { name: "nested", field: "gzip, br", commands: &[GZIP, BR], is_checked: true },
];

impl Subject {
    pub fn of(name: &str) -> Subject {
        *SUBJECTS.iter().find(|subject| subject.name == name).expect("it is one of them")
    }

    pub fn encode(&self, data: &[u8]) -> Vec<u8> {
        self.commands.iter().fold(data.to_vec(), |data, command| pipe(command, &data))
    }

    /// How a server answers to this body.
    pub fn try_on(&self, server: &Server, coded: &[u8]) -> (u16, String) {
        outcome(server, &post(self.field, coded))
    }
}

/// A server that takes two layers and answers with length and checksum of what it gets.
pub fn serve(options: &[(&'static str, &'static str)]) -> Server {
    let answer = on_requests(|host, request| {
        let text = told(request.body());
        assert_eq!(host.text(request.0.token, text.as_bytes()), INGEST_OK);
    });
    Server::serve(&[&[("decode_layers", "2")], options].concat(), Delivery::Inline, answer)
}

pub fn told(body: &[u8]) -> String {
    format!("{} {:016x}", body.len(), checksum(body))
}

/// Sends what is taken of it, and reads the answer.
pub fn outcome(server: &Server, wire: &[u8]) -> (u16, String) {
    let mut client = Client::connect(server.port());
    // It may be refused before all of it is sent.
    let _ = client.try_send(wire);
    let answer = client.answer();
    (answer.status, answer.text())
}
