//! What is set about TLS: for the server, and for each listener that overrides it.
#![forbid(unsafe_code)]

use super::table::{Row, Store};
use super::values::Kind;
use super::{Options, values};
use crate::decrypt::keys::ClientAuth;
use crate::limits::{HANDSHAKE_THREADS_MAX, UNLIMITED};

/// Lists in the text that a host has given have commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Files, or texts in PEM.
    pub cert: String,
    pub key: String,
    pub client_ca: String,
    pub client_auth: ClientAuth,
    /// TLS 1.2 is refused.
    pub only_13: bool,
    pub alpn: String,
    /// Session tickets of each handshake.
    pub tickets: u32,
    /// A file that session secrets are added to; empty for none.
    pub keylog: String,
    pub handshake_timeout_ms: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            cert: String::new(),
            key: String::new(),
            client_ca: String::new(),
            client_auth: ClientAuth::None,
            only_13: false,
            alpn: "http/1.1".to_owned(),
            tickets: 1,
            keylog: String::new(),
            handshake_timeout_ms: 10_000,
        }
    }
}

pub(super) const CLIENT_AUTHS: [(&str, ClientAuth); 3] =
    [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
const VERSIONS: [(&str, bool); 2] = [("1.2", false), ("1.3", true)];

pub(super) fn set_min_version(options: &mut Options, value: &str) -> Result<(), String> {
    values::choose(value, &VERSIONS).map(|only_13| options.tls.only_13 = only_13)
}

pub(super) const HANDSHAKES_MAX: Row = Row {
    name: "tls.handshakes_max",
    kind: Kind::Count,
    default: "64",
    flags: 0,
    choices: "unlimited",
    help: "most handshakes at once per I/O thread; more wait to be accepted",
    store: Store::Number {
        least: 1,
        most: 1 << 20,
        word: Some(("unlimited", UNLIMITED)),
        set: |options, number| options.limits.handshakes_max = number,
    },
};

pub(super) const HANDSHAKE_THREADS: Row = Row {
    name: "handshake_threads",
    kind: Kind::Count,
    default: "0",
    flags: 0,
    choices: "",
    help: "threads for handshakes alone; 0 does them on the I/O threads, few at a time",
    store: Store::Number {
        least: 0,
        most: HANDSHAKE_THREADS_MAX,
        word: None,
        set: |options, number| options.handshake_threads = u32::try_from(number).unwrap_or(u32::MAX),
    },
};

/// The protocols that exist here.
pub(super) fn alpn(value: &str) -> Result<String, String> {
    match value {
        "" | "http/1.1" => Ok(value.to_owned()),
        _ => Err("it is http/1.1, or empty to agree on none".to_owned()),
    }
}

impl Options {
    /// What goes for a listener: what its overrides name, else what the server has.
    pub fn tls_with(&self, overrides: Option<&Options>) -> Tls {
        let mut tls = self.tls.clone();
        let Some(overrides) = overrides else { return tls };
        let theirs = &overrides.tls;
        let named = |name| overrides.is_named(name);
        if named("tls.cert") {
            tls.cert.clone_from(&theirs.cert);
        }
        if named("tls.key") {
            tls.key.clone_from(&theirs.key);
        }
        if named("tls.client_ca") {
            tls.client_ca.clone_from(&theirs.client_ca);
        }
        if named("tls.client_auth") {
            tls.client_auth = theirs.client_auth;
        }
        if named("tls.min_version") {
            tls.only_13 = theirs.only_13;
        }
        if named("tls.alpn") {
            tls.alpn.clone_from(&theirs.alpn);
        }
        if named("tls.tickets") {
            tls.tickets = theirs.tickets;
        }
        if named("tls.keylog") {
            tls.keylog.clone_from(&theirs.keylog);
        }
        if named("tls.handshake_timeout") {
            tls.handshake_timeout_ms = theirs.handshake_timeout_ms;
        }
        tls
    }
}
