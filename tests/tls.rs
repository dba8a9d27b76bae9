//! Proves what TLS adds: who is let in with which certificate, what a request shows of it, and how a session ends, fails, is resumed, or is reloaded.

mod support;

#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/ends.rs"]
mod ends;
#[path = "tls/facts.rs"]
mod facts;
#[path = "tls/hostile.rs"]
mod hostile;
#[path = "tls/keys.rs"]
mod keys;
#[path = "tls/ocsp.rs"]
mod ocsp;
#[path = "tls/portions.rs"]
mod portions;
#[path = "tls/quarantine.rs"]
mod quarantine;
#[path = "tls/reload.rs"]
mod reload;
#[path = "tls/tickets.rs"]
mod tickets;
#[path = "tls/watch.rs"]
mod watch;

use ingest::request::{INGEST_TLS_RESUMED, ingest_tls};
use std::path::PathBuf;
use support::host::{Delivery, Handler, Server, on_requests};
use support::request_view::octets;
use support::secured;

/// What TLS negotiated, as a request shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub version: u16,
    pub cipher_suite: u16,
    pub group: u16,
    pub flags: u32,
    pub server_name: Option<String>,
    pub alpn: Option<String>,
    pub certificate: Vec<u8>,
}

impl Facts {
    pub fn of(tls: &ingest_tls) -> Facts {
        assert_eq!(tls.size as usize, std::mem::size_of::<ingest_tls>());
        let text = |slice| Some(slice).filter(|slice: &&ingest::request::ingest_slice| !slice.ptr.is_null()).map(octets);
        let string = |slice| text(slice).map(|octets| String::from_utf8(octets.to_vec()).expect("ASCII"));
        Facts {
            version: tls.version,
            cipher_suite: tls.cipher_suite,
            group: tls.group,
            flags: tls.flags,
            server_name: string(&tls.server_name),
            alpn: string(&tls.alpn),
            certificate: octets(&tls.client_certificate).to_vec(),
        }
    }
}

/// Answers with scheme, version, name, ALPN, whether it was resumed, and the lengths of certificate and body.
pub fn telling() -> Handler {
    on_requests(|host, request| {
        // SAFETY: NULL, or a struct that lives as long as the request, which is held.
        let facts = unsafe { request.0.tls.as_ref() }.map(Facts::of).unwrap_or_default();
        let scheme = String::from_utf8_lossy(octets(&request.0.scheme)).into_owned();
        let Facts { version, server_name, alpn, flags, certificate, .. } = facts;
        let flags = flags & INGEST_TLS_RESUMED;
        let (name, alpn) = (server_name.unwrap_or_default(), alpn.unwrap_or_default());
        let text = format!("{scheme} {version:x} [{name}] [{alpn}] {flags} {} {}", certificate.len(), request.body().len());
        host.text(request.0.token, text.as_bytes());
    })
}

/// A server with the certificate of this program.
pub fn serve(extra: &[(&'static str, &'static str)]) -> Server {
    let mut options = secured::options().to_vec();
    options.extend_from_slice(extra);
    Server::serve(&options, Delivery::Inline, telling())
}

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ingest-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temp folder can be written");
        Folder(path)
    }

    /// Writes a file and says where it is.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path.to_str().expect("an ordinary name").to_owned()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("an ordinary name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
