//! The only SQL: one trait and one row type per aggregate, a change feed, and the SQLite behind them.

pub mod accounts;
pub mod act;
pub mod api_keys;
pub mod audit;
pub mod credentials;
pub mod datadir;
pub mod devices;
mod error;
pub mod feed;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod founding;
pub mod meta;
pub mod nodes;
mod packed;
mod page;
pub mod people;
pub mod projects;
pub mod records;
pub mod routes;
pub mod sign_ins;
mod sqlite;
mod stored;
mod tally;
pub mod usage;
pub mod workspaces;

use std::path::Path;
use std::sync::Arc;

pub use accounts::{AccountRow, Accounts};
pub use act::{Act, Written};
pub use api_keys::{ApiKeyRow, ApiKeys};
pub use audit::{Audit, AuditQueue, AuditRow};
pub use credentials::{CredentialFilter, CredentialRow, Credentials, NewSecret, SealedSecret, Verification};
pub use devices::{DeviceAnswer, DeviceRow, Devices};
pub use error::{StoreError, StoreFuture};
pub use feed::Feed;
pub use founding::{Foundation, Founding};
pub use meta::Meta;
pub use nodes::{NodeObservation, NodeRow, Nodes};
pub use page::{Listed, Page};
pub use people::{Invitation, MemberRow, Membership, People, PersonRow};
pub use projects::{ProjectRow, Projects};
pub use records::{Records, RequestFilter, RequestRow};
pub use routes::{RouteRow, Routes};
pub use sign_ins::{LinkRow, Redeemed, SignInRow, SignIns, SignedIn, TokenDigest};
pub use usage::{
    BillingRow, Dimension, Interval, Percentiles, UsageFilter, UsageQuery, UsageRow, UsageSums, Window,
};
pub use workspaces::{WorkspaceRow, Workspaces};

/// JSON that is kept as it was given: configuration beside the columns that the gateway reads.
pub type Json = serde_json::Value;

/// Everything a database must offer; each kind of database implements it whole.
pub trait Backend:
    Workspaces
    + Projects
    + ApiKeys
    + Credentials
    + Accounts
    + Nodes
    + Routes
    + People
    + SignIns
    + Devices
    + Records
    + Audit
    + Meta
    + Feed
    + founding::Founder
    + snapshot::Source
    + ledger::RecordSink
{
    /// Waits for running statements and closes the files.
    fn close(&self) -> domain::ports::PortFuture<'_, ()>;

    /// Makes commits to come fail.
    #[cfg(feature = "fixtures")]
    fn commit_faults(&self) -> Arc<fixtures::CommitFaults>;
}

/// A handle on the store; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Makes a fresh SQLite database at `path` with everything in `foundation`, in one transaction.
    ///
    /// # Errors
    /// Where a file is there already, or the disk refuses.
    pub async fn create(path: &Path, foundation: Foundation) -> Result<Self, StoreError> {
        Ok(Self::over(Arc::new(sqlite::create(path, foundation).await?)))
    }

    /// Opens the SQLite database at `path` and brings its schema up to date.
    ///
    /// # Errors
    /// Where there is none, it is half-made, it is of a newer version of this program, or the disk refuses.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(Arc::new(sqlite::open(path).await?)))
    }

    /// A store over another database.
    #[must_use]
    pub fn over(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    #[must_use]
    pub fn workspaces(&self) -> &dyn Workspaces {
        &*self.backend
    }

    #[must_use]
    pub fn projects(&self) -> &dyn Projects {
        &*self.backend
    }

    #[must_use]
    pub fn api_keys(&self) -> &dyn ApiKeys {
        &*self.backend
    }

    #[must_use]
    pub fn credentials(&self) -> &dyn Credentials {
        &*self.backend
    }

    #[must_use]
    pub fn accounts(&self) -> &dyn Accounts {
        &*self.backend
    }

    #[must_use]
    pub fn nodes(&self) -> &dyn Nodes {
        &*self.backend
    }

    #[must_use]
    pub fn routes(&self) -> &dyn Routes {
        &*self.backend
    }

    #[must_use]
    pub fn people(&self) -> &dyn People {
        &*self.backend
    }

    #[must_use]
    pub fn sign_ins(&self) -> &dyn SignIns {
        &*self.backend
    }

    #[must_use]
    pub fn devices(&self) -> &dyn Devices {
        &*self.backend
    }

    /// Meter records: requests, usage and billing.
    #[must_use]
    pub fn records(&self) -> &dyn Records {
        &*self.backend
    }

    #[must_use]
    pub fn audit(&self) -> &dyn Audit {
        &*self.backend
    }

    #[must_use]
    pub fn meta(&self) -> &dyn Meta {
        &*self.backend
    }

    #[must_use]
    pub fn feed(&self) -> &dyn Feed {
        &*self.backend
    }

    /// Workspaces with their first project and keys, made at once.
    #[must_use]
    pub fn founder(&self) -> &dyn founding::Founder {
        &*self.backend
    }

    /// What the keeper follows.
    #[must_use]
    pub fn source(&self) -> Arc<dyn snapshot::Source> {
        Arc::clone(&self.backend) as Arc<dyn snapshot::Source>
    }

    /// Where the drainer puts settled records.
    #[must_use]
    pub fn record_sink(&self) -> Arc<dyn ledger::RecordSink> {
        Arc::clone(&self.backend) as Arc<dyn ledger::RecordSink>
    }

    /// Makes commits to come fail.
    #[cfg(feature = "fixtures")]
    #[must_use]
    pub fn commit_faults(&self) -> Arc<fixtures::CommitFaults> {
        self.backend.commit_faults()
    }

    /// Waits for running statements and closes the files.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}
