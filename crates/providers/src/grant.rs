//! The steps of a token exchange, and the secret that comes of it.

use domain::Secret;

use crate::outgoing::Outgoing;

/// One step of a token exchange, for accounts whose secret does not sign requests itself.
pub enum GrantStep {
    /// Send this request next; its answer is passed to the next step after the earlier ones.
    Request {
        outgoing: Box<Outgoing>,
        reach: ExchangeReach,
    },
    /// Read this file next; its content is passed on like an answer.
    Read {
        path: String,
    },
    Granted(Granted),
}

/// The network path that a step of an exchange may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeReach {
    /// An ordinary outbound connection to the provider.
    Cloud,
    /// The cloud's metadata service, at a link-local address of this machine.
    Machine,
}

/// The short-lived secret that an exchange produced.
pub struct Granted {
    pub secret: Secret,
    pub lives_s: u64,
}
