//! Stores the signed heads of the audit chains outside the installation, so that history rewritten in the
//! database is detected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::WorkspaceId;
use domain::limits::PAGE_ROWS_MAX;
use domain::ports::PortFuture;
use jobs::{Handler, Outcome, Policy};
use proof::Digest;
use proof::audit::Head;
use store::{JobRow, Link, Page};

use crate::Deps;
use crate::milliseconds;

pub const KEEP: &str = "audit.keep_heads";
/// How often heads are stored: after this time an act can no longer be removed unnoticed.
pub const CHECK_EVERY_MS: u64 = 10_000;

/// Storage for heads that this installation cannot alter afterwards.
pub trait HeadStore: Send + Sync {
    /// Returns once they are stored durably.
    fn store(&self, heads: Vec<Head>) -> PortFuture<'_, Result<(), String>>;
}

/// Where heads go, and after which time an unchanged head is stored again, so that missing heads can't be
/// excused by inactivity.
#[derive(Clone)]
pub struct Heads {
    pub keeper: Arc<dyn HeadStore>,
    pub again: Duration,
}

/// The last head of a chain that this process stored.
struct StoredHead {
    length: u64,
    hash: Digest,
    unix_ms: u64,
}

/// The job that stores heads. A gateway without a keeper leaves it to those that have one.
pub struct StoreHeadsHandler {
    pub deps: Deps,
    pub heads: Option<Heads>,
    kept: Mutex<HashMap<String, StoredHead>>,
}

impl StoreHeadsHandler {
    pub fn new(deps: Deps, heads: Option<Heads>) -> Self {
        Self { deps, heads, kept: Mutex::default() }
    }

    async fn keep(&self, heads: &Heads) -> Result<(), String> {
        let audit = self.deps.store.audit();
        let installation = audit.head(None).await.map_err(|error| error.to_string())?;
        let mut ends = vec![(None, installation)];
        let mut after = None;
        loop {
            let listed =
                audit.ends(Page { limit: PAGE_ROWS_MAX, after }).await.map_err(|error| error.to_string())?;
            ends.extend(listed.rows.into_iter().map(|(workspace, end)| (Some(workspace), end)));
            self.keep_due(heads, std::mem::take(&mut ends)).await?;
            after = listed.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn keep_due(&self, heads: &Heads, ends: Vec<(Option<WorkspaceId>, Link)>) -> Result<(), String> {
        let now = self.deps.world.clock.unix_ms();
        let signed = ends.into_iter().filter(|(_, end)| end.sequence > 0);
        let signed = signed.map(|(workspace, end)| self.deps.auditor.head(workspace, end));
        let due: Vec<Head> = signed.filter(|head| self.is_due(head, now, heads.again)).collect();
        if due.is_empty() {
            return Ok(());
        }
        heads.keeper.store(due.clone()).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for head in due {
            kept.insert(head.chain, StoredHead { length: head.length, hash: head.hash, unix_ms: now });
        }
        Ok(())
    }

    fn is_due(&self, head: &Head, now: u64, again: Duration) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = kept.get(&head.chain) else { return true };
        let is_other = head.length == last.length && head.hash != last.hash;
        if head.length < last.length || is_other {
            let (length, kept) = (head.length, last.length);
            tracing::error!(
                chain = head.chain,
                length,
                kept,
                "the audit is another one than its kept head says"
            );
        }
        is_other || head.length != last.length || now.saturating_sub(last.unix_ms) >= milliseconds(again)
    }
}

impl Handler for StoreHeadsHandler {
    fn kind(&self) -> &'static str {
        KEEP
    }

    fn policy(&self) -> Policy {
        Policy::OURS
    }

    fn run<'a>(&'a self, _: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let Some(heads) = &self.heads else { return Outcome::Done };
            match self.keep(heads).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(error, "the audit's heads couldn't be stored; this is retried");
                    Outcome::failure(error)
                }
            }
        })
    }
}
