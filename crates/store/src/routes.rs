//! Routes: a workspace's rules; no two of them fix the same places.

use domain::{ModelPattern, RouteId, RouteScope, RouteSpec, WorkspaceId};

use crate::{Act, Listed, Page, StoreFuture, Written};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    pub id: RouteId,
    pub workspace: WorkspaceId,
    pub spec: RouteSpec,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

pub trait Routes: Send + Sync {
    /// Refused as `route_scope_taken`, naming the other route, where one with this scope exists.
    fn create(&self, row: RouteRow, act: Act) -> StoreFuture<'_, Written<RouteRow>>;
    fn get(&self, workspace: WorkspaceId, id: RouteId) -> StoreFuture<'_, RouteRow>;
    fn list(&self, workspace: WorkspaceId, page: Page<RouteId>)
    -> StoreFuture<'_, Listed<RouteRow, RouteId>>;
    fn replace(&self, row: RouteRow, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<RouteRow>>;
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: RouteId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}

/// One text for one scope: lengths before values, so that no two scopes share it.
#[must_use]
pub fn scope_text(scope: &RouteScope) -> String {
    let ids = [scope.key_id.map(|id| id.to_string()), scope.project_id.map(|id| id.to_string())];
    let [key, project] = &ids;
    let pattern = scope.model.as_deref().map(ModelPattern::read);
    let of_form = |is_exact: bool| {
        pattern.filter(|pattern| pattern.is_exact() == is_exact).map(|pattern| pattern.fixed().to_owned())
    };
    // What every pattern was before there were exact ones goes by the name that it had then.
    let (exact, beginning) = (of_form(true), of_form(false));
    [
        ("tag", &scope.tag),
        ("key_id", key),
        ("project_id", project),
        ("alias", &scope.alias),
        ("model", &beginning),
        ("exact_model", &exact),
        ("modality", &scope.modality),
        ("provider", &scope.provider),
        ("environment", &scope.environment),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}={}:{v};", v.len())))
    .collect()
}
