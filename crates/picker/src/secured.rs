//! TLS of the picker's listener. Gateways expect it, and as the certificate of the reference implementation is made at its start,
//! they don't verify it unless they are configured to.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::Security;

/// The name in a certificate that is made at the start.
const NAME: &str = "tidegate-endpoint-picker";

/// # Errors
/// A file can't be read, or certificate and key don't fit.
pub(crate) fn acceptor(security: &Security) -> Result<Option<TlsAcceptor>, String> {
    let (chain, key) = match security {
        Security::Plaintext => return Ok(None),
        Security::SelfSigned => made()?,
        Security::Files { certificate, key } => (read_chain(certificate)?, read_key(key)?),
    };
    let unusable =
        |error: rustls::Error| format!("The certificate of the endpoint picker can't be used: {error}.");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn made() -> Result<Identity, String> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned(), "localhost".to_owned()]);
    let made = made.map_err(|error| format!("A certificate can't be made: {error}."))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let at = path.display();
    let pem = fs::read(path).map_err(|error| format!("The certificate can't be read from {at}: {error}."))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!("{at} has no certificate: it needs PEM, with -----BEGIN CERTIFICATE-----.")),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let at = path.display();
    let pem = fs::read(path).map_err(|error| format!("The key can't be read from {at}: {error}."))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{at} has no private key: it needs PEM, with -----BEGIN PRIVATE KEY-----."))
}
