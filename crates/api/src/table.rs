//! The check at startup that refuses a route table which lets in whom it must not.

use admit::Needs;
use http::Method;

use crate::access::{Access, People};
use crate::router::{Route, RouteAuth};

/// Routes open to unauthenticated callers: the ways to sign in or to join.
const OPEN: [&str; 6] = [
    "/v2/sign-in",
    "/v2/sign-in/link",
    "/v2/device",
    "/v2/device/token",
    "/v2/byoc/nodes/join",
    dataplane::wire::JOIN,
];
/// What a joined node may call: its own reports.
const OF_NODES: [&str; 4] = [
    "/v2/byoc/nodes/heartbeat",
    "/v2/byoc/nodes/records",
    "/v2/byoc/nodes/certificate",
    "/v2/byoc/nodes/tunnel",
];
/// What a data plane may call.
const OF_DATA_PLANES: [&str; 4] = [
    dataplane::wire::CONFIGURATION,
    dataplane::wire::RECORDS,
    dataplane::wire::LEASES,
    dataplane::wire::EVIDENCE,
];
/// Non-GET routes that change nothing, or only what belongs to the caller.
pub const HARMLESS: [&str; 7] = [
    "/v2/plan",
    "/v2/routes/dry-run",
    "/v2/model-aliases/{id}/dry-run",
    "/v2/me",
    "/v2/sign-out",
    "/v2/device/approve",
    "/v2/oauth/consent",
];

/// Refuses a route table that declares a route twice, or opens a route that must be protected.
///
/// # Errors
/// Names the offending route; the process does not start.
pub fn check(table: &[Route]) -> Result<(), String> {
    for (at, route) in table.iter().enumerate() {
        let route_name = format!("{} {}", route.method, route.pattern);
        let same = |other: &&Route| other.method == route.method && other.pattern == route.pattern;
        if table.iter().take(at).any(|other| same(&other)) {
            return Err(format!("the route {route_name} is declared twice"));
        }
        let is_sound = match route.auth {
            RouteAuth::Open(_) => OPEN.contains(&route.pattern) && route.method == Method::POST,
            RouteAuth::Node(_) => OF_NODES.contains(&route.pattern) && route.method == Method::POST,
            RouteAuth::DataPlane(_) => {
                OF_DATA_PLANES.contains(&route.pattern) && route.method == Method::POST
            }
            RouteAuth::Known(access, _) => is_sound(route, access),
        };
        if !is_sound {
            return Err(format!(
                "the route {route_name} declares {:?}, which it must not have",
                route.auth.access()
            ));
        }
    }
    Ok(())
}

fn is_sound(route: &Route, access: Access) -> bool {
    let reads = route.method == Method::GET || HARMLESS.contains(&route.pattern);
    let of_operator = (access.key == Some(Needs::Operator), access.people == Some(People::Operator));
    // With operator rights required of only one of the two, the other kind of caller would get past the
    // check.
    let agree = matches!(of_operator, (true, true) | (false, false));
    let somebody = access.key.is_some() || access.people.is_some();
    let of_others = [&OPEN[..], &OF_NODES, &OF_DATA_PLANES].iter().any(|own| own.contains(&route.pattern));
    somebody && agree && (reads || !access.lets_lookers_in()) && !of_others
}
