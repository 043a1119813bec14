//! The routes of `/v2`, a file for each resource.

mod agreement;
mod effective_policy;
mod hook_forms;
mod hosting;
mod joined_nodes;
mod limits;
mod policy_forms;
mod resource;
mod routes;
mod servers;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::access::Access;
use api::openapi;
use api::server::Server;
use api::state::Web;
use reconcilers::{Deps, Nodes};

pub use people::{Founded, NewWorkspace, OWNER_EMAIL, checked_email, first_owner, found, owners_link};
pub use privacy::DataExportHandler;
pub use replayruns::ReplayRunHandler;

/// The server of `/v2`.
///
/// # Errors
/// The table of routes is unsound, or the store can't be read or written.
pub async fn start(deps: Deps, nodes: Arc<Nodes>, web: Web) -> Result<Server, String> {
    let operator = people::operators_workspace(&deps.store).await.map_err(|error| error.to_string())?;
    routes::keep_served(&deps).await.map_err(|error| error.to_string())?;
    Server::new(deps, nodes, web, operator, routes::all)
}

/// Every route with its access rule, for tests and documentation; `None` for a route that needs neither a key
/// nor a person.
pub fn declared() -> Vec<(http::Method, &'static str, Option<Access>)> {
    routes::all().into_iter().map(|route| (route.method, route.pattern, route.auth.access())).collect()
}

/// The methods and paths that the OpenAPI document describes.
pub fn described() -> BTreeSet<(http::Method, String)> {
    let document = openapi::document(&routes::all()).unwrap_or_default();
    let paths = document.get("paths").and_then(serde_json::Value::as_object).into_iter().flatten();
    let operations = paths.flat_map(|(path, operations)| {
        let methods =
            operations.as_object().into_iter().flatten().map(|(method, _)| method.to_ascii_uppercase());
        methods.filter_map(|method| method.parse().ok()).map(|method| (method, path.clone()))
    });
    operations.collect()
}
