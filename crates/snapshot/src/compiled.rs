//! The snapshot itself: answers every configuration look-up of the hot path from memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalogue::{Catalogue, StatedCapabilities, StatedFacts};
use domain::ports::KeyHash;
use domain::{EndUserId, KeptFile, KeyId, SessionId, WorkspaceId, api_key};
use subtle::ConstantTimeEq;

use crate::entries::{ANY_ORIGIN, AccountEntry, CapabilityEntry, KeyEntry, WorkspaceEntry, origins_of};
use crate::index::Index;
use crate::source::{Change, Closed, DataPlaneFacts, KeyChange, NodeChange};

/// The keyed hash of an API key.
pub type KeyDigest = [u8; 32];

/// The parts that a snapshot is built from.
pub struct Parts {
    pub version: u64,
    pub keys: Vec<(KeyDigest, Arc<KeyEntry>)>,
    pub workspaces: Vec<Arc<WorkspaceEntry>>,
    pub accounts: Vec<Arc<AccountEntry>>,
    pub catalogue: Arc<Catalogue>,
    pub key_hash: Arc<dyn KeyHash>,
}

#[derive(Clone)]
struct IndexedKey {
    digest: KeyDigest,
    entry: Arc<KeyEntry>,
}

/// One version of the whole configuration. It is immutable; a later version shares what stayed the same.
pub struct Snapshot {
    version: u64,
    keys_by_digest: Index<IndexedKey>,
    keys_by_id: Index<IndexedKey>,
    workspaces: Index<Arc<WorkspaceEntry>>,
    /// How many projects, and keys that aren't revoked, list each origin.
    origins: Arc<BTreeMap<Box<str>, usize>>,
    accounts: Arc<[Arc<AccountEntry>]>,
    /// What the catalogue was made with.
    capabilities: Arc<[CapabilityEntry]>,
    catalogue: Arc<Catalogue>,
    key_hash: Arc<dyn KeyHash>,
    plane: Option<Arc<DataPlaneFacts>>,
}

