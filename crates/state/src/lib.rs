//! The routes of `/v2` for what agents keep over several requests: artifacts, bundles of them, and sessions with their branches,
//! events and snapshots; for batches, tasks and files; and for the agents, tools, MCP servers,
//! apps and secrets that a project declares.

mod agents;
mod app_fields;
mod apps;
mod artifacts;
mod batches;
mod branches;
mod bundles;
mod content;
mod declared;
mod events;
mod files;
mod flow_client;
mod flow_fields;
mod flow_run_begin;
mod flow_run_found;
mod flow_run_stream;
mod flow_run_view;
mod flow_runs;
mod flows;
mod limits;
mod mcp_authorization_view;
mod mcp_authorizations;
mod mcp_servers;
mod scope;
mod secrets;
mod sessions;
mod snapshots;
mod tasks;
mod tool_fields;
mod tools;
mod usage;

use api::router::Route;

/// All routes.
pub fn routes() -> Vec<Route> {
    [
        agents::routes(),
        artifacts::routes(),
        batches::routes(),
        tasks::routes(),
        bundles::routes(),
        sessions::routes(),
        branches::routes(),
        events::routes(),
        files::routes(),
        flows::routes(),
        flow_runs::routes(),
        flow_client::routes(),
        snapshots::routes(),
        usage::routes(),
        tools::routes(),
        mcp_servers::routes(),
        apps::routes(),
        secrets::routes(),
        mcp_authorizations::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
