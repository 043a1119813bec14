//! Sealed content with a limited lifetime (answers and turns), each under its own derived key, so that their
//! number does not exhaust a key's nonces; and the keyed hashes by which content is found.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;
use domain::{
    ContentKind, FileId, FlowRunId, NodeId, ObjectOwner, Principal, ProjectId, Sealed, Secret,
    StoredObjectId, StoredObjectKind, TaskId, TraceId, WorkspaceId,
};

use crate::associated::{Binding, Purpose};
use crate::error::{OpenError, VaultError};
use crate::opener::Opener;
use crate::ring::WorkspaceKey;
use crate::seal;
use crate::sealer::Sealer;
use crate::wrap::{derive, hex};

/// The location of stored content. It can't be opened anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRef {
    pub kept: ContentKind,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub digest: [u8; 32],
    /// The request that the content belongs to.
    pub request: TraceId,
}

impl ContentRef {
    fn object(&self) -> String {
        format!("{}/{}/{}", self.project, hex(&self.digest), self.request)
    }

    fn binding<'a>(&self, object: &'a str, key_id: &'a str) -> Binding<'a> {
        let purpose = match self.kept {
            ContentKind::Answer => Purpose::Answer,
            ContentKind::Turn => Purpose::Turn,
            ContentKind::State => Purpose::State,
            ContentKind::Batch => Purpose::Batch,
            ContentKind::Export => Purpose::Export,
            ContentKind::Request => Purpose::Request,
            ContentKind::Task => Purpose::Task,
            ContentKind::File => Purpose::File,
            ContentKind::Tool => Purpose::Tool,
            ContentKind::Flow => Purpose::Flow,
        };
        Binding { purpose, workspace: self.workspace, object, version: 1, key_id }
    }

    fn key(&self, workspace_key: &WorkspaceKey) -> Result<LessSafeKey, VaultError> {
        let purpose = match self.kept {
            ContentKind::Answer => b"tidegate/answer/1".as_slice(),
            ContentKind::Turn => b"tidegate/turn/1",
            ContentKind::State => b"tidegate/state/1",
            ContentKind::Batch => b"tidegate/batch/1",
            ContentKind::Export => b"tidegate/export/1",
            ContentKind::Request => b"tidegate/request/1",
            ContentKind::Task => b"tidegate/task/1",
            ContentKind::File => b"tidegate/file/1",
            ContentKind::Tool => b"tidegate/tool/1",
            ContentKind::Flow => b"tidegate/flow/1",
        };
        let info = [purpose, &self.digest, self.request.as_bytes()];
        let material = workspace_key.kept.expand(&info, &AES_256_GCM).map_err(|_| VaultError::Crypto)?;
        Ok(LessSafeKey::new(UnboundKey::from(material)))
    }
}

impl Sealer {
    /// Seals content under the workspace's current key.
    ///
    /// # Errors
    /// If the workspace has no key in this process, or the library refuses.
    pub fn seal_content(&self, content_ref: &ContentRef, content: &[u8]) -> Result<Sealed, VaultError> {
        let (key_id, key) = self.current(content_ref.workspace)?;
        self.under(&content_ref.key(&key)?, &content_ref.binding(&content_ref.object(), &key_id), content)
    }
}

impl Opener {
    /// Opens stored content.
    ///
    /// # Errors
    /// If it was changed or moved, which is audited, or its key is unknown.
    pub fn open_content(&self, content_ref: &ContentRef, sealed: &Sealed) -> Result<Secret, OpenError> {
        let key = self.key(content_ref.workspace, &sealed.key_id).ok_or(OpenError::KeyUnknown)?;
        let key = content_ref.key(&key).map_err(|_| OpenError::Refused)?;
        let object = content_ref.object();
        let bound = content_ref.binding(&object, &sealed.key_id).bytes();
        seal::open(&key, bound.as_slice(), &sealed.bytes).map_err(|_| {
            let detail = format!("{} (key {})", OpenError::Refused.as_str(), sealed.key_id);
            let action = match content_ref.kept {
                ContentKind::Answer => "answer.open_refused",
                ContentKind::Turn => "turn.open_refused",
                ContentKind::State => "state.open_refused",
                ContentKind::Batch => "batch.open_refused",
                ContentKind::Export => "data_export.open_refused",
                ContentKind::Request => "content.open_refused",
                ContentKind::Task => "task.open_refused",
                ContentKind::File => "file.open_refused",
                ContentKind::Tool => "tool.open_refused",
                ContentKind::Flow => "flow.open_refused",
            };
            self.audit_refusal(content_ref.workspace, action, &content_ref.request.to_string(), detail);
            OpenError::Refused
        })
    }
}

/// The keyed hashes by which stored content is found: without the hash key, a copy of the database reveals
/// nothing of clients' idempotency keys, request bodies or call ids.
pub struct RequestHasher(hmac::Key);

