//! The SQL of data exports.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed, to_text};
use database::seals::require_key;
use database::statement::{Row, Statement, compose, sql};
use database::writing::{Writing, expect_version};
use domain::purge::{PurgeScope, Purged};
use domain::{DataExportId, WorkspaceId};
use serde_json::json;
use store::{Act, Listed, NewJob, Page};

use super::{
    DATA_EXPORT_JOB, DataExportFormat, DataExportProgress, DataExportRow, DataExportState, DataExports,
    SealedPart, content_ref, project_of,
};

const TABLE: &str = "data_exports";
const PARTS: &str = "data_export_parts";
const WHAT: &str = "data export";

impl DataExports {
    /// Records an export that was asked for, and enqueues its job.
    pub async fn create(&self, row: DataExportRow, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create(writing, row, act))).await
    }

    /// # Errors
    /// Not found, also for one whose time is over, or of the database.
    pub async fn get(
        &self,
        workspace: WorkspaceId,
        id: DataExportId,
        now_unix_ms: u64,
    ) -> Result<DataExportRow, StoreError> {
        let found = find(&mut self.0.read().await?, id).await?;
        let found = found.filter(|row| row.workspace == workspace && row.until_unix_ms > now_unix_ms);
        found.ok_or(StoreError::NotFound { what: WHAT })
    }

    /// For the worker, which knows the id alone.
    pub async fn find(&self, id: DataExportId) -> Result<Option<DataExportRow>, StoreError> {
        find(&mut self.0.read().await?, id).await
    }

    /// Newest first.
    pub async fn list(
        &self,
        workspace: WorkspaceId,
        now_unix_ms: u64,
        page: Page<DataExportId>,
    ) -> Result<Listed<DataExportRow, DataExportId>, StoreError> {
        let wanted = page.rows_wanted();
        let query = sql("SELECT * FROM data_exports WHERE workspace = $1 AND id < $2 AND until_unix_ms > $3
             ORDER BY id DESC LIMIT $4");
        let query = query.bind(workspace.bytes()).bind(before(page.after)).bind(signed(now_unix_ms));
        let rows = query.bind(signed(wanted as u64 + 1)).rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &DataExportRow| row.id))
    }

    /// Starts an export, or restarts it after a crash.
    pub async fn begin(&self, id: DataExportId) -> Result<(), StoreError> {
        let empty = to_text(TABLE, &DataExportProgress::default())?;
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let parts = sql("DELETE FROM data_export_parts WHERE export = $1").bind(id.bytes());
                    parts.run(writing.connection()).await?;
                    let query =
                        sql("UPDATE data_exports SET state = 'running', progress = $2, version = version + 1
                         WHERE id = $1");
                    query.bind(id.bytes()).bind(empty).run(writing.connection()).await.map(drop)
                })
            })
            .await
    }

    /// Stores the next part. `false` where the export was deleted meanwhile.
    pub async fn add_part(&self, row: &DataExportRow, part: SealedPart) -> Result<bool, StoreError> {
        let row = row.clone();
        self.0.note(move |writing| Box::pin(add_part(writing, row, part))).await
    }

    /// Records how far an export is; `unix_ms` where that is its end. `false` where it was deleted meanwhile.
    pub async fn save(
        &self,
        row: &DataExportRow,
        state: DataExportState,
        unix_ms: Option<u64>,
    ) -> Result<bool, StoreError> {
        let (id, progress) = (row.id, to_text(TABLE, &row.progress)?);
        let saved = self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE data_exports SET state = $2, progress = $3, completed_unix_ms = $4,
                     version = version + 1 WHERE id = $1");
                let query = query.bind(id.bytes()).bind(state.as_str()).bind(progress);
                query.bind(unix_ms.map(signed)).run(writing.connection()).await
            })
        });
        saved.await.map(|rows| rows > 0)
    }

    /// A part of the archive, from 0 on.
    pub async fn part(&self, id: DataExportId, position: u64) -> Result<SealedPart, StoreError> {
        let query = sql("SELECT sealed_version, sealed_key_id, sealed FROM data_export_parts
             WHERE export = $1 AND position = $2");
        let query = query.bind(id.bytes()).bind(signed(position));
        let row = query.row(&mut self.0.read().await?).await?;
        let row = row.ok_or(StoreError::NotFound { what: "part of the data export" })?;
        Ok(SealedPart { position, sealed: Fields::new(PARTS, &row).sealed()? })
    }

    /// Deletes an export with its archive.
    ///
    /// # Errors
    /// Not found, at another version than was expected, or of the database.
    pub async fn remove(
        &self,
        workspace: WorkspaceId,
        id: DataExportId,
        expected: Option<u64>,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let found = find(writing.connection(), id).await?;
                    let found = found.filter(|row| row.workspace == workspace);
                    let row = found.ok_or(StoreError::NotFound { what: WHAT })?;
                    expect_version(WHAT, expected, row.version)?;
                    let query = sql("DELETE FROM data_exports WHERE id = $1").bind(id.bytes());
                    query.run(writing.connection()).await?;
                    writing.audit(&act, Some(workspace), "data_export.delete", id, String::new()).await
                })
            })
            .await
    }

    /// Records that somebody reads an archive.
    pub async fn audit_reading(
        &self,
        workspace: WorkspaceId,
        id: DataExportId,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    writing.audit(&act, Some(workspace), "data_export.read", id, String::new()).await
                })
            })
            .await
    }

    /// Deletes exports whose time is over.
    pub async fn expire(&self, now_unix_ms: u64) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM data_exports WHERE until_unix_ms <= $1");
                    query.bind(signed(now_unix_ms)).run(writing.connection()).await
                })
            })
            .await
    }

    pub(super) async fn count(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let query = of_scope("SELECT COUNT(*) AS found FROM data_exports", &scope);
        let row = query.one(&mut self.0.read().await?).await?;
        Fields::new(TABLE, &row).number("found")
    }

    pub(super) async fn purge_scope(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(purge(writing, scope))).await
    }
}

