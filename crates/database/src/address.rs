//! The address of a PostgreSQL database, and the identity of a replica.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use crate::error::StoreError;

/// Session settings, so that neither a dead replica nor a lost server holds a lock or a waiter for long.
const SETTINGS: [(&str, &str); 7] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // The only notices would be that a table already exists.
    ("client_min_messages", "warning"),
];

/// A connection address, displayed without its password.
#[derive(Clone)]
pub struct Address(PgConnectOptions);

impl Address {
    pub fn for_statements(&self) -> PgConnectOptions {
        self.0.clone().options(SETTINGS)
    }

    /// Without timeouts for statements.
    pub fn for_migrations(&self) -> PgConnectOptions {
        self.0.clone()
    }
}

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let is_ours = text.starts_with("postgres://") || text.starts_with("postgresql://");
        // The driver's error may repeat the text, and with it the password.
        let parsed = PgConnectOptions::from_str(text).ok().filter(|_| is_ours);
        let parsed = parsed.map(|options| options.application_name("tidegate"));
        parsed.map(Self).ok_or(StoreError::Address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, host, port) = (self.0.get_username(), self.0.get_host(), self.0.get_port());
        write!(f, "postgres://{user}@{host}:{port}/{}", self.0.get_database().unwrap_or(user))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies the journal that stored positions refer to: a random name kept in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaId(Uuid);

impl ReplicaId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// For a directory that has its own database.
    pub const ALONE: Self = Self(Uuid::nil());

    pub fn bytes(self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for ReplicaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.trim().parse().map(Self)
    }
}
