//! What a client's certificate says, as text that a host can show and compare: absent rather than wrong, and never cut off.
#![forbid(unsafe_code)]

mod name;

pub use crate::memory::secured::Certificate;

use crate::limits::{CERTIFICATE_NAMES_MAX, CERTIFICATE_TEXT_BYTES};
use crate::parse::sketch::Span;
use aws_lc_rs::digest::{SHA256, digest};
// Addresses are values here; nothing is connected to.
use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt::Write;
use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, oid};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::nom::Parser;

const SUBJECT_ALTERNATIVE_NAME: Oid<'static> = oid!(2.5.29.17);

/// Reads a certificate in DER. What cannot be read, or is too large, is absent; the fingerprint is there whatever the certificate holds.
pub fn read(der: &[u8]) -> Certificate {
    let mut read = Certificate::default();
    let mut text = Text::default();
    read.fingerprint = text.piece(|text| text.add(digest(&SHA256, der).as_ref()));
    // Extensions are looked at one by one: what one of them holds is no reason to know nothing of the rest.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    if let Ok((&[], certificate)) = parser.parse(der) {
        read.is_read = true;
        read.serial = text.piece(|text| text.add(certificate.raw_serial()));
        read.subject = text.piece(|text| name::write(certificate.subject().as_raw(), text));
        read.issuer = text.piece(|text| name::write(certificate.issuer().as_raw(), text));
        read.not_before = certificate.validity().not_before.timestamp();
        read.not_after = certificate.validity().not_after.timestamp();
        let start = text.octets.len();
        text.most = start + CERTIFICATE_TEXT_BYTES;
        if alternative_names(&certificate, &mut text, &mut read.names).is_none() {
            read.names_unread = true;
            read.names = Vec::new();
            text.octets.truncate(start);
        }
    }
    text.octets.shrink_to_fit();
    read.octets = text.octets;
    read
}

/// Names of the kinds that have a text (RFC 5280 section 4.2.1.6). `None` if any is malformed, or there are too many: a host that looks for
/// a name, or for one that must not be there, has to see all of them.
fn alternative_names(certificate: &X509Certificate, text: &mut Text, names: &mut Vec<(&'static str, Span)>) -> Option<()> {
    let mut of_names = certificate.extensions().iter().filter(|extension| extension.oid == SUBJECT_ALTERNATIVE_NAME);
    let Some(extension) = of_names.next() else { return Some(()) };
    if of_names.next().is_some() {
        return None;
    }
    let mut rest = extension.value;
    let (sequence, _) = element(&mut rest)?;
    if !rest.is_empty() || !name::is_universal(&sequence, 16, true) {
        return None;
    }
    let mut rest = sequence.data;
    while !rest.is_empty() {
        let (general, _) = element(&mut rest)?;
        if general.class() != Class::ContextSpecific {
            return None;
        }
        let start = text.octets.len();
        let kind = match (general.tag().0, general.header.is_constructed()) {
            (1, false) => ascii(general.data, text).map(|()| "email")?,
            (2, false) => ascii(general.data, text).map(|()| "DNS")?,
            (4, true) => name::write(general.data, text).map(|()| "DirName")?,
            (6, false) => ascii(general.data, text).map(|()| "URI")?,
            (7, false) => address(general.data, text).map(|()| "IP Address")?,
            (8, false) => name::dotted(general.data, text).map(|()| "Registered ID")?,
            // otherName, x400Address and ediPartyName have no text of their own.
            (0 | 3 | 5, true) => continue,
            _ => return None,
        };
        if names.len() == CERTIFICATE_NAMES_MAX || names.try_reserve(1).is_err() {
            return None;
        }
        names.push((kind, text.since(start)));
    }
    Some(())
}

/// An IA5String. What is no printable character becomes a backslash and two hexadecimal digits, so that `good.test\00.evil.test` is told
/// from `good.test`; a backslash becomes two.
fn ascii(octets: &[u8], text: &mut Text) -> Option<()> {
    for octet in octets {
        match octet {
            b'\\' => text.add(b"\\\\")?,
            0x20..=0x7E => text.add(&[*octet])?,
            0x80.. => return None,
            _ => text.hexadecimal(b"\\", &[*octet])?,
        }
    }
    Some(())
}

fn address(octets: &[u8], text: &mut Text) -> Option<()> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        write!(text, "{}", Ipv4Addr::from(octets)).ok()
    } else {
        write!(text, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).ok()
    }
}

/// The next element of DER, and its octets with the header.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(Any<'a>, &'a [u8])> {
    let whole = *rest;
    let (behind, any) = Any::from_der(whole).ok()?;
    *rest = behind;
    Some((any, &whole[..whole.len() - behind.len()]))
}

/// Octets that are written one behind the other, up to a bound.
struct Text {
    octets: Vec<u8>,
    most: usize,
}

impl Default for Text {
    fn default() -> Self {
        Text { octets: Vec::new(), most: CERTIFICATE_TEXT_BYTES }
    }
}

impl Text {
    /// Where something is written, with a bound of its own; nothing is left of what could not be written whole.
    fn piece(&mut self, write: impl FnOnce(&mut Text) -> Option<()>) -> Option<Span> {
        let start = self.octets.len();
        self.most = start + CERTIFICATE_TEXT_BYTES;
        if write(self).is_none() {
            self.octets.truncate(start);
            return None;
        }
        Some(self.since(start))
    }

    fn since(&self, start: usize) -> Span {
        Span { start: start as u32, len: (self.octets.len() - start) as u32 }
    }

    fn add(&mut self, octets: &[u8]) -> Option<()> {
        if self.octets.len() + octets.len() > self.most {
            return None;
        }
        self.octets.try_reserve(octets.len()).ok()?;
        self.octets.extend_from_slice(octets);
        Some(())
    }

    /// Two digits for each octet, with something in front of each.
    fn hexadecimal(&mut self, before: &[u8], octets: &[u8]) -> Option<()> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for octet in octets {
            self.add(before)?;
            self.add(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]])?;
        }
        Some(())
    }
}

impl Write for Text {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        self.add(piece.as_bytes()).ok_or(std::fmt::Error)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