impl RequestHasher {
    pub(crate) fn new(pepper: &Secret) -> Result<Self, VaultError> {
        let key = derive(pepper.expose(), b"tidegate/idempotency/1")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &*key)))
    }

    /// The lookup hash of an idempotency key's answer. The same key in another project is a different one.
    pub fn of_key(&self, project: ProjectId, path: &str, key: &str) -> [u8; 32] {
        self.of(&[b"key", project.as_bytes(), path.as_bytes(), key.as_bytes()])
    }

    /// Distinguishes request bodies sent under the same key.
    pub fn of_body(&self, digest: &[u8; 32], body: &[u8]) -> [u8; 32] {
        self.of(&[b"body", digest, body])
    }

    /// The lookup hash of the turn with this tool call. The same call id in another project is a different
    /// one.
    pub fn of_call(&self, workspace: WorkspaceId, project: ProjectId, call: &str) -> [u8; 32] {
        self.of(&[b"call", workspace.as_bytes(), project.as_bytes(), call.as_bytes()])
    }

    /// The hash of a turn, from its request and the hash of its first call.
    pub fn of_turn(&self, request: TraceId, first_call: &[u8; 32]) -> [u8; 32] {
        self.of(&[b"turn", request.as_bytes(), first_call])
    }

    /// The lookup hash of a response that its provider stores. The same id in another project is a different
    /// one.
    pub fn of_response(&self, workspace: WorkspaceId, project: ProjectId, id: &str) -> [u8; 32] {
        self.of(&[b"response", workspace.as_bytes(), project.as_bytes(), id.as_bytes()])
    }

    /// What is told of content without showing it: equal within one project only.
    pub fn of_content(&self, project: ProjectId, content: &[u8]) -> [u8; 32] {
        self.of(&[b"content", project.as_bytes(), content])
    }

    /// The trace under which a background response is billed, derived from its lookup hash: the same however
    /// often it is billed.
    pub fn of_background(&self, unix_ms: u64, response: &[u8; 32]) -> TraceId {
        let hash = self.of(&[b"background", response]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    /// Tidegate's id for an object that `maker` stores for a project under its own id.
    pub fn of_object(
        &self,
        owner: ObjectOwner,
        kind: StoredObjectKind,
        maker: Principal,
        id: &str,
    ) -> StoredObjectId {
        let (workspace, project) = (owner.workspace.as_bytes(), owner.project.as_bytes());
        let (word, maker) = (kind.as_str().as_bytes(), maker.to_string());
        let hash = self.of(&[b"object", workspace, project, word, maker.as_bytes(), id.as_bytes()]);
        StoredObjectId::of(kind, hash.first_chunk().copied().unwrap_or_default())
    }

    /// Tidegate's id for a batch that it works through itself, by the request that made it.
    pub fn of_own_batch(
        &self,
        owner: ObjectOwner,
        kind: StoredObjectKind,
        request: TraceId,
    ) -> StoredObjectId {
        let (workspace, project) = (owner.workspace.as_bytes(), owner.project.as_bytes());
        let hash = self.of(&[b"own batch", workspace, project, kind.as_str().as_bytes(), request.as_bytes()]);
        StoredObjectId::of(kind, hash.first_chunk().copied().unwrap_or_default())
    }

    /// The hash of a part of an item of such a batch.
    pub fn of_batch_item(&self, batch: StoredObjectId, position: u64, part: &str) -> [u8; 32] {
        let kind = batch.kind.as_str().as_bytes();
        self.of(&[b"batch item", kind, &batch.digest, &position.to_be_bytes(), part.as_bytes()])
    }

    /// The hash of a part of a task.
    pub fn of_task_part(&self, task: TaskId, part: &str) -> [u8; 32] {
        self.of(&[b"task part", task.as_bytes(), part.as_bytes()])
    }

    /// The trace under which a further try of a task is billed.
    pub fn of_task_try(&self, unix_ms: u64, task: TaskId, tries: u32) -> TraceId {
        let hash = self.of(&[b"task try", task.as_bytes(), &tries.to_be_bytes()]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    /// The hash of a part of a run of a flow: what it was given, what a step made.
    pub fn of_flow_part(&self, run: FlowRunId, part: &str) -> [u8; 32] {
        self.of(&[b"flow part", run.as_bytes(), part.as_bytes()])
    }

    /// What makes the ids of what a step of a run begins, the same whoever begins it: its task, its run of another flow, or the
    /// record of its call of a tool.
    pub fn of_flow_step(&self, run: FlowRunId, path: &str, tries: u32) -> [u8; 10] {
        let hash = self.of(&[b"flow step", run.as_bytes(), path.as_bytes(), &tries.to_be_bytes()]);
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The hash by which what is known of a file is found.
    pub fn of_file(&self, file: FileId) -> [u8; 32] {
        self.of(&[b"file", file.as_bytes()])
    }

    /// The hash of the token with which a file's content may be sent: the token itself is stored nowhere.
    pub fn of_upload(&self, file: FileId, token: &str) -> [u8; 32] {
        self.of(&[b"upload", file.as_bytes(), token.as_bytes()])
    }

    /// The text under which links to a file are signed. The hash of API keys is not enough, because each data plane has its key.
    pub fn of_link(&self, file: FileId, key_id: &str) -> String {
        hex(&self.of(&[b"file link", file.as_bytes(), key_id.as_bytes()]))
    }

    /// The trace under which one request of a batch, or a video without such an id, is billed: the same
    /// whoever bills it, and however often.
    pub fn of_item(&self, unix_ms: u64, batch: StoredObjectId, custom_id: &str) -> TraceId {
        let hash = self.of(&[b"item", &batch.digest, custom_id.as_bytes()]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    /// The trace of a node's own record, derived from the node's id for it: the same however often it is
    /// reported.
    pub fn of_node_event(&self, unix_ms: u64, node: NodeId, event: TraceId) -> TraceId {
        let hash = self.of(&[b"node event", node.as_bytes(), event.as_bytes()]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        // The tag of this hash is never shorter.
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

domain::brief_debug!(RequestHasher as "RequestHasher(hidden)");
