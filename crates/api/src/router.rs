//! The route table of `/v2`: every route declares its method, path, access and description, and nothing else
//! is reachable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use admit::Needs;
use domain::Fault;
use http::Method;

use crate::access::Access;
use crate::caller::{Caller, DataPlaneCaller, Reporter, UnauthenticatedCaller};
use crate::openapi::description::Description;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::Control;

/// What a handler returns.
pub type Handled = Result<Reply, Box<Fault>>;

/// A handler at work.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Handled> + Send + 'a>>;

/// An async function that handles requests of this kind of caller.
pub trait Handles<'a, C> {
    fn handle(&self, control: &'a Arc<Control>, request: ApiRequest<C>) -> Handling<'a>;
}

impl<'a, C, F, W> Handles<'a, C> for F
where
    F: Fn(&'a Arc<Control>, ApiRequest<C>) -> W,
    W: Future<Output = Handled> + Send + 'a,
{
    fn handle(&self, control: &'a Arc<Control>, request: ApiRequest<C>) -> Handling<'a> {
        Box::pin(self(control, request))
    }
}

/// A handler; one of known callers sees only those that the route's access rule let in.
pub type Handler<C = Caller> = &'static (dyn for<'a> Handles<'a, C> + Send + Sync);

/// A function has no size, so that nothing is allocated for it.
fn handler<C, F>(function: F) -> Handler<C>
where
    F: for<'a> Handles<'a, C> + Send + Sync + 'static,
{
    const { assert!(size_of::<F>() == 0, "a handler captures nothing") };
    Box::leak(Box::new(function))
}

/// How callers authenticate.
#[derive(Clone, Copy)]
pub enum RouteAuth {
    Open(Handler<UnauthenticatedCaller>),
    /// By a joined node, with its node credential.
    Node(Handler<Reporter>),
    /// By a data plane, with its credential.
    DataPlane(Handler<DataPlaneCaller>),
    Known(Access, Handler),
}

/// One route. It can't be constructed without an access rule, and the process does not start if one lacks a
/// description.
pub struct Route {
    pub method: Method,
    /// Segments in braces are parameters: `/v2/routes/{id}`.
    pub pattern: &'static str,
    pub auth: RouteAuth,
    pub description: Description,
}

impl Route {
    pub fn new(
        method: Method,
        pattern: &'static str,
        access: Access,
        function: impl for<'a> Handles<'a, Caller> + Send + Sync + 'static,
    ) -> Self {
        Self::by(method, pattern, RouteAuth::Known(access, handler(function)))
    }

    pub fn open(
        method: Method,
        pattern: &'static str,
        function: impl for<'a> Handles<'a, UnauthenticatedCaller> + Send + Sync + 'static,
    ) -> Self {
        Self::by(method, pattern, RouteAuth::Open(handler(function)))
    }

    pub fn of_node(
        method: Method,
        pattern: &'static str,
        function: impl for<'a> Handles<'a, Reporter> + Send + Sync + 'static,
    ) -> Self {
        Self::by(method, pattern, RouteAuth::Node(handler(function)))
    }

    pub fn of_data_plane(
        pattern: &'static str,
        function: impl for<'a> Handles<'a, DataPlaneCaller> + Send + Sync + 'static,
    ) -> Self {
        Self::by(Method::POST, pattern, RouteAuth::DataPlane(handler(function)))
    }

    /// Of callers who authenticate so.
    pub fn by(method: Method, pattern: &'static str, auth: RouteAuth) -> Self {
        Self { method, pattern, auth, description: Description::default() }
    }
}

impl RouteAuth {
    /// `None` for routes that need neither a key nor a person.
    pub const fn access(self) -> Option<Access> {
        match self {
            Self::Open(_) | Self::Node(_) | Self::DataPlane(_) => None,
            Self::Known(access, _) => Some(access),
        }
    }

    /// The scope that a key needs here.
    pub(crate) fn needs(self) -> Needs {
        self.access().and_then(|access| access.key).unwrap_or(Needs::Known)
    }
}

/// The result of a lookup.
pub enum Matched<'a> {
    Found(&'a Route, Vec<String>),
    /// The path exists, but not with this method: what `Allow` lists.
    OtherMethods(Vec<Method>),
    Unknown,
}

/// Finds the route of a request. Every pattern is tried: the table is short and this is not the hot path.
pub fn find<'a>(routes: &'a [Route], method: &Method, path: &str) -> Matched<'a> {
    // HEAD uses the GET route; the gateway drops the body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut matching: Vec<_> = routes
        .iter()
        .filter_map(|route| parameters(route.pattern, path).map(|parameters| (route, parameters)))
        .collect();
    // A fixed segment wins over a name: a node called "join-tokens" is reached by its id.
    let fewest = matching.iter().map(|(_, parameters)| parameters.len()).min();
    matching.retain(|(_, parameters)| Some(parameters.len()) == fewest);
    let others: Vec<_> = matching.iter().map(|(route, _)| route.method.clone()).collect();
    match matching.into_iter().find(|(route, _)| route.method == *method) {
        Some((route, parameters)) => Matched::Found(route, parameters),
        None if others.is_empty() => Matched::Unknown,
        None => Matched::OtherMethods(others),
    }
}

