//! Drops the keys of a workspace that was purged whole, by the rotation of keys: what remains is sealed again under a new key,
//! and no request fails meanwhile. The work that is left is read from the store, so a kill loses nothing.

use domain::WorkspaceId;
use domain::purge::PurgeError;
use evidence::holds::Holds;
use evidence::purge::{PurgeJobRow, Shredding, ShreddingEnd};
use snapshot::WrappedKey;
use store::rotations::REKEYED_PREFIX;
use store::{Act, StoreError};

use super::Purger;
use crate::limits::{SHREDDING_CHECK_EVERY, SHREDDING_TIME_MAX, SHREDDING_WAIT_MAX};
use crate::milliseconds;

/// What is to be done now.
enum Next {
    Wait,
    End(ShreddingEnd),
}

impl Purger {
    /// Goes on with the keys of a workspace whose places are all purged; `false` if they are not dropped yet.
    pub(super) async fn shred(&self, job: &mut PurgeJobRow) -> Result<bool, PurgeError> {
        if job.progress.shredding.is_none() {
            let keys = self.deps.store.workspaces().wrapped_keys(job.workspace).await?;
            let stored = keys.iter().map(|key| (key.key_id.as_str(), key.wrapped.as_slice()));
            job.progress.shredding = Some(Shredding::of(stored, self.deps.world.clock.unix_ms()));
            self.save(job).await?;
        }
        let mut versions = self.deps.keeper.subscribe();
        let begin_us = self.deps.world.clock.monotonic_us();
        loop {
            let Some(shredding) = job.progress.shredding.as_mut().filter(|one| one.end.is_none()) else {
                return Ok(true);
            };
            if let Next::End(end) = self.shred_once(job.workspace, shredding).await? {
                shredding.end = Some(end);
                self.save(job).await?;
                return Ok(true);
            }
            let waited_us = self.deps.world.clock.monotonic_us().saturating_sub(begin_us);
            if u128::from(waited_us) >= SHREDDING_WAIT_MAX.as_micros() {
                return Ok(false);
            }
            // The rotation's last write is in the feed of changes.
            let _ = tokio::time::timeout(SHREDDING_CHECK_EVERY, versions.changed()).await;
        }
    }

    async fn shred_once(&self, workspace: WorkspaceId, shredding: &Shredding) -> Result<Next, PurgeError> {
        let store = &self.deps.store;
        let now_unix_ms = self.deps.world.clock.unix_ms();
        let keys = store.workspaces().wrapped_keys(workspace).await?;
        if !keys.iter().any(|key| shredding.names(&key.key_id)) {
            return Ok(Next::End(ShreddingEnd::Shredded { unix_ms: now_unix_ms }));
        }
        let late_unix_ms = shredding.since_unix_ms.saturating_add(milliseconds(SHREDDING_TIME_MAX));
        if now_unix_ms >= late_unix_ms {
            let reason = "Something that is sealed under these keys can't be sealed again; the log and the audit say what.";
            return Ok(Next::End(ShreddingEnd::Failed { reason: reason.to_owned() }));
        }
        if keys.last().is_none_or(|newest| !shredding.names(&newest.key_id)) {
            // They are being replaced: the rotation ends by itself, and what is held is sealed again by it.
            return Ok(Next::Wait);
        }
        if Holds::of(store).any_of(workspace).await? {
            let reason =
                "A legal hold is in force in this workspace; no key is destroyed before it is released.";
            return Ok(Next::End(ShreddingEnd::Held { reason: reason.to_owned() }));
        }
        let rotating = store.meta().starting_with(format!("{REKEYED_PREFIX}{workspace}")).await?;
        if rotating.is_empty() {
            self.replace_key(workspace).await?;
        }
        Ok(Next::Wait)
    }

    async fn replace_key(&self, workspace: WorkspaceId) -> Result<(), PurgeError> {
        let (key_id, wrapped) = self
            .deps
            .vault
            .sealer
            .next_workspace_key(workspace)
            .await
            .map_err(|error| PurgeError(format!("a workspace key could not be made: {error}")))?;
        let key = WrappedKey { workspace, key_id, wrapped };
        match self.deps.store.rotations().begin_workspace(key, Act::system(&self.deps.world)).await {
            // Whoever was first, it is waited for.
            Ok(_) | Err(StoreError::Conflict { what: "rotation_under_way", .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
