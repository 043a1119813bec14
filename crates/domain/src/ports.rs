//! Traits that lower crates call and higher ones implement: audit, key wrapping, stored answers and their
//! purge.

mod contents;
mod sessions;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::allowance::Drawn;
use crate::ids::{ProjectId, TraceId, WorkspaceId};
use crate::profile::{Principal, SecretOwner};
pub use crate::purge::{Place, PurgeError, PurgeScope, Purgeable, Purged};
use crate::secret::Secret;
use crate::stored_object::{
    FoundObject, ObjectListQuery, ObjectOwner, StoredObject, StoredObjectId, StoredObjectKind,
};

pub use contents::{ContentStore, KeptBody, NoContents, RequestContent};
pub use sessions::{
    FoundSession, HistoryEvent, NoSessions, SessionFailure, SessionHead, SessionStore, SessionWriter,
    WarmEvent, WarmSession, WarmStatus,
};

/// A future that may run on any thread.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One audit entry: who did what to which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub workspace: Option<WorkspaceId>,
    /// A key's or a member's id, `system`, or `vault`.
    pub actor: String,
    /// For example `credential.create` or `credential.open_refused`.
    pub action: &'static str,
    pub object: String,
    /// The reason or the result; never a secret and never content.
    pub detail: String,
    pub trace: Option<TraceId>,
}

/// Where audit entries go. It never blocks and never fails: entries that can't be written at once are queued.
pub trait AuditSink: Send + Sync {
    fn record(&self, entry: AuditEntry);

    /// A secret was opened. These are counted, so that every opening can be accounted for.
    fn secret_opened(&self, of: SecretOwner);
}

/// An audit sink for processes that have nothing to audit, such as a node without a control plane.
#[derive(Debug, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _entry: AuditEntry) {}
    fn secret_opened(&self, _of: SecretOwner) {}
}

/// Why a key service failed. The text never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyWrapError(pub String);

/// The holder of the master key: this process, or a KMS. `context` is authenticated with the wrapped key.
pub trait KeyWrap: Send + Sync {
    /// The id of the master key in use; stored with what it wrapped.
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

/// The keyed hash under which API keys are stored: without the hash's own key, a copy of the database can't
/// be searched for them.
pub trait KeyHash: Send + Sync {
    fn digest(&self, presented: &str) -> [u8; 32];
}

/// A request with an idempotency key: who sent it, to which path, and under which key.
#[derive(Clone)]
pub struct KeyedRequest {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub path: Cow<'static, str>,
    /// The client's idempotency key.
    pub key: String,
    pub body: Bytes,
    pub request: TraceId,
    /// How long its answer is stored.
    pub lifetime: Duration,
    /// The answer belongs to the response cache: its key is the request itself, not one that the client chose.
    pub is_cached: bool,
}

crate::brief_debug!(KeyedRequest, request);

/// The right to answer a keyed request. Its holder either stores the answer or releases the claim.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// The keyed hash of project, path and key.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// The request that holds the claim: only it may store the answer or release the claim.
    pub request: TraceId,
    /// How long the answer is stored.
    pub lifetime: Duration,
}

/// An answer, stored for replay.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

crate::brief_debug!(StoredAnswer, status);

/// The state of a keyed request.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Not answered yet: the caller now holds the claim.
    Acquired(Claim),
    /// Answered before; this is the stored answer.
    Answered(StoredAnswer),
    /// Answered before, but the stored answer does not decrypt.
    Unreadable,
    /// Another request is answering it now.
    InFlight,
    /// The key was used for a request with another body.
    OtherBody,
    /// Unknown, because the store does not answer.
    StoreUnavailable,
}

/// Stores answers and replays them when a request is repeated under its idempotency key.
pub trait AnswerStore: Send + Sync {
    /// The longest body of an answer that is stored.
    fn body_bytes_max(&self) -> usize;
    /// Claims the request. Completes within a few seconds; if the caller no longer waits, the claim is
    /// released.
    fn claim(&self, request: KeyedRequest) -> PortFuture<'static, Claimed>;
    /// Stores the answer. Completes when it is stored, or when that takes too long to hold up the client;
    /// storing then continues.
    fn keep(&self, claim: Claim, answer: StoredAnswer) -> PortFuture<'static, ()>;
    fn release(&self, claim: Claim);
    /// Deletes the stored answer to a request. No effect while it is being answered.
    fn forget(&self, request: KeyedRequest) -> PortFuture<'static, ()>;
}

/// For processes without a store: the state of every keyed request is unknown.
#[derive(Debug, Default)]
pub struct NoAnswers;

impl AnswerStore for NoAnswers {
    fn body_bytes_max(&self) -> usize {
        0
    }

    fn claim(&self, _request: KeyedRequest) -> PortFuture<'static, Claimed> {
        Box::pin(async { Claimed::StoreUnavailable })
    }

    fn keep(&self, _claim: Claim, _answer: StoredAnswer) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn release(&self, _claim: Claim) {}

    fn forget(&self, _request: KeyedRequest) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// State that is stored for a request and found by names in it: what a provider must be sent again for a turn
/// with tool calls and the client's wire format can't carry (signed thinking, for example), or a finished
/// task.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredTurn {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    /// The ids of the tool calls, or the id of the task; any of them finds the turn.
    pub calls: Vec<String>,
    pub content: Vec<u8>,
    pub kept_for: Duration,
    /// It is found once it is stored, also by this process, so that who finds it here finds it elsewhere; its keeper waits.
    pub is_awaited: bool,
}

crate::brief_debug!(StoredTurn, request);

