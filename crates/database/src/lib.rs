//! Connections, transactions and statements over SQLite or PostgreSQL, and what every write brings along: a version, a row
//! in the change feed, and an audit entry.

pub mod act;
pub mod address;
pub mod audit;
pub mod chain;
pub mod connection;
pub mod datadir;
pub mod error;
pub mod feed;
pub mod fields;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod handle;
pub mod holding;
mod limits;
mod listen;
pub mod meta;
mod notifier;
mod objects;
pub mod page;
pub mod postgres;
pub mod premise;
pub mod purging;
pub mod rehearsal;
pub mod seals;
pub mod statement;
pub mod writing;
