//! The routes of `/v2` that act on the runtimes of nodes: their adapters, training jobs, caches and capabilities.

mod adapters;
mod limits;
mod runtime;
mod runtimes;
mod training;

use api::router::Route;

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [runtime::routes(), adapters::routes(), training::routes()].into_iter().flatten().collect()
}
