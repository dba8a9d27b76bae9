//! What is set about TLS: for the server, and for each listener that overrides it.
#![forbid(unsafe_code)]

use super::{Options, values};
use crate::decrypt::keys::ClientAuth;
use crate::limits::WATCH_EVERY_MS;

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
    /// A file of keys to make tickets with; empty for our own.
    pub ticket_keys: String,
    /// A file in DER for each certificate, or nothing.
    pub ocsp: String,
    /// Files are read again when they change.
    pub watch: bool,
    /// How often they are looked at: for all listeners, since one thread does it.
    pub watch_every_ms: u64,
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
            ticket_keys: String::new(),
            ocsp: String::new(),
            watch: false,
            watch_every_ms: WATCH_EVERY_MS,
            keylog: String::new(),
            handshake_timeout_ms: 10_000,
        }
    }
}

pub(super) const CLIENT_AUTHS: [(&str, ClientAuth); 3] =
    [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
pub(super) const SWITCH: [(&str, bool); 2] = [("on", true), ("off", false)];
const VERSIONS: [(&str, bool); 2] = [("1.2", false), ("1.3", true)];

pub(super) fn set_min_version(options: &mut Options, value: &str) -> Result<(), String> {
    values::choose(value, &VERSIONS).map(|only_13| options.tls.only_13 = only_13)
}

/// The protocols that exist here.
pub(super) fn alpn(value: &str) -> Result<String, String> {
    match value {
        "" | "http/1.1" => Ok(value.to_owned()),
        _ => Err("it is http/1.1, or empty to agree on none".to_owned()),
    }
}

impl Tls {
    /// Every file that is read, by the entries of the options; a text in PEM is none.
    pub fn files(&self) -> Vec<String> {
        let lists = [&self.cert, &self.key, &self.client_ca, &self.ocsp].into_iter().flat_map(|list| list.split(','));
        let entries = lists.map(str::trim).chain([self.ticket_keys.as_str()]);
        entries.filter(|entry| !entry.is_empty() && !entry.starts_with("-----BEGIN")).map(str::to_owned).collect()
    }

    /// Has each file be called as `name` says.
    pub fn name_files(&mut self, name: fn(&str) -> String) {
        for list in [&mut self.cert, &mut self.key, &mut self.client_ca, &mut self.ocsp] {
            *list = list.split(',').map(|entry| name(entry.trim())).collect::<Vec<_>>().join(",");
        }
        self.ticket_keys = name(self.ticket_keys.trim());
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
        if named("tls.ticket_keys") {
            tls.ticket_keys.clone_from(&theirs.ticket_keys);
        }
        if named("tls.ocsp") {
            tls.ocsp.clone_from(&theirs.ocsp);
        }
        if named("tls.watch") {
            tls.watch = theirs.watch;
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
