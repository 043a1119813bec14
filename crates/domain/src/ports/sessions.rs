//! The sessions of agents: whether they are there, what was said in them, and what is added.

use std::collections::BTreeMap;

use super::PortFuture;
use crate::fault::{Fault, FaultClass};
use crate::ids::{BranchId, SessionEventId, SessionId, TraceId};
use crate::profile::Principal;
use crate::stored_object::ObjectOwner;

/// The result of looking up a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundSession {
    Known {
        is_warm: bool,
        /// Where the runs of a warm one stay, once the first has ended.
        seat: Option<Principal>,
    },
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

crate::brief_debug!(HistoryEvent, id, kind);

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

/// A session whose runs of one app stay where the first one ran, until none has come for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmSession {
    pub id: SessionId,
    pub app: String,
    /// How long it lasts without a run.
    pub idle_ms: u64,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    /// How many runs it had.
    pub calls: u64,
    pub called_unix_ms: u64,
    /// Where its runs stay.
    pub seat: Option<Principal>,
}

impl WarmSession {
    pub const fn status(&self, now_unix_ms: u64) -> WarmStatus {
        if self.ended_unix_ms.is_some() {
            return WarmStatus::Ended;
        }
        if self.expires_unix_ms > now_unix_ms { WarmStatus::Active } else { WarmStatus::Expired }
    }
}

crate::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum WarmStatus {
        Active = "active",
        Ended = "ended",
        Expired = "expired",
    }
}

impl WarmStatus {
    /// Why a session takes no more runs; `None` of one that does.
    pub fn refusal(self, id: SessionId) -> Option<Fault> {
        let (code, what) = match self {
            Self::Active => return None,
            Self::Ended => ("session_ended", "was ended"),
            Self::Expired => ("session_expired", "was idle for longer than its timeout"),
        };
        let fault = Fault::new(FaultClass::Gone, code, format!("The warm session {id} {what}."));
        Some(fault.fix("Begin another one with \"session\": \"new\".").param("session").should_retry(false))
    }
}

/// What happens to a warm session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmEvent {
    /// A run, from which its time counts again.
    Call,
    KeepAlive,
    /// Its runs stay here from now on, unless they have a place already.
    Seat(Principal),
    End,
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
    /// Opens a warm session for an app.
    fn open_warm(
        &self,
        by: SessionWriter,
        app: String,
        idle_ms: u64,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>>;
    /// A warm session after an event, which changes one that is active alone.
    fn warm(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        event: WarmEvent,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>>;
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

    fn open_warm(
        &self,
        _by: SessionWriter,
        _app: String,
        _idle_ms: u64,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>> {
        Box::pin(async { Err(SessionFailure::StoreUnavailable) })
    }

    fn warm(
        &self,
        _owner: ObjectOwner,
        _id: SessionId,
        _event: WarmEvent,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>> {
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
