//! Ends TLS in front of a plain server, as a proxy does, under a certificate authority that nobody knows yet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::emulator::tls;

/// A proxy that speaks TLS; dropping it closes its listener.
pub struct TlsFront {
    pub address: SocketAddr,
    /// The PEM of the authority that a client must trust.
    pub ca_pem: String,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// # Errors
    /// There is no port, or the certificates can't be made.
    pub async fn before(plain: SocketAddr) -> io::Result<Self> {
        let identity = tls::identity()?;
        let mut config = (*identity.config).clone();
        // What passes is not looked at, and the server behind speaks HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(acceptor.clone(), near, plain));
            }
        });
        Ok(Self { address, ca_pem: identity.ca_pem, accepting })
    }
}

/// A client that does not trust the certificate ends this, and so does either side.
async fn carry(acceptor: TlsAcceptor, near: TcpStream, plain: SocketAddr) {
    let (Ok(mut near), Ok(mut far)) = (acceptor.accept(near).await, TcpStream::connect(plain).await) else {
        return;
    };
    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
