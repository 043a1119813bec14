//! Replay runs: stored requests are sent to a candidate, a signed report tells how it did, and the gate lets traffic move onto a
//! node on such evidence alone (docs/decisions/0066-moving-is-gated.md).

mod comparing;
mod drawing;
mod escalations;
mod gate;
mod limits;
mod reporting;
mod rows;
mod running;
mod runs;
mod sending;
mod settings;
mod sql;

use api::router::Route;

pub use gate::{Moving, check_move, gated};
pub use running::ReplayRunHandler;

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [runs::routes(), settings::routes(), escalations::routes()].into_iter().flatten().collect()
}
