//! The routes of `/v2` that only tell: what was served, what would be, and what it costs. Plans, requests with their content
//! where that is kept, usage, bills, price books, commitments, models, the audit and the health of upstreams.

mod attention;
mod audit;
mod billing;
pub mod caching;
mod commitments;
pub mod contents;
mod data_path;
mod datasets;
pub mod diagnostics;
pub mod dry_run;
mod hardware_costs;
mod hooks;
pub mod learned_limits;
mod limits;
mod models;
mod plan;
mod plan_answer;
mod plan_app;
mod price_books;
mod qos;
mod reconciliations;
mod refusals;
mod replays;
mod requests;
mod reuse;
mod scores;
mod semantic;
mod tariff;
mod tool_calls;
mod upstreams;
mod usage;
mod usage_scores;

use api::router::Route;
pub use price_books::canonical;

/// All routes.
pub fn routes() -> Vec<Route> {
    [
        attention::routes(),
        plan::routes(),
        usage::routes(),
        hardware_costs::routes(),
        reconciliations::routes(),
        refusals::routes(),
        requests::routes(),
        contents::routes(),
        replays::routes(),
        datasets::routes(),
        data_path::routes(),
        scores::routes(),
        billing::routes(),
        tariff::routes(),
        commitments::routes(),
        upstreams::routes(),
        diagnostics::routes(),
        models::routes(),
        price_books::routes(),
        audit::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
