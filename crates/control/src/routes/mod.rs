//! The routes of `/v2`, one file for each resource.

mod accounts;
mod alias_releases;
mod aliases;
mod api_keys;
mod audit;
mod billing;
mod budgets;
mod caching;
mod capabilities;
mod commitments;
mod conditions;
mod contract;
mod credentials;
mod devices;
mod jobs;
mod joins;
mod limits;
mod me;
mod members;
mod models;
mod nodes;
mod plan;
mod plan_answer;
mod policies;
mod projects;
mod regional_policies;
mod requests;
mod reuse;
mod route_versions;
mod rules;
mod secrets;
mod sign_in;
mod subscriptions;
mod tariff;
#[cfg(test)]
mod tests;
mod usage;
mod vault;
mod webhooks;
mod workspaces;

use api::router::Route;

pub use me::checked_email;
#[cfg(test)]
use {projects::checked_environment, workspaces::checked_name};

/// All routes.
#[must_use]
pub fn all() -> Vec<Route> {
    [
        sign_in::routes(),
        me::routes(),
        devices::routes(),
        members::routes(),
        workspaces::routes(),
        projects::routes(),
        api_keys::routes(),
        credentials::routes(),
        subscriptions::routes(),
        accounts::routes(),
        nodes::routes(),
        joins::routes(),
        fleet::routes(),
        rules::routes(),
        route_versions::routes(),
        policies::routes(),
        aliases::routes(),
        regional_policies::routes(),
        models::routes(),
        plan::routes(),
        capabilities::routes(),
        usage::routes(),
        requests::routes(),
        billing::routes(),
        tariff::routes(),
        webhooks::routes(),
        jobs::routes(),
        budgets::routes(),
        commitments::routes(),
        audit::routes(),
        vault::routes(),
        contract::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
