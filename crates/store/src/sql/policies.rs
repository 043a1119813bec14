//! SQL for the policies.

use domain::{ModelPattern, PolicyId, PolicySpec, Profile, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreements::{retention, retention_text};
use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, projects, sql};
use crate::feed::Part;
use crate::{Act, Listed, Page, Policies, PolicyRow, StoreError, StoreFuture, Written, stored};

const TABLE: &str = "policies";
const WHAT: &str = "policy";

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored {
    providers: Vec<String>,
    /// The fixed part of each model pattern: the previous version reads each of them as a prefix.
    models: Vec<String>,
    /// Those of them that are exact names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exact_models: Vec<String>,
    regions: Vec<String>,
    profiles: Vec<String>,
    retention: Value,
    compliance: Vec<String>,
}

fn to_text(spec: &PolicySpec) -> Result<String, StoreError> {
    let patterns = || spec.models.iter().map(|pattern| ModelPattern::read(pattern));
    let is_prefix = |fixed: &str| patterns().any(|other| other == ModelPattern::Prefix(fixed));
    let exact = patterns().filter(|pattern| pattern.is_exact() && !is_prefix(pattern.fixed()));
    let stored = Stored {
        providers: spec.providers.clone(),
        models: patterns().map(|pattern| pattern.fixed().to_owned()).collect(),
        exact_models: exact.map(|pattern| pattern.fixed().to_owned()).collect(),
        regions: spec.regions.clone(),
        profiles: spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect(),
        retention: retention_text(spec.retention),
        compliance: spec.compliance.clone(),
    };
    stored::to_text(TABLE, &stored)
}

/// An unreadable policy is an error: it may forbid more than is understood, and is never read as a weaker
/// one.
fn from_text(text: &str) -> Result<PolicySpec, StoreError> {
    let stored: Stored = stored::from_text(TABLE, text)?;
    let wrong = |what: &str| StoreError::corrupt(TABLE, format!("{what} can't be read"));
    let profile = |name: &String| name.parse::<Profile>().map_err(|_| wrong("profiles"));
    let agreed = retention(&stored.retention);
    if agreed.is_none() && !stored.retention.is_null() {
        return Err(wrong("retention"));
    }
    let pattern = |fixed: &String| stored::pattern_text(fixed, stored.exact_models.contains(fixed));
    Ok(PolicySpec {
        profiles: stored.profiles.iter().map(profile).collect::<Result<_, _>>()?,
        providers: stored.providers,
        models: stored.models.iter().map(pattern).collect(),
        regions: stored.regions,
        retention: agreed,
        compliance: stored.compliance,
    })
}

pub(super) fn read(row: &Row) -> Result<PolicyRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(PolicyRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        spec: from_text(fields.get("spec")?)?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: PolicyId,
) -> Result<PolicyRow, StoreError> {
    let query = sql("SELECT * FROM policies WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

async fn refuse_second(writing: &mut Writing, row: &PolicyRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM policies WHERE project = $1").bind(row.project.bytes());
    let Some(other) = query.row(writing.connection()).await? else { return Ok(()) };
    let other: PolicyId = Fields::new(TABLE, &other).id("id")?;
    let detail = format!("the project has the policy {other}; change that one");
    Err(StoreError::conflict("policy_exists", detail, Some(other.to_string())))
}

async fn create(writing: &mut Writing, mut row: PolicyRow, act: Act) -> Result<PolicyRow, StoreError> {
    projects::require(writing, row.workspace, Some(row.project)).await?;
    refuse_second(writing, &row).await?;
    row.version = writing.version();
    let query = sql("INSERT INTO policies (id, workspace, project, spec, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.project.bytes())
        .bind(to_text(&row.spec)?)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    let detail = format!("project {}", row.project);
    writing.audit(&act, Some(row.workspace), "policy.create", row.id, detail).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    mut row: PolicyRow,
    expected: Option<u64>,
    act: Act,
) -> Result<PolicyRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    (row.version, row.project, row.created_unix_ms) = (writing.version(), old.project, old.created_unix_ms);
    sql("UPDATE policies SET spec = $3, version = $4 WHERE workspace = $1 AND id = $2")
        .bind(row.workspace.bytes())
        .bind(row.id.bytes())
        .bind(to_text(&row.spec)?)
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    let detail = format!("project {}", row.project);
    writing.audit(&act, Some(row.workspace), "policy.update", row.id, detail).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: PolicyId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    let gone = sql("DELETE FROM policies WHERE workspace = $1 AND id = $2");
    gone.bind(workspace.bytes()).bind(id.bytes()).run(writing.connection()).await?;
    writing.changed(Part::Workspace, Some(workspace), id);
    let detail = format!("project {}", old.project);
    writing.audit(&act, Some(workspace), "policy.delete", id, detail).await
}

impl Policies for Database {
    fn create(&self, row: PolicyRow, act: Act) -> StoreFuture<'_, Written<PolicyRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: PolicyId) -> StoreFuture<'_, PolicyRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<PolicyId>,
    ) -> StoreFuture<'_, Listed<PolicyRow, PolicyId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let rows = sql("SELECT * FROM policies WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(workspace.bytes())
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .rows(&mut self.read().await?)
                .await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &PolicyRow| row.id))
        })
    }

    fn replace(
        &self,
        row: PolicyRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<PolicyRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    fn delete(
        &self,
        workspace: WorkspaceId,
        id: PolicyId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, workspace, id, expected, act))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_as_the_version_before_reads_them() {
        let spec = |models: &[&str]| PolicySpec {
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            ..PolicySpec::default()
        };
        for (given, read) in
            [(&["a/b", "a/c*", "d/"][..], &["a/b", "a/c*", "d/"][..]), (&["a/b", "a/b*"], &["a/b*", "a/b*"])]
        {
            assert_eq!(from_text(&to_text(&spec(given)).unwrap()).unwrap(), spec(read), "{given:?}");
        }
        let old = r#"{"models": ["openai/gpt-4o", "anthropic/"]}"#;
        assert_eq!(from_text(old).unwrap(), spec(&["openai/gpt-4o*", "anthropic/"]));
    }

    #[test]
    fn what_can_not_be_read_is_no_weaker_policy() {
        assert_eq!(from_text("{}").unwrap(), PolicySpec::default());
        assert!(from_text(r#"{"retention": "soon"}"#).is_err());
        assert!(from_text(r#"{"profiles": ["friends"]}"#).is_err());
    }
}
