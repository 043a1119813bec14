//! The routes of `/v2` about what is stored of requests: purge jobs and their receipts, legal holds, erasures, data exports
//! with the job that makes them, what projects keep at all, and the keys that it is sealed with.

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
mod vault_keys;

use api::router::Route;

pub use exporting::DataExportHandler;

/// All routes.
pub fn routes() -> Vec<Route> {
    let all = [
        purges::routes(),
        holds::routes(),
        exports::routes(),
        erasures::routes(),
        retention::routes(),
        vault_keys::routes(),
    ];
    all.into_iter().flatten().collect()
}
