//! The routes of `/v2` about what is stored of requests: purge jobs and their receipts, legal holds, erasures, data exports
//! with the job that makes them, and what projects keep at all.

mod archive;
mod collections;
mod columnar;
mod erasures;
mod exporting;
mod exports;
mod holds;
mod kept;
mod limits;
mod purges;
mod retention;

use api::router::Route;

pub use exporting::DataExportHandler;

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [purges::routes(), holds::routes(), exports::routes(), erasures::routes(), retention::routes()]
        .into_iter()
        .flatten()
        .collect()
}
