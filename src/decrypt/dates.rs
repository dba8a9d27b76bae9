//! When a certificate is valid: one that is not, now, is refused before anybody is shown it.
#![forbid(unsafe_code)]

use super::keys::failure;
use crate::status::Failure;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Refuses a leaf that has expired or is not valid yet (RFC 5280 section 4.1.2.5); `now_s` are seconds since 1970.
pub fn check(leaf: &CertificateDer<'_>, name: &str, now_s: u64) -> Result<(), Failure> {
    let parsed = X509Certificate::from_der(leaf);
    let (_, parsed) = parsed.map_err(|error| failure(format!("{name} has a certificate that cannot be read: {error} (make it again)")))?;
    let (begins, ends) = (parsed.validity().not_before, parsed.validity().not_after);
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    if now_s > ends.timestamp() {
        return Err(failure(format!("{name} has expired: it was valid until {ends} (renew it, or set the clock)")));
    }
    if now_s < begins.timestamp() {
        return Err(failure(format!("{name} is not valid yet: it will be from {begins} on (wait, or set the clock)")));
    }
    Ok(())
}
