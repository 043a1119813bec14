//! The paths that a dialect has at the front door, and what requests at them do.

use domain::{Operation, StoredKind};
use http::Method;

/// One path of a dialect.
#[derive(Debug)]
pub struct DialectRoute {
    pub method: Method,
    /// Exact, or with a last segment `{rest}` that takes whatever follows, slashes too.
    pub path: &'static str,
    pub action: RouteAction,
}

/// What a request at a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAction {
    /// A call whose body says all.
    Call(Operation),
    /// A call whose address names the model and the operation.
    Addressed,
    /// Something about a stored response, which the address names.
    StoredResponse,
    /// Something about a stored object, which the address names.
    StoredObject(StoredKind),
    /// A list of such objects.
    ListObjects(StoredKind),
    ListModels,
    ShowModel,
    /// A call whose answer is a summary of a conversation.
    Compact,
    /// A session, each response of which is a call.
    Realtime,
}

impl RouteAction {
    /// Whether such a request may reach a provider.
    pub const fn calls_provider(self) -> bool {
        match self {
            Self::Call(_)
            | Self::Addressed
            | Self::StoredResponse
            | Self::StoredObject(_)
            | Self::Compact
            | Self::Realtime => true,
            Self::ListObjects(_) | Self::ListModels | Self::ShowModel => false,
        }
    }
}

/// The row of a call whose body says all.
pub const fn call(path: &'static str, operation: Operation) -> DialectRoute {
    route(Method::POST, path, RouteAction::Call(operation))
}

pub const fn route(method: Method, path: &'static str, action: RouteAction) -> DialectRoute {
    DialectRoute { method, path, action }
}
