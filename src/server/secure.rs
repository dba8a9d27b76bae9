//! The certificates of the listeners: read when a server listens, and again when the host says that they have changed.
#![forbid(unsafe_code)]

use super::{Life, Server};
use crate::decrypt::Keys;
use crate::decrypt::keys::{KeySink, Material, Pem, Tickets};
use crate::options::Options;
use crate::options::tls::Tls;
use crate::status::{Failure, INGEST_E_STATE, INGEST_E_TLS};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// No file of certificates is larger; whoever names another one by mistake hears of it.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// A text in PEM, as opposed to the name of a file.
const PEM_BEGIN: &str = "-----BEGIN";

/// What a listener for TLS was given, and what came of it.
#[derive(Clone)]
pub(super) struct Secured {
    given: Tls,
    /// What outlives a change of certificates.
    tickets: Option<Tickets>,
    keylog: Option<KeySink>,
    pub keys: Keys,
}

impl Secured {
    /// Reads and checks all that is named.
    pub fn new(given: Tls) -> Result<Secured, Failure> {
        let tickets = if given.tickets > 0 { Some(Tickets::of_our_own()?) } else { None };
        let keylog = if given.keylog.is_empty() { None } else { Some(open_keylog(&given.keylog)?) };
        let keys = load(&given, tickets.as_ref(), keylog.as_ref())?;
        Ok(Secured { given, tickets, keylog, keys })
    }

    /// The same with what the files hold now.
    fn again(&self) -> Result<Secured, Failure> {
        let keys = load(&self.given, self.tickets.as_ref(), self.keylog.as_ref())?;
        Ok(Secured { keys, ..self.clone() })
    }
}

impl Life {
    /// What the sessions of each listener begin with.
    pub(super) fn keys(&self) -> impl Iterator<Item = Option<Keys>> {
        self.secured.iter().map(|secured| secured.as_ref().map(|secured| secured.keys.clone()))
    }
}

impl Server {
    /// The certificates of a listener; they are read before anything is bound.
    pub(super) fn secured(&self, scheme: &str, overrides: Option<&Options>) -> Result<Option<Secured>, Failure> {
        if scheme == "https" { Secured::new(self.options.tls_with(overrides)).map(Some) } else { Ok(None) }
    }

    /// Reads the certificates of every listener again. On a failure all of them are as they were.
    pub fn reload_tls(&self) -> Result<(), Failure> {
        // One at a time, so that the files which were read last are those that are served.
        let _one = self.reloading.lock();
        let secured = self.life.lock().secured.clone();
        if secured.iter().all(Option::is_none) {
            return Err(Failure::new(INGEST_E_STATE, "no listener has tls (listen on an https:// address)"));
        }
        // Files are read without the lock, which others wait for.
        let again = secured.iter().map(|secured| secured.as_ref().map(Secured::again).transpose());
        let again = again.collect::<Result<Vec<_>, _>>()?;
        let mut life = self.life.lock();
        for (number, secured) in again.into_iter().enumerate() {
            if let Some(secured) = secured {
                self.orders.keys.change(number as u16, secured.keys.clone());
                life.secured[number] = Some(secured);
            }
        }
        Ok(())
    }
}

fn load(given: &Tls, tickets: Option<&Tickets>, keylog: Option<&KeySink>) -> Result<Keys, Failure> {
    let (chains, keys) = (listed("tls.cert", &given.cert)?, listed("tls.key", &given.key)?);
    if chains.len() != keys.len() {
        let text = format!("tls.cert names {} files and tls.key {} (name as many, in the same order)", chains.len(), keys.len());
        return Err(Failure::new(INGEST_E_TLS, text));
    }
    let mut client_ca = listed("tls.client_ca", &given.client_ca)?;
    if client_ca.len() > 1 {
        return Err(Failure::new(INGEST_E_TLS, "tls.client_ca is one file (put all certificates into it)"));
    }
    Keys::new(Material {
        pairs: chains.into_iter().zip(keys).collect(),
        client_ca: client_ca.pop(),
        client_auth: given.client_auth,
        only_13: given.only_13,
        alpn: given.alpn.split(',').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect(),
        tickets: tickets.map(|tickets| (given.tickets as usize, tickets.clone())),
        keylog: keylog.cloned(),
        handshake_timeout_ms: given.handshake_timeout_ms,
    })
}

/// What an option names: files with commas between, or texts in PEM, which have none in them.
fn listed(option: &str, value: &str) -> Result<Vec<Pem>, Failure> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| if entry.starts_with(PEM_BEGIN) { Ok(pem(option, entry)) } else { read(option, entry) }).collect()
}

fn pem(option: &str, text: &str) -> Pem {
    Pem { name: option.to_owned(), octets: text.as_bytes().to_vec() }
}

fn read(option: &str, path: &str) -> Result<Pem, Failure> {
    use std::io::Read;
    let shown: String = path.chars().filter(|character| !character.is_control()).take(80).collect();
    let failed = |error: std::io::Error| {
        let status = INGEST_E_TLS;
        Failure { status, ..Failure::system(&error, format!("cannot read {option} {shown}: {error} (name a file in pem)")) }
    };
    let mut octets = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > PEM_BYTES_MAX {
        return Err(Failure::new(INGEST_E_TLS, format!("{option} {shown} is larger than 1 MiB (name a file in pem)")));
    }
    Ok(Pem { name: format!("{option} {shown}"), octets })
}

/// The secrets that go there open everything, so nobody else may read them.
fn open_keylog(path: &str) -> Result<KeySink, Failure> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file =
        file.map_err(|error| Failure::system(&error, format!("cannot open tls.keylog: {error} (name a file that can be written)")))?;
    let file = Mutex::new(file);
    // A line that cannot be written is missed by whoever debugs, and by nobody else.
    Ok(Arc::new(move |line: &str| drop(file.lock().write_all(line.as_bytes()))))
}
