//! The handle on the store: what there is in it, by aggregate.

use std::path::Path;
use std::sync::Arc;

use database::address::{Address, ReplicaId};
use database::chain::Audit;
use database::error::StoreError;
use database::handle::Database;
use database::meta::{Feed, Meta};
use records::diagnostics::DiagnosticsReports;
use records::node_hours::NodeHours;
use records::reconciliations::Reconciliations;
use records::requests::Records;
use records::sql::leases::Leases;
use records::upkeep::Maintenance;
use transcripts::{Artifacts, Bundles, IdempotentAnswers, Sessions, StatePurges, StoredTurns};

use crate::accounts::Accounts;
use crate::agent_hints::AgentHintsRow;
use crate::alerts::AlertRules;
use crate::aliases::Aliases;
use crate::api_keys::ApiKeys;
use crate::budgets::Budgets;
use crate::capabilities::Capabilities;
use crate::credentials::Credentials;
use crate::devices::Devices;
use crate::events::Events;
use crate::founding::Foundation;
use crate::invoices::Invoices;
use crate::jobs::Jobs;
use crate::joins::{JoinToken, Joins};
use crate::kept_objects::ProviderObjects;
use crate::nodes::Nodes;
use crate::opened::{Opened, RecordDatabase};
use crate::people::People;
use crate::policies::PolicyRow;
use crate::projects::Projects;
use crate::resource::Resource;
use crate::rotations::Rotations;
use crate::route_versions::RouteVersions;
use crate::routes::RouteRow;
use crate::sign_ins::SignIns;
use crate::sql::source::SnapshotSource;
use crate::stored_responses::StoredResponses;
use crate::subscriptions::Subscriptions;
use crate::tariffs::Tariffs;
use crate::webhooks::Webhooks;
use crate::workspaces::Workspaces;
use crate::{postgres, sqlite};

