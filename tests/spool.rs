//! Proves that with body=spool large bodies reach the host in files: whole, taken apart as in memory, within bounds, and nothing is left behind.

mod support;

#[path = "spool/bodies.rs"]
mod bodies;
#[path = "spool/clients.rs"]
mod clients;
#[path = "spool/faults.rs"]
mod faults;
#[path = "spool/limits.rs"]
mod limits;
#[path = "spool/memory.rs"]
mod memory;
#[path = "spool/parts.rs"]
mod parts;
#[path = "forms/view.rs"]
#[allow(dead_code)] // the tests of forms look at more of it
mod view;

use support::client::{Answer, Client};
use support::host::{Handler, Server, on_requests};
use support::posts::{chunked, whole as post};

/// Where files go in these tests, and what goes there.
const SPOOL: [(&str, &str); 2] = [("body", "spool"), ("spool_dir", "/tmp")];
const IN_MEMORY: [(&str, &str); 2] = [("body", "spool"), ("spool_dir", "memory")];

fn ask(client: &mut Client, wire: impl AsRef<[u8]>) -> Answer {
    client.send(wire);
    client.answer()
}

/// Answers with where the body was, how long it is, and its checksum.
fn telling() -> Handler {
    on_requests(|host, request| {
        let place = if request.0.body_fd >= 0 { "file" } else { "memory" };
        let text = told(place, &request.whole_body());
        assert_eq!(host.text(request.0.token, text.as_bytes()), ingest::status::INGEST_OK);
    })
}

fn told(place: &str, body: &[u8]) -> String {
    format!("{place} {} {:016x}", body.len(), support::checksum(body))
}

/// No file, no octet and no memory is held any more.
fn is_clean(server: &Server) -> bool {
    support::eventually(|| {
        let stats = server.stats();
        (stats.spool_files, stats.spool_bytes, stats.memory_bytes) == (0, 0, 0)
    })
}
