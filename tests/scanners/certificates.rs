//! An authority, and certificates of 90 days that it signs: as good as what a public one makes, so that scanners judge only the server.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// See the file's first line.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Valid since yesterday, for so many days in all.
fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right");
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970 - DAY;
    params.not_after = params.not_before + days * DAY;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = params("authority.test", 365);
        params.subject_alt_names.clear();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// What clients have to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The chain, leaf first, and the key.
    fn certify(&self, key: KeyPair) -> (String, String) {
        let mut params = params("localhost", 90);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        (leaf.pem() + &self.issuer.pem(), key.serialize_pem())
    }

    pub fn certify_p256(&self) -> (String, String) {
        self.certify(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
    }

    pub fn certify_rsa(&self) -> (String, String) {
        self.certify(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key"))
    }
}
