//! A request of the gateway's own, beside the one that it is made for. It goes through all stages, so that routes,
//! policies, limits and budgets of the project hold, and to the one principal that has what it is about.

use admit::Caller;
use bytes::Bytes;
use domain::{
    CacheMode, Dialect, FilesKeeper, Operation, Principal, Profile, ProjectId, SideCall, SideCallPurpose,
    WorkspaceId,
};
use http::header::{HeaderName, HeaderValue};
use plan::Attempt;

use crate::exchange::Exchange;

pub struct SideRequest {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// What it is made for.
    pub side_call: SideCall,
    pub(crate) principal: Principal,
    pub(crate) profile: Profile,
    pub dialect: Dialect,
    pub operation: Operation,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl SideRequest {
    /// One for the sake of an exchange, to the principal of an attempt; without headers and body.
    pub(crate) fn beside(
        exchange: &Exchange,
        attempt: &Attempt,
        purpose: SideCallPurpose,
        dialect: Dialect,
        operation: Operation,
    ) -> Self {
        Self {
            workspace: exchange.caller.workspace().id,
            project: exchange.caller.project().id,
            side_call: SideCall { purpose, parent: exchange.trace() },
            principal: attempt.principal(),
            profile: attempt.profile(),
            dialect,
            operation,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The credential or account that is asked, and no other: a cache is read where it was made.
    pub fn keeper(&self) -> FilesKeeper {
        FilesKeeper { principal: self.principal, place: "model".to_owned() }
    }

    /// Whether the project's settings still ask for it, and its policies let providers store prompts.
    pub fn is_wanted(&self, caller: &Caller) -> bool {
        let (project, workspace) = (caller.project(), caller.workspace());
        let caching = project.caching.or(&workspace.caching);
        let is_set = match self.side_call.purpose {
            SideCallPurpose::CacheKeepAlive => caching.keeps_alive(self.profile),
            SideCallPurpose::ContextCache => caching.mode(self.profile) == CacheMode::Apply,
            SideCallPurpose::SemanticCache
            | SideCallPurpose::BatchItem
            | SideCallPurpose::Replay
            | SideCallPurpose::ToolStep => true,
        };
        is_set && caller.lets_providers_store()
    }
}
