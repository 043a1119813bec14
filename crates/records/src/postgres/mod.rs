//! Meter records in PostgreSQL: any number of replicas, each with its own journal.

mod copy;
mod records;
mod sink;
mod upkeep;
mod usage;

use std::sync::Arc;

use database::handle::{self, Database};
use database::postgres::Pools;
use ledger::SettledCounts;

use crate::audit_notes::AuditNotes;

pub(crate) use usage::set_day;

/// The part of the books that is specific to PostgreSQL. Cloning it shares the pools.
#[derive(Clone)]
pub struct PostgresRecords {
    database: Database,
    pools: Pools,
    /// This process's number among the replicas.
    replica: i64,
    draining: Arc<sink::Draining>,
    notes: Arc<AuditNotes>,
    pub settled: Arc<SettledCounts>,
}

impl PostgresRecords {
    pub fn new(database: Database, pools: Pools, replica: i64) -> Self {
        let (draining, notes, settled) = Default::default();
        Self { database, pools, replica, draining, notes, settled }
    }

    /// The same books over other connections to the same database.
    pub fn over(&self, database: &Database) -> Self {
        let handle::Pools::Postgres(pools) = database.pools() else { return self.clone() };
        Self { database: database.clone(), pools: pools.clone(), ..self.clone() }
    }

    /// The sink of a data plane's records, which has this number among the replicas. Its own `/metrics` count them.
    pub fn of_replica(&self, replica: i64) -> Self {
        Self { replica, settled: Arc::default(), ..self.clone() }
    }
}
