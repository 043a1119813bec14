//! TLS towards upstreams: the web's root certificates, and those that the operator adds.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
pub(crate) fn client_config(extra_roots_pem: Option<&[u8]>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_roots_pem {
        add_roots(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> io::Result<()> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| wrong(format!("TIDEGATE_CA_FILE is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| {
            wrong(format!("TIDEGATE_CA_FILE holds a certificate that isn't a root: {error}"))
        })?;
        added += 1;
    }
    if added == 0 {
        return Err(wrong("TIDEGATE_CA_FILE holds no certificate".to_owned()));
    }
    Ok(())
}
