//! What a session of TLS knows of itself and of its client, in the form that a letter copies.
#![forbid(unsafe_code)]

use crate::parse::sketch::Span;

/// What TLS negotiated.
#[derive(Clone, Copy, Debug)]
pub struct TlsView<'a> {
    pub version: u16,
    pub cipher_suite: u16,
    pub group: u16,
    pub resumed: bool,
    pub server_name: Option<&'a [u8]>,
    pub alpn: Option<&'a [u8]>,
    /// In DER.
    pub client_certificate: Option<&'a [u8]>,
    /// What that certificate says.
    pub certificate: Option<&'a Certificate>,
}

/// What a client's certificate says, read once a session. Spans lie in `octets`; all text is UTF-8 without a control character.
#[derive(Debug, Default)]
pub struct Certificate {
    pub octets: Vec<u8>,
    /// SHA-256 of the certificate in DER.
    pub fingerprint: Option<Span>,
    pub serial: Option<Span>,
    pub subject: Option<Span>,
    pub issuer: Option<Span>,
    /// The subject's alternative names: the kind, and the name.
    pub names: Vec<(&'static str, Span)>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// The certificate could be read.
    pub is_read: bool,
    /// It has alternative names that are not shown.
    pub names_unread: bool,
}

impl<'a> TlsView<'a> {
    /// The octets that a letter has to take, one behind the other; what the certificate says comes last.
    pub fn pieces(&self) -> [Option<&'a [u8]>; 4] {
        [self.server_name, self.alpn, self.client_certificate, self.certificate.map(|certificate| &certificate.octets[..])]
    }

    /// How many octets these are.
    pub fn octets(&self) -> usize {
        self.pieces().iter().flatten().map(|piece| piece.len()).sum()
    }

    /// The alternative names of the client's certificate.
    pub fn names(&self) -> &'a [(&'static str, Span)] {
        self.certificate.map_or(&[], |certificate| &certificate.names)
    }
}
