//! The routes of `/v2` that act on the runtimes of nodes: their adapters, training jobs, workers, peers, caches and capabilities; the tunnels of nodes that dial; and data planes.

mod adapters;
mod limits;
pub mod peer_list;
mod peers;
mod plane_calls;
mod plane_records;
mod planes;
mod runtime;
mod runtimes;
mod training;
pub mod tunnels;
mod workers;

use api::router::Route;

/// All routes.
pub fn routes() -> Vec<Route> {
    [
        runtime::routes(),
        adapters::routes(),
        training::routes(),
        peers::routes(),
        workers::routes(),
        tunnels::routes(),
        planes::routes(),
        plane_calls::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
