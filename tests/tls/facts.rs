//! What a request tells of its client's certificate: the same as OpenSSL and Python say of it, in every session and as long as the request lives.

use crate::Folder;
use crate::support::eventually;
use crate::support::host::{Delivery, Server, abi, blank_event, on_requests};
use crate::support::request_view::{RequestView, octets};
use crate::support::secured::{self, Secured};
use ingest::request::*;
use ingest::status::INGEST_E_GONE;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;

const BOTH: [(u16, &SupportedProtocolVersion); 2] = [(0x0303, &TLS12), (0x0304, &TLS13)];

/// All that a request tells of its client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    version: u16,
    flags: u32,
    der: Vec<u8>,
    subject: Option<String>,
    issuer: Option<String>,
    serial: Vec<u8>,
    fingerprint: Vec<u8>,
    names: Vec<(String, String)>,
    validity: (i64, i64),
}

impl Told {
    fn of(request: &ingest_request) -> Told {
        // SAFETY: the struct lives as long as the request, which the caller holds.
        let tls = unsafe { request.tls.as_ref() }.expect("it came over TLS");
        let text = |slice: &ingest_slice| String::from_utf8(octets(slice).to_vec()).expect("UTF-8");
        let names = match tls.client_name_count {
            0 => &[][..],
            // SAFETY: the library promises so many pairs there.
            count => unsafe { std::slice::from_raw_parts(tls.client_names, count) },
        };
        Told {
            version: tls.version,
            flags: tls.flags,
            der: octets(&tls.client_certificate).to_vec(),
            subject: (!tls.client_subject.ptr.is_null()).then(|| text(&tls.client_subject)),
            issuer: (!tls.client_issuer.ptr.is_null()).then(|| text(&tls.client_issuer)),
            serial: octets(&tls.client_serial).to_vec(),
            fingerprint: octets(&tls.client_fingerprint).to_vec(),
            names: names.iter().map(|pair| (text(&pair.name), text(&pair.value))).collect(),
            validity: (tls.client_not_before, tls.client_not_after),
        }
    }
}

/// A client's certificate and key, in PEM.
struct Client {
    cert: String,
    key: String,
}

impl Client {
    /// One that signs itself, with what the `openssl` command takes no argument for.
    fn made(subject: &[(DnType, DnValue)], names: Vec<SanType>) -> Client {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.distinguished_name = DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), value.clone()));
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        Client { cert: params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
    }

    /// One that the `openssl` command makes, for attributes side by side and types without a name.
    fn of_openssl(folder: &Folder) -> Client {
        let config = folder.put(
            "openssl.cnf",
            "oid_section=oids\n[oids]\nours=1.3.6.1.4.1.99999.1\n\
             [req]\ndistinguished_name=dn\nprompt=no\nutf8=yes\nstring_mask=utf8only\nx509_extensions=v3\n\
             [dn]\nC=DE\nO=Bär \\\\ \\\"Söhne\\\"\nOU=\\#first\n+CN=one, two + three\n1.OU= <trailing>;\n+UID=user 7\nDC=example\n\
             emailAddress=a@b.test\nserialNumber=12\nours=Hi\n\
             [v3]\nbasicConstraints=critical,CA:FALSE\n\
             subjectAltName=URI:spiffe://example.test/a,email:a@b.test,IP:192.0.2.7,DNS:z.test,IP:2001:db8::ff:1,DNS:*.a.test,RID:1.2.3.4,\
             otherName:1.2.3.4;UTF8:other,dirName:dir\n[dir]\nC=DE\nCN=inside\n",
        );
        let (cert, key) = (folder.path("made.pem"), folder.path("made.key"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-config",
            &config,
            "-set_serial",
            "0x00ff0000000000000000000000000001",
            "-keyout",
            &key,
            "-out",
            &cert,
        ]);
        let read = |path| std::fs::read_to_string(path).expect("it was made");
        Client { cert: read(&cert), key: read(&key) }
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(secured::pair().der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let cert = CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(vec![cert], key).expect("they match"))
    }
}

