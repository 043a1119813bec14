//! A database that was opened, with what each kind of database does in its own way.

use std::sync::Arc;

use database::handle::Database;
use records::postgres::PostgresRecords;
use records::requests::Records;
use records::sqlite::SqliteRecords;
use records::upkeep::Maintenance;

/// What each database stores in its own way: meter records and their maintenance.
pub(crate) trait RecordDatabase: Records + Maintenance + ledger::RecordSink {
    /// Where the records of another process go that has this number among the replicas.
    fn sink_of(&self, replica: i64) -> Arc<dyn ledger::RecordSink>;
    /// The sums of what this process settled.
    fn settled(&self) -> Arc<ledger::SettledCounts>;
    /// The same over other connections.
    fn over(&self, database: &Database) -> Arc<dyn RecordDatabase>;
}

impl RecordDatabase for SqliteRecords {
    fn sink_of(&self, replica: i64) -> Arc<dyn ledger::RecordSink> {
        Arc::new(self.of_replica(replica))
    }

    fn settled(&self) -> Arc<ledger::SettledCounts> {
        Arc::clone(&self.settled)
    }

    fn over(&self, database: &Database) -> Arc<dyn RecordDatabase> {
        Arc::new(Self::over(self, database))
    }
}

impl RecordDatabase for PostgresRecords {
    fn sink_of(&self, replica: i64) -> Arc<dyn ledger::RecordSink> {
        Arc::new(self.of_replica(replica))
    }

    fn settled(&self) -> Arc<ledger::SettledCounts> {
        Arc::clone(&self.settled)
    }

    fn over(&self, database: &Database) -> Arc<dyn RecordDatabase> {
        Arc::new(Self::over(self, database))
    }
}

/// What the store is made of.
pub(crate) struct Opened {
    pub database: Database,
    pub books: Arc<dyn RecordDatabase>,
    /// This process's number among the replicas that share the database.
    pub replica: i64,
}