impl Snapshot {
    /// The one constructor: for the keeper, and for tests that build a configuration manually.
    pub fn assemble(parts: Parts) -> Self {
        let mut snapshot = Self {
            version: parts.version,
            keys_by_digest: Index::new(),
            keys_by_id: Index::new(),
            workspaces: Index::new(),
            origins: Arc::default(),
            accounts: parts.accounts.into(),
            capabilities: Arc::from([]),
            catalogue: parts.catalogue,
            key_hash: parts.key_hash,
            plane: None,
        };
        for (digest, entry) in parts.keys {
            snapshot.set_key(digest, entry);
        }
        for workspace in parts.workspaces {
            snapshot.set_workspace(workspace.id, Some(workspace));
        }
        snapshot
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What a data plane knows of itself; `None` on every other gateway.
    pub const fn data_plane(&self) -> Option<&Arc<DataPlaneFacts>> {
        self.plane.as_ref()
    }

    /// Why nothing of a workspace is served; `None` but on a data plane that has lost its control plane.
    pub fn closed(&self, workspace: WorkspaceId) -> Option<Closed> {
        let closed = &self.plane.as_ref()?.closed;
        closed.iter().find(|(id, _)| *id == workspace).map(|(_, closed)| *closed)
    }

    /// Finds the key that was presented, live or not: the caller checks whether it is revoked or expired.
    ///
    /// The index narrows by half of the keyed digest, which can't be targeted without the
    /// pepper; the rest is compared in constant time. The checksum in a key's text is only
    /// checked by callers that explain a miss.
    pub fn find_key(&self, presented: &str) -> Option<&Arc<KeyEntry>> {
        if !api_key::is_of_form(presented) {
            return None;
        }
        let [half, rest] = halves(&self.key_hash.digest(presented));
        let found = self.keys_by_digest.get(half)?;
        bool::from(halves(&found.digest).ct_eq(&[half, rest])).then_some(&found.entry)
    }

    /// The cache key that a provider is sent for prompts of a workspace with the same prefix. It reveals
    /// nothing of either, and without the pepper another workspace's key can't be computed.
    pub fn cache_key(&self, workspace: WorkspaceId, prefix: u64) -> String {
        format!("tgc_{:032x}", self.half_digest(&format!("prompt cache {workspace} {prefix:016x}")))
    }

    /// The cache key that a provider is sent for the requests of a session. It reveals as little.
    pub fn cache_key_of_session(&self, workspace: WorkspaceId, session: SessionId) -> String {
        format!("tgc_{:032x}", self.half_digest(&format!("prompt cache session {workspace} {session}")))
    }

    /// The salt for a workspace's prompts in a cache that it shares with others. It reveals as little.
    pub fn cache_salt(&self, workspace: WorkspaceId) -> String {
        format!("{:016x}", self.half_digest(&format!("prompt cache salt {workspace}")) >> 64)
    }

    /// The cache key that is sent to a provider for one that a client of the workspace chose.
    pub fn cache_key_of(&self, workspace: WorkspaceId, own: &str) -> String {
        format!("tgc_{:032x}", self.half_digest(&format!("prompt cache key {workspace} {own}")))
    }

    /// The keyed hash of a beginning that a provider caches by name, and of whom it belongs to: nothing else has the same.
    pub fn context_digest(&self, text: &str) -> [u8; 32] {
        self.key_hash.digest(text)
    }

    /// With this, anybody reads a file until then, or until the workspace's key is another one.
    pub fn file_signature(&self, file: &KeptFile, until_unix_ms: u64) -> String {
        let KeptFile { id, owner, link_key, .. } = file;
        let of = format!("{} {} {id} {link_key}", owner.workspace, owner.project);
        format!("{:032x}", self.half_digest(&format!("file link {of} {until_unix_ms}")))
    }

    pub fn is_file_signature(&self, text: &str, file: &KeptFile, until_unix_ms: u64) -> bool {
        self.file_signature(file, until_unix_ms).as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// The id of a client's own user, whose name can't be read from it; in another workspace the same name has another id.
    pub fn end_user(&self, workspace: WorkspaceId, name: &str) -> EndUserId {
        EndUserId::of_hash(self.half_digest(&format!("end user {workspace} {name}")))
    }

    fn half_digest(&self, text: &str) -> u128 {
        let [half, _] = halves(&self.key_hash.digest(text));
        half
    }

    pub fn key(&self, id: KeyId) -> Option<&Arc<KeyEntry>> {
        self.keys_by_id.get(id.as_uuid().as_u128()).map(|key| &key.entry)
    }

    pub fn key_count(&self) -> usize {
        self.keys_by_id.len()
    }

    pub fn workspace(&self, id: WorkspaceId) -> Option<&Arc<WorkspaceEntry>> {
        self.workspaces.get(id.as_uuid().as_u128())
    }

    /// In no particular order.
    pub fn workspaces(&self) -> impl Iterator<Item = &Arc<WorkspaceEntry>> {
        self.workspaces.values()
    }

    /// Whether any project or key lists an origin: a browser's preflight request names neither.
    pub fn lists_origin(&self, origin: &str) -> bool {
        self.origins.contains_key(origin) || self.origins.contains_key(ANY_ORIGIN)
    }

    pub fn accounts(&self) -> &[Arc<AccountEntry>] {
        &self.accounts
    }

    pub const fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The next version: this one with a change applied; what the change doesn't name is shared.
    pub(crate) fn with(&self, change: Change) -> Self {
        let mut next = Self {
            version: change.version,
            keys_by_digest: if change.whole { Index::new() } else { self.keys_by_digest.clone() },
            keys_by_id: if change.whole { Index::new() } else { self.keys_by_id.clone() },
            workspaces: if change.whole { Index::new() } else { self.workspaces.clone() },
            origins: if change.whole { Arc::default() } else { Arc::clone(&self.origins) },
            accounts: Arc::clone(&self.accounts),
            capabilities: Arc::clone(&self.capabilities),
            catalogue: Arc::clone(&self.catalogue),
            key_hash: Arc::clone(&self.key_hash),
            plane: change.plane,
        };
        for key in change.keys {
            match key {
                KeyChange::Set(digest, entry) => next.set_key(digest, entry),
                KeyChange::Gone(id) => next.drop_key(id),
            }
        }
        for (id, entry) in change.workspaces {
            next.set_workspace(id, entry);
        }
        next.set_nodes(change.nodes);
        match change.accounts {
            Some(accounts) => next.accounts = accounts.into(),
            None if change.whole => next.accounts = Arc::from([]),
            None => {}
        }
        match change.capabilities {
            Some(capabilities) => next.state_capabilities(capabilities),
            None if change.whole => next.state_capabilities(Vec::new()),
            None => {}
        }
        next
    }

    /// Copies a workspace once, however many of its nodes changed.
    fn set_nodes(&mut self, nodes: Vec<NodeChange>) {
        let mut changed: HashMap<WorkspaceId, WorkspaceEntry> = HashMap::new();
        for node in nodes {
            let id = node.workspace();
            let Some(known) = self.workspace(id) else { continue };
            changed.entry(id).or_insert_with(|| WorkspaceEntry::clone(known)).set_node(node);
        }
        for (id, entry) in changed {
            self.workspaces.insert(id.as_uuid().as_u128(), Arc::new(entry));
        }
    }

    /// Makes another catalogue, if the operator states something else.
    fn state_capabilities(&mut self, capabilities: Vec<CapabilityEntry>) {
        if *self.capabilities == *capabilities {
            return;
        }
        let stated = capabilities.iter().map(|entry| StatedCapabilities {
            provider: (*entry.provider).to_owned(),
            facts: StatedFacts::of_stored(&entry.facts),
            day: (*entry.day).to_owned(),
        });
        self.catalogue = Arc::new(self.catalogue.with_stated(&stated.collect::<Vec<_>>()));
        self.capabilities = capabilities.into();
    }

    fn set_key(&mut self, digest: KeyDigest, entry: Arc<KeyEntry>) {
        self.drop_key(entry.id);
        if !entry.revoked {
            self.count_origins(&entry.origins, true);
        }
        let key = IndexedKey { digest, entry };
        self.keys_by_id.insert(key.entry.id.as_uuid().as_u128(), key.clone());
        self.keys_by_digest.insert(halves(&digest)[0], key);
    }

    fn drop_key(&mut self, id: KeyId) {
        if let Some(old) = self.keys_by_id.remove(id.as_uuid().as_u128()) {
            self.keys_by_digest.remove(halves(&old.digest)[0]);
            if !old.entry.revoked {
                self.count_origins(&old.entry.origins, false);
            }
        }
    }

    fn set_workspace(&mut self, id: WorkspaceId, entry: Option<Arc<WorkspaceEntry>>) {
        let lists = |entry: Option<&Arc<WorkspaceEntry>>| -> Vec<Arc<str>> {
            let projects = entry.into_iter().flat_map(|entry| &entry.projects);
            projects.map(|project| Arc::clone(&project.origins)).collect()
        };
        let place = id.as_uuid().as_u128();
        let now = lists(entry.as_ref());
        let before = match entry {
            Some(entry) => self.workspaces.insert(place, entry),
            None => self.workspaces.remove(place),
        };
        let before = lists(before.as_ref());
        if before != now {
            for (lists, is_new) in [(before, false), (now, true)] {
                for list in lists {
                    self.count_origins(&list, is_new);
                }
            }
        }
    }

    fn count_origins(&mut self, list: &str, is_new: bool) {
        for origin in origins_of(list) {
            let counts = Arc::make_mut(&mut self.origins);
            let count = counts.get(origin).copied().unwrap_or_default();
            let count = if is_new { count.saturating_add(1) } else { count.saturating_sub(1) };
            if count == 0 {
                counts.remove(origin);
            } else {
                counts.insert(origin.into(), count);
            }
        }
    }
}

domain::brief_debug!(Snapshot, version);

fn halves(digest: &KeyDigest) -> [u128; 2] {
    let half = |bytes: Option<&[u8; 16]>| bytes.map_or(0, |bytes| u128::from_le_bytes(*bytes));
    [half(digest.first_chunk()), half(digest.last_chunk())]
}
