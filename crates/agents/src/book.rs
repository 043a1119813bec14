//! The agents of projects for the cores that serve requests: read from the store, with their definitions opened.

use std::sync::Arc;

use domain::limits::STORE_CLOSING_TIME_MAX;
use domain::ports::PortFuture;
use domain::{AgentStore, FoundAgent, ObjectOwner, StoredAgent};
use store::{Store, StoreError};
use tasks::RuntimeTasks;
use tokio::time::timeout;
use vault::Vault;

use crate::limits::READ_TIME_MAX;
use crate::sql::{AgentRow, Stored, VersionRow, unsealed};

/// Reads agents.
pub struct AgentBook {
    inner: Arc<Inner>,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
}

struct Inner {
    stored: Stored,
    vault: Vault,
}

impl Inner {
    async fn find(
        &self,
        owner: ObjectOwner,
        name: String,
        version: Option<u64>,
    ) -> Result<FoundAgent, StoreError> {
        let Some((row, version)) = self.stored.named(owner, name, version).await? else {
            return Ok(FoundAgent::Unknown);
        };
        let agent = self.open(owner, row, &version);
        let agent =
            agent.ok_or_else(|| StoreError::corrupt("agent_versions", "the definition does not open"))?;
        Ok(FoundAgent::Known(Box::new(agent)))
    }

    /// Those that open.
    async fn all(&self, owner: ObjectOwner) -> Result<Vec<StoredAgent>, StoreError> {
        let newest = self.stored.newest(owner).await?;
        Ok(newest.into_iter().filter_map(|(row, version)| self.open(owner, row, &version)).collect())
    }

    fn open(&self, owner: ObjectOwner, row: AgentRow, version: &VersionRow) -> Option<StoredAgent> {
        let definition = unsealed(&self.vault, owner, version)?;
        // Serialising this type can't fail.
        let definition = serde_json::to_vec(&definition).unwrap_or_default().into();
        Some(StoredAgent { id: row.id, name: row.name, version: version.number, definition })
    }
}

impl AgentBook {
    /// Must be called on the runtime that is to use the store.
    pub fn start(store: &Store, vault: Vault) -> Arc<Self> {
        let inner = Arc::new(Inner { stored: Stored::of(store), vault });
        Arc::new(Self { inner, tasks: RuntimeTasks::on_this_runtime("agents") })
    }

    /// Returns when nobody reads any more.
    pub async fn stop(&self) {
        self.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

impl AgentStore for AgentBook {
    fn find(
        &self,
        owner: ObjectOwner,
        name: String,
        version: Option<u64>,
    ) -> PortFuture<'static, FoundAgent> {
        let inner = Arc::clone(&self.inner);
        let reading = self.tasks.run(async move {
            let found = inner.find(owner, name, version).await;
            found.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "an agent could not be read");
            })
        });
        Box::pin(async move {
            match timeout(READ_TIME_MAX, reading).await {
                Ok(Ok(Ok(found))) => found,
                _ => FoundAgent::StoreUnavailable,
            }
        })
    }

    fn all(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<StoredAgent>>> {
        let inner = Arc::clone(&self.inner);
        let reading = self.tasks.run(async move {
            inner.all(owner).await.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "the agents could not be read");
            })
        });
        Box::pin(async move {
            match timeout(READ_TIME_MAX, reading).await {
                Ok(Ok(Ok(all))) => Some(all),
                _ => None,
            }
        })
    }
}
