//! What the database keeps of answers for a while, as a data export reads it: page by page, still sealed.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, Statement, compose};
use domain::{ContentKind, ProjectId, Sealed, TraceId, WorkspaceId};
use vault::ContentRef;

use super::DataExports;

/// Each of the sealed contents may have a megabyte.
const KEPT_AT_ONCE: u64 = 20;
const NAMES_AT_ONCE: u64 = 500;

/// Whose rows are read, and after which.
#[derive(Debug, Clone, Copy)]
pub struct KeptAfter {
    pub workspace: WorkspaceId,
    /// `None` for all projects.
    pub project: Option<ProjectId>,
    pub now_unix_ms: u64,
    pub after: Option<[u8; 32]>,
}

/// An answer under an idempotency key, or a turn, task or answer that is kept beside turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    pub content: ContentRef,
    pub sealed: Sealed,
    pub until_unix_ms: u64,
}

/// A response that its provider stores, by the names that we keep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedResponse {
    pub digest: [u8; 32],
    pub project: ProjectId,
    pub request: TraceId,
    /// What its provider calls it; empty where an older version wrote the row.
    pub provider_id: String,
    pub model: String,
    pub until_unix_ms: u64,
}

impl DataExports {
    /// Answers under idempotency keys, without the response cache, which is a copy.
    pub async fn kept_answers(&self, of: KeptAfter) -> Result<Vec<KeptRow>, StoreError> {
        let only = "AND is_cached = 0 AND sealed IS NOT NULL";
        self.kept(of, "kept_answers", only, ContentKind::Answer).await
    }

    /// Turns, and the tasks and answers that are stored with them.
    pub async fn kept_turns(&self, of: KeptAfter) -> Result<Vec<KeptRow>, StoreError> {
        self.kept(of, "kept_turns", "", ContentKind::Turn).await
    }

    async fn kept(
        &self,
        of: KeptAfter,
        table: &'static str,
        only: &str,
        kept: ContentKind,
    ) -> Result<Vec<KeptRow>, StoreError> {
        let columns = "digest, project, request, sealed_version, sealed_key_id, sealed, until_unix_ms";
        let query = page(of, (columns, table, only), KEPT_AT_ONCE);
        let read = |row: &Row| {
            let fields = Fields::new(table, row);
            let content = ContentRef {
                kept,
                workspace: of.workspace,
                project: fields.id("project")?,
                digest: fields.digest("digest")?,
                request: fields.id("request")?,
            };
            Ok(KeptRow { content, sealed: fields.sealed()?, until_unix_ms: fields.number("until_unix_ms")? })
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// Responses at providers.
    pub async fn named_responses(&self, of: KeptAfter) -> Result<Vec<NamedResponse>, StoreError> {
        let columns =
            "digest, project, request, COALESCE(provider_id, '') AS provider_id, model, until_unix_ms";
        let query = page(of, (columns, "stored_responses", ""), NAMES_AT_ONCE);
        let read = |row: &Row| {
            let fields = Fields::new("stored_responses", row);
            Ok(NamedResponse {
                digest: fields.digest("digest")?,
                project: fields.id("project")?,
                request: fields.id("request")?,
                provider_id: fields.text("provider_id")?,
                model: fields.text("model")?,
                until_unix_ms: fields.number("until_unix_ms")?,
            })
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }
}

/// What selects the next rows of a table.
fn page(of: KeptAfter, (columns, table, only): (&str, &str, &str), limit: u64) -> Statement {
    let project = if of.project.is_some() { "AND project = $5" } else { "" };
    let query = compose(format!(
        "SELECT {columns} FROM {table} WHERE workspace = $1 AND digest > $2 AND until_unix_ms > $3 {only} {project}
         ORDER BY digest LIMIT $4"
    ));
    let after = of.after.map(|digest| digest.to_vec()).unwrap_or_default();
    let query = query.bind(of.workspace.bytes()).bind(after).bind(signed(of.now_unix_ms)).bind(signed(limit));
    match of.project {
        Some(project) => query.bind(project.bytes()),
        None => query,
    }
}
