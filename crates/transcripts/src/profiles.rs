//! Retention profiles: what projects keep of their requests.

use database::act::{Act, Written};
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::{ContentRetention, ProjectId, TraceMode, WorkspaceId};

const TABLE: &str = "retention_profiles";
const WHAT: &str = "retention profile";

/// The profile that a project was given. One that was never given any keeps nothing, as version 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRow {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub retention: ContentRetention,
    /// A key or a person.
    pub changed_by: String,
    pub changed_unix_ms: u64,
    pub version: u64,
}

/// Retention profiles in the database.
#[derive(Clone)]
pub struct RetentionProfiles(Database);

impl RetentionProfiles {
    pub fn of(database: &Database) -> Self {
        Self(database.clone())
    }

    /// `None` where it was never given any.
    pub async fn get(
        &self,
        workspace: WorkspaceId,
        project: ProjectId,
    ) -> Result<Option<ProfileRow>, StoreError> {
        let query = sql("SELECT * FROM retention_profiles WHERE workspace = $1 AND project = $2");
        let query = query.bind(workspace.bytes()).bind(project.bytes());
        query.row(&mut self.0.read().await?).await?.as_ref().map(read).transpose()
    }

    /// Sets a project's profile, whose version is counted here.
    ///
    /// # Errors
    /// At another version than was expected, or of the database.
    pub async fn set(
        &self,
        row: ProfileRow,
        expected: Option<u64>,
        act: Act,
    ) -> Result<Written<ProfileRow>, StoreError> {
        self.0.write(move |writing| Box::pin(set(writing, row, expected, act))).await
    }
}

async fn set(
    writing: &mut Writing,
    row: ProfileRow,
    expected: Option<u64>,
    act: Act,
) -> Result<ProfileRow, StoreError> {
    let query = sql("SELECT version FROM retention_profiles WHERE project = $1").bind(row.project.bytes());
    let found = query.row(writing.connection()).await?;
    let current = found.map_or(Ok(0), |found| Fields::new(TABLE, &found).number("version"))?;
    expect_version(WHAT, expected, current)?;
    let row = ProfileRow { version: current + 1, ..row };
    let ContentRetention { mode, days, sample_percent } = row.retention;
    let query = sql("INSERT INTO retention_profiles
         (project, workspace, trace_mode, days, sample_percent, changed_by, changed_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (project) DO UPDATE SET trace_mode = $3, days = $4, sample_percent = $5, changed_by = $6,
             changed_unix_ms = $7, version = $8");
    query
        .bind(row.project.bytes())
        .bind(row.workspace.bytes())
        .bind(mode.as_str())
        .bind(i64::from(days))
        .bind(i64::from(sample_percent))
        .bind(&row.changed_by)
        .bind(signed(row.changed_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Workspace, Some(row.workspace), row.workspace);
    let detail = format!("{} for {days} days, {sample_percent} % of requests", mode.as_str());
    writing.audit(&act, Some(row.workspace), "retention_profile.set", row.project, detail).await?;
    Ok(row)
}

fn read(row: &Row) -> Result<ProfileRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(ProfileRow {
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        retention: retention(&fields)?,
        changed_by: fields.text("changed_by")?,
        changed_unix_ms: fields.number("changed_unix_ms")?,
        version: fields.number("version")?,
    })
}

/// What a row says of a project's retention.
///
/// # Errors
/// It was not written by this program.
pub fn retention(fields: &Fields<'_>) -> Result<ContentRetention, StoreError> {
    let (days, sample_percent) = (fields.small("days")?, fields.small("sample_percent")?);
    Ok(ContentRetention { mode: mode(fields)?, days, sample_percent })
}

pub(crate) fn mode(fields: &Fields<'_>) -> Result<TraceMode, StoreError> {
    let word = fields.text("trace_mode")?;
    TraceMode::from_name(&word).ok_or_else(|| StoreError::corrupt(TABLE, format!("trace_mode is {word}")))
}
