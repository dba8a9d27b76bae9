//! The client's side of TLS for the tests, and a certificate that is made when the program starts.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

/// A certificate for these names that signs itself.
pub fn certify(names: &[&str]) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names.clone()).expect("they are names");
    // Who signs is looked for by subject, so each has one of its own.
    params.distinguished_name.push(rcgen::DnType::CommonName, names.concat());
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let made = params.self_signed(&key).expect("a certificate can be made");
    Pair { cert: made.pem(), key: key.serialize_pem(), der: made.der().clone() }
}

/// As `certify`, valid from the first of January of one year to that of another.
pub fn certify_between(names: &[&str], years: [i32; 2]) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    [params.not_before, params.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate can be made");
    Pair { cert: made.pem(), key: key.serialize_pem(), der: made.der().clone() }
}

/// The certificate of this program's servers, for `localhost`.
pub fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| certify(&["localhost", "example.test"]))
}

/// The options of a server that has it.
pub fn options() -> [(&'static str, &'static str); 2] {
    [("tls.cert", &pair().cert), ("tls.key", &pair().key)]
}

fn ports() -> &'static Mutex<HashSet<u16>> {
    static PORTS: OnceLock<Mutex<HashSet<u16>>> = OnceLock::new();
    PORTS.get_or_init(Mutex::default)
}

/// Whether clients of this port speak TLS from now on.
pub fn note(port: u16, secure: bool) {
    let mut ports = ports().lock().expect("nobody panics with it");
    if secure {
        ports.insert(port)
    } else {
        ports.remove(&port)
    };
}

pub fn is_secure(port: u16) -> bool {
    ports().lock().expect("nobody panics with it").contains(&port)
}

/// What clients have unless a test wants it otherwise.
pub fn config() -> ClientConfig {
    config_trusting(&[&pair().der])
}

pub fn config_trusting(certificates: &[&CertificateDer<'static>]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add((*certificate).clone()).expect("it is a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("there are versions");
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// The session of one client, shared by those who read and those who write.
#[derive(Clone)]
pub struct Secured {
    session: Arc<Mutex<ClientConnection>>,
    /// Octets that were opened and not read yet.
    plain: Arc<Mutex<Vec<u8>>>,
    /// Held while octets go out, so that records keep their order although the session is not held meanwhile.
    sending: Arc<Mutex<()>>,
}

impl Secured {
    /// As most tests want it; the handshake is done with the first octets.
    pub fn connect(stream: &TcpStream) -> std::io::Result<Secured> {
        static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        let config = CONFIG.get_or_init(|| Arc::new(config()));
        Secured::connect_with(stream, Arc::clone(config), "localhost")
    }

    pub fn connect_with(stream: &TcpStream, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Secured> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let tls = Secured { session: Arc::new(Mutex::new(session)), plain: Arc::default(), sending: Arc::default() };
        let mut stream = stream;
        while tls.with(|session| session.is_handshaking()) {
            tls.flush(&mut stream)?;
            if tls.with(|session| session.is_handshaking()) && !tls.fill(&mut stream)? {
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the stream ends inside the handshake"));
            }
        }
        tls.flush(&mut stream)?;
        Ok(tls)
    }

    /// Has a look at the session.
    pub fn with<R>(&self, look: impl FnOnce(&mut ClientConnection) -> R) -> R {
        look(&mut self.session.lock().expect("nobody panics with it"))
    }

    pub fn write_all(&self, stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
        for piece in bytes.chunks(32 * 1024) {
            let _order = self.sending.lock().expect("nobody panics with it");
            let mut sealed = Vec::new();
            self.with(|session| {
                session.writer().write_all(piece)?;
                while session.wants_write() {
                    session.write_tls(&mut sealed)?;
                }
                Ok::<(), std::io::Error>(())
            })?;
            stream.write_all(&sealed)?;
        }
        Ok(())
    }

    pub fn read(&self, stream: &mut impl ReadWrite, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            {
                let mut plain = self.plain.lock().expect("nobody panics with it");
                let count = plain.len().min(bytes.len());
                if count > 0 {
                    bytes[..count].copy_from_slice(&plain[..count]);
                    plain.drain(..count);
                    return Ok(count);
                }
            }
            if self.has_ended() {
                return Ok(0);
            }
            let more = self.fill(stream)?;
            self.flush(stream)?;
            if !more && !self.has_ended() {
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the stream ends without close_notify"));
            }
        }
    }

    /// The server has said that nothing more comes from it.
    pub fn has_ended(&self) -> bool {
        self.with(|session| session.process_new_packets().is_ok_and(|state| state.peer_has_closed()))
    }

    /// Says that nothing more comes from us.
    pub fn close_notify(&self, mut stream: &TcpStream) {
        self.with(|session| session.send_close_notify());
        // The server may have closed already, which is for the reading side to find out.
        let _ = self.flush(&mut stream);
    }

    /// Reads once: false at the end of the stream.
    fn fill(&self, stream: &mut impl Read) -> std::io::Result<bool> {
        let mut sealed = [0; 16 * 1024];
        let count = stream.read(&mut sealed)?;
        let mut rest = &sealed[..count];
        self.with(|session| {
            loop {
                session.read_tls(&mut rest)?;
                let state = session.process_new_packets().map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
                let mut opened = vec![0; state.plaintext_bytes_to_read()];
                session.reader().read_exact(&mut opened)?;
                self.plain.lock().expect("nobody panics with it").append(&mut opened);
                if rest.is_empty() {
                    return Ok(count > 0);
                }
            }
        })
    }

    fn flush(&self, stream: &mut impl Write) -> std::io::Result<()> {
        let _order = self.sending.lock().expect("nobody panics with it");
        let mut sealed = Vec::new();
        self.with(|session| {
            while session.wants_write() {
                session.write_tls(&mut sealed)?;
            }
            Ok::<(), std::io::Error>(())
        })?;
        stream.write_all(&sealed)
    }
}

/// Both directions.
pub trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

/// A second handle on a client's stream, and its session if there is one.
pub struct Handle {
    pub tls: Option<Secured>,
    pub stream: TcpStream,
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.tls {
            None => self.stream.write(bytes),
            Some(tls) => tls.write_all(&mut self.stream, bytes).map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Handle {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match &self.tls {
            None => self.stream.read(bytes),
            Some(tls) => tls.read(&mut self.stream, bytes),
        }
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
