//! Versions of routes: what each save left, with who saved it and when.

use database::error::StoreFuture;
use domain::{RouteId, RouteSpec, WorkspaceId};

/// One version of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteVersion {
    /// From 1 for each route.
    pub number: u64,
    pub spec: RouteSpec,
    pub saved_unix_ms: u64,
    /// A key, a person or `system`; `None` for what was saved before there were versions.
    pub saved_by: Option<String>,
}

pub trait RouteVersions: Send + Sync {
    /// The latest versions of a route, newest first: the first is the route as it is.
    ///
    /// # Errors
    /// If the workspace has no such route.
    fn list(&self, workspace: WorkspaceId, route: RouteId) -> StoreFuture<'_, Vec<RouteVersion>>;
}
