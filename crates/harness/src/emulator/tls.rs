//! A certificate authority that exists as long as the emulator, and a leaf certificate for loopback names.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server configuration and the PEM of the authority that a client must trust.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

/// The PEM of an authority, and of a certificate of these hosts with its key.
pub(crate) fn pems(hosts: Vec<String>) -> io::Result<(String, String, String)> {
    let (ca_pem, leaf, key) = issue(hosts).map_err(io::Error::other)?;
    Ok((ca_pem, leaf.pem(), key.serialize_pem()))
}

fn issue(hosts: Vec<String>) -> Result<(String, Certificate, KeyPair), rcgen::Error> {
    let (ca_pem, issuer) = authority()?;
    let mut params = certificate_params("emulator leaf", hosts)?;
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((ca_pem, params.signed_by(&key, &issuer)?, key))
}

pub(crate) fn identity() -> io::Result<Identity> {
    let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let (ca_pem, leaf, key) = issue(hosts).map_err(io::Error::other)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { config: Arc::new(config), ca_pem })
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = certificate_params("emulator authority", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

/// Issuer and leaf need different names, or verifiers treat the leaf as self-signed.
fn certificate_params(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    params.distinguished_name = distinguished;
    Ok(params)
}
