//! Replay runs: stored requests are sent to a candidate, a signed report tells how it did, and the gate lets traffic move onto a
//! node on such evidence alone (docs/decisions/0066-moving-is-gated.md).

mod comparing;
mod drawing;
mod escalations;
mod gate;
mod hour_cost;
mod limits;
mod moving;
mod reporting;
mod rows;
mod running;
mod runs;
mod sending;
mod settings;
mod sql;

use api::router::Route;

pub use gate::gated;
pub use moving::{
    Checked, check_alias, check_credential, check_new_alias, check_node, check_policy, check_removed_alias,
    check_route,
};
pub use running::ReplayRunHandler;

/// All routes.
pub fn routes() -> Vec<Route> {
    [runs::routes(), settings::routes(), escalations::routes()].into_iter().flatten().collect()
}
