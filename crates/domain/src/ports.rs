//! What a low room asks of a higher one, as traits: audit, key wrapping, kept answers and their purge.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::ids::{CredentialId, ProjectId, TraceId, WorkspaceId};
use crate::kept::{FoundObject, KeptId, KeptKind, KeptObject, KeptOwner, KeptPage};
use crate::profile::Principal;
use crate::secret::Secret;

/// A future that may run on any thread.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One thing that must be findable later: who did what to which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub workspace: Option<WorkspaceId>,
    /// A key's or a member's id, `system`, or `vault`.
    pub actor: String,
    /// Such as `credential.create` or `credential.open_refused`.
    pub action: &'static str,
    pub object: String,
    /// Why, or with which result; never a secret and never content.
    pub detail: String,
    pub trace: Option<TraceId>,
}

/// Where audit entries go. It never blocks and never fails: what can't be written at once is queued.
pub trait AuditSink: Send + Sync {
    fn record(&self, entry: AuditEntry);

    /// A credential was opened for an attempt; counted, so that every opening can be accounted for.
    fn credential_opened(&self, credential: CredentialId);
}

/// An audit sink for places that have nothing to tell, such as a node without a control plane.
#[derive(Debug, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _entry: AuditEntry) {}
    fn credential_opened(&self, _credential: CredentialId) {}
}

/// Why a key service did not answer. The text never holds key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWrapError(pub String);

impl std::fmt::Display for KeyWrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyWrapError {}

/// The holder of the master key: our own, or a KMS. `context` is bound to the wrapped key.
pub trait KeyWrap: Send + Sync {
    /// Names the master key in use; kept beside what it wrapped.
    fn key_id(&self) -> String;
    fn wrap<'a>(
        &'a self,
        key: &'a Secret,
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Vec<u8>, KeyWrapError>>;
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Secret, KeyWrapError>>;
}

/// The keyed hash that API keys are found by: without its key, a copy of the database finds none.
pub trait KeyHash: Send + Sync {
    fn digest(&self, presented: &str) -> [u8; 32];
}

/// A request that its client may repeat: who sent it, where to, and under which key.
#[derive(Clone)]
pub struct KeyedRequest {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub path: Cow<'static, str>,
    /// The client's own word for this request.
    pub key: String,
    pub body: Bytes,
    pub request: TraceId,
}

impl fmt::Debug for KeyedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

/// The right to answer a keyed request. Whoever has it keeps the answer, or gives the right back.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// The keyed hash of project, path and key.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// The request that has it: nobody else keeps or gives it back.
    pub request: TraceId,
}

/// An answer as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

impl fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What becomes of a keyed request.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody has answered it yet.
    Yours(Claim),
    /// It was answered before.
    Answered(KeptAnswer),
    /// It was answered before, and the kept answer does not open.
    Unreadable,
    /// It is being answered.
    InFlight,
    /// The key was used for something else.
    OtherBody,
    /// Nobody knows: the store does not answer.
    Away,
}

/// The answers that are given again to whoever repeats a request under its key.
pub trait AnswerKeeper: Send + Sync {
    /// An answer with a longer body is not kept.
    fn body_bytes_max(&self) -> usize;
    /// Answers within a few seconds. A claim that nobody waits for any more is given back.
    fn claim(&self, asked: KeyedRequest) -> PortFuture<'static, Claimed>;
    /// Ends when the answer is kept, or when that takes too long to hold the client up; keeping goes on then.
    fn keep(&self, claim: Claim, answer: KeptAnswer) -> PortFuture<'static, ()>;
    fn release(&self, claim: Claim);
}

/// For places without a store: a keyed request is told that nobody knows.
#[derive(Debug, Default)]
pub struct NoAnswers;

impl AnswerKeeper for NoAnswers {
    fn body_bytes_max(&self) -> usize {
        0
    }

    fn claim(&self, _asked: KeyedRequest) -> PortFuture<'static, Claimed> {
        Box::pin(async { Claimed::Away })
    }

    fn keep(&self, _claim: Claim, _answer: KeptAnswer) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn release(&self, _claim: Claim) {}
}

/// What is kept of a request to be found by names of it: what a provider must be shown again of a turn in which its model
/// called tools, and the client has no words for; or the task that ran.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptTurn {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    /// The ids of the calls, or the name of the task, by any of which it is found again.
    pub calls: Vec<String>,
    pub content: Vec<u8>,
}

impl fmt::Debug for KeptTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptTurn").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Keeps what providers need to see again, sealed and for a while.
pub trait TurnKeeper: Send + Sync {
    /// From here on this process finds it; others do when the future ends.
    fn keep(&self, turn: KeptTurn) -> PortFuture<'static, ()>;
    /// The content of each of the calls whose turn is known, in the order of the calls.
    fn find(
        &self,
        workspace: WorkspaceId,
        project: ProjectId,
        calls: Vec<String>,
    ) -> PortFuture<'static, Vec<Option<Bytes>>>;
    /// Forgets what is kept of a request; whether it is gone.
    fn forget(&self, workspace: WorkspaceId, request: TraceId) -> PortFuture<'static, bool>;
}

/// For places that keep nothing.
#[derive(Debug, Default)]
pub struct NoTurns;

