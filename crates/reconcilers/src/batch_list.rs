//! The batches of a workspace for those who manage it: whoever works through them, and how far they are.

use batches::{ListedBatch, ProviderBatch, WorkspaceBatch};
use conversation::batch::BatchState;
use domain::{
    BatchCost, BatchCounts, Fault, FaultClass, OwnBatch, Principal, ProjectId, StoredObjectId, WorkspaceId,
};
use store::{Act, Listed, Page};

use crate::{Deps, of_store};

/// A batch as those who manage a workspace see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    pub id: StoredObjectId,
    pub project: ProjectId,
    pub status: BatchStatus,
    /// The credential or account that it runs with at its provider; `None` where the gateway works through it.
    pub at: Option<Principal>,
    /// What became of its requests; `None` where its provider does not say.
    pub counts: Option<BatchCounts>,
    /// `None` where nothing is booked for it yet, or its records are gone.
    pub cost: Option<BatchCost>,
    pub created_unix_ms: u64,
    pub expires_unix_ms: Option<u64>,
    pub cancelled_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
}

domain::words! {
    /// How far a batch is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum BatchStatus {
        InProgress = "in_progress",
        Cancelling = "cancelling",
        Completed = "completed",
        Cancelled = "cancelled",
        Expired = "expired",
        /// None of its requests could be begun.
        Failed = "failed",
    }
}

impl BatchStatus {
    fn of(batch: &OwnBatch) -> Self {
        match (batch.ended_unix_ms, batch.cancelled_unix_ms) {
            (None, None) => Self::InProgress,
            (None, Some(_)) => Self::Cancelling,
            (Some(_), Some(_)) => Self::Cancelled,
            (Some(_), None) if batch.counts.expired > 0 => Self::Expired,
            (Some(_), None) if batch.counts == BatchCounts::default() => Self::Failed,
            (Some(_), None) => Self::Completed,
        }
    }

    /// By the provider's own object, as it was last seen.
    fn at_provider(batch: &ProviderBatch) -> Self {
        let format = dialects::stored_objects(batch.id.kind);
        match format.and_then(|format| format.read_batch(batch.list_entry.as_bytes()).ok()) {
            Some(BatchState::Ended(_)) => Self::Completed,
            Some(BatchState::NoResults) => Self::Failed,
            Some(BatchState::Running(_)) | None => Self::InProgress,
        }
    }
}

fn summary(listed: &ListedBatch) -> BatchSummary {
    let cost = listed.cost;
    match &listed.batch {
        WorkspaceBatch::Own(own) => BatchSummary {
            id: own.id,
            project: own.owner.project,
            status: BatchStatus::of(own),
            at: None,
            counts: Some(own.counts),
            cost,
            created_unix_ms: own.created_unix_ms,
            expires_unix_ms: Some(own.expires_unix_ms),
            cancelled_unix_ms: own.cancelled_unix_ms,
            ended_unix_ms: own.ended_unix_ms,
        },
        WorkspaceBatch::AtProvider(batch) => BatchSummary {
            id: batch.id,
            project: batch.project,
            status: BatchStatus::at_provider(batch),
            at: batch.maker.parse().ok(),
            counts: counts_at_provider(batch),
            cost,
            created_unix_ms: batch.created_unix_ms,
            expires_unix_ms: None,
            cancelled_unix_ms: None,
            ended_unix_ms: None,
        },
    }
}

/// As they were when the batch was last seen.
fn counts_at_provider(batch: &ProviderBatch) -> Option<BatchCounts> {
    dialects::stored_objects(batch.id.kind)?.batch_counts(batch.list_entry.as_bytes())
}

impl Deps {
    /// A page of a workspace's batches, newest first.
    pub async fn batches(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<StoredObjectId>,
    ) -> Result<Listed<BatchSummary, StoredObjectId>, Box<Fault>> {
        let now = self.world.clock.unix_ms();
        let listed = batches::stored(&self.store).of_workspace(workspace, project, page, now).await;
        let Listed { rows, next } = listed.map_err(of_store)?;
        Ok(Listed { rows: rows.iter().map(summary).collect(), next })
    }

