//! The routes of `/v2`, one file for each resource.

mod accounts;
mod agent_hints;
mod alert_rules;
mod alias_releases;
mod aliases;
mod api_keys;
mod budgets;
mod capabilities;
mod capability_revisions;
mod conditions;
mod contract;
mod credentials;
mod dry_runs;
mod field_changes;
mod jobs;
mod joins;
mod known_names;
mod limits;
mod mail;
mod members;
mod nodes;
mod policies;
mod projects;
mod regional_policies;
mod route_versions;
mod rules;
mod secrets;
mod subscriptions;
#[cfg(test)]
mod tests;
mod webhooks;
mod workspaces;

use api::router::Route;

#[cfg(test)]
use api::names::{checked_environment, checked_name};
pub use capability_revisions::keep_served;

/// All routes.
pub fn all() -> Vec<Route> {
    [
        people::routes(),
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
        reports::routes(),
        replayruns::routes(),
        state::routes(),
        privacy::routes(),
        oauth::routes(),
        rules::routes(),
        route_versions::routes(),
        dry_runs::routes(),
        policies::routes(),
        agent_hints::routes(),
        aliases::routes(),
        regional_policies::routes(),
        capabilities::routes(),
        capability_revisions::routes(),
        webhooks::routes(),
        mail::routes(),
        alert_rules::routes(),
        jobs::routes(),
        budgets::routes(),
        contract::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
