//! What requests said and were answered, sealed, where their projects keep it.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed};
use database::handle::Database;
use database::holding;
use database::page::{Listed, Page};
use database::purging;
use database::seals::require_key;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::purge::{PurgeScope, first_request_at};
use domain::{ProjectId, TraceId, TraceMode, WorkspaceId};

use crate::artifacts::SealedContent;

const TABLE: &str = "request_contents";
/// The latest moment that an id can have.
const TIMES_END_MS: u64 = (1 << 48) - 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContentRow {
    pub workspace: WorkspaceId,
    pub content: SealedContent,
    pub mode: TraceMode,
    pub kept_unix_ms: u64,
    pub until_unix_ms: u64,
}

/// Whose contents are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentFilter {
    /// `None` for all of the workspace.
    pub project: Option<ProjectId>,
    /// Requests from this one on, and up to that one, which is not among them.
    pub range: (TraceId, TraceId),
    pub mode: TraceMode,
    pub now_unix_ms: u64,
}

impl ContentFilter {
    /// All that are kept whole.
    pub fn all(project: Option<ProjectId>, now_unix_ms: u64) -> Self {
        let range = (first_request_at(0), first_request_at(TIMES_END_MS));
        Self { project, range, mode: TraceMode::FullFidelity, now_unix_ms }
    }
}

/// The contents of requests in the database.
#[derive(Clone)]
pub struct RequestContents(Database);

impl RequestContents {
    pub fn of(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Keeps contents, each with when its request began; those of the same request replace each other. What began before a purge
    /// of its workspace is left out: it may be what was purged.
    ///
    /// # Errors
    /// One is sealed under a key that was replaced, or of the database.
    pub async fn keep(&self, rows: Vec<(RequestContentRow, u64)>) -> Result<(), StoreError> {
        let keeping = self.0.note(move |writing| {
            Box::pin(async move {
                for (row, started_unix_ms) in rows {
                    keep(writing, row, started_unix_ms).await?;
                }
                Ok(())
            })
        });
        keeping.await
    }

    pub async fn get(
        &self,
        workspace: WorkspaceId,
        request: TraceId,
        now_unix_ms: u64,
    ) -> Result<Option<RequestContentRow>, StoreError> {
        let query = sql("SELECT * FROM request_contents
             WHERE workspace = $1 AND request = $2 AND until_unix_ms > $3");
        let query = query.bind(workspace.bytes()).bind(request.bytes()).bind(signed(now_unix_ms));
        query.row(&mut self.0.read().await?).await?.as_ref().map(read).transpose()
    }

    /// Newest first.
    pub async fn list(
        &self,
        workspace: WorkspaceId,
        filter: ContentFilter,
        page: Page<TraceId>,
    ) -> Result<Listed<RequestContentRow, TraceId>, StoreError> {
        let wanted = page.rows_wanted();
        let of_project = if filter.project.is_some() { " AND project = $8" } else { "" };
        let query = compose(format!(
            "SELECT * FROM request_contents WHERE workspace = $1 AND request >= $2 AND request < $3 AND request < $4
             AND trace_mode = $5 AND until_unix_ms > $6{of_project} ORDER BY request DESC LIMIT $7"
        ));
        let query = query
            .bind(workspace.bytes())
            .bind(filter.range.0.bytes())
            .bind(filter.range.1.bytes())
            .bind(before(page.after))
            .bind(filter.mode.as_str())
            .bind(signed(filter.now_unix_ms))
            .bind(signed(wanted as u64 + 1));
        let query = match filter.project {
            Some(project) => query.bind(project.bytes()),
            None => query,
        };
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(rows, wanted, |row| row.content.request))
    }

    /// Deletes at most `rows_max` whose time is over and that no legal hold keeps. Returns how many.
    pub async fn expire(&self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        let expiring = self.0.note(move |writing| {
            Box::pin(async move {
                let query = compose(format!(
                    "DELETE FROM request_contents WHERE digest IN (SELECT digest FROM request_contents
                     WHERE until_unix_ms <= $1 AND NOT {} LIMIT $2)",
                    holding::held(TABLE)
                ));
                let query = query.bind(signed(now_unix_ms)).bind(i64::from(rows_max));
                query.run(writing.connection()).await
            })
        });
        expiring.await
    }

    pub async fn purge(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(purging::purge(writing, scope, TABLE))).await
    }

    pub async fn remaining(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        purging::remaining(&mut self.0.read().await?, scope, TABLE).await
    }
}

async fn keep(writing: &mut Writing, row: RequestContentRow, started_unix_ms: u64) -> Result<(), StoreError> {
    let later = sql("SELECT 1 AS one FROM purge_jobs WHERE workspace = $1 AND created_unix_ms >= $2 LIMIT 1");
    let later = later.bind(row.workspace.bytes()).bind(signed(started_unix_ms));
    if later.row(writing.connection()).await?.is_some() {
        return Ok(());
    }
    let RequestContentRow { workspace, content, mode, kept_unix_ms, until_unix_ms } = row;
    require_key(writing, workspace, &content.sealed.key_id).await?;
    let query = sql("INSERT INTO request_contents
         (digest, workspace, project, request, trace_mode, kept_unix_ms, until_unix_ms, sealed_version, sealed_key_id,
          sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (digest) DO UPDATE SET trace_mode = $5, kept_unix_ms = $6, until_unix_ms = $7,
             sealed_version = $8, sealed_key_id = $9, sealed = $10");
    query
        .bind(content.digest.to_vec())
        .bind(workspace.bytes())
        .bind(content.project.bytes())
        .bind(content.request.bytes())
        .bind(mode.as_str())
        .bind(signed(kept_unix_ms))
        .bind(signed(until_unix_ms))
        .bind(i64::from(content.sealed.version))
        .bind(content.sealed.key_id)
        .bind(content.sealed.bytes)
        .run(writing.connection())
        .await
        .map(drop)
}

fn read(row: &Row) -> Result<RequestContentRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(RequestContentRow {
        workspace: fields.id("workspace")?,
        content: SealedContent {
            digest: fields.digest("digest")?,
            project: fields.id("project")?,
            request: fields.id("request")?,
            sealed: fields.sealed()?,
        },
        mode: crate::profiles::mode(&fields)?,
        kept_unix_ms: fields.number("kept_unix_ms")?,
        until_unix_ms: fields.number("until_unix_ms")?,
    })
}