/// Stores the state of turns, encrypted and for a limited time.
pub trait TurnStore: Send + Sync {
    /// Stores a turn. This process finds it at once; other replicas find it when the future ends.
    fn keep(&self, turn: StoredTurn) -> PortFuture<'static, ()>;
    /// The content for each call, in the order of the calls; `None` for calls whose turn is unknown.
    fn find(
        &self,
        workspace: WorkspaceId,
        project: ProjectId,
        calls: Vec<String>,
    ) -> PortFuture<'static, Vec<Option<Bytes>>>;
    /// Deletes what is stored for a request; returns whether it is gone.
    fn forget(&self, workspace: WorkspaceId, request: TraceId) -> PortFuture<'static, bool>;
}

/// For processes that store nothing.
#[derive(Debug, Default)]
pub struct NoTurns;

impl TurnStore for NoTurns {
    fn keep(&self, _turn: StoredTurn) -> PortFuture<'static, ()> {
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

/// The provider's id of a stored response, and the project in which alone it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseName {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub id: String,
}

/// Where a stored response is, and its metadata. Never its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The request that created it.
    pub request: TraceId,
    /// The credential or account that created it: no other one knows it at the provider.
    pub created_by: Principal,
    /// The resolved model and the provider's name for it.
    pub model: String,
    pub upstream_model: String,
    /// Its usage has been booked, or will be when the creating request ends. A background response is booked
    /// by the first request that sees its end.
    pub is_booked: bool,
}

/// The result of looking up a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundResponse {
    Known(StoredResponse),
    Unknown,
    /// Unknown, because the store does not answer.
    StoreUnavailable,
}

/// Remembers which credential or account created the responses that providers store.
pub trait ResponseStore: Send + Sync {
    /// Remembers a response. This process finds it at once; other replicas find it when the future ends,
    /// which takes a moment at most. The future says whether it was written.
    fn keep(&self, name: ResponseName, response: StoredResponse) -> PortFuture<'static, bool> {
        self.keep_with_holds(name, response, Vec::new())
    }
    /// The same, for a response that takes over what was reserved for it of budgets. Nothing of that is spent until it is booked.
    fn keep_with_holds(
        &self,
        name: ResponseName,
        response: StoredResponse,
        holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool>;
    /// A response that was kept with parts of nothing takes over what was reserved for it, unless it is booked by now. `false` if
    /// that can't be written.
    fn hold(&self, _name: ResponseName, _holds: Vec<Drawn>) -> bool {
        false
    }
    fn find(&self, name: ResponseName) -> PortFuture<'static, FoundResponse>;
    /// Requests the right to book the response's usage. It is granted to exactly one request, ever.
    fn book(&self, name: ResponseName, by: TraceId) -> PortFuture<'static, bool>;
    /// Returns the right unused; only its holder may call this.
    fn unbook(&self, name: ResponseName, by: TraceId);
    /// Removes a response that the provider has deleted.
    fn forget(&self, name: ResponseName);
}

/// For processes that remember nothing.
#[derive(Debug, Default)]
pub struct NoResponses;

impl ResponseStore for NoResponses {
    fn keep_with_holds(
        &self,
        _name: ResponseName,
        _response: StoredResponse,
        _holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool> {
        Box::pin(async { false })
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

/// Remembers which credential or account created other stored objects: files, batches, videos.
pub trait ObjectStore: Send + Sync {
    /// Our id for the object that the maker knows as `provider_id`. Deterministic.
    fn id(
        &self,
        owner: ObjectOwner,
        kind: StoredObjectKind,
        maker: Principal,
        provider_id: &str,
    ) -> StoredObjectId;
    /// Remembers an object; returns whether every replica can find it now. An object that is known already is
    /// unchanged, except for the form that lists show. A new one takes over what this replica `holds` of budgets for it, until its
    /// usage is booked.
    fn keep(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        object: StoredObject,
        holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool>;
    fn find(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundObject>;
    /// A page of a project's objects of one kind; `None` if the store does not answer.
    fn list(&self, page: ObjectListQuery)
    -> PortFuture<'static, Option<Vec<(StoredObjectId, StoredObject)>>>;
    /// Requests the right to book the object's usage. It is granted to exactly one request, ever.
    fn book(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> PortFuture<'static, bool>;
    /// Returns the right unused; only its holder may call this.
    fn unbook(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> PortFuture<'static, ()>;
    /// Removes an object that the provider has deleted.
    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, ()>;
}

/// For processes that remember nothing.
#[derive(Debug, Default)]
pub struct NoObjects;

impl ObjectStore for NoObjects {
    fn id(
        &self,
        _owner: ObjectOwner,
        kind: StoredObjectKind,
        _maker: Principal,
        _provider_id: &str,
    ) -> StoredObjectId {
        StoredObjectId { kind, digest: [0; 16] }
    }

    fn keep(
        &self,
        _owner: ObjectOwner,
        _id: StoredObjectId,
        _object: StoredObject,
        _holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn find(&self, _owner: ObjectOwner, _id: StoredObjectId) -> PortFuture<'static, FoundObject> {
        Box::pin(async { FoundObject::Unknown })
    }

    fn list(
        &self,
        _page: ObjectListQuery,
    ) -> PortFuture<'static, Option<Vec<(StoredObjectId, StoredObject)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn book(&self, _owner: ObjectOwner, _id: StoredObjectId, _by: TraceId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn unbook(&self, _owner: ObjectOwner, _id: StoredObjectId, _by: TraceId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn forget(&self, _owner: ObjectOwner, _id: StoredObjectId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }
}
