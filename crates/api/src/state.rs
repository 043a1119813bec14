//! What the handlers of `/v2` work with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dataplane::SentRows;
use domain::ports::{AnswerStore, KeyHash};
use domain::{EndUserId, Fault, FileStore, WorkspaceId};
use reconcilers::purging::Purger;
use reconcilers::{Deps, Nodes};
use tasks::Writes;

use crate::attempts::AttemptLimiter;
use crate::passwords::Passwords;
use crate::planner::Planner;
use crate::pounds::PoundRate;
use crate::site::Site;

/// The parts that handlers share.
pub struct Control {
    pub deps: Deps,
    pub nodes: Arc<Nodes>,
    pub web: Web,
    /// The workspace whose owners run this installation.
    pub operator: WorkspaceId,
    pub sign_in: SignIn,
    /// Gives the body of `/v2/openapi.json`.
    pub document: Box<dyn Fn() -> Result<Bytes, Box<Fault>> + Send + Sync>,
}

impl Control {
    /// The id of an end user, which may also be named.
    pub fn end_user(&self, workspace: WorkspaceId, name: &str) -> EndUserId {
        name.parse().unwrap_or_else(|_| self.deps.keeper.current().end_user(workspace, name))
    }
}

/// What the API alone needs.
pub struct Web {
    pub site: Site,
    pub egress: Arc<egress::EgressSettings>,
    /// Stored answers to requests with an idempotency key.
    pub answers: Arc<dyn AnswerStore>,
    pub planner: Arc<dyn Planner>,
    /// Answers that this process holds for the response cache.
    pub cached: Arc<line::ResponseMemory>,
    /// How many days a request's record is kept; `None` for ever.
    pub records_days: Option<u64>,
    /// For clients that show pounds.
    pub pounds: Option<PoundRate>,
    /// The files of projects.
    pub files: Arc<dyn FileStore>,
    /// What removes stored content.
    pub purger: Arc<Purger>,
    /// Says why this process is degraded, if it is.
    pub degraded: Box<dyn Fn() -> Option<String> + Send + Sync>,
    pub planes: Planes,
}

/// This installation among data planes.
#[derive(Debug, Clone)]
pub struct Planes {
    /// How long a data plane serves with a configuration that is not confirmed.
    pub life: Duration,
    /// The address of its control plane, on a data plane: its configuration is changed there.
    pub managed_by: Option<String>,
    /// What its data planes were sent last.
    pub sent: Arc<SentRows>,
}

/// What signing in needs.
pub struct SignIn {
    pub passwords: Passwords,
    pub attempts: AttemptLimiter,
    /// Of the store, after a response.
    pub writes: Writes,
}

impl SignIn {
    pub fn new(vault: &vault::Vault) -> Self {
        let hasher = || Arc::clone(&vault.hasher) as Arc<dyn KeyHash>;
        let writes = Writes::default();
        let attempts = AttemptLimiter::new(hasher(), writes.clone());
        Self { passwords: Passwords::new(hasher()), attempts, writes }
    }
}
