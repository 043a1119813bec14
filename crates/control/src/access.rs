//! Authorisation of the `/v2` routes: which key scope and which role each route requires, and the check at
//! startup that refuses an unsound route table.

use admit::Needs;
use domain::{Fault, FaultClass, Role};
use http::Method;

use crate::router::{Route, RouteAuth};

/// What a route requires of an API key, and of a signed-in person. `None` rejects callers of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub key: Option<Needs>,
    pub people: Option<People>,
}

/// What a route requires of a person in the workspace they act in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum People {
    /// This role or a higher one.
    Least(Role),
    /// An owner of the operator's workspace, which runs this installation.
    Operator,
}

impl Access {
    /// Read-only.
    pub const LOOK: Self = Self::both(Needs::Read, Role::Viewer);
    /// Managing keys that call models.
    pub const DEVELOP: Self = Self::both(Needs::Admin, Role::Developer);
    pub const MANAGE: Self = Self::both(Needs::Admin, Role::Admin);
    /// Anything that shows or changes money.
    pub const BILL: Self = Self::both(Needs::Admin, Role::Billing);
    /// The workspace itself.
    pub const OWN: Self = Self::both(Needs::Admin, Role::Owner);
    /// Settings of the installation.
    pub const OPERATE: Self = Self { key: Some(Needs::Operator), people: Some(People::Operator) };
    /// What concerns only the caller itself.
    pub const ONESELF: Self = Self::both(Needs::Known, Role::Viewer);
    /// Only for a signed-in person, never for a key.
    pub const PERSON: Self = Self { key: None, people: Some(People::Least(Role::Viewer)) };

    const fn both(key: Needs, role: Role) -> Self {
        Self { key: Some(key), people: Some(People::Least(role)) }
    }

    /// Whether a read-only caller is let in.
    const fn lets_lookers_in(self) -> bool {
        matches!(self.key, Some(Needs::Known | Needs::Read | Needs::Inference))
            || matches!(self.people, Some(People::Least(Role::Viewer)))
    }
}

/// Routes open to unauthenticated callers: the ways to sign in or to join.
const OPEN: [&str; 5] =
    ["/v2/sign-in", "/v2/sign-in/link", "/v2/device", "/v2/device/token", "/v2/byoc/nodes/join"];
/// What a joined node may call: its own reports.
const OF_NODES: [&str; 2] = ["/v2/byoc/nodes/heartbeat", "/v2/byoc/nodes/records"];
/// Non-GET routes that change nothing, or only what belongs to the caller.
pub const HARMLESS: [&str; 4] = ["/v2/plan", "/v2/me", "/v2/sign-out", "/v2/device/approve"];

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
    let of_others = OPEN.contains(&route.pattern) || OF_NODES.contains(&route.pattern);
    somebody && agree && (reads || !access.lets_lookers_in()) && !of_others
}

pub fn insufficient_role(needed: &str, has: Role) -> Box<Fault> {
    let message = format!("This needs the role {needed}, and you are {has} in this workspace.");
    let fix = "Ask an owner or admin of the workspace; `GET /v2/members` lists them.";
    Box::new(Fault::new(FaultClass::Forbidden, "insufficient_role", message).fix(fix))
}

pub fn person_needed() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Forbidden, "person_needed", "Only a signed-in person may do this, not a key.")
            .fix("Sign in at the console."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes;

    fn check_changed(pattern: &str, method: &Method, access: Access) -> Result<(), String> {
        let mut table = routes::all();
        let row = table.iter_mut().find(|row| row.pattern == pattern && row.method == *method).unwrap();
        let RouteAuth::Known(_, handler) = row.auth else { panic!("{pattern} is open") };
        row.auth = RouteAuth::Known(access, handler);
        check(&table)
    }

    #[test]
    fn the_table_is_sound_and_each_unsound_one_is_refused() {
        assert_eq!(check(&routes::all()), Ok(()));
        let nobody = Access { key: None, people: None };
        let half = Access { key: Some(Needs::Admin), people: Some(People::Operator) };
        for (pattern, method, access) in [
            ("/v2/api-keys", Method::POST, Access::LOOK),
            ("/v2/api-keys", Method::POST, Access::PERSON),
            ("/v2/members/{id}", Method::DELETE, Access::ONESELF),
            ("/v2/usage", Method::GET, nobody),
            ("/v2/accounts", Method::GET, half),
        ] {
            let error = check_changed(pattern, &method, access).unwrap_err();
            assert!(error.contains(pattern), "{error}");
        }
    }

    #[test]
    fn an_open_route_and_a_second_one_are_refused() {
        let mut table = routes::all();
        let Some(RouteAuth::Open(handler)) =
            table.iter().find(|row| row.pattern == "/v2/device").map(|row| row.auth)
        else {
            panic!("the device's way in is not open")
        };
        table.push(Route::open(Method::POST, "/v2/projects/all", handler));
        assert!(check(&table).unwrap_err().contains("/v2/projects/all"));
        let mut table = routes::all();
        table.push(Route::new(Method::GET, "/v2/usage", Access::LOOK, |_, _| Box::pin(async { panic!() })));
        assert!(check(&table).unwrap_err().contains("twice"));
    }
}
