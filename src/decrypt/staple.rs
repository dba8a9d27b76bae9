//! Answers of OCSP (RFC 6960) that are shown beside a certificate, looked at just closely enough to refuse what is none.
#![forbid(unsafe_code)]

use super::keys::{Named, failure};
use crate::status::Failure;
use x509_parser::asn1_rs::{Any, Enumerated, FromDer, Sequence, Tag};

/// OCSPResponseStatus (RFC 6960 section 4.2.1), as a responder means them.
const STATUSES: [&str; 7] =
    ["successful", "a malformed request", "an internal error", "try later", "no such status", "a signature is required", "unauthorized"];

/// The octets, once they are known to be a whole answer that says something.
pub fn checked(staple: Named) -> Result<Vec<u8>, Failure> {
    let name = &staple.name;
    match status(&staple.octets) {
        Some((0, true)) => Ok(staple.octets),
        Some((0, false)) => Err(failure(format!("{name} is an ocsp answer without content (ask the responder again)"))),
        Some((status, _)) => {
            let meaning = STATUSES.get(status as usize).unwrap_or(&"no such status");
            Err(failure(format!("{name} is an ocsp answer with status {status}, {meaning} (ask the responder again)")))
        }
        None => Err(failure(format!("{name} is no ocsp answer in der (make one with openssl ocsp -respout)"))),
    }
}

/// The status of a response, and whether it has content: `OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, [0] EXPLICIT SEQUENCE }`.
fn status(octets: &[u8]) -> Option<(u32, bool)> {
    let (rest, response) = Sequence::from_der(octets).ok()?;
    let (content, status) = Enumerated::from_der(&response.content).ok()?;
    if !rest.is_empty() {
        return None;
    }
    if content.is_empty() {
        return Some((status.0, false));
    }
    let (rest, tagged) = Any::from_der(content).ok()?;
    let explicit = tagged.header.is_contextspecific() && tagged.header.tag() == Tag(0);
    let (behind, _) = Sequence::from_der(tagged.data).ok()?;
    (explicit && rest.is_empty() && behind.is_empty()).then_some((status.0, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(octets: &[u8]) -> String {
        let staple = Named { name: "tls.ocsp it".to_owned(), octets: octets.to_vec() };
        checked(staple).map_or_else(|failure| failure.text, |_| "taken".to_owned())
    }

    #[test]
    fn only_a_whole_answer_with_content_is_taken() {
        // The status; the tagged responseBytes with a sequence of one integer in it.
        let good = [0x30, 10, 0x0a, 1, 0, 0xa0, 5, 0x30, 3, 2, 1, 7];
        assert_eq!(refused(&good), "taken");
        for cut in 0..good.len() {
            assert!(refused(&good[..cut]).contains("no ocsp answer in der"), "{cut}");
        }
        assert!(refused(&[good.as_slice(), &[0]].concat()).contains("no ocsp answer in der"));
        for (octets, part) in [
            (vec![0x30, 3, 0x0a, 1, 0], "without content"),
            (vec![0x30, 3, 0x0a, 1, 3], "status 3, try later"),
            (vec![0x30, 3, 0x0a, 1, 6], "status 6, unauthorized"),
            (vec![0x30, 3, 0x0a, 1, 9], "status 9, no such status"),
            (vec![0x30, 3, 2, 1, 0], "no ocsp answer in der"),
            (vec![0x30, 10, 0x0a, 1, 0, 0xa1, 5, 0x30, 3, 2, 1, 7], "no ocsp answer in der"),
            (vec![0x30, 8, 0x0a, 1, 0, 0xa0, 3, 2, 1, 7], "no ocsp answer in der"),
            (b"-----BEGIN OCSP".to_vec(), "no ocsp answer in der"),
        ] {
            assert!(refused(&octets).contains(part), "{octets:?}: {}", refused(&octets));
        }
    }
}