/// Deletes the archives that may have something of a scope, whatever their age.
pub(crate) async fn purge(writing: &mut Writing, scope: PurgeScope) -> Result<u64, StoreError> {
    of_scope("DELETE FROM data_exports", &scope).run(writing.connection()).await
}

fn of_scope(head: &str, scope: &PurgeScope) -> Statement {
    let of = |more: &str| compose(format!("{head} WHERE workspace = $1{more}")).bind(scope.workspace.bytes());
    match &scope.what {
        Purged::Project(project) => of(" AND (project IS NULL OR project = $2)").bind(project.bytes()),
        Purged::Everything
        | Purged::Requests(_)
        | Purged::From(_)
        | Purged::Session(_)
        | Purged::Artifacts(_) => of(""),
    }
}

async fn find(connection: &mut Connection, id: DataExportId) -> Result<Option<DataExportRow>, StoreError> {
    let query = sql("SELECT * FROM data_exports WHERE id = $1").bind(id.bytes());
    query.row(connection).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<DataExportRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let (word, format) = (fields.text("state")?, fields.text("format")?);
    let state = DataExportState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(DataExportRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.maybe_id("project")?,
        request: fields.id("request")?,
        requested_by: fields.text("requested_by")?,
        format: DataExportFormat::from_name(&format)
            .ok_or_else(|| StoreError::corrupt(TABLE, format!("format is {format}")))?,
        state: state.ok_or_else(|| StoreError::corrupt(TABLE, format!("state is {word}")))?,
        version: fields.number("version")?,
        progress: fields.json("progress")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        completed_unix_ms: fields.maybe_number("completed_unix_ms")?,
        until_unix_ms: fields.number("until_unix_ms")?,
    })
}

async fn create(writing: &mut Writing, row: DataExportRow, act: Act) -> Result<(), StoreError> {
    let query = sql("INSERT INTO data_exports
         (id, workspace, project, request, requested_by, state, version, progress, created_unix_ms, until_unix_ms, format)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.project.map(|id| id.bytes()))
        .bind(row.request.bytes())
        .bind(&row.requested_by)
        .bind(row.state.as_str())
        .bind(signed(row.version))
        .bind(to_text(TABLE, &row.progress)?)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.until_unix_ms))
        .bind(row.format.as_str())
        .run(writing.connection())
        .await?;
    let job = NewJob {
        kind: DATA_EXPORT_JOB,
        workspace: row.workspace,
        name: Some(format!("{DATA_EXPORT_JOB}:{}", row.id)),
        payload: json!({"data_export": row.id.to_string()}),
        run_unix_ms: row.created_unix_ms,
        every_ms: None,
        unix_ms: row.created_unix_ms,
    };
    store::jobs::enqueue(writing, job).await?;
    let detail = row.project.map_or_else(|| "of the workspace".to_owned(), |id| format!("of {id}"));
    writing.audit(&act, Some(row.workspace), "data_export.create", row.id, detail).await
}

async fn add_part(writing: &mut Writing, row: DataExportRow, part: SealedPart) -> Result<bool, StoreError> {
    require_key(writing, row.workspace, &part.sealed.key_id).await?;
    if find(writing.connection(), row.id).await?.is_none() {
        return Ok(false);
    }
    let query = sql("INSERT INTO data_export_parts
         (digest, export, position, workspace, project, request, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    query
        .bind(content_ref(&row, part.position).digest.to_vec())
        .bind(row.id.bytes())
        .bind(signed(part.position))
        .bind(row.workspace.bytes())
        .bind(project_of(&row).bytes())
        .bind(row.request.bytes())
        .bind(i64::from(part.sealed.version))
        .bind(part.sealed.key_id)
        .bind(part.sealed.bytes)
        .run(writing.connection())
        .await?;
    Ok(true)
}
