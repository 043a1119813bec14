//! The batches of a workspace, whoever works through them.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, Statement, compose};
use domain::{
    BatchCost, Nanos, ObjectOwner, OwnBatch, ProjectId, StoredKind, StoredObjectId, StoredObjectKind,
    WorkspaceId,
};
use store::{Act, Listed, Page};

use crate::rows::Batches as _;
use crate::sql::{StoredBatches, TABLE, cancel, id_of, key};

/// A batch of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBatch {
    pub batch: WorkspaceBatch,
    /// `None` where nothing is booked for it yet, or its records are gone.
    pub cost: Option<BatchCost>,
}

/// Who works through a batch, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceBatch {
    /// The gateway works through it.
    Own(Box<OwnBatch>),
    AtProvider(ProviderBatch),
}

/// A batch that its provider works through, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBatch {
    pub id: StoredObjectId,
    pub project: ProjectId,
    /// The credential or account that it runs with.
    pub maker: String,
    /// In its dialect.
    pub list_entry: String,
    pub created_unix_ms: u64,
}

impl ListedBatch {
    pub fn id(&self) -> StoredObjectId {
        match &self.batch {
            WorkspaceBatch::Own(batch) => batch.id,
            WorkspaceBatch::AtProvider(batch) => batch.id,
        }
    }
}

/// A statement about all batches of a workspace, whose parameters are `$1` and the moment `$2`.
fn about_all(statement: &str) -> Statement {
    let kinds = StoredObjectKind::all().filter(|kind| kind.kind() == StoredKind::Batch);
    let kinds: Vec<_> = kinds.map(|kind| format!("'{}'", kind.as_str())).collect();
    let kinds = kinds.join(", ");
    compose(format!(
        "WITH every AS (
             SELECT id, kind, workspace, project, request, created_unix_ms, '' AS maker, '' AS shown FROM batches
             WHERE workspace = $1 AND kind IN ({kinds}) AND state <> 'receiving' AND until_unix_ms > $2
             UNION ALL SELECT id, kind, workspace, project, request, created_unix_ms, maker, shown FROM kept_objects
             WHERE workspace = $1 AND kind IN ({kinds}) AND shown <> ''
             AND (until_unix_ms IS NULL OR until_unix_ms > $2)
         ) SELECT every.*, costs.cost_nanos, costs.provider_cost_nanos FROM every
         LEFT JOIN batch_costs AS costs ON costs.workspace = every.workspace AND costs.request = every.request {statement}"
    ))
}

fn cost_of(fields: &Fields<'_>) -> Result<Option<BatchCost>, StoreError> {
    let nanos = |column| Ok::<_, StoreError>(fields.get::<Option<i64>>(column)?.map(Nanos));
    let (cost, provider_cost) = (nanos("cost_nanos")?, nanos("provider_cost_nanos")?);
    Ok(cost.zip(provider_cost).map(|(cost, provider_cost)| BatchCost { cost, provider_cost }))
}

impl StoredBatches {
    /// The batches of a workspace, or of one of its projects, newest first.
    pub async fn of_workspace(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<StoredObjectId>,
        now_unix_ms: u64,
    ) -> Result<Listed<ListedBatch, StoredObjectId>, StoreError> {
        let wanted = page.rows_wanted();
        let (mut conditions, mut next) = (vec!["TRUE".to_owned()], 4);
        if project.is_some() {
            conditions.push(format!("project = ${next}"));
            next += 1;
        }
        if page.after.is_some() {
            let last = format!("SELECT created_unix_ms, id FROM every WHERE id = ${next}");
            conditions.push(format!("(created_unix_ms, id) < ({last})"));
        }
        let conditions = conditions.join(" AND ");
        let query = about_all(&format!("WHERE {conditions} ORDER BY created_unix_ms DESC, id DESC LIMIT $3"));
        let query = query.bind(workspace.bytes()).bind(signed(now_unix_ms)).bind(signed(wanted as u64 + 1));
        let query = match project {
            Some(project) => query.bind(project.bytes()),
            None => query,
        };
        let query = match page.after {
            Some(after) => query.bind(key(after)),
            None => query,
        };
        let rows = query.rows(&mut self.0.read().await?).await?;
        let mut batches = Vec::with_capacity(rows.len());
        for row in &rows {
            batches.extend(self.listed(row, now_unix_ms).await?);
        }
        Ok(Listed::cut(batches, wanted, ListedBatch::id))
    }

    pub async fn in_workspace(
        &self,
        workspace: WorkspaceId,
        id: StoredObjectId,
        now_unix_ms: u64,
    ) -> Result<ListedBatch, StoreError> {
        let query =
            about_all("WHERE id = $3 AND kind = $4").bind(workspace.bytes()).bind(signed(now_unix_ms));
        let query = query.bind(key(id)).bind(id.kind.as_str());
        let row = query.row(&mut self.0.read().await?).await?;
        let found = match &row {
            Some(row) => self.listed(row, now_unix_ms).await?,
            None => None,
        };
        found.ok_or(StoreError::NotFound { what: "batch" })
    }

    /// `None` for one that is gone meanwhile.
    async fn listed(&self, row: &Row, now_unix_ms: u64) -> Result<Option<ListedBatch>, StoreError> {
        let fields = Fields::new(TABLE, row);
        let id = id_of(&fields, "id")?;
        let (project, maker) = (fields.id("project")?, fields.text("maker")?);
        let cost = cost_of(&fields)?;
        if maker.is_empty() {
            let owner = ObjectOwner { workspace: fields.id("workspace")?, project };
            let own = self.find(owner, id, now_unix_ms).await?;
            return Ok(own.map(|own| ListedBatch { batch: WorkspaceBatch::Own(Box::new(own)), cost }));
        }
        let batch = ProviderBatch {
            id,
            project,
            maker,
            list_entry: fields.text("shown")?,
            created_unix_ms: fields.number("created_unix_ms")?,
        };
        Ok(Some(ListedBatch { batch: WorkspaceBatch::AtProvider(batch), cost }))
    }

    /// Cancels a batch for somebody who manages its workspace.
    pub async fn cancel_for(&self, batch: OwnBatch, act: Act) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let OwnBatch { id, owner, request, .. } = batch;
                    cancel(writing, owner, id, act.unix_ms).await?;
                    let detail = format!("batch {id}");
                    writing.audit(&act, Some(owner.workspace), "batch.cancel", request, detail).await
                })
            })
            .await
    }
}
