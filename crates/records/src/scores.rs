//! Scores: how good applications, evaluators and people found the answers of requests.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, Statement, compose, sql};
use database::writing::{Writing, expect_version};
use domain::{ProjectId, ScoreId, TraceId, WorkspaceId};

/// One score. What it copies from the request's record is what scores are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRow {
    pub id: ScoreId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    /// What was judged, for example `helpful`.
    pub name: String,
    pub value_micros: i64,
    pub version: u64,
    /// The key or person that gave it.
    pub author: String,
    pub model: String,
    pub provider: String,
    /// Empty where no route decided.
    pub route: String,
    pub scored_unix_ms: u64,
    /// When the request began.
    pub started_unix_ms: u64,
}

domain::words! {
    /// What scores are grouped by. Each word is the name in a query, and that of the column.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ScoreGroup {
        Model = "model",
        Provider = "provider",
        Route = "route",
    }
}

/// Every field that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScoreFilter {
    pub project: Option<ProjectId>,
    pub request: Option<TraceId>,
    pub name: Option<String>,
    /// The route that decided.
    pub route: Option<String>,
    /// By the beginning of the request.
    pub since_unix_ms: Option<u64>,
    /// Exclusive.
    pub until_unix_ms: Option<u64>,
}

/// The scores of one name that a group got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreSum {
    /// Empty where the record named none.
    pub group: String,
    pub name: String,
    pub scores: u64,
    pub sum_micros: i64,
    pub lowest_micros: i64,
    pub highest_micros: i64,
}

impl ScoreSum {
    #[expect(clippy::cast_precision_loss, reason = "a mean is shown, not booked")]
    pub fn mean(&self) -> f64 {
        self.sum_micros as f64 / self.scores.max(1) as f64 / 1_000_000.0
    }
}

/// What became of a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scored {
    Stored(Box<ScoreRow>),
    /// The request has as many as it may have.
    TooMany,
}

#[derive(Clone, Copy)]
pub struct Scores<'a>(pub &'a Database);

const TABLE: &str = "scores";
const WHAT: &str = "score";
/// Scores that one statement deletes.
const FORGOTTEN_AT_ONCE: i64 = 1_000;
/// Of the workspace and the filter. The casts tell PostgreSQL the types of NULL; SQLite only sees whether it is NULL.
const MATCHES: &str = "workspace = $1 AND (CAST($2 AS BYTEA) IS NULL OR project = $2)
     AND (CAST($3 AS BYTEA) IS NULL OR request = $3) AND (CAST($4 AS TEXT) IS NULL OR name = $4)
     AND started_unix_ms >= $5 AND started_unix_ms < $6 AND (CAST($7 AS TEXT) IS NULL OR route = $7)";

fn read(row: &Row) -> Result<ScoreRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(ScoreRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        request: fields.id("request")?,
        name: fields.text("name")?,
        value_micros: fields.get("value_micros")?,
        version: fields.number("version")?,
        author: fields.text("author")?,
        model: fields.text("model")?,
        provider: fields.text("provider")?,
        route: fields.text("route")?,
        scored_unix_ms: fields.number("scored_unix_ms")?,
        started_unix_ms: fields.number("started_unix_ms")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
    id: ScoreId,
) -> Result<ScoreRow, StoreError> {
    let query = sql("SELECT * FROM scores WHERE id = $1 AND workspace = $2
         AND (CAST($3 AS BYTEA) IS NULL OR project = $3)");
    let query = query.bind(id.bytes()).bind(workspace.bytes()).bind(project.map(|project| project.bytes()));
    let row = query.row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: WHAT })
}

async fn put(writing: &mut Writing, row: ScoreRow, of_request_max: u32) -> Result<Scored, StoreError> {
    let others =
        sql("SELECT COUNT(*) AS others FROM scores WHERE workspace = $1 AND request = $2 AND name <> $3");
    let others = others.bind(row.workspace.bytes()).bind(row.request.bytes()).bind(&row.name);
    let others = others.row(writing.connection()).await?;
    let others = others.map_or(Ok(0), |row| Fields::new(TABLE, &row).number("others"))?;
    if others >= u64::from(of_request_max) {
        return Ok(Scored::TooMany);
    }
    let query = sql(
        "INSERT INTO scores (id, workspace, project, request, name, value_micros, author, model, provider, route,
             scored_unix_ms, started_unix_ms, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (workspace, request, name) DO UPDATE SET value_micros = excluded.value_micros,
             author = excluded.author, scored_unix_ms = excluded.scored_unix_ms, version = scores.version + 1
         RETURNING *",
    );
    let query = query.bind(row.id.bytes()).bind(row.workspace.bytes()).bind(row.project.bytes());
    let query = query.bind(row.request.bytes()).bind(row.name).bind(row.value_micros).bind(row.author);
    let query = query.bind(row.model).bind(row.provider).bind(row.route);
    let query = query.bind(signed(row.scored_unix_ms)).bind(signed(row.started_unix_ms));
    let query = query.bind(signed(row.version));
    let stored = query.row(writing.connection()).await?;
    let stored = stored.ok_or_else(|| StoreError::corrupt(TABLE, "a score was not stored"))?;
    read(&stored).map(|row| Scored::Stored(Box::new(row)))
}