    pub async fn batch(
        &self,
        workspace: WorkspaceId,
        id: StoredObjectId,
    ) -> Result<BatchSummary, Box<Fault>> {
        let now = self.world.clock.unix_ms();
        let found = batches::stored(&self.store).in_workspace(workspace, id, now).await;
        found.map(|batch| summary(&batch)).map_err(of_store)
    }

    /// Cancels a batch that the gateway works through. One that has ended stays as it is.
    ///
    /// # Errors
    /// Not found, at a provider, or of the store.
    pub async fn cancel_batch(
        &self,
        workspace: WorkspaceId,
        id: StoredObjectId,
        act: Act,
    ) -> Result<BatchSummary, Box<Fault>> {
        let (stored, now) = (batches::stored(&self.store), act.unix_ms);
        let ListedBatch { batch, cost } = stored.in_workspace(workspace, id, now).await.map_err(of_store)?;
        match batch {
            WorkspaceBatch::AtProvider(_) => Err(at_provider(id)),
            WorkspaceBatch::Own(mut batch) => {
                stored.cancel_for((*batch).clone(), act).await.map_err(of_store)?;
                if batch.ended_unix_ms.is_none() {
                    batch.cancelled_unix_ms.get_or_insert(now);
                }
                Ok(summary(&ListedBatch { batch: WorkspaceBatch::Own(batch), cost }))
            }
        }
    }
}

fn at_provider(id: StoredObjectId) -> Box<Fault> {
    let message = format!("A provider works through the batch {id}.");
    let fault = Fault::new(FaultClass::Conflict, "conflict", message);
    Box::new(
        fault
            .fix("Cancel it at the address under which it was made, with a key of its project.")
            .should_retry(false),
    )
}

#[cfg(test)]
mod tests {
    use domain::{ObjectOwner, StoredObjectKind, TraceId};

    use super::*;

    fn own(counts: BatchCounts, cancelled_unix_ms: Option<u64>, ended_unix_ms: Option<u64>) -> OwnBatch {
        OwnBatch {
            id: StoredObjectId { kind: StoredObjectKind::BATCH, digest: [7; 16] },
            owner: ObjectOwner {
                workspace: WorkspaceId::new(1, [1; 10]),
                project: ProjectId::new(1, [2; 10]),
            },
            request: TraceId::new(1, [3; 10]),
            key: None,
            headers: Vec::new(),
            details: String::new(),
            counts,
            created_unix_ms: 1,
            expires_unix_ms: 2,
            cancelled_unix_ms,
            ended_unix_ms,
        }
    }

    #[test]
    fn how_far_a_batch_is_follows_from_its_times_and_counts() {
        let none = BatchCounts::default();
        let some = BatchCounts { succeeded: 1, ..none };
        let late = BatchCounts { expired: 1, ..some };
        for (counts, cancelled, ended, expected) in [
            (none, None, None, BatchStatus::InProgress),
            (some, Some(1), None, BatchStatus::Cancelling),
            (late, Some(1), Some(2), BatchStatus::Cancelled),
            (late, None, Some(2), BatchStatus::Expired),
            (some, None, Some(2), BatchStatus::Completed),
            (none, None, Some(2), BatchStatus::Failed),
        ] {
            assert_eq!(BatchStatus::of(&own(counts, cancelled, ended)), expected);
            assert!(BatchStatus::WORDS.contains(&expected.as_str()));
        }
        let project = ProjectId::new(1, [2; 10]);
        let id = StoredObjectId { kind: StoredObjectKind::BATCH, digest: [7; 16] };
        for (shown, expected) in [
            (r#"{"status":"validating"}"#, BatchStatus::InProgress),
            (r#"{"status":"completed","completed_at":2}"#, BatchStatus::Completed),
            (r#"{"status":"failed"}"#, BatchStatus::Failed),
            ("what", BatchStatus::InProgress),
        ] {
            let (maker, list_entry) = (String::new(), shown.to_owned());
            let batch = ProviderBatch { id, project, maker, list_entry, created_unix_ms: 1 };
            assert_eq!(BatchStatus::at_provider(&batch), expected);
        }
    }
}