fn openssl(arguments: &[&str]) -> String {
    let output =
        Command::new("openssl").args(arguments).output().unwrap_or_else(|error| panic!("openssl: {error} (apt-get install openssl)"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "openssl {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A server that lets these clients in, with a queue that the test polls.
fn server_for(clients: &[&Client]) -> Server {
    let bundle: String = clients.iter().map(|client| client.cert.as_str()).collect();
    let mut options = secured::options().to_vec();
    options.extend([("tls.client_ca", Box::leak(bundle.into_boxed_str()) as &str), ("tls.client_auth", "required")]);
    Server::queued(&options)
}

fn connect(server: &Server, config: &Arc<ClientConfig>) -> (Secured, TcpStream) {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
    (Secured::connect_with(&stream, Arc::clone(config), "localhost").expect("a session"), stream)
}

/// Asks in a session of its own and says what the request told.
fn told(server: &Server, config: &Arc<ClientConfig>) -> Told {
    let (tls, mut stream) = connect(server, config);
    tls.write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let event = server.queue().take(1)[0];
    let told = Told::of(RequestView::of(&event).expect("a request").0);
    server.text(event.token, b"ok");
    // To the end, so that the ticket that comes last is taken, too.
    while tls.read(&mut stream, &mut [0; 4096]).expect("an answer") > 0 {}
    told
}

/// What Python's `ssl` says of a certificate: a handshake between two ends in memory, and the public `getpeercert`.
fn python(folder: &Folder, client: &Client) -> BTreeMap<String, Vec<String>> {
    const PROGRAM: &str = r#"
import ipaddress, ssl, sys
cert, key = sys.argv[1:]
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(cert, key)
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.check_hostname = False
client.load_verify_locations(cert)
to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
for _ in range(4):
    for end in ends:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
said = ends[0].getpeercert()
for kind, value in said["subjectAltName"]:
    if kind == "IP Address":
        value = str(ipaddress.ip_address(value.strip()))
    print(kind, str(value).encode().hex())
for name in ("notBefore", "notAfter"):
    print(name, str(ssl.cert_time_to_seconds(said[name])).encode().hex())
print("serialNumber", said["serialNumber"].encode().hex())
"#;
    let (cert, key) = (folder.put("asked.pem", &client.cert), folder.put("asked.key", &client.key));
    let output = Command::new("python3").args(["-c", PROGRAM, &cert, &key]).output().expect("python3 (apt-get install python3)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let (name, digits) = line.rsplit_once(' ').expect("a pair");
        let octets: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a digit")).collect();
        said.entry(name.to_owned()).or_default().push(String::from_utf8(octets).expect("UTF-8"));
    }
    said
}

fn hexadecimal(octets: &[u8], between: &str) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(between)
}

/// Compares what was told with what `openssl x509` and Python say.
fn compare(told: &Told, folder: &Folder, client: &Client) {
    let path = folder.put("compared.pem", &client.cert);
    let said = openssl(&["x509", "-in", &path, "-noout", "-subject", "-issuer", "-nameopt", "RFC2253,-esc_msb", "-fingerprint", "-sha256"]);
    let said: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(told.subject.as_deref(), Some(said["subject"]));
    assert_eq!(told.issuer.as_deref(), Some(said["issuer"]));
    assert_eq!(hexadecimal(&told.fingerprint, ":"), said["sha256 Fingerprint"]);

    let said = python(folder, client);
    for kind in ["DNS", "IP Address", "email", "URI", "Registered ID"] {
        let ours: Vec<&str> = told.names.iter().filter(|(name, _)| name == kind).map(|(_, value)| value.as_str()).collect();
        let theirs: Vec<String> = said.get(kind).into_iter().flatten().map(|value| value.replace('\0', "\\00")).collect();
        assert_eq!(ours, theirs, "{kind}");
    }
    let seconds = |name: &str| said[name][0].parse::<i64>().expect("a number");
    assert_eq!(told.validity, (seconds("notBefore"), seconds("notAfter")));
    assert_eq!(hexadecimal(&told.serial, "").trim_start_matches('0'), said["serialNumber"][0].trim_start_matches('0'));
}

/// Has a certificate shown in sessions of both versions, new and resumed, and compares each; returns what the last told.
fn shown(folder: &Folder, client: &Client) -> Told {
    let server = server_for(&[client]);
    let mut last = None;
    for (number, version) in BOTH {
        let config = client.config(&[version]);
        for resumed in [0, INGEST_TLS_RESUMED] {
            let told = told(&server, &config);
            assert_eq!((told.version, told.flags), (number, INGEST_TLS_CLIENT_READ | resumed));
            assert_eq!(told.der, CertificateDer::from_pem_slice(client.cert.as_bytes()).expect("a certificate").as_ref());
            compare(&told, folder, client);
            last = Some(told);
        }
    }
    server.finish();
    last.expect("it was shown")
}

#[test]
fn names_of_every_kind_are_those_that_others_see() {
    let folder = Folder::new("facts");
    let told = shown(&folder, &Client::of_openssl(&folder));
    // Spelt out as well, so that both sides cannot be wrong in the same way.
    assert_eq!(
        told.subject.as_deref(),
        Some(
            "1.3.6.1.4.1.99999.1=#0C024869,serialNumber=12,emailAddress=a@b.test,DC=example,UID=user 7+OU=\\<trailing\\>\\;,\
             CN=one\\, two \\+ three+OU=\\#first,O=Bär \\\\ \\\"Söhne\\\",C=DE"
        )
    );
    let names: Vec<(&str, &str)> = told.names.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    let expected = [
        ("URI", "spiffe://example.test/a"),
        ("email", "a@b.test"),
        ("IP Address", "192.0.2.7"),
        ("DNS", "z.test"),
        ("IP Address", "2001:db8::ff:1"),
        ("DNS", "*.a.test"),
        ("Registered ID", "1.2.3.4"),
        ("DirName", "CN=inside,C=DE"),
    ];
    assert_eq!(names, expected);
    assert_eq!(told.serial[..2], [0, 0xFF]);
}

#[test]
fn octets_that_end_a_text_elsewhere_end_nothing_here() {
    let folder = Folder::new("hostile");
    let text = |value: &str| DnValue::Utf8String(value.to_owned());
    let ia5 = |value: &str| value.try_into().expect("ASCII");
    let subject = [(DnType::CommonName, text("good.test\0.evil.test")), (DnType::OrganizationName, text(" \r\nO=x,\u{7f}é "))];
    let names = vec![SanType::DnsName(ia5("good.test\0.evil.test")), SanType::IpAddress(Ipv6Addr::LOCALHOST.into())];
    let told = shown(&folder, &Client::made(&subject, names));
    assert_eq!(told.subject.as_deref(), Some("O=\\ \\0D\\0AO=x\\,\\7Fé\\ ,CN=good.test\\00.evil.test"));
    let expected = [("DNS", "good.test\\00.evil.test"), ("IP Address", "::1")];
    assert_eq!(told.names, expected.map(|(kind, value)| (kind.to_owned(), value.to_owned())));
}

#[test]
fn a_certificate_with_too_many_names_shows_none_and_says_so() {
    let ia5 = |value: String| SanType::DnsName(value.try_into().expect("ASCII"));
    let subject = [(DnType::CommonName, DnValue::Utf8String("many".to_owned()))];
    for (count, flags, shown) in [(256, INGEST_TLS_CLIENT_READ, 256), (257, INGEST_TLS_CLIENT_READ | INGEST_TLS_CLIENT_NAMES_UNREAD, 0)] {
        let client = Client::made(&subject, (0..count).map(|at| ia5(format!("{at}.test"))).collect());
        let server = server_for(&[&client]);
        let told = told(&server, &client.config(&[&TLS13]));
        assert_eq!((told.flags, told.names.len(), told.subject.as_deref()), (flags, shown, Some("CN=many")));
        server.finish();
    }
}

#[test]
fn a_client_without_a_certificate_tells_nothing() {
    let server = Server::queued(&secured::options());
    let told = told(&server, &Arc::new(secured::config()));
    let nothing = Told {
        version: 0x0304,
        flags: 0,
        der: vec![],
        subject: None,
        issuer: None,
        serial: vec![],
        fingerprint: vec![],
        names: vec![],
        validity: (0, 0),
    };
    assert_eq!(told, nothing);
    server.finish();
}

#[test]
fn a_held_request_tells_it_after_its_client_is_gone() {
    let folder = Folder::new("held");
    let client = Client::of_openssl(&folder);
    let server = server_for(&[&client]);
    let (tls, mut stream) = connect(&server, &client.config(&[&TLS13]));
    tls.write_all(&mut stream, b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut events = [blank_event(); 1];
    assert_eq!(server.queue().wait(&mut events, crate::support::PATIENCE.as_millis() as i32), 1);
    let request = RequestView::of(&events[0]).expect("a request").0;
    let before = Told::of(request);
    compare(&before, &folder, &client);
    // A reset: session and connection go, the letter stays with the host (the second life of a request).
    socket_resets(&stream);
    drop((tls, stream));
    assert!(eventually(|| server.alive(events[0].token) == 0), "the client's end is noticed");
    assert!(eventually(|| server.stats().connections_open == 0), "the connection is gone");
    // Others come, so that memory which was given back would be theirs now.
    let other = Client { cert: client.cert.clone(), key: client.key.clone() }.config(&[&TLS12]);
    for _ in 0..8 {
        told(&server, &other);
    }
    let address = std::ptr::from_ref(request).expose_provenance();
    let after = std::thread::spawn(move || {
        // SAFETY: the request is held until it is answered below, and memory of a request may be read on any thread.
        Told::of(unsafe { &*std::ptr::with_exposed_provenance::<ingest_request>(address) })
    });
    assert_eq!(after.join().expect("it is readable"), before);
    assert_eq!(server.text(events[0].token, b"late"), INGEST_E_GONE);
    server.finish();
}

/// Closing this socket sends RST.
fn socket_resets(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open and the option has the size that is said.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            std::mem::size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(set, 0);
}

#[test]
fn every_delivery_tells_the_same() {
    let folder = Folder::new("deliveries");
    let client = Client::of_openssl(&folder);
    for delivery in [Delivery::Inline, Delivery::Threads] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        let handler = on_requests(move |host, request| {
            let _ = sender.lock().expect("no thread panicked").send(Told::of(request.0));
            host.text(request.0.token, b"ok");
        });
        let mut options = secured::options().to_vec();
        options.extend([("tls.client_ca", client.cert.as_str()), ("tls.client_auth", "optional")]);
        let server = Server::serve(&options, delivery, handler);
        let (tls, mut stream) = connect(&server, &client.config(&[&TLS13]));
        // The second request of a connection has a letter of its own.
        for _ in 0..2 {
            tls.write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
            assert!(tls.read(&mut stream, &mut [0; 4096]).expect("an answer") > 0);
            compare(&receiver.recv_timeout(crate::support::PATIENCE).expect("a request"), &folder, &client);
        }
        server.finish();
    }
}

#[test]
fn a_packed_record_says_that_there_is_tls_and_its_token_says_what() {
    let folder = Folder::new("packed");
    let client = Client::of_openssl(&folder);
    let server = server_for(&[&client]);
    let (tls, mut stream) = connect(&server, &client.config(&[&TLS13]));
    tls.write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    assert!(eventually(|| server.queue().depth() == 1));
    let mut block = vec![0u64; 8192];
    // SAFETY: the queue lives, and the block is as long as is said.
    let count = unsafe { abi::ingest_queue_poll_packed(server.queue().0, block.as_mut_ptr().cast(), block.len() * 8) };
    assert_eq!(count, 1);
    let block: Vec<u8> = block.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let number = |at: usize| u32::from_ne_bytes(block[at..at + 4].try_into().expect("four octets"));
    // As docs/packed.md has it: where the records are, and of the first its token, flags and scheme.
    let record = number(28) as usize;
    let token = u64::from_ne_bytes(block[record..record + 8].try_into().expect("eight octets"));
    assert_eq!(number(record + 24) & INGEST_REQUEST_TLS, INGEST_REQUEST_TLS);
    let (scheme, length) = (number(record + 72) as usize, number(record + 76) as usize);
    assert_eq!(&block[scheme..scheme + length], b"https");
    // SAFETY: the server lives; the request is held until it is answered.
    let request = unsafe { abi::ingest_token_request(server.host.0, token).as_ref() }.expect("it is held");
    let told = Told::of(request);
    assert_eq!((told.version, told.flags), (0x0304, INGEST_TLS_CLIENT_READ));
    compare(&told, &folder, &client);
    server.text(token, b"ok");
    // SAFETY: any number may be asked about.
    assert!(unsafe { abi::ingest_token_request(server.host.0, token) }.is_null(), "it was answered");
    server.finish();
}
