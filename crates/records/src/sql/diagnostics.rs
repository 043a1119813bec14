//! SQL for the reports on a workload's reuse.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{DiagnosticsId, WorkspaceId};

use crate::diagnostics::{DiagnosticsReports, DiagnosticsRow};

const TABLE: &str = "diagnostics";

fn read(row: &Row) -> Result<DiagnosticsRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(DiagnosticsRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        summary: fields.text("summary")?,
        report: fields.text("report")?,
    })
}

async fn add(writing: &mut Writing, row: DiagnosticsRow, kept_max: u32, act: &Act) -> Result<(), StoreError> {
    sql("INSERT INTO diagnostics (id, workspace, created_unix_ms, summary, report) VALUES ($1, $2, $3, $4, $5)")
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(signed(row.created_unix_ms))
        .bind(row.summary)
        .bind(row.report)
        .run(writing.connection())
        .await?;
    sql("DELETE FROM diagnostics WHERE workspace = $1 AND id NOT IN
         (SELECT id FROM diagnostics WHERE workspace = $1 ORDER BY id DESC LIMIT $2)")
    .bind(row.workspace.bytes())
    .bind(i64::from(kept_max))
    .run(writing.connection())
    .await?;
    writing.audit(act, Some(row.workspace), "diagnostics.create", row.id, String::new()).await
}

async fn list(
    database: &Database,
    workspace: WorkspaceId,
    page: Page<DiagnosticsId>,
) -> Result<Listed<DiagnosticsRow, DiagnosticsId>, StoreError> {
    let wanted = page.rows_wanted();
    let before = before(page.after);
    let query = sql("SELECT id, workspace, created_unix_ms, summary, '' AS report FROM diagnostics
         WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let query = query.bind(workspace.bytes()).bind(before).bind(signed(wanted as u64 + 1));
    let rows = query.rows(&mut database.read().await?).await?;
    let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &DiagnosticsRow| row.id))
}

impl DiagnosticsReports<'_> {
    /// Keeps a report, and of its workspace's at most so many, the newest.
    pub async fn add(self, row: DiagnosticsRow, kept_max: u32, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(async move { add(writing, row, kept_max, &act).await })).await
    }

    pub async fn get(self, workspace: WorkspaceId, id: DiagnosticsId) -> Result<DiagnosticsRow, StoreError> {
        let query = sql("SELECT * FROM diagnostics WHERE id = $1 AND workspace = $2");
        let query = query.bind(id.bytes()).bind(workspace.bytes());
        let row = query.row(&mut self.0.read().await?).await?;
        row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "report" })
    }

    /// The newest first, without the documents.
    pub async fn list(
        self,
        workspace: WorkspaceId,
        page: Page<DiagnosticsId>,
    ) -> Result<Listed<DiagnosticsRow, DiagnosticsId>, StoreError> {
        list(self.0, workspace, page).await
    }
}
