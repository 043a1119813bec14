//! Sessions: branches of events, to which only one writer at a time can append.

use std::collections::BTreeMap;

use database::handle::Database;
use domain::ports::WarmSession;
use domain::{
    ArtifactId, BranchId, BundleId, ProjectId, SessionEventId, SessionId, SnapshotId, TraceId, WorkspaceId,
};

use crate::artifacts::SealedContent;
use crate::limits::WARM_KEPT_MS;

/// The name of a session's first branch.
const FIRST_BRANCH: &str = "main";

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SessionStatus by of {
        Active = "active",
        /// Readable, and closed for new events.
        Archived = "archived",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: SessionId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: String,
    pub end_user: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub bundles: Vec<BundleId>,
    pub status: SessionStatus,
    pub default_branch: BranchId,
    /// Of its fields: events do not change it.
    pub version: u64,
    /// How long it is kept after it was last used; `None` until it is deleted.
    pub ttl_ms: Option<u64>,
    pub created_unix_ms: u64,
    pub used_unix_ms: u64,
    pub until_unix_ms: Option<u64>,
    pub warm: Option<WarmSession>,
}

/// A session with its first branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    pub session: SessionRow,
    pub branch: BranchRow,
}

impl NewSession {
    /// A session of a project that is kept until it is deleted, and its empty branch. Both ids are of one time, and random.
    pub fn of(
        workspace: WorkspaceId,
        project: ProjectId,
        (unix_ms, random, branch_random): (u64, [u8; 10], [u8; 10]),
    ) -> Self {
        let (id, branch) = (SessionId::new(unix_ms, random), BranchId::new(unix_ms, branch_random));
        let session = SessionRow {
            id,
            workspace,
            project,
            name: String::new(),
            end_user: None,
            metadata: BTreeMap::new(),
            bundles: Vec::new(),
            status: SessionStatus::Active,
            default_branch: branch,
            version: 1,
            ttl_ms: None,
            created_unix_ms: unix_ms,
            used_unix_ms: unix_ms,
            until_unix_ms: None,
            warm: None,
        };
        let branch = BranchRow {
            id: branch,
            session: id,
            name: FIRST_BRANCH.to_owned(),
            forked_from: None,
            version: 0,
            head: None,
            created_unix_ms: unix_ms,
        };
        Self { session, branch }
    }

    /// The same as a warm one, whose runs of an app stay where the first one runs.
    pub fn warm(self, app: String, idle_ms: u64) -> Self {
        let created_unix_ms = self.session.created_unix_ms;
        let expires_unix_ms = created_unix_ms.saturating_add(idle_ms);
        let warm = WarmSession {
            id: self.session.id,
            app,
            idle_ms,
            created_unix_ms,
            expires_unix_ms,
            ended_unix_ms: None,
            calls: 0,
            called_unix_ms: created_unix_ms,
            seat: None,
        };
        let until_unix_ms = Some(expires_unix_ms.saturating_add(WARM_KEPT_MS));
        Self { session: SessionRow { warm: Some(warm), until_unix_ms, ..self.session }, ..self }
    }
}

/// The fields of a session that may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionChange {
    pub name: String,
    pub end_user: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub status: SessionStatus,
    pub default_branch: BranchId,
    pub ttl_ms: Option<u64>,
}

/// Where a branch leaves another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkPoint {
    pub branch: BranchId,
    /// How many of its events both share.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRow {
    pub id: BranchId,
    pub session: SessionId,
    pub name: String,
    pub forked_from: Option<ForkPoint>,
    /// The number of events, those of its history included.
    pub version: u64,
    /// The last event.
    pub head: Option<SessionEventId>,
    pub created_unix_ms: u64,
}

/// The content of an event that holds it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventContent {
    pub bytes: u64,
    /// A keyed hash.
    pub hash: [u8; 32],
    pub digest: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEventRow {
    pub id: SessionEventId,
    /// The branch that it was appended to; a fork shows it too.
    pub branch: BranchId,
    pub version: u64,
    pub parent: Option<SessionEventId>,
    pub kind: String,
    pub artifact: Option<ArtifactId>,
    pub content: Option<EventContent>,
    /// The request that appended it.
    pub request: TraceId,
    pub created_unix_ms: u64,
}

/// An event that is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub id: SessionEventId,
    pub kind: String,
    pub artifact: Option<ArtifactId>,
    pub content: Option<(EventContent, SealedContent)>,
    pub request: TraceId,
    pub created_unix_ms: u64,
}

/// What a branch must be like for an append to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    pub version: Option<u64>,
    /// The last event; `Some(None)` is a branch without events.
    pub head: Option<Option<SessionEventId>>,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The branch with the events, and the event before them.
    Done(BranchRow, Option<SessionEventId>),
    /// The branch as it is: somebody else appended first.
    Conflict(BranchRow),
    /// The session takes no events.
    Archived,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshotRow {
    pub id: SnapshotId,
    pub session: SessionId,
    pub branch: BranchId,
    pub version: u64,
    /// The revision of what made a manifest of the events.
    pub compiler: String,
    /// JSON.
    pub manifest: String,
    pub manifest_hash: [u8; 32],
    pub created_unix_ms: u64,
}

/// Which sessions a list has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFilter {
    pub project: Option<ProjectId>,
    pub end_user: Option<String>,
    pub status: Option<SessionStatus>,
    /// Only warm ones, or only others.
    pub is_warm: Option<bool>,
}

#[derive(Clone, Copy)]
pub struct Sessions<'a>(pub &'a Database);
