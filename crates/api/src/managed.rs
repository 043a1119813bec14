//! What a data plane leaves to its control plane: every write but those of what it keeps itself.

use domain::{Fault, FaultClass};

use crate::router::Route;
use crate::state::Planes;
use crate::table::HARMLESS;

/// The resources that belong to a data plane itself, by the first word of their paths: content and what is made of it, what
/// projects declare, and who is signed in. Everything else is configuration.
const OWN: [&str; 30] = [
    "adapters",
    "agents",
    "apps",
    "artifacts",
    "batches",
    "bundles",
    "data-exports",
    "deletion-requests",
    "device",
    "diagnostics",
    "files",
    "flow-runs",
    "flowruns",
    "flows",
    "legal-holds",
    "mcp-servers",
    "me",
    "oauth",
    "purge-jobs",
    "reconciliations",
    "requests",
    "responses",
    "scores",
    "secrets",
    "sessions",
    "sign-out",
    "tasks",
    "tools",
    "train",
    "vault",
];

/// # Errors
/// 409 where the gateway is a data plane, and the route writes what its control plane has.
pub fn check(planes: &Planes, route: &Route) -> Result<(), Box<Fault>> {
    let Some(control) = planes.managed_by.as_ref().filter(|_| is_of_control(route)) else { return Ok(()) };
    let message =
        "This gateway is a data plane: its configuration is its control plane's, and is changed there.";
    let fix = format!("Send it to {control}; it is in force here within seconds.");
    Err(Box::new(Fault::new(FaultClass::Conflict, "managed_by_control", message).fix(fix)))
}

fn is_of_control(route: &Route) -> bool {
    let resource = route.pattern.split('/').nth(2).unwrap_or_default();
    let is_own = OWN.contains(&resource)
        || HARMLESS.contains(&route.pattern)
        || route.pattern == "/v2/projects/{id}/purge-cache";
    !route.method.is_safe() && !is_own
}
