//! A database that was opened, with what each kind of database does in its own way.

use std::sync::Arc;

use database::handle::Database;
use records::requests::Records;
use records::upkeep::Maintenance;

/// What each database stores in its own way: meter records and their maintenance.
pub(crate) trait RecordDatabase: Records + Maintenance + ledger::RecordSink {}
impl<B: Records + Maintenance + ledger::RecordSink> RecordDatabase for B {}

/// What the store is made of.
pub(crate) struct Opened {
    pub database: Database,
    pub books: Arc<dyn RecordDatabase>,
    /// This process's number among the replicas that share the database.
    pub replica: i64,
}
