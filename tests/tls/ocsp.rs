//! Answers of OCSP that are shown beside a certificate, as openssl makes and as openssl reads them.

use crate::clients::{Said, run};
use crate::reload::reload;
use crate::support::host::{Delivery, Server, listen};
use crate::{Folder, telling};
use ingest::status::*;

/// An authority, a certificate for `localhost` that it has signed, and its word on it.
struct Authority {
    folder: Folder,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let authority = Authority { folder: Folder::new(name) };
        let at = |file: &str| authority.folder.path(file);
        authority.folder.put("names", "subjectAltName=DNS:localhost\n");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl = |arguments: &[&str]| {
            let Said { ok, text, .. } = run("openssl", arguments, b"", "openssl");
            assert!(ok, "{arguments:?}: {text}");
        };
        let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", &at("ca.key"), "-out", &at("ca.pem")];
        openssl(&[&ca[..], &key].concat());
        openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", &at("key.pem"), "-out", &at("asked")][..], &key].concat());
        let sign = ["x509", "-req", "-days", "1", "-set_serial", "0x1000", "-in", &at("asked"), "-extfile", &at("names")];
        openssl(&[&sign[..], &["-CA", &at("ca.pem"), "-CAkey", &at("ca.key"), "-out", &at("cert.pem")]].concat());
        authority
    }

    /// Has the authority say whether the certificate is revoked, in that file.
    fn say(&self, revoked: bool, file: &str) -> String {
        let at = |file: &str| self.folder.path(file);
        let state = if revoked { "R\t491231235959Z\t250101000000Z" } else { "V\t491231235959Z\t" };
        let index = self.folder.put("index", format!("{state}\t1000\tunknown\t/CN=localhost\n"));
        let (ca, key, cert, to) = (at("ca.pem"), at("ca.key"), at("cert.pem"), at(file));
        let arguments = [
            "ocsp", "-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key, "-issuer", &ca, "-cert", &cert, "-ndays", "1",
            "-respout", &to,
        ];
        let Said { ok, text, .. } = run("openssl", &arguments, b"", "openssl");
        assert!(ok, "{text}");
        to
    }

    fn options(&self) -> [(&'static str, String); 2] {
        [("tls.cert", self.folder.path("cert.pem")), ("tls.key", self.folder.path("key.pem"))]
    }

    /// What openssl is shown beside the certificate.
    fn shown(&self, port: u16, version: &str) -> String {
        let (to, ca) = (format!("127.0.0.1:{port}"), self.folder.path("ca.pem"));
        let arguments = [
            "s_client",
            "-connect",
            &to,
            "-servername",
            "localhost",
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-status",
            "-ign_eof",
            version,
        ];
        let Said { text, .. } = run("openssl", &arguments, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "openssl");
        assert!(text.contains("HTTP/1.1 200 "), "{text}");
        for part in ["no response sent", "Cert Status: good", "Cert Status: revoked"] {
            if text.contains(part) {
                return part.to_owned();
            }
        }
        panic!("{version}: {text}");
    }
}

#[test]
fn the_answer_is_stapled_and_read_again() {
    let authority = Authority::new("ocsp");
    let staple = authority.say(false, "staple.der");
    let [cert, key] = authority.options();
    let options = [(cert.0, cert.1.as_str()), (key.0, key.1.as_str()), ("tls.ocsp", staple.as_str())];
    let server = Server::serve(&options, Delivery::Inline, telling());
    let both = |expected: &str| {
        for version in ["-tls1_3", "-tls1_2"] {
            assert_eq!(authority.shown(server.port(), version), expected, "{version}");
        }
    };
    both("Cert Status: good");
    authority.say(true, "staple.der");
    both("Cert Status: good");
    reload(server.host).expect("another answer");
    both("Cert Status: revoked");
    let good = std::fs::read(authority.say(false, "good.der")).expect("it was written");
    for (octets, part) in [
        (b"nonsense".to_vec(), "is no ocsp answer in der"),
        (vec![], "is no ocsp answer in der"),
        (good[..good.len() - 1].to_vec(), "is no ocsp answer in der"),
        (vec![0x30, 3, 0x0a, 1, 6], "status 6, unauthorized"),
    ] {
        authority.folder.put("staple.der", &octets);
        let refused = reload(server.host).expect_err(part);
        assert!(refused.status == INGEST_E_TLS && refused.text.contains(part), "{}", refused.text);
        assert!(refused.text.contains("staple.der"), "{}", refused.text);
        both("Cert Status: revoked");
        let listening = Server::unstarted(&options);
        let refused = listen(listening.host, "https://127.0.0.1:0").expect_err(part);
        assert!(refused.status == INGEST_E_TLS && refused.text.contains(part), "{}", refused.text);
    }
}

#[test]
fn each_pair_has_its_own_or_none() {
    let (authority, other) = (Authority::new("ocsp-pairs"), crate::support::secured::certify(&["other.test"]));
    let staple = authority.say(false, "staple.der");
    let [(_, cert), (_, key)] = authority.options();
    let (certs, keys) = ([other.cert.as_str(), &cert].join(","), [other.key.as_str(), &key].join(","));
    for (ocsp, expected) in
        [(format!(",{staple}"), "Cert Status: good"), (",".to_owned(), "no response sent"), (String::new(), "no response sent")]
    {
        let options = [("tls.cert", certs.as_str()), ("tls.key", &keys), ("tls.ocsp", &ocsp)];
        let server = Server::serve(&options, Delivery::Inline, telling());
        assert_eq!(authority.shown(server.port(), "-tls1_3"), expected, "{ocsp}");
    }
    let server = Server::unstarted(&[("tls.cert", &certs), ("tls.key", &keys), ("tls.ocsp", &staple)]);
    let refused = listen(server.host, "https://127.0.0.1:0").expect_err("one entry for two pairs");
    assert!(refused.text.contains("tls.ocsp has 1 entries and tls.cert 2"), "{}", refused.text);
}
