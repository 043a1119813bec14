//! Sends each entry of the audit to a place outside the installation, in the order of its chain.

use std::sync::Arc;

use domain::ports::PortFuture;
use jobs::{Handler, Outcome, Policy};
use proof::Digest;
use proof::audit::{Entry, Linked};
use serde::{Deserialize, Serialize};
use store::{ChainBehind, JobRow, StoreError, chain_name};

use crate::Deps;

pub const SEND: &str = "audit.send_entries";
/// How long an entry waits at most before it is sent.
pub const CHECK_EVERY_MS: u64 = 2_000;
/// Chains that are looked up at once.
const CHAINS_AT_ONCE: u32 = 100;
/// Entries that are sent at once.
const ENTRIES_AT_ONCE: u32 = 500;

/// An entry as it is sent: with its chain and its hash, so that whoever has the entry before can check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEntry {
    pub chain: String,
    #[serde(flatten)]
    pub linked: Linked,
}

impl SentEntry {
    pub const fn entry(&self) -> &Entry {
        &self.linked.entry
    }
}

/// A place that entries are sent to. One that was not reached gets the same entries again.
pub trait AuditDestination: Send + Sync {
    /// Tells it from other places: each has been sent what it has been sent.
    fn id(&self) -> Digest;
    /// Returns once they were taken. They are consecutive entries of one chain; where that is not known for certain,
    /// the same ones come again.
    fn take(&self, entries: Vec<SentEntry>) -> PortFuture<'_, Result<(), String>>;
}

/// The job that sends entries. A gateway without a destination leaves it to those that have one.
pub struct SendEntriesHandler {
    pub deps: Deps,
    pub destination: Option<Arc<dyn AuditDestination>>,
}

impl SendEntriesHandler {
    async fn send(&self, destination: &dyn AuditDestination) -> Result<(), String> {
        loop {
            let behind = self.deps.store.audit().behind(destination.id(), CHAINS_AT_ONCE);
            let behind = behind.await.map_err(|error| error.to_string())?;
            if behind.is_empty() {
                return Ok(());
            }
            for chain in behind {
                self.send_chain(destination, chain).await?;
            }
        }
    }

    async fn send_chain(&self, destination: &dyn AuditDestination, chain: ChainBehind) -> Result<(), String> {
        let (workspace, mut sent) = (chain.workspace, chain.sent);
        let text = |error: StoreError| error.to_string();
        while sent < chain.length {
            let last = self.planned(destination.id(), &chain, sent).await.map_err(text)?;
            let audit = self.deps.store.audit();
            let count = u32::try_from(last - sent).unwrap_or(ENTRIES_AT_ONCE);
            let rows = audit.stretch(workspace, sent + 1, count).await.map_err(text)?;
            // Rows that somebody removed from the database can't be sent; `audit verify` finds that.
            let entries: Vec<_> = rows
                .iter()
                .filter_map(|row| Some(SentEntry { chain: chain_name(workspace), linked: row.linked()? }))
                .filter(|entry| entry.entry().sequence <= last)
                .collect();
            if !entries.is_empty() {
                destination.take(entries).await?;
            }
            audit.record_sent(destination.id(), workspace, last).await.map_err(text)?;
            sent = last;
        }
        Ok(())
    }

    /// The last entry that is sent together with the one after `sent`. It is stored before they are sent, so that
    /// after a failure or a crash the same entries are sent again together, whatever came meanwhile.
    async fn planned(&self, destination: Digest, chain: &ChainBehind, sent: u64) -> Result<u64, StoreError> {
        let (audit, plan) = (self.deps.store.audit(), plan_of(destination));
        let planned = audit.sent(plan, chain.workspace).await?;
        if planned > sent {
            return Ok(planned);
        }
        let last = chain.length.min(sent + u64::from(ENTRIES_AT_ONCE));
        audit.record_sent(plan, chain.workspace, last).await?;
        Ok(last)
    }
}

/// What is going to be sent to a destination has a row of its own beside what was sent.
fn plan_of(destination: Digest) -> Digest {
    Digest::of(&[b"planned\n", &destination.0])
}

impl Handler for SendEntriesHandler {
    fn kind(&self) -> &'static str {
        SEND
    }

    fn policy(&self) -> Policy {
        Policy::OURS
    }

    fn run<'a>(&'a self, _: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let Some(destination) = &self.destination else { return Outcome::Done };
            match self.send(destination.as_ref()).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(error, "the audit's entries could not be sent; it is tried again");
                    Outcome::failure(error)
                }
            }
        })
    }
}
