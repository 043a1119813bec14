//! Content that is kept for a while: sealed each under a key of its own, so that their number wears no key out; and the
//! keyed hashes that it is found by.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;
use domain::{
    Kept, KeptId, KeptKind, KeptOwner, NodeId, Principal, ProjectId, Sealed, Secret, TraceId, WorkspaceId,
};

use crate::associated::{Binding, Purpose};
use crate::error::{OpenError, VaultError};
use crate::opener::Opener;
use crate::ring::WorkspaceKey;
use crate::seal;
use crate::sealer::Sealer;
use crate::wrap::{derive, hex};

/// Where kept content lies. It opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPlace {
    pub kept: Kept,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub digest: [u8; 32],
    /// Whose content it is.
    pub request: TraceId,
}

impl KeptPlace {
    fn object(&self) -> String {
        format!("{}/{}/{}", self.project, hex(&self.digest), self.request)
    }

    fn binding<'a>(&self, object: &'a str, key_id: &'a str) -> Binding<'a> {
        let purpose = match self.kept {
            Kept::Answer => Purpose::Answer,
            Kept::Turn => Purpose::Turn,
        };
        Binding { purpose, workspace: self.workspace, object, version: 1, key_id }
    }

    fn key(&self, workspace_key: &WorkspaceKey) -> Result<LessSafeKey, VaultError> {
        let purpose = match self.kept {
            Kept::Answer => b"tidegate/answer/1".as_slice(),
            Kept::Turn => b"tidegate/turn/1",
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
    /// Where the workspace has no key in this process, or the library refuses.
    pub fn seal_kept(&self, place: &KeptPlace, content: &[u8]) -> Result<Sealed, VaultError> {
        let (key_id, key) = self.current(place.workspace)?;
        self.under(&place.key(&key)?, &place.binding(&place.object(), &key_id), content)
    }
}

impl Opener {
    /// Opens what was kept.
    ///
    /// # Errors
    /// Where it was changed or moved, which is audited, or its key is unknown.
    pub fn open_kept(&self, place: &KeptPlace, sealed: &Sealed) -> Result<Secret, OpenError> {
        let key = self.key(place.workspace, &sealed.key_id).ok_or(OpenError::KeyUnknown)?;
        let key = place.key(&key).map_err(|_| OpenError::Refused)?;
        let object = place.object();
        let bound = place.binding(&object, &sealed.key_id).bytes();
        seal::open(&key, bound.as_slice(), &sealed.bytes).map_err(|_| {
            let detail = format!("{} (key {})", OpenError::Refused.as_str(), sealed.key_id);
            let action = match place.kept {
                Kept::Answer => "answer.open_refused",
                Kept::Turn => "turn.open_refused",
            };
            self.tell(place.workspace, action, &place.request.to_string(), detail);
            OpenError::Refused
        })
    }
}

/// The keyed hashes that kept content is found by: without their key a copy of the database tells nothing of clients'
/// keys, of their bodies, or of the ids of calls.
pub struct RequestHasher(hmac::Key);

impl RequestHasher {
    pub(crate) fn new(pepper: &Secret) -> Result<Self, VaultError> {
        let key = derive(pepper.expose(), b"tidegate/idempotency/1")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &*key)))
    }

    /// Finds the answer of a key. Another project's same key is another answer.
    #[must_use]
    pub fn of_key(&self, project: ProjectId, path: &str, key: &str) -> [u8; 32] {
        self.of(&[b"key", project.as_bytes(), path.as_bytes(), key.as_bytes()])
    }

    /// Tells one body under a key from another.
    #[must_use]
    pub fn of_body(&self, digest: &[u8; 32], body: &[u8]) -> [u8; 32] {
        self.of(&[b"body", digest, body])
    }

    /// Finds the turn in which a tool was called. Another project's same call is another one.
    #[must_use]
    pub fn of_call(&self, workspace: WorkspaceId, project: ProjectId, call: &str) -> [u8; 32] {
        self.of(&[b"call", workspace.as_bytes(), project.as_bytes(), call.as_bytes()])
    }

    /// Names the turn of a request whose first call has this hash.
    #[must_use]
    pub fn of_turn(&self, request: TraceId, first_call: &[u8; 32]) -> [u8; 32] {
        self.of(&[b"turn", request.as_bytes(), first_call])
    }

    /// Finds an answer that its provider keeps. Another project's same id is another one.
    #[must_use]
    pub fn of_response(&self, workspace: WorkspaceId, project: ProjectId, id: &str) -> [u8; 32] {
        self.of(&[b"response", workspace.as_bytes(), project.as_bytes(), id.as_bytes()])
    }

    /// Names the record of an answer that was made in the background, by the hash that finds the answer: the same however
    /// often it is booked.
    #[must_use]
    pub fn of_background(&self, unix_ms: u64, response: &[u8; 32]) -> TraceId {
        let hash = self.of(&[b"background", response]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    /// Our name for what a maker keeps for a project under a name of its own.
    #[must_use]
    pub fn of_object(&self, owner: KeptOwner, kind: KeptKind, maker: Principal, id: &str) -> KeptId {
        let (workspace, project) = (owner.workspace.as_bytes(), owner.project.as_bytes());
        let (word, maker) = (kind.as_str().as_bytes(), maker.to_string());
        let hash = self.of(&[b"object", workspace, project, word, maker.as_bytes(), id.as_bytes()]);
        KeptId::of(kind, hash.first_chunk().copied().unwrap_or_default())
    }

    /// Names the record of one request of a batch, or of a film that has no such id: the same whoever books it, and however often.
    #[must_use]
    pub fn of_item(&self, unix_ms: u64, batch: KeptId, custom_id: &str) -> TraceId {
        let hash = self.of(&[b"item", &batch.digest, custom_id.as_bytes()]);
        TraceId::new(unix_ms, hash.first_chunk().copied().unwrap_or_default())
    }

    /// Names the record of what a node served by itself, by the node's own id of it: the same however often it is told.
    #[must_use]
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

impl std::fmt::Debug for RequestHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestHasher(hidden)")
    }
}