/// A statement of which `{matches}` is the filter.
fn filtered(text: &str, workspace: WorkspaceId, filter: &ScoreFilter) -> Statement {
    compose(text.replace("{matches}", MATCHES))
        .bind(workspace.bytes())
        .bind(filter.project.map(|project| project.bytes()))
        .bind(filter.request.map(|request| request.bytes()))
        .bind(&filter.name)
        .bind(signed(filter.since_unix_ms.unwrap_or_default()))
        .bind(filter.until_unix_ms.map_or(i64::MAX, signed))
        .bind(&filter.route)
}

async fn sums(
    database: &Database,
    workspace: WorkspaceId,
    by: ScoreGroup,
    filter: &ScoreFilter,
    rows_max: u32,
) -> Result<Vec<ScoreSum>, StoreError> {
    let column = by.as_str();
    let text = format!(
        "SELECT {column} AS grouped, name, COUNT(*) AS scores, CAST(SUM(value_micros) AS BIGINT) AS total,
             MIN(value_micros) AS lowest, MAX(value_micros) AS highest
         FROM scores WHERE {{matches}} GROUP BY {column}, name ORDER BY {column}, name LIMIT $8"
    );
    let query = filtered(&text, workspace, filter).bind(i64::from(rows_max));
    let rows = query.rows(&mut database.read().await?).await?;
    let read = |row| {
        let fields = Fields::new(TABLE, row);
        Ok(ScoreSum {
            group: fields.text("grouped")?,
            name: fields.text("name")?,
            scores: fields.number("scores")?,
            sum_micros: fields.get("total")?,
            lowest_micros: fields.get("lowest")?,
            highest_micros: fields.get("highest")?,
        })
    };
    rows.iter().map(read).collect()
}

impl Scores<'_> {
    /// Stores a score in the place of that of the same name, if the request has one.
    pub async fn put(self, row: ScoreRow, of_request_max: u32) -> Result<Scored, StoreError> {
        self.0.note(move |writing| Box::pin(put(writing, row, of_request_max))).await
    }

    /// In this project, if one is given.
    pub async fn get(
        self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        id: ScoreId,
    ) -> Result<ScoreRow, StoreError> {
        find(&mut self.0.read().await?, workspace, project, id).await
    }

    /// Newest first.
    pub async fn list(
        self,
        workspace: WorkspaceId,
        filter: ScoreFilter,
        page: Page<ScoreId>,
    ) -> Result<Listed<ScoreRow, ScoreId>, StoreError> {
        let wanted = page.rows_wanted();
        let text = "SELECT * FROM scores WHERE {matches} AND id < $8 ORDER BY id DESC LIMIT $9";
        let query = filtered(text, workspace, &filter).bind(before(page.after));
        let rows = query.bind(signed(wanted as u64 + 1)).rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &ScoreRow| row.id))
    }

    /// By group, then by name; at most so many.
    pub async fn sums(
        self,
        workspace: WorkspaceId,
        by: ScoreGroup,
        filter: ScoreFilter,
        rows_max: u32,
    ) -> Result<Vec<ScoreSum>, StoreError> {
        sums(self.0, workspace, by, &filter, rows_max).await
    }

    /// Deletes one, in this project if one is given, and at the expected version if one is.
    pub async fn delete(
        self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        id: ScoreId,
        expected: Option<u64>,
    ) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let row = find(writing.connection(), workspace, project, id).await?;
                    expect_version(WHAT, expected, row.version)?;
                    let query = sql("DELETE FROM scores WHERE id = $1").bind(id.bytes());
                    query.run(writing.connection()).await.map(drop)
                })
            })
            .await
    }

    /// Deletes those of requests that began before this moment, some at a time; returns how many.
    pub async fn forget(self, before_unix_ms: u64) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let now = self.0
                    .note(move |writing| {
                        let query = sql("DELETE FROM scores WHERE id IN
                             (SELECT id FROM scores WHERE started_unix_ms < $1 ORDER BY started_unix_ms LIMIT $2)");
                        let query = query.bind(signed(before_unix_ms)).bind(FORGOTTEN_AT_ONCE);
                        Box::pin(async move { query.run(writing.connection()).await })
                    })
                    .await?;
            forgotten += now;
            if now < FORGOTTEN_AT_ONCE.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }
}