/// The collection that a path would name a member of, if it ended in an id, and what it ends in.
pub fn collection<'a>(routes: &[Route], path: &'a str) -> Option<(&'a str, &'a str)> {
    let (collection, end) = path.rsplit_once('/').filter(|(_, end)| !end.is_empty())?;
    let Matched::Found(list, _) = find(routes, &Method::GET, collection) else { return None };
    let has_members = |route: &Route| {
        let member = route.pattern.strip_prefix(list.pattern).and_then(|rest| rest.strip_prefix("/{"));
        member.is_some_and(|parameter| parameter.find('}') == Some(parameter.len() - 1))
    };
    routes.iter().any(has_members).then_some((collection, end))
}

fn parameters(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut wanted = pattern.split('/').peekable();
    let mut given = path.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(found),
            // Before further segments a parameter may also be a user-chosen name, such as an adapter's.
            (Some(want), Some(have)) if want.starts_with('{') => {
                let may_be_name =
                    wanted.peek().is_some() || NAMED.contains(&pattern) || naming::kind_at(pattern).is_some();
                is_value(have, may_be_name).then(|| found.push(have.to_owned()))?;
            }
            (Some(want), Some(have)) if want == have => {}
            _ => return None,
        }
    }
}

/// Where handlers take names themselves: an alias is unique in its project alone, and capabilities are a provider's.
const NAMED: [&str; 2] = ["/v2/model-aliases/{id}", "/v2/capabilities/{id}"];

/// Ids contain an underscore or a digit, so that a path such as `…/join-tokens` in a later release is never
/// taken for an id now.
fn is_value(have: &str, may_be_name: bool) -> bool {
    let is_id = have.contains(|c: char| c == '_' || c.is_ascii_digit());
    is_id || (may_be_name && !have.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_whole_segment() {
        assert_eq!(parameters("/v2/routes/{id}", "/v2/routes/rte_1"), Some(vec!["rte_1".into()]));
        assert_eq!(parameters("/v2/routes/{id}", "/v2/routes/"), None);
        assert_eq!(parameters("/v2/routes/{id}", "/v2/routes/rte_1/b"), None);
        assert_eq!(parameters("/v2/requests/{id}", "/v2/requests/export"), None);
        assert_eq!(parameters("/v2/byoc/nodes/{id}", "/v2/byoc/nodes/attic"), Some(vec!["attic".into()]));
        assert_eq!(parameters("/v2/routes", "/v2/routes"), Some(vec![]));
        assert_eq!(
            parameters("/v2/train/jobs/{id}", "/v2/train/jobs/ftjob-01"),
            Some(vec!["ftjob-01".into()])
        );
        let alias = "/v2/model-aliases/{id}";
        assert_eq!(parameters(alias, "/v2/model-aliases/fast"), Some(vec!["fast".into()]));
        assert_eq!(parameters(alias, "/v2/model-aliases/"), None);
        let load = "/v2/adapters/{id}/load";
        assert_eq!(parameters(load, "/v2/adapters/law/load"), Some(vec!["law".into()]));
        assert_eq!(parameters(load, "/v2/adapters//load"), None);
    }
}
