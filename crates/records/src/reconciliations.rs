//! Reconciliations: what came of comparing a provider's exports with the records; written once, and the oldest give way.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed, to_text};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::RECONCILIATIONS_OF_WORKSPACE_MAX;
use domain::{ReconciliationId, WorkspaceId};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciliationRow {
    pub id: ReconciliationId,
    pub workspace: WorkspaceId,
    /// The report as it is shown.
    pub report: Value,
    pub created_unix_ms: u64,
}

#[derive(Clone, Copy)]
pub struct Reconciliations<'a>(pub &'a Database);

const TABLE: &str = "reconciliations";

fn read(row: &Row) -> Result<ReconciliationRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(ReconciliationRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        report: fields.json("body")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

async fn put(writing: &mut Writing, row: ReconciliationRow, act: Act) -> Result<(), StoreError> {
    let query =
        sql("INSERT INTO reconciliations (id, workspace, body, created_unix_ms) VALUES ($1, $2, $3, $4)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(to_text(TABLE, &row.report)?)
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    let query = sql("DELETE FROM reconciliations WHERE workspace = $1 AND id NOT IN
         (SELECT id FROM reconciliations WHERE workspace = $1 ORDER BY id DESC LIMIT $2)");
    query
        .bind(row.workspace.bytes())
        .bind(signed(RECONCILIATIONS_OF_WORKSPACE_MAX as u64))
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(row.workspace), "reconciliation.create", row.id, String::new()).await
}

impl Reconciliations<'_> {
    /// Stores one, and removes the workspace's oldest beyond the limit.
    pub async fn put(self, row: ReconciliationRow, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(put(writing, row, act))).await
    }

    pub async fn get(
        self,
        workspace: WorkspaceId,
        id: ReconciliationId,
    ) -> Result<Option<ReconciliationRow>, StoreError> {
        let query = sql("SELECT * FROM reconciliations WHERE id = $1 AND workspace = $2");
        let row = query.bind(id.bytes()).bind(workspace.bytes()).row(&mut self.0.read().await?).await?;
        row.as_ref().map(read).transpose()
    }

    /// Newest first.
    pub async fn list(
        self,
        workspace: WorkspaceId,
        page: Page<ReconciliationId>,
    ) -> Result<Listed<ReconciliationRow, ReconciliationId>, StoreError> {
        let wanted = page.rows_wanted();
        let before = before(page.after);
        let query =
            sql("SELECT * FROM reconciliations WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(before).bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &ReconciliationRow| row.id))
    }
}
