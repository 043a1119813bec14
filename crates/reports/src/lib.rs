//! The routes of `/v2` that tell what was served, what would be, and what it costs: plans, requests, usage, bills,
//! commitments and the health of upstreams.

mod billing;
pub mod caching;
mod commitments;
pub mod learned_limits;
mod limits;
mod plan;
mod plan_answer;
mod requests;
mod reuse;
mod tariff;
mod upstreams;
mod usage;

use api::router::Route;

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    [
        plan::routes(),
        usage::routes(),
        requests::routes(),
        billing::routes(),
        tariff::routes(),
        commitments::routes(),
        upstreams::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
