//! What the operator says of the server, and why that can't be used.

use std::net::SocketAddr;

/// Where the server is, and where it finds this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestateSettings {
    pub ingress_url: String,
    pub admin_url: String,
    pub listen: SocketAddr,
    pub advertise_url: String,
    /// The server signs its requests with the key that this one belongs to; without it, whoever reaches `listen` may send some.
    pub identity_key: Option<String>,
}

/// Why the engine can't be started.
#[derive(Debug, thiserror::Error)]
pub enum RestateError {
    #[error("flows.restate.identity_key is not a public key of Restate, such as publickeyv1_…")]
    IdentityKey,
    #[error("can't listen on flows.restate.listen, {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}