/// A handle on the store; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    pub(crate) database: Database,
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
        sqlite::create(path, foundation).await.map(Self::of)
    }

    /// Opens the SQLite database at `path` and migrates its schema.
    ///
    /// # Errors
    /// If there is none, it is half-made, it is of a newer version of this program, or the disk refuses.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        sqlite::open(path).await.map(Self::of)
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
        Box::pin(postgres::found(address, replica, foundation)).await.map(Self::of)
    }

    /// Opens a PostgreSQL database that was founded, and migrates its schema.
    ///
    /// # Errors
    /// If it was not founded, is of a newer version of this program, or can't be used.
    pub async fn connect(address: &Address, replica: ReplicaId) -> Result<Self, StoreError> {
        postgres::connect(address, replica).await.map(Self::of)
    }

    fn of(opened: Opened) -> Self {
        let Opened { database, books, replica } = opened;
        Self { database, books, replica }
    }

    /// The same store by separate connections, for work that must go on while others hold connections or hold up their thread.
    /// From now on changes to SQLite are made on this runtime, whoever begins one.
    pub fn apart(&self) -> Self {
        let database = self.database.apart();
        Self { books: self.books.over(&database), database, replica: self.replica }
    }

    /// Whether other gateways may use the same database.
    pub const fn is_shared(&self) -> bool {
        self.database.is_shared()
    }

    pub fn workspaces(&self) -> &dyn Workspaces {
        &self.database
    }

    pub fn projects(&self) -> &dyn Projects {
        &self.database
    }

    pub fn api_keys(&self) -> &dyn ApiKeys {
        &self.database
    }

    pub fn credentials(&self) -> &dyn Credentials {
        &self.database
    }

    pub fn subscriptions(&self) -> &dyn Subscriptions {
        &self.database
    }

    pub fn accounts(&self) -> &dyn Accounts {
        &self.database
    }

    pub fn nodes(&self) -> &dyn Nodes {
        &self.database
    }

    /// Nodes that joined by themselves.
    pub fn joins(&self) -> Joins<'_> {
        Joins(&self.database)
    }

    /// The tokens that nodes join with.
    pub fn join_tokens(&self) -> &dyn Resource<JoinToken> {
        &self.database
    }

    pub fn routes(&self) -> &dyn Resource<RouteRow> {
        &self.database
    }

    /// What routes have been.
    pub fn route_versions(&self) -> RouteVersions<'_> {
        RouteVersions(&self.database)
    }

    pub fn agent_hints(&self) -> &dyn Resource<AgentHintsRow> {
        &self.database
    }

    pub fn aliases(&self) -> &dyn Aliases {
        &self.database
    }

    pub fn policies(&self) -> &dyn Resource<PolicyRow> {
        &self.database
    }

    pub fn people(&self) -> &dyn People {
        &self.database
    }

    pub fn sign_ins(&self) -> SignIns<'_> {
        SignIns(&self.database)
    }

    pub fn devices(&self) -> Devices<'_> {
        Devices(&self.database)
    }

    pub fn jobs(&self) -> Jobs<'_> {
        Jobs(&self.database)
    }

    pub fn events(&self) -> Events<'_> {
        Events(&self.database)
    }

    pub fn alert_rules(&self) -> &dyn AlertRules {
        &self.database
    }

    pub fn webhooks(&self) -> &dyn Webhooks {
        &self.database
    }

    pub fn capabilities(&self) -> Capabilities<'_> {
        Capabilities(&self.database)
    }

    pub fn tariffs(&self) -> Tariffs<'_> {
        Tariffs(&self.database)
    }

    pub fn invoices(&self) -> Invoices<'_> {
        Invoices(&self.database)
    }

    pub fn reconciliations(&self) -> Reconciliations<'_> {
        Reconciliations(&self.database)
    }

    pub fn node_hours(&self) -> NodeHours<'_> {
        NodeHours(&self.database)
    }

    /// How good answers were found.
    pub fn scores(&self) -> records::scores::Scores<'_> {
        records::scores::Scores(&self.database)
    }

    /// Answers under idempotency keys, and the claims of requests in progress.
    pub fn kept_answers(&self) -> IdempotentAnswers<'_> {
        IdempotentAnswers(&self.database)
    }

    /// Sealed provider state that must be sent back with the turns after tool calls.
    pub fn kept_turns(&self) -> StoredTurns<'_> {
        StoredTurns(&self.database)
    }

    /// Ownership of responses that providers store.
    pub fn stored_responses(&self) -> StoredResponses<'_> {
        StoredResponses(&self.database)
    }

    /// Ownership of other objects that providers store: files, batches, videos.
    pub fn kept_objects(&self) -> ProviderObjects<'_> {
        ProviderObjects(&self.database)
    }

    pub fn artifacts(&self) -> Artifacts<'_> {
        Artifacts(&self.database)
    }

    pub fn bundles(&self) -> Bundles<'_> {
        Bundles(&self.database)
    }

    /// What a purge removes of agents' state.
    pub fn state_purges(&self) -> StatePurges<'_> {
        StatePurges(&self.database)
    }

    pub fn sessions(&self) -> Sessions<'_> {
        Sessions(&self.database)
    }

    /// Key rotation.
    pub fn rotations(&self) -> Rotations<'_> {
        Rotations(&self.database)
    }

    /// Budgets, credit, and rate limits.
    pub fn budgets(&self) -> &dyn Budgets {
        &self.database
    }

    /// This process's number among the replicas that share the database.
    pub const fn replica(&self) -> i64 {
        self.replica
    }

    /// The centre from which this replica leases shares of limits and budgets.
    pub fn lease_centre(&self) -> Arc<dyn ledger::LeaseCentre> {
        Arc::new(Leases { database: self.database.clone(), replica: self.replica })
    }

    /// Meter records: requests and usage.
    pub fn records(&self) -> &dyn Records {
        &*self.books
    }

    /// Reports on how well workloads are reused.
    pub fn diagnostics(&self) -> DiagnosticsReports<'_> {
        DiagnosticsReports(&self.database)
    }

    /// Periodic maintenance of the meter records.
    pub fn upkeep(&self) -> &dyn Maintenance {
        &*self.books
    }

    pub fn audit(&self) -> Audit<'_> {
        Audit(&self.database)
    }

    pub fn meta(&self) -> Meta<'_> {
        Meta(&self.database)
    }

    pub fn feed(&self) -> Feed<'_> {
        Feed(&self.database)
    }

    /// The source that the snapshot's keeper follows.
    pub fn source(&self) -> Arc<dyn snapshot::Source> {
        Arc::new(SnapshotSource(self.database.clone()))
    }

    /// Where the drainer puts settled records.
    pub fn record_sink(&self) -> Arc<dyn ledger::RecordSink> {
        Arc::<dyn RecordDatabase>::clone(&self.books)
    }

    /// The sums of the records that this process stored, for `/metrics`.
    pub fn settled_counts(&self) -> Arc<ledger::SettledCounts> {
        self.books.settled()
    }

    /// Where the records of a data plane go, which has this number among the replicas.
    pub fn record_sink_of(&self, replica: i64) -> Arc<dyn ledger::RecordSink> {
        self.books.sink_of(replica)
    }

    /// The centre from which a data plane leases shares of limits and budgets.
    pub fn lease_centre_of(&self, replica: i64) -> Arc<dyn ledger::LeaseCentre> {
        Arc::new(Leases { database: self.database.clone(), replica })
    }

    /// Faults for the next commits.
    #[cfg(feature = "fixtures")]
    pub fn commit_faults(&self) -> Arc<database::fixtures::CommitFaults> {
        self.database.commit_faults()
    }

    /// For crates with tables of their own.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Waits for running statements and closes the files or connections.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

domain::brief_debug!(Store as "Store");
