//! Routes: a workspace's routing rules. No two have the same scope and conditions: another is refused as `route_scope_taken`,
//! naming the first. Nor may a request meet the conditions of two routes of one scope, neither of which is the stronger.

use database::error::StoreError;
use domain::{ModelPattern, RouteId, RouteScope, RouteSpec, WorkspaceId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    pub id: RouteId,
    pub workspace: WorkspaceId,
    pub spec: RouteSpec,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// Why a route can't stand beside another one, if it can't.
pub fn clash(spec: &RouteSpec, other: RouteId, others: &RouteSpec) -> Option<StoreError> {
    if place_text(spec) == place_text(others) {
        return Some(scope_taken(other));
    }
    let is_ambiguous = spec.scope == others.scope && others.when.is_ambiguous_with(&spec.when);
    is_ambiguous.then(|| ambiguous(other))
}

pub(crate) fn scope_taken(other: RouteId) -> StoreError {
    let detail = format!("the route {other} has the same scope; change that one, or narrow this one's scope");
    StoreError::conflict("route_scope_taken", detail, Some(other.to_string()))
}

/// A request that meets the conditions of two routes of one scope, neither of which is the stronger, would have no winner.
fn ambiguous(other: RouteId) -> StoreError {
    let detail = format!(
        "the route {other} has the same scope, and a request can meet the conditions of both; make them exclude each other, or \
         give one a further condition"
    );
    StoreError::conflict("route_conditions_overlap", detail, Some(other.to_string()))
}

/// A canonical string for a scope and conditions.
pub fn place_text(spec: &RouteSpec) -> String {
    let (scope, when) = (scope_text(&spec.scope), spec.when.text());
    if when.is_empty() { scope } else { format!("{scope}when;{when}") }
}

/// A canonical string for a scope: lengths precede values, so that it is unique.
pub fn scope_text(scope: &RouteScope) -> String {
    scope_parts(scope, |name, value| format!("{name}={}:{value};", value.len())).concat()
}

/// A scope and whether there are conditions, for people.
pub(crate) fn place_words(spec: &RouteSpec) -> String {
    let parts = scope_parts(&spec.scope, |name, value| match name {
        "exact_model" => format!("model {value}"),
        "model" => format!("models {value}*"),
        _ => format!("{} {value}", name.trim_end_matches("_id")),
    });
    let scope = if parts.is_empty() { "all requests".to_owned() } else { parts.join(", ") };
    if spec.when.text().is_empty() { scope } else { format!("{scope}, under conditions") }
}

fn scope_parts(scope: &RouteScope, form: fn(&str, &str) -> String) -> Vec<String> {
    let ids = [scope.key_id.map(|id| id.to_string()), scope.project_id.map(|id| id.to_string())];
    let [key, project] = &ids;
    let pattern = scope.model.as_deref().map(ModelPattern::read);
    let of_form = |is_exact: bool| {
        pattern.filter(|pattern| pattern.is_exact() == is_exact).map(|pattern| pattern.fixed().to_owned())
    };
    // Prefix patterns keep the name `model`, from the time when every pattern was one.
    let (exact, prefix) = (of_form(true), of_form(false));
    [
        ("tag", &scope.tag),
        ("key_id", key),
        ("project_id", project),
        ("alias", &scope.alias),
        ("model", &prefix),
        ("exact_model", &exact),
        ("modality", &scope.modality),
        ("provider", &scope.provider),
        ("environment", &scope.environment),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.as_ref().map(|value| form(name, value)))
    .collect()
}
