//! A coordinator's own CA.

use crate::{NAME, Trust, provider};
use petctl_text::{Secret, hex};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// How long a CA lasts: its key is as secret as the token beside it, and goes with the state folder.
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3_600);
/// Certificates hold from a little before they are made: clocks differ.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// A CA: it signs the certificates of one coordinator.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Why there is no CA or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// What is kept of the CA is none, or its parts are of two.
    #[error("its certificate and its key are no pair")]
    NoPair,
    /// What makes keys and certificates says no.
    #[error(transparent)]
    Generator(#[from] rcgen::Error),
    /// What speaks TLS does not take them.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// A new one, and its key to be kept, as PEM.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn make() -> Result<(Self, Secret), NotMade> {
        let key = KeyPair::generate()?;
        let kept = Secret::new(key.serialize_pem());
        let mut params = params(&key)?;
        let now = SystemTime::now();
        params.not_before = date(now - SKEW);
        params.not_after = date(now + CA_LIFE);
        let certificate = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok((
            Self {
                certificate,
                issuer,
            },
            kept,
        ))
    }

    /// The one that was kept.
    ///
    /// # Errors
    /// Where it is none, or nobody who trusts it would take what it signs.
    pub fn read(certificate: &str, key: &str) -> Result<Self, NotMade> {
        let key = KeyPair::from_pem(key).map_err(|_| NotMade::NoPair)?;
        let authority = Self {
            certificate: certificate.to_owned(),
            issuer: Issuer::new(params(&key)?, key),
        };
        let tried = authority.issue(&[], Duration::from_secs(60))?;
        let trusted = Trust::pem(certificate).and_then(|trust| trust.check(&tried.cert));
        trusted.map_err(|_| NotMade::NoPair)?;
        Ok(authority)
    }

    /// Its certificate, as PEM: what those who call the coordinator are given.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate from now on, for [`NAME`] and for other names and addresses, with a key of its own.
    ///
    /// # Errors
    /// Where a name is none, or the system gives no random numbers.
    pub fn issue(&self, names: &[String], life: Duration) -> Result<Arc<CertifiedKey>, NotMade> {
        let now = SystemTime::now();
        self.issue_between(names, now - SKEW, now + life)
    }

    /// The same, for a time that the caller names.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_between(
        &self,
        names: &[String],
        from: SystemTime,
        until: SystemTime,
    ) -> Result<Arc<CertifiedKey>, NotMade> {
        let key = KeyPair::generate()?;
        let mut all = vec![NAME.to_owned()];
        all.extend(names.iter().cloned());
        let mut params = CertificateParams::new(all)?;
        params.distinguished_name = named(NAME);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date(from);
        params.not_after = date(until);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority([redacted])")
    }
}

/// All of a CA but its time: computed from its key, so that nothing but the key need be read back.
fn params(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let digest = hex(&Sha256::digest(key.der_bytes()));
    let number = digest.get(..8).unwrap_or(&digest);
    params.distinguished_name = named(&format!("petctl CA {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// Whole seconds, as certificates have them.
fn date(at: SystemTime) -> OffsetDateTime {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsError;

    #[test]
    fn a_ca_that_was_kept_signs_what_those_who_trust_it_take() {
        let (made, key) = Authority::make().unwrap();
        let again = Authority::read(made.certificate(), key.expose()).unwrap();
        let trust = Trust::pem(made.certificate()).unwrap();
        for authority in [&made, &again] {
            let issued = authority.issue(&["10.0.0.1".to_owned()], Duration::from_secs(60));
            assert_eq!(trust.check(&issued.unwrap().cert), Ok(()));
        }
    }

    #[test]
    fn parts_of_two_cas_and_nonsense_are_none() {
        let (one, key) = Authority::make().unwrap();
        let (other, other_key) = Authority::make().unwrap();
        for (certificate, key) in [
            (one.certificate(), other_key.expose()),
            (other.certificate(), key.expose()),
            (one.certificate(), "nonsense"),
            (one.certificate(), one.certificate()),
            ("", key.expose()),
        ] {
            assert!(matches!(
                Authority::read(certificate, key),
                Err(NotMade::NoPair)
            ));
        }
    }

    #[test]
    fn a_certificate_is_refused_before_its_time_after_it_and_where_another_ca_has_signed_it() {
        let (authority, _) = Authority::make().unwrap();
        let (other, _) = Authority::make().unwrap();
        let trust = Trust::pem(authority.certificate()).unwrap();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3_600);
        let issue = |by: &Authority, from, until| by.issue_between(&[], from, until).unwrap();
        let early = issue(&authority, now + hour, now + 2 * hour);
        assert!(matches!(
            trust.check(&early.cert),
            Err(TlsError::NotYet { .. })
        ));
        let late = issue(&authority, now - 2 * hour, now - hour);
        assert!(matches!(
            trust.check(&late.cert),
            Err(TlsError::Over { .. })
        ));
        let foreign = issue(&other, now - hour, now + hour);
        assert_eq!(trust.check(&foreign.cert), Err(TlsError::NotItsCa));
    }

    #[test]
    fn nothing_of_a_ca_shows() {
        let (authority, _) = Authority::make().unwrap();
        assert_eq!(format!("{authority:?}"), "Authority([redacted])");
    }
}
