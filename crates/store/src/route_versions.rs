//! Versions of routes: what each save left, with who saved it and when.

use database::handle::Database;
use domain::RouteSpec;

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

#[derive(Clone, Copy)]
pub struct RouteVersions<'a>(pub &'a Database);
