//! Certificates and keys: PEM becomes a configuration that sessions begin with, and is validated before anybody uses it.
#![forbid(unsafe_code)]

use super::session::Secure;
use super::tickets::{Tickets, policy};
use super::{Session, dates, staple};
use crate::status::{Failure, INGEST_E_TLS};
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{KeyLog, RootCertStore, ServerConfig};
use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::Arc;

/// What a session begins with. Cheap to copy; connections keep what they began with.
#[derive(Clone)]
pub struct Keys {
    config: Arc<ServerConfig>,
    handshake_timeout_ms: u64,
}

/// What was read, and what to call it in an error.
pub struct Named {
    pub name: String,
    pub octets: Vec<u8>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    /// They are asked, and may have none.
    Optional,
    Required,
}

/// Takes a line of the key log.
pub type KeySink = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything that a configuration is made of.
pub struct Material {
    /// Chain and key in PEM; the first is for clients that ask for no name, or for one that nobody has.
    pub pairs: Vec<(Named, Named)>,
    /// An answer of OCSP in DER for each pair that has one; empty when none has.
    pub staples: Vec<Option<Named>>,
    /// In PEM.
    pub client_ca: Option<Named>,
    pub client_auth: ClientAuth,
    /// TLS 1.2 is refused.
    pub only_13: bool,
    /// Protocols in the order of preference (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// Tickets of each handshake, and what they are made with.
    pub tickets: Option<(usize, Tickets)>,
    pub keylog: Option<KeySink>,
    pub handshake_timeout_ms: u64,
    /// Seconds since 1970, for what expires.
    pub now_s: u64,
}

pub(super) fn failure(text: String) -> Failure {
    Failure::new(INGEST_E_TLS, text)
}

impl Keys {
    /// Checks everything and makes a configuration of it.
    pub fn new(material: Material) -> Result<Keys, Failure> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[_] = if material.only_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| failure(format!("cannot set tls up: {error} (check tls.min_version)")))?;
        let (builder, policy) = match verifier(&material)? {
            Some((verifier, policy)) => (builder.with_client_cert_verifier(verifier), policy),
            None => (builder.with_no_client_auth(), policy(&[])),
        };
        let pairs = pairs(material.pairs, material.staples, material.now_s)?;
        let mut config = builder.with_cert_resolver(Arc::new(Chooser { pairs }));
        config.alpn_protocols = material.alpn;
        // Nothing is kept for sessions: what a client needs to come back is in its ticket.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if let Some((count, tickets)) = material.tickets {
            config.send_tls13_tickets = count;
            config.ticketer = tickets.bound(policy);
        }
        if let Some(sink) = material.keylog {
            config.key_log = Arc::new(Logged(sink));
        }
        Ok(Keys { config: Arc::new(config), handshake_timeout_ms: material.handshake_timeout_ms })
    }

    /// A session for a connection that has just been accepted.
    pub fn session(&self, now_ns: u64) -> Option<Session> {
        Secure::begin(Arc::clone(&self.config), now_ns, self.handshake_timeout_ms).map(|secure| Session::Tls(Box::new(secure)))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Keys")
    }
}

/// All certificates of a text in PEM; there has to be one.
fn certificates(source: &Named) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let name = &source.name;
    let chain = CertificateDer::pem_slice_iter(&source.octets).collect::<Result<Vec<_>, pem::Error>>();
    let chain = chain.map_err(|error| failure(format!("{name} is not PEM: {error} (convert it with openssl x509)")))?;
    if chain.is_empty() {
        return Err(failure(format!("{name} has no certificate (it has to hold the chain in PEM, leaf first)")));
    }
    for certificate in &chain {
        ParsedCertificate::try_from(certificate)
            .map_err(|error| failure(format!("{name} has a certificate that cannot be read: {error} (make it again)")))?;
    }
    Ok(chain)
}

fn pairs(pairs: Vec<(Named, Named)>, staples: Vec<Option<Named>>, now_s: u64) -> Result<Vec<Arc<CertifiedKey>>, Failure> {
    if pairs.is_empty() {
        return Err(failure("no certificate (set tls.cert and tls.key)".to_owned()));
    }
    if !staples.is_empty() && staples.len() != pairs.len() {
        let text = format!("tls.ocsp has {} entries and tls.cert {} (name as many; one may be empty)", staples.len(), pairs.len());
        return Err(failure(text));
    }
    let staples = staples.into_iter().chain(std::iter::repeat_with(|| None));
    let certified = |((chain, key), staple): ((Named, Named), Option<Named>)| {
        let mut pair = certified(&chain, &key, now_s)?;
        pair.ocsp = staple.map(staple::checked).transpose()?;
        Ok(Arc::new(pair))
    };
    pairs.into_iter().zip(staples).map(certified).collect()
}

