//! The store of the configuration, and of what belongs to it: one row type per aggregate, what all resources do alike
//! written once, and SQLite or PostgreSQL behind them.

pub mod accounts;
pub mod agent_hints;
pub mod alerts;
pub mod aliases;
pub mod api_keys;
pub mod budgets;
pub mod capabilities;
pub mod credentials;
pub mod devices;
pub mod events;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod founding;
mod handle;
pub mod inspect;
pub mod invoices;
pub mod jobs;
pub mod joins;
pub mod kept_objects;
mod limits;
pub mod nodes;
mod opened;
pub mod people;
pub mod policies;
mod postgres;
pub mod projects;
pub mod resource;
mod resource_rows;
pub mod rotations;
pub mod route_versions;
pub mod routes;
mod schema;
pub mod sign_ins;
mod sql;
mod sqlite;
pub mod stored_responses;
pub mod subscriptions;
pub mod tariffs;
pub mod webhooks;
pub mod workspaces;

use std::path::Path;

pub use accounts::{AccountRow, Accounts};
pub use agent_hints::AgentHintsRow;
pub use alerts::{AlertMetric, AlertRuleRow, AlertRules, AlertState};
pub use aliases::{AliasAct, AliasChange, AliasReleaseRow, AliasRow, Aliases, NewAlias, WithdrawnCanary};
pub use api_keys::{ApiKeyRow, ApiKeys};
pub use budgets::{BudgetAlert, BudgetRow, BudgetStanding, Budgets, CreditRow, LimitsOf};
pub use capabilities::{Capabilities, CapabilityRevision, CapabilityStatement, StatementChange};
pub use credentials::{CredentialFilter, CredentialRow, Credentials, NewSecret, SealedSecret, Verification};
pub use devices::{DeviceAnswer, DeviceRow, Devices};
pub use events::{EventKind, EventRow, Events};
pub use founding::{Foundation, Founding};
pub use handle::Store;
pub use invoices::{InvoiceRow, Invoices};
pub use jobs::{BATCHES_POLL, JobRow, Jobs, NewJob, RESPONSES_POLL, VIDEOS_POLL, response_poll_name};
pub use joins::{Heartbeat, JoinToken, Joined, Joining, Joins, KnownNode, NodeRecord, NodeRecordRow};
pub use kept_objects::{KeptObjectRow, ProviderObjects};
pub use nodes::{NodeObservation, NodeRow, Nodes};
pub use people::{Invitation, KeysOnLeave, MemberRow, Membership, People, PersonRow};
pub use policies::{HookSecretRow, PolicyRow};
pub use projects::{ProjectRow, Projects};
pub use records::sql::budget_holds::BudgetHolds;
pub use resource::{Json, Resource, ResourceRow};
pub use rotations::Rotations;
pub use route_versions::{RouteVersion, RouteVersions};
pub use routes::{RouteRow, clash as route_clash};
pub use sign_ins::{
    LinkRow, Redeemed, Redeemer, SignInRow, SignInTraces, SignIns, SignedIn, TokenDigest, Tries,
};
pub use sql::source::{account_entry, credential_entry, node_entry};
pub use stored_responses::{StoredResponseRow, StoredResponses};
pub use subscriptions::{Renewal, SubscriptionRow, Subscriptions};
pub use tariffs::{Assignment, TariffVersion, Tariffs};
pub use transcripts::{AnswerClaim, Claiming, IdempotentAnswers, KeptTurnRow, StoredTurns, TurnLookup};
pub use webhooks::{
    DISABLED_BY_SOMEBODY, DeliveryAttempt, DeliveryRow, DeliveryState, SigningSecret, WebhookFormat,
    WebhookRow, Webhooks,
};
pub use workspaces::{WorkspaceRow, Workspaces};

// What the interface of the store is written in.
pub use database::act::{Act, Written};
pub use database::address::{Address, ReplicaId};
pub use database::audit::{AuditFilter, AuditRow, ChainBehind, Link, chain_name};
pub use database::chain::Audit;
pub use database::error::{StoreError, StoreFuture};
pub use database::meta::{Feed, Meta};
pub use database::page::{Listed, Page};
pub use database::premise::{Noted, Premise, RULES_CHANGED};
pub use database::rehearsal::rehearse;
pub use database::{audit, datadir, feed};
pub use records::diagnostics::{DiagnosticsReports, DiagnosticsRow};
pub use records::limits::USAGE_DIMENSIONS_MAX;
pub use records::node_hours::{NodeHours, NodeWork};
pub use records::reconciliations::{ReconciliationRow, Reconciliations};
pub use records::requests::{Records, RequestFilter, RequestRow};
pub use records::reuse::ReuseSums;
pub use records::scores::{ScoreFilter, ScoreGroup, ScoreRow, ScoreSum, Scored, Scores};
pub use records::task_sums::usage_by_task;
pub use records::upkeep::{Forgotten, Maintenance};
pub use records::usage;
pub use records::usage::{
    Dimension, Interval, Percentiles, UsageFilter, UsageQuery, UsageRow, UsageSums, Window,
};

/// Checks a PostgreSQL database without changing it.
///
/// # Errors
/// If it can't be reached, or doesn't answer in time.
pub async fn inspect(address: &Address) -> Result<inspect::Inspection, StoreError> {
    postgres::inspect(address).await
}

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
