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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_taken_from_its_first_second_to_its_last() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (begins, ends) = (1_767_225_600, 1_798_761_600);
        let refused = |now_s| check(made.der(), "tls.cert it", now_s).map_or_else(|failure| failure.text, |()| String::new());
        assert_eq!((refused(begins), refused(ends)), (String::new(), String::new()));
        assert!(
            refused(begins - 1).starts_with("tls.cert it is not valid yet: it will be from Jan  1 00:00:00 2026"),
            "{}",
            refused(begins - 1)
        );
        assert!(refused(ends + 1).starts_with("tls.cert it has expired: it was valid until Jan  1 00:00:00 2027"), "{}", refused(ends + 1));
        // A clock that was never set, and one that is broken.
        assert!(refused(0).contains("not valid yet") && refused(u64::MAX).contains("has expired"));
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        let failure = check(&CertificateDer::from(vec![1, 2, 3]), "tls.cert it", 0).unwrap_err();
        assert!(failure.text.starts_with("tls.cert it has a certificate that cannot be read: "), "{}", failure.text);
    }
}
