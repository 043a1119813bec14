//! The sessions of agents: whether they are there, what was said in them, and what is added.

use std::collections::BTreeMap;
use std::fmt;

use super::PortFuture;
use crate::ids::{BranchId, SessionEventId, SessionId, TraceId};
use crate::stored_object::ObjectOwner;

/// The result of looking up a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundSession {
    Known,
    Unknown,
    /// Unknown, because the store does not answer.
    StoreUnavailable,
}

/// One event of a session's history.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    pub id: SessionEventId,
    pub kind: String,
    /// JSON: a text, or an item of the Responses API. What an artifact holds that is no JSON is a text.
    pub content: String,
}

impl fmt::Debug for HistoryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryEvent").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A branch of a session, without what was said in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHead {
    pub session: SessionId,
    pub branch: BranchId,
    /// It takes no events.
    pub is_archived: bool,
    pub metadata: BTreeMap<String, String>,
    pub created_unix_ms: u64,
}

/// Why a session was not read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionFailure {
    /// The project has no such session, branch or event.
    Unknown,
    /// Its history is longer than a request may be.
    TooLong,
    /// It takes no events.
    Archived,
    StoreUnavailable,
}

/// A change of a session by whom: a key's id, or `system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWriter {
    pub owner: ObjectOwner,
    pub actor: String,
    pub request: TraceId,
}

/// Knows the sessions of agents.
pub trait SessionStore: Send + Sync {
    /// Whether a project has a session that isn't over.
    fn find(&self, owner: ObjectOwner, id: SessionId) -> PortFuture<'static, FoundSession>;
    /// A session and its default branch.
    fn head(
        &self,
        owner: ObjectOwner,
        id: SessionId,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>>;
    /// A branch, or the session's default branch, with all events up to its end.
    fn history(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        branch: Option<BranchId>,
    ) -> PortFuture<'static, Result<(SessionHead, Vec<HistoryEvent>), SessionFailure>>;
    /// Appends events, each a kind and content, to a branch as it then is: all or none. Returns their ids.
    fn append(
        &self,
        by: SessionWriter,
        to: (SessionId, BranchId),
        events: Vec<(String, String)>,
    ) -> PortFuture<'static, Result<Vec<SessionEventId>, SessionFailure>>;
    /// Opens a session.
    fn open(
        &self,
        by: SessionWriter,
        name: &'static str,
        metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>>;
    fn set_metadata(
        &self,
        by: SessionWriter,
        id: SessionId,
        metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<(), SessionFailure>>;
    /// Deletes it with everything in it.
    fn delete(&self, by: SessionWriter, id: SessionId) -> PortFuture<'static, Result<(), SessionFailure>>;
}

/// For processes that keep none.
#[derive(Debug, Default)]
pub struct NoSessions;

impl SessionStore for NoSessions {
    fn find(&self, _owner: ObjectOwner, _id: SessionId) -> PortFuture<'static, FoundSession> {
        Box::pin(async { FoundSession::Unknown })
    }

    fn head(
        &self,
        _owner: ObjectOwner,
        _id: SessionId,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn history(
        &self,
        _owner: ObjectOwner,
        _id: SessionId,
        _branch: Option<BranchId>,
    ) -> PortFuture<'static, Result<(SessionHead, Vec<HistoryEvent>), SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn append(
        &self,
        _by: SessionWriter,
        _to: (SessionId, BranchId),
        _events: Vec<(String, String)>,
    ) -> PortFuture<'static, Result<Vec<SessionEventId>, SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn open(
        &self,
        _by: SessionWriter,
        _name: &'static str,
        _metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>> {
        Box::pin(async { Err(SessionFailure::StoreUnavailable) })
    }

    fn set_metadata(
        &self,
        _by: SessionWriter,
        _id: SessionId,
        _metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<(), SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn delete(&self, _by: SessionWriter, _id: SessionId) -> PortFuture<'static, Result<(), SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }
}
