//! The certificate of the service, and the CA that signed it: the same after a restart.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The CA's certificate, in the folder of the state.
pub(crate) const CA_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";

/// What takes connections, with a certificate for `localhost`.
pub(crate) fn acceptor(folder: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let key = match fs::read_to_string(folder.join(KEY_FILE)) {
        Ok(text) => KeyPair::from_pem(&text)?,
        Err(_) => {
            let key = KeyPair::generate()?;
            fs::write(folder.join(KEY_FILE), key.serialize_pem())?;
            key
        }
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "petctl's tests: Azure");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !folder.join(CA_FILE).exists() {
        fs::write(folder.join(CA_FILE), params.self_signed(&key)?.pem())?;
    }
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = CertificateParams::new(names)?.signed_by(&own_key, &issuer)?;
    let own_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], own_key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
