//! The database layer and the only SQL: one row type per aggregate, what all resources do alike written once, a
//! change feed, and SQLite or PostgreSQL behind them.

pub mod accounts;
pub mod act;
pub mod api_keys;
pub mod audit;
mod audit_notes;
mod batch;
pub mod budgets;
pub mod credentials;
pub mod datadir;
pub mod devices;
mod error;
pub mod events;
pub mod feed;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod founding;
mod groups;
pub mod inspect;
pub mod invoices;
pub mod jobs;
pub mod joins;
pub mod kept_answers;
pub mod kept_objects;
pub mod kept_turns;
pub mod meta;
pub mod nodes;
mod packed;
mod page;
pub mod people;
pub mod policies;
mod postgres;
pub mod projects;
pub mod records;
mod rehearsal;
pub mod resource;
pub mod rotations;
pub mod routes;
pub mod sign_ins;
mod sql;
mod sqlite;
mod stored;
pub mod stored_responses;
mod tally;
pub mod tariffs;
pub mod upkeep;
pub mod usage;
pub mod webhooks;
pub mod workspaces;

use std::path::Path;
use std::sync::Arc;

pub use accounts::{AccountRow, Accounts};
pub use act::{Act, Written};
pub use api_keys::{ApiKeyRow, ApiKeys};
pub use audit::{Audit, AuditQueue, AuditRow, Link, chain_name};
pub use budgets::{BudgetAlert, BudgetRow, BudgetStanding, Budgets, CreditRow, LimitsOf};
pub use credentials::{CredentialFilter, CredentialRow, Credentials, NewSecret, SealedSecret, Verification};
pub use devices::{DeviceAnswer, DeviceRow, Devices};
pub use error::{StoreError, StoreFuture};
pub use events::{EventKind, EventRow, Events};
pub use feed::Feed;
pub use founding::{Foundation, Founding};
pub use invoices::{InvoiceRow, Invoices};
pub use jobs::{JobRow, Jobs, NewJob};
pub use joins::{Heartbeat, JoinToken, Joined, Joining, Joins, KnownNode, NodeRecord, NodeRecordRow};
pub use kept_answers::{AnswerClaim, Claiming, IdempotentAnswers};
pub use kept_objects::{KeptObjectRow, ProviderObjects};
pub use kept_turns::{KeptTurnRow, StoredTurns, TurnLookup};
pub use meta::Meta;
pub use nodes::{NodeObservation, NodeRow, Nodes};
pub use page::{Listed, Page};
pub use people::{Invitation, KeysOnLeave, MemberRow, Membership, People, PersonRow};
pub use policies::PolicyRow;
pub use postgres::{Address, ReplicaId};
pub use projects::{ProjectRow, Projects};
pub use records::{Records, RequestFilter, RequestRow};
pub use rehearsal::rehearse;
pub use resource::{Resource, ResourceRow};
pub use rotations::Rotations;
pub use routes::RouteRow;
pub use sign_ins::{
    LinkRow, Redeemed, Redeemer, SignInRow, SignInTraces, SignIns, SignedIn, TokenDigest, Tries,
};
pub use stored_responses::{StoredResponseRow, StoredResponses};
pub use tariffs::{Assignment, TariffVersion, Tariffs};
pub use upkeep::{Forgotten, Maintenance};
pub use usage::{Dimension, Interval, Percentiles, UsageFilter, UsageQuery, UsageRow, UsageSums, Window};
pub use webhooks::{DeliveryAttempt, DeliveryRow, DeliveryState, SigningSecret, WebhookRow, Webhooks};
pub use workspaces::{WorkspaceRow, Workspaces};

use sql::Database;

/// Checks a PostgreSQL database without changing it.
///
/// # Errors
/// If it can't be reached, or doesn't answer in time.
pub async fn inspect(address: &Address) -> Result<inspect::Inspection, StoreError> {
    postgres::inspect(address).await
}

/// JSON that is stored as given: configuration that the gateway does not read.
pub type Json = serde_json::Value;

/// Copies a consistent snapshot of the SQLite database at `from` to a new file, while others use it.
///
/// # Errors
/// If there is no database, `to` exists, or the disk refuses.
pub async fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    sqlite::copy(from, to).await
}

/// Writes a consistent snapshot of a PostgreSQL database to a new file, without `pg_dump`, while others use
/// it.
///
/// # Errors
/// If it can't be reached, `to` exists, or the disk refuses.
pub async fn dump(address: &Address, to: &Path) -> Result<(), StoreError> {
    postgres::dump(address, to).await
}

/// Restores what `dump` wrote into an empty PostgreSQL database, in one transaction.
///
/// # Errors
/// If the database is not empty or can't be reached, or the file's schema is not known here.
pub async fn restore(address: &Address, from: &Path) -> Result<(), StoreError> {
    postgres::bring_back(address, from).await
}

/// What each database stores in its own way: meter records and their maintenance.
pub(crate) trait RecordDatabase: Records + Maintenance + ledger::RecordSink {}
impl<B: Records + Maintenance + ledger::RecordSink> RecordDatabase for B {}

/// A handle on the store; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    database: Database,
    books: Arc<dyn RecordDatabase>,
    /// This process's number among the replicas that share the database.
    replica: i64,
}

impl Store {
    /// Creates a SQLite database at `path` with everything in `foundation`, in one transaction.
    ///
    /// # Errors
    /// If the file exists, or the disk refuses.
    pub async fn create(path: &Path, foundation: Foundation) -> Result<Self, StoreError> {
        sqlite::create(path, foundation).await
    }

