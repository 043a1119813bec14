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
    /// An artifact holds what the event says.
    OfArtifact,
    /// A legal hold keeps it from being deleted.
    Held,
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
    /// An event of any session of a project.
    fn event(
        &self,
        owner: ObjectOwner,
        id: SessionEventId,
    ) -> PortFuture<'static, Result<HistoryEvent, SessionFailure>>;
    /// Deletes what one event holds.
    fn empty_event(
        &self,
        by: SessionWriter,
        id: SessionId,
        event: SessionEventId,
    ) -> PortFuture<'static, Result<(), SessionFailure>>;
    /// Seals state that a client carries itself, once for a request; `None` where its workspace's key is not here.
    fn seal(&self, by: &SessionWriter, content: &[u8]) -> Option<Vec<u8>>;
    /// Opens it; `None` of what was changed, is another project's, or has a key that is gone.
    fn open_sealed(&self, owner: ObjectOwner, sealed: &[u8]) -> Option<Vec<u8>>;
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

    fn event(
        &self,
        _owner: ObjectOwner,
        _id: SessionEventId,
    ) -> PortFuture<'static, Result<HistoryEvent, SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn empty_event(
        &self,
        _by: SessionWriter,
        _id: SessionId,
        _event: SessionEventId,
    ) -> PortFuture<'static, Result<(), SessionFailure>> {
        Box::pin(async { Err(SessionFailure::Unknown) })
    }

    fn seal(&self, _by: &SessionWriter, _content: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn open_sealed(&self, _owner: ObjectOwner, _sealed: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
