//! The routes of `/v2` that act on the runtimes of nodes: their adapters, training jobs, caches and capabilities; the tunnels of nodes that dial; and data planes.

mod adapters;
mod limits;
pub mod peer_list;
mod plane_calls;
mod planes;
mod runtime;
mod runtimes;
mod training;
pub mod tunnels;

use api::router::Route;

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [
        runtime::routes(),
        adapters::routes(),
        training::routes(),
        tunnels::routes(),
        planes::routes(),
        plane_calls::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