    /// Opens the SQLite database at `path` and migrates its schema.
    ///
    /// # Errors
    /// If there is none, it is half-made, it is of a newer version of this program, or the disk refuses.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        sqlite::open(path).await
    }

    /// Migrates the schema of the PostgreSQL database and writes `foundation`.
    ///
    /// # Errors
    /// If it was founded before, or the database can't be used.
    pub async fn found(
        address: &Address,
        replica: ReplicaId,
        foundation: Foundation,
    ) -> Result<Self, StoreError> {
        postgres::found(address, replica, foundation).await
    }

    /// Opens a PostgreSQL database that was founded, and migrates its schema.
    ///
    /// # Errors
    /// If it was not founded, is of a newer version of this program, or can't be used.
    pub async fn connect(address: &Address, replica: ReplicaId) -> Result<Self, StoreError> {
        postgres::connect(address, replica).await
    }

    pub(crate) fn new(database: Database, books: Arc<dyn RecordDatabase>, replica: i64) -> Self {
        Self { database, books, replica }
    }

    #[must_use]
    pub fn workspaces(&self) -> &dyn Workspaces {
        &self.database
    }

    #[must_use]
    pub fn projects(&self) -> &dyn Projects {
        &self.database
    }

    #[must_use]
    pub fn api_keys(&self) -> &dyn ApiKeys {
        &self.database
    }

    #[must_use]
    pub fn credentials(&self) -> &dyn Credentials {
        &self.database
    }

    #[must_use]
    pub fn accounts(&self) -> &dyn Accounts {
        &self.database
    }

    #[must_use]
    pub fn nodes(&self) -> &dyn Nodes {
        &self.database
    }

    /// Nodes that joined by themselves.
    #[must_use]
    pub fn joins(&self) -> &dyn Joins {
        &self.database
    }

    #[must_use]
    pub fn routes(&self) -> &dyn Resource<RouteRow> {
        &self.database
    }

    #[must_use]
    pub fn policies(&self) -> &dyn Resource<PolicyRow> {
        &self.database
    }

    #[must_use]
    pub fn people(&self) -> &dyn People {
        &self.database
    }

    #[must_use]
    pub fn sign_ins(&self) -> &dyn SignIns {
        &self.database
    }

    #[must_use]
    pub fn devices(&self) -> &dyn Devices {
        &self.database
    }

    #[must_use]
    pub fn jobs(&self) -> &dyn Jobs {
        &self.database
    }

    #[must_use]
    pub fn events(&self) -> &dyn Events {
        &self.database
    }

    #[must_use]
    pub fn webhooks(&self) -> &dyn Webhooks {
        &self.database
    }

    #[must_use]
    pub fn tariffs(&self) -> &dyn Tariffs {
        &self.database
    }

    #[must_use]
    pub fn invoices(&self) -> &dyn Invoices {
        &self.database
    }

    /// Answers under idempotency keys, and the claims of requests in progress.
    #[must_use]
    pub fn kept_answers(&self) -> &dyn IdempotentAnswers {
        &self.database
    }

    /// Sealed provider state that must be sent back with the turns after tool calls.
    #[must_use]
    pub fn kept_turns(&self) -> &dyn StoredTurns {
        &self.database
    }

    /// Ownership of responses that providers store.
    #[must_use]
    pub fn stored_responses(&self) -> &dyn StoredResponses {
        &self.database
    }

    /// Ownership of other objects that providers store: files, batches, videos.
    #[must_use]
    pub fn kept_objects(&self) -> &dyn ProviderObjects {
        &self.database
    }

    /// Key rotation.
    #[must_use]
    pub fn rotations(&self) -> &dyn Rotations {
        &self.database
    }

    /// Budgets, credit, and rate limits.
    #[must_use]
    pub fn budgets(&self) -> &dyn Budgets {
        &self.database
    }

    /// The centre from which this replica leases shares of limits and budgets.
    #[must_use]
    pub fn lease_centre(&self) -> Arc<dyn ledger::LeaseCentre> {
        Arc::new(sql::Leases { database: self.database.clone(), replica: self.replica })
    }

    /// Meter records: requests and usage.
    #[must_use]
    pub fn records(&self) -> &dyn Records {
        &*self.books
    }

    /// Periodic maintenance of the meter records.
    #[must_use]
    pub fn upkeep(&self) -> &dyn Maintenance {
        &*self.books
    }

    #[must_use]
    pub fn audit(&self) -> &dyn Audit {
        &self.database
    }

    #[must_use]
    pub fn meta(&self) -> &dyn Meta {
        &self.database
    }

    #[must_use]
    pub fn feed(&self) -> &dyn Feed {
        &self.database
    }

    /// Atomic creation of workspaces with their first project and keys.
    #[must_use]
    pub fn founder(&self) -> &dyn founding::Founder {
        &self.database
    }

    /// The source that the snapshot's keeper follows.
    #[must_use]
    pub fn source(&self) -> Arc<dyn snapshot::Source> {
        Arc::new(self.database.clone())
    }

    /// Where the drainer puts settled records.
    #[must_use]
    pub fn record_sink(&self) -> Arc<dyn ledger::RecordSink> {
        Arc::<dyn RecordDatabase>::clone(&self.books)
    }

    /// Faults for the next commits.
    #[cfg(feature = "fixtures")]
    #[must_use]
    pub fn commit_faults(&self) -> Arc<fixtures::CommitFaults> {
        self.database.commit_faults()
    }

    /// Waits for running statements and closes the files or connections.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}
