//! The certificates of the listeners: read when a server listens, and again when the host says, or the watch sees, that they have changed.
#![forbid(unsafe_code)]

use super::Server;
use super::files::{self, Marks};
use crate::decrypt::Keys;
use crate::decrypt::keys::{KeySink, Material};
use crate::decrypt::tickets::Tickets;
use crate::engine::sys;
use crate::options::Options;
use crate::options::tls::Tls;
use crate::status::{Failure, INGEST_E_STATE, INGEST_E_TLS};
use crate::topology::orders::Orders;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a listener for TLS was given, and what came of it.
#[derive(Clone)]
pub(super) struct Secured {
    given: Tls,
    /// What outlives a change of certificates.
    tickets: Option<Tickets>,
    keylog: Option<KeySink>,
    keys: Keys,
    /// What the files looked like just before they were read.
    pub marks: Marks,
}

impl Secured {
    /// Reads and checks all that is named.
    pub fn new(mut given: Tls, floor: RawFd) -> Result<Secured, Failure> {
        // The host may change its folder while the server runs.
        given.name_files(files::absolute);
        let own = given.tickets > 0 && given.ticket_keys.is_empty();
        let tickets = if own { Some(Tickets::of_our_own()?) } else { None };
        let keylog = if given.keylog.is_empty() { None } else { Some(open_keylog(&given.keylog, floor)?) };
        let marks = files::look(&given.files());
        let keys = load(&given, tickets.as_ref(), keylog.as_ref())?;
        Ok(Secured { given, tickets, keylog, keys, marks })
    }

    /// The same with what the files hold now.
    fn again(&self) -> Result<Secured, Failure> {
        // Before they are read: what changes meanwhile is seen to have changed.
        let marks = files::look(&self.given.files());
        let keys = load(&self.given, self.tickets.as_ref(), self.keylog.as_ref())?;
        Ok(Secured { keys, marks, ..self.clone() })
    }

    /// The files that are watched for it; `None` if there are none.
    pub fn watched(&self) -> Option<Vec<String>> {
        self.given.watch.then(|| self.given.files()).filter(|files| !files.is_empty())
    }
}

/// What all listeners have for TLS, shared with the thread that watches.
pub(super) struct Vault {
    /// By the number of the listener; `None` for plain ones.
    listeners: Mutex<Vec<Option<Secured>>>,
    /// Held while certificates are read again.
    reloading: Mutex<()>,
    orders: Arc<Orders>,
}

impl Vault {
    pub fn new(orders: Arc<Orders>) -> Vault {
        Vault { listeners: Mutex::new(Vec::new()), reloading: Mutex::new(()), orders }
    }

    /// The next listener.
    pub fn add(&self, secured: Option<Secured>) {
        self.listeners.lock().push(secured);
    }

    /// Gives the threads what the sessions of each listener begin with; from now on changes reach them, too.
    pub fn hand_out(&self) {
        let listeners = self.listeners.lock();
        self.orders.keys.fill(listeners.iter().map(|secured| secured.as_ref().map(|secured| secured.keys.clone())));
    }

    /// What `look` says of each listener that has TLS.
    pub fn each<T>(&self, mut look: impl FnMut(&Secured) -> Option<T>) -> Vec<(usize, T)> {
        let listeners = self.listeners.lock();
        let found = listeners.iter().enumerate().map(|(number, secured)| Some((number, look(secured.as_ref()?)?)));
        found.flatten().collect()
    }

    /// Reads the certificates of these listeners again. On a failure all of them are as they were.
    pub fn reload(&self, which: impl Fn(usize) -> bool) -> Result<(), Failure> {
        // One at a time, so that the files which were read last are those that are served.
        let _one = self.reloading.lock();
        // Files are read without the lock of the list, which others wait for.
        let mut chosen = self.each(|secured| Some(secured.clone()));
        chosen.retain(|(number, _)| which(*number));
        if chosen.is_empty() {
            return Err(Failure::new(INGEST_E_STATE, "no listener has tls (listen on an https:// address)"));
        }
        let again = chosen.into_iter().map(|(number, secured)| Ok((number, secured.again()?)));
        let again = again.collect::<Result<Vec<_>, Failure>>()?;
        let mut listeners = self.listeners.lock();
        for (number, secured) in again {
            self.orders.keys.change(number as u16, secured.keys.clone());
            listeners[number] = Some(secured);
        }
        Ok(())
    }
}

impl Server {
    /// The certificates of a listener; they are read before anything is bound.
    pub(super) fn secured(&self, scheme: &str, overrides: Option<&Options>) -> Result<Option<Secured>, Failure> {
        let floor = self.options.descriptor_floor();
        if scheme == "https" { Secured::new(self.options.tls_with(overrides), floor).map(Some) } else { Ok(None) }
    }

    /// Reads the certificates of every listener again. On a failure all of them are as they were.
    pub fn reload_tls(&self) -> Result<(), Failure> {
        self.vault.reload(|_| true)
    }
}

/// Seconds since 1970, by the clock on the wall: certificates and tickets end by it.
fn wall_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn load(given: &Tls, tickets: Option<&Tickets>, keylog: Option<&KeySink>) -> Result<Keys, Failure> {
    let (chains, keys) = (files::listed("tls.cert", &given.cert)?, files::listed("tls.key", &given.key)?);
    if chains.len() != keys.len() {
        let text = format!("tls.cert names {} files and tls.key {} (name as many, in the same order)", chains.len(), keys.len());
        return Err(Failure::new(INGEST_E_TLS, text));
    }
    let mut client_ca = files::listed("tls.client_ca", &given.client_ca)?;
    if client_ca.len() > 1 {
        return Err(Failure::new(INGEST_E_TLS, "tls.client_ca is one file (put all certificates into it)"));
    }
    let tickets = match (given.tickets, given.ticket_keys.as_str()) {
        (0, _) => None,
        (_, "") => tickets.cloned(),
        (_, path) => Some(Tickets::shared(&files::read("tls.ticket_keys", path)?, wall_s)?),
    };
    Keys::new(Material {
        pairs: chains.into_iter().zip(keys).collect(),
        staples: files::staples(&given.ocsp)?,
        client_ca: client_ca.pop(),
        client_auth: given.client_auth,
        only_13: given.only_13,
        alpn: given.alpn.split(',').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect(),
        tickets: tickets.map(|tickets| (given.tickets as usize, tickets)),
        keylog: keylog.cloned(),
        handshake_timeout_ms: given.handshake_timeout_ms,
        now_s: wall_s(),
    })
}

/// The secrets that go there open everything, so nobody else may read them.
fn open_keylog(path: &str, floor: RawFd) -> Result<KeySink, Failure> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    // It is ours for as long as the server is there.
    let file = file.and_then(|file| sys::raise(file.into(), floor)).map(File::from);
    let file =
        file.map_err(|error| Failure::system(&error, format!("cannot open tls.keylog: {error} (name a file that can be written)")))?;
    let file = Mutex::new(file);
    // A line that cannot be written is missed by whoever debugs, and by nobody else.
    Ok(Arc::new(move |line: &str| drop(file.lock().write_all(line.as_bytes()))))
}
