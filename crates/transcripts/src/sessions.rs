//! Sessions: branches of events, to which only one writer at a time can append.

use std::collections::BTreeMap;

use database::act::Act;
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::ports::{WarmEvent, WarmSession};
use domain::{
    ArtifactId, BranchId, BundleId, ObjectOwner, ProjectId, SessionEventId, SessionId, SnapshotId, TraceId,
    WorkspaceId,
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

pub trait Sessions: Send + Sync {
    /// # Errors
    /// If its project is gone, or a bundle is not there.
    fn create(&self, new: NewSession, act: Act) -> StoreFuture<'_, ()>;
    fn get(&self, workspace: WorkspaceId, id: SessionId, now_unix_ms: u64) -> StoreFuture<'_, SessionRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        filter: SessionFilter,
        now_unix_ms: u64,
        page: Page<SessionId>,
    ) -> StoreFuture<'_, Listed<SessionRow, SessionId>>;
    fn change(
        &self,
        workspace: WorkspaceId,
        id: SessionId,
        change: SessionChange,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, SessionRow>;
    /// Deletes it with everything in it.
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: SessionId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, ()>;

    /// A warm session of a project after an event, which changes one that is active alone.
    fn warm(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        event: WarmEvent,
        now_unix_ms: u64,
        act: Option<Act>,
    ) -> StoreFuture<'_, SessionRow>;

    /// # Errors
    /// If the session has no such branch, or too many, or the fork is too deep or beyond that branch's end.
    fn fork(&self, workspace: WorkspaceId, branch: BranchRow, act: Act) -> StoreFuture<'_, BranchRow>;
    fn branch(&self, workspace: WorkspaceId, session: SessionId, id: BranchId) -> StoreFuture<'_, BranchRow>;
    fn branches(
        &self,
        workspace: WorkspaceId,
        session: SessionId,
        page: Page<BranchId>,
    ) -> StoreFuture<'_, Listed<BranchRow, BranchId>>;

    /// Appends all events or none: compare and swap on the branch's version and last event.
    ///
    /// # Errors
    /// If an artifact is not there or was deleted, or the branch is full.
    fn append(
        &self,
        workspace: WorkspaceId,
        session: SessionId,
        branch: BranchId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> StoreFuture<'_, Appended>;
    /// Events of a branch and its history, in order, after a version and up to another.
    fn events(
        &self,
        workspace: WorkspaceId,
        branch: BranchRow,
        after_version: u64,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<SessionEventRow>>;
    /// The same with their contents, each `None` where it was deleted.
    fn events_with_contents(
        &self,
        workspace: WorkspaceId,
        branch: BranchRow,
        after_version: u64,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<(SessionEventRow, Option<SealedContent>)>>;
    /// An event of any session of a project that is not over, with its content; `None` where that was deleted.
    fn event(
        &self,
        workspace: WorkspaceId,
        project: ProjectId,
        id: SessionEventId,
        now_unix_ms: u64,
    ) -> StoreFuture<'_, (SessionEventRow, Option<SealedContent>)>;
    /// Deletes what an event holds; `false` where an artifact holds what it says. The event stays as a place in its history, which later ones and forks go on from.
    ///
    /// # Errors
    /// If the session has no such event, or is held.
    fn empty_event(
        &self,
        workspace: WorkspaceId,
        session: SessionId,
        id: SessionEventId,
        act: Act,
    ) -> StoreFuture<'_, bool>;

    fn keep_snapshot(
        &self,
        workspace: WorkspaceId,
        snapshot: SessionSnapshotRow,
        act: Act,
    ) -> StoreFuture<'_, ()>;
    fn snapshot(
        &self,
        workspace: WorkspaceId,
        session: SessionId,
        id: SnapshotId,
    ) -> StoreFuture<'_, SessionSnapshotRow>;
    fn snapshots(
        &self,
        workspace: WorkspaceId,
        session: SessionId,
        page: Page<SnapshotId>,
    ) -> StoreFuture<'_, Listed<SessionSnapshotRow, SnapshotId>>;
}
