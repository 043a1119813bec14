//! SQL for the policies.

use database::act::Act;
use database::error::StoreError;
use database::fields::{self, ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{
    ContentCheck, DataBoundary, ModelPattern, PolicyHook, PolicyId, PolicySpec, Profile, RegionPolicy,
    RequestRules,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policies::PolicyRow;
use crate::sql::agreements::{retention, retention_text};
use crate::sql::projects;
use crate::sql::resource::{ColumnValues, Table};

const TABLE: &str = "policies";

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
    region_policy: RegionPolicy,
    data_boundary: DataBoundary,
    request: RequestRules,
    checks: Vec<ContentCheck>,
    hooks: Vec<PolicyHook>,
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
        region_policy: spec.region_policy,
        data_boundary: spec.data_boundary,
        request: spec.request.clone(),
        checks: spec.checks.clone(),
        hooks: spec.hooks.clone(),
    };
    fields::to_text(TABLE, &stored)
}

/// An unreadable policy is an error: it may forbid more than is understood, and is never read as a weaker
/// one.
fn from_text(text: &str) -> Result<PolicySpec, StoreError> {
    let stored: Stored = fields::from_text(TABLE, text)?;
    let wrong = |what: &str| StoreError::corrupt(TABLE, format!("{what} can't be read"));
    let profile = |name: &String| name.parse::<Profile>().map_err(|_| wrong("profiles"));
    let agreed = retention(&stored.retention);
    if agreed.is_none() && !stored.retention.is_null() {
        return Err(wrong("retention"));
    }
    let pattern = |fixed: &String| columns::pattern_text(fixed, stored.exact_models.contains(fixed));
    Ok(PolicySpec {
        profiles: stored.profiles.iter().map(profile).collect::<Result<_, _>>()?,
        providers: stored.providers,
        models: stored.models.iter().map(pattern).collect(),
        regions: stored.regions,
        retention: agreed,
        compliance: stored.compliance,
        region_policy: stored.region_policy,
        data_boundary: stored.data_boundary,
        request: stored.request,
        checks: stored.checks,
        hooks: stored.hooks,
    })
}

impl Table for PolicyRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "policy";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            project: fields.maybe_id("project")?,
            spec: from_text(fields.get("spec")?)?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .fix("project", self.project.map(|project| project.bytes()))
            .set("spec", to_text(&self.spec)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        let (query, owner) = match row.project {
            Some(project) => {
                projects::require(writing, row.workspace, Some(project)).await?;
                (sql("SELECT id FROM policies WHERE project = $1").bind(project.bytes()), "project")
            }
            None => {
                let own = "SELECT id FROM policies WHERE workspace = $1 AND project IS NULL";
                (sql(own).bind(row.workspace.bytes()), "workspace")
            }
        };
        let Some(other) = query.row(writing.connection()).await? else { return Ok(()) };
        let other: PolicyId = Fields::new(TABLE, &other).id("id")?;
        let detail = format!("the {owner} has the policy {other}; change that one");
        Err(StoreError::conflict("policy_exists", detail, Some(other.to_string())))
    }

    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        Ok(Self { project: old.project, created_unix_ms: old.created_unix_ms, ..row })
    }

    fn audit_detail(&self) -> String {
        self.project.map_or_else(|| "workspace".to_owned(), |project| format!("project {project}"))
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