fn certified(chain: &Named, key: &Named, now_s: u64) -> Result<CertifiedKey, Failure> {
    let certificates = certificates(chain)?;
    let name = &key.name;
    let private = match PrivateKeyDer::from_pem_slice(&key.octets) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => {
            return Err(failure(format!("{name} has no private key (it has to hold one in PEM, not encrypted)")));
        }
        Err(error) => return Err(failure(format!("{name} is not PEM: {error} (convert it with openssl pkey)"))),
    };
    let signing = any_supported_type(&private)
        .map_err(|error| failure(format!("{name} has a key that cannot be used: {error} (use ECDSA P-256 or RSA of 2048 bits)")))?;
    let pair = CertifiedKey::new(certificates, signing);
    pair.keys_match().map_err(|_| failure(format!("{name} does not belong to the certificate of {} (pair them)", chain.name)))?;
    dates::check(pair.end_entity_cert().map_err(|error| failure(format!("{}: {error} (check it)", chain.name)))?, &chain.name, now_s)?;
    Ok(pair)
}

/// Who verifies clients, and what tickets are bound to: whoever resumes is not verified again, so a ticket is good only where clients are
/// verified in the same way against the same authorities.
type Verifier = (Arc<dyn ClientCertVerifier>, Vec<u8>);

fn verifier(material: &Material) -> Result<Option<Verifier>, Failure> {
    let ca = match (&material.client_ca, material.client_auth) {
        (None, ClientAuth::None) => return Ok(None),
        (Some(_), ClientAuth::None) => {
            return Err(failure("tls.client_ca is of no use while clients are not asked (set tls.client_auth)".to_owned()));
        }
        (None, _) => return Err(failure("nobody may sign client certificates (set tls.client_ca)".to_owned())),
        (Some(ca), _) => ca,
    };
    let mut roots = RootCertStore::empty();
    let certificates = certificates(ca)?;
    let mut parts: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    parts.push(if material.client_auth == ClientAuth::Optional { b"optional" } else { b"required" });
    let policy = policy(&parts);
    for certificate in certificates {
        roots.add(certificate).map_err(|error| failure(format!("{} cannot sign: {error} (name a certificate authority)", ca.name)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
    let builder = if material.client_auth == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
    let verifier = builder.build().map_err(|error| failure(format!("{}: {error} (check tls.client_ca)", ca.name)))?;
    Ok(Some((verifier, policy)))
}

thread_local! {
    /// What the client whose hello this thread has just looked at asked for. The unbuffered sessions of rustls 0.23 do not tell, but the
    /// hello is looked at within the call that brings it, and nothing else is done meanwhile.
    static ASKED_FOR: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name that a client has asked for since this was called last on this thread.
pub(super) fn take_asked_for() -> Option<Box<str>> {
    ASKED_FOR.take()
}

/// Chooses a pair by the name that the client asks for (RFC 6066 section 3), and by what it can verify.
#[derive(Debug)]
struct Chooser {
    pairs: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED_FOR.set(hello.server_name().map(Box::from));
        let (first, others) = self.pairs.split_first()?;
        if others.is_empty() {
            return Some(Arc::clone(first));
        }
        let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| {
            let mut named = self.pairs.iter().filter(|pair| covers(pair, &name));
            let first = named.clone().next();
            named.find(fits).or(first)
        });
        Some(Arc::clone(named.or_else(|| self.pairs.iter().find(fits)).unwrap_or(first)))
    }
}

/// Whether the leaf is for that name, wildcards included (RFC 6125 section 6.4).
fn covers(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = pair.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

/// Writes what Wireshark reads: label, client random and secret, in hexadecimal digits.
struct Logged(KeySink);

impl fmt::Debug for Logged {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Logged")
    }
}

impl KeyLog for Logged {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        for part in [client_random, b" ".as_slice(), secret] {
            if part == b" " {
                line.push(' ');
                continue;
            }
            for octet in part {
                // Writing to a string cannot fail.
                let _ = write!(line, "{octet:02x}");
            }
        }
        line.push('\n');
        (self.0)(&line);
    }
}
