//! What plans a request on a core, where the live state is.

use std::sync::Arc;

pub use admit::Caller;
use bytes::Bytes;
use domain::ports::PortFuture;
use domain::{Dialect, Fault, Modality, TraceId};
use http::{HeaderMap, Method};
use line::{AppPlan, CallExplanation};
use serde_json::Value;
use snapshot::{KeyEntry, ProjectEntry, Snapshot, WorkspaceEntry};

/// A request that is planned and not served, as its client would send it.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// Whose request it is taken for.
    pub caller: Caller,
    pub environment: Arc<str>,
    /// Without one, the path's own.
    pub method: Option<Method>,
    pub address: PlanAddress,
    pub headers: HeaderMap,
    /// The JSON body, or the fields of a form as JSON.
    pub body: Bytes,
    pub trace: TraceId,
}

/// Where it would be sent.
#[derive(Debug, Clone)]
pub enum PlanAddress {
    /// A path, with its query.
    Path(String),
    /// The dialect's usual one for a modality and a model.
    Usual(Dialect, Modality, String),
}

/// A run of an app that is planned and not made.
#[derive(Debug, Clone)]
pub struct AppPlanRequest {
    /// Whose run it is taken for.
    pub caller: Caller,
    pub app: String,
    /// Its input, where that is to be compared with the app's schema.
    pub input: Option<Value>,
}

/// Plans requests without serving them. Faults are of the address: a request that would be refused has a plan that
/// says so.
pub trait Planner: Send + Sync {
    fn plan(&self, request: PlanRequest) -> PortFuture<'_, Result<CallExplanation, Box<Fault>>>;
    /// `None` where the name is a model's, or nobody's.
    fn plan_app(&self, request: AppPlanRequest) -> PortFuture<'_, Result<Option<AppPlan>, Box<Fault>>>;
}

/// The caller that a request is taken to have: in a project of the workspace, with one of its keys or none. `None`
/// if they are not the workspace's.
pub fn assumed_caller(
    snapshot: Arc<Snapshot>,
    workspace: &Arc<WorkspaceEntry>,
    project: Arc<ProjectEntry>,
    key: Option<Arc<KeyEntry>>,
) -> Option<Caller> {
    admit::assumed(snapshot, Arc::clone(workspace), project, key)
}

/// The status that clients of a dialect would get with a fault.
pub fn status(fault: &Fault, dialect: Dialect) -> u16 {
    dialects::status(fault, dialect)
}