impl TurnKeeper for NoTurns {
    fn keep(&self, _turn: KeptTurn) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn find(
        &self,
        _workspace: WorkspaceId,
        _project: ProjectId,
        calls: Vec<String>,
    ) -> PortFuture<'static, Vec<Option<Bytes>>> {
        Box::pin(async move { vec![None; calls.len()] })
    }

    fn forget(&self, _workspace: WorkspaceId, _request: TraceId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }
}

/// What an answer is called that its provider keeps. The id is the provider's, and means something in one project alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseName {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub id: String,
}

/// Where such an answer lies, and what is known of it. Nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The request that made it.
    pub request: TraceId,
    /// Whose identity made it: nobody else's provider knows it.
    pub maker: Principal,
    /// The model as it was resolved, and its name at the seller.
    pub model: String,
    pub upstream_model: String,
    /// What it used is in the books, or is in them once its own request ends. An answer that is made in the background
    /// is booked by the first request that sees its end.
    pub is_booked: bool,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundResponse {
    Known(StoredResponse),
    Unknown,
    /// Nobody knows: the store does not answer.
    Away,
}

/// Remembers who made the answers that providers keep.
pub trait ResponseKeeper: Send + Sync {
    /// From here on this process finds it; others do when the future ends, which it does in a moment in any case.
    fn keep(&self, name: ResponseName, response: StoredResponse) -> PortFuture<'static, ()>;
    fn find(&self, name: ResponseName) -> PortFuture<'static, FoundResponse>;
    /// Asks for the right to book what an answer used: of all requests ever, one is given it.
    fn book(&self, name: ResponseName, by: TraceId) -> PortFuture<'static, bool>;
    /// Gives the right back, by whoever has it and could not use it.
    fn unbook(&self, name: ResponseName, by: TraceId);
    /// The provider deleted it.
    fn forget(&self, name: ResponseName);
}

/// For places that remember nothing.
#[derive(Debug, Default)]
pub struct NoResponses;

impl ResponseKeeper for NoResponses {
    fn keep(&self, _name: ResponseName, _response: StoredResponse) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn find(&self, _name: ResponseName) -> PortFuture<'static, FoundResponse> {
        Box::pin(async { FoundResponse::Unknown })
    }

    fn book(&self, _name: ResponseName, _by: TraceId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn unbook(&self, _name: ResponseName, _by: TraceId) {}

    fn forget(&self, _name: ResponseName) {}
}

/// Remembers who made what providers keep beside answers: files, batches, videos.
pub trait ObjectKeeper: Send + Sync {
    /// Our name for what a maker calls so; the same every time.
    fn id(&self, owner: KeptOwner, kind: KeptKind, maker: Principal, provider_id: &str) -> KeptId;
    /// Whether every replica finds it from here on. What is known already stays as it is, but for what lists show of it.
    fn keep(&self, owner: KeptOwner, id: KeptId, object: KeptObject) -> PortFuture<'static, bool>;
    fn find(&self, owner: KeptOwner, id: KeptId) -> PortFuture<'static, FoundObject>;
    /// What a project made of a kind; `None` where the store does not answer.
    fn list(&self, page: KeptPage) -> PortFuture<'static, Option<Vec<(KeptId, KeptObject)>>>;
    /// Asks for the right to book what it used: of all requests ever, one is given it.
    fn book(&self, owner: KeptOwner, id: KeptId, by: TraceId) -> PortFuture<'static, bool>;
    /// Gives the right back, by whoever has it and could not use it.
    fn unbook(&self, owner: KeptOwner, id: KeptId, by: TraceId) -> PortFuture<'static, ()>;
    /// The provider deleted it.
    fn forget(&self, owner: KeptOwner, id: KeptId) -> PortFuture<'static, ()>;
}

/// For places that remember nothing.
#[derive(Debug, Default)]
pub struct NoObjects;

impl ObjectKeeper for NoObjects {
    fn id(&self, _owner: KeptOwner, kind: KeptKind, _maker: Principal, _provider_id: &str) -> KeptId {
        KeptId { kind, digest: [0; 16] }
    }

    fn keep(&self, _owner: KeptOwner, _id: KeptId, _object: KeptObject) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn find(&self, _owner: KeptOwner, _id: KeptId) -> PortFuture<'static, FoundObject> {
        Box::pin(async { FoundObject::Unknown })
    }

    fn list(&self, _page: KeptPage) -> PortFuture<'static, Option<Vec<(KeptId, KeptObject)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn book(&self, _owner: KeptOwner, _id: KeptId, _by: TraceId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn unbook(&self, _owner: KeptOwner, _id: KeptId, _by: TraceId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn forget(&self, _owner: KeptOwner, _id: KeptId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// Whose content goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeScope {
    pub workspace: WorkspaceId,
    pub what: Purged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purged {
    Everything,
    Project(ProjectId),
    Requests(Vec<TraceId>),
}

/// Why content could not be removed or counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeError(pub String);

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PurgeError {}

/// A place that keeps content of a workspace's.
pub trait Purgeable: Send + Sync {
    /// What a receipt calls the place.
    fn place(&self) -> &'static str;
    /// Removes the content; how many pieces there were.
    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>>;
    /// How many pieces are there now.
    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>>;
}
