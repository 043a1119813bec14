//! The vault's reader, for the attempt that uses a secret: synchronous, from memory, and audited.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::limits::DEADLINE;
use domain::ports::{AuditEntry, AuditSink, KeyWrap};
use domain::timeline::micros;
use domain::{Sealed, Secret, SecretOwner, WorkspaceId};
use world::{Clock, World};

use crate::associated::{Binding, Purpose, workspace_key_context};
use crate::error::OpenError;
use crate::ring::{Ring, Shards, WorkspaceKey};
use crate::seal;

/// What the opener must know before a version of the configuration is published.
#[derive(Debug, Clone, Default)]
pub struct KeyUpdate {
    /// Workspace, key id and wrapped key, oldest first. For every workspace listed here the list is complete:
    /// keys missing from it are dropped.
    pub keys: Vec<(WorkspaceId, String, Vec<u8>)>,
    /// Workspace, object and its sealed anti-rollback record.
    pub floors: Vec<(WorkspaceId, String, Sealed)>,
    /// Workspace, object and the version of its secret in the configuration: a version below the
    /// anti-rollback minimum is an old row that was restored.
    pub current: Vec<(WorkspaceId, String, u32)>,
}

/// What could not be learned. It is audited already; the rest of the lesson takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateFailures {
    /// Keys that did not unwrap: the key service is unreachable, or the rows were changed. Try again later.
    pub keys: Vec<(WorkspaceId, String)>,
    /// Objects whose anti-rollback record does not open, or whose secret is older than it allows. They can't
    /// be opened.
    pub objects: Vec<String>,
}

/// What is known of one object's versions.
#[derive(Debug, Clone, Default)]
struct MinVersion {
    lowest: u32,
    /// Requests planned before a rotation still hold the secret that was current: each earlier version, and
    /// until when it opens, oldest first. Expired ones are removed at the next rotation.
    earlier: Arc<[(u32, u64)]>,
    /// The anti-rollback record itself can't be trusted: nothing opens.
    broken: bool,
    /// Whose secret it is, parsed once instead of at each opening.
    owner: Option<SecretOwner>,
}

impl MinVersion {
    fn still_opens(&self, version: u32, now_us: u64) -> bool {
        self.earlier.iter().any(|(known, until_us)| *known == version && now_us < *until_us)
    }

    /// The state after a rotation: the previous version opens for a grace period, and earlier ones for the
    /// rest of theirs.
    fn raised(&self, lowest: u32, now_us: u64, until_us: u64) -> Self {
        // While an object could not be opened, no request got its older secret.
        let last = (!self.broken).then_some((self.lowest, until_us));
        let earlier = self.earlier.iter().copied().filter(|(_, until_us)| now_us < *until_us).chain(last);
        Self { lowest, earlier: earlier.collect(), broken: false, owner: self.owner }
    }
}

/// The object that an anti-rollback record belongs to.
type FloorKey = (WorkspaceId, String);

/// A borrowed lookup key for the records, so that an opening copies no string.
trait AsFloorKey {
    fn parts(&self) -> (WorkspaceId, &str);
}

impl AsFloorKey for FloorKey {
    fn parts(&self) -> (WorkspaceId, &str) {
        (self.0, &self.1)
    }
}

impl AsFloorKey for (WorkspaceId, &str) {
    fn parts(&self) -> (WorkspaceId, &str) {
        *self
    }
}

impl<'a> Borrow<dyn AsFloorKey + 'a> for FloorKey {
    fn borrow(&self) -> &(dyn AsFloorKey + 'a) {
        self
    }
}

/// Hashes like the owned pair, so that a map finds one by the other.
impl Hash for dyn AsFloorKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn AsFloorKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn AsFloorKey + '_ {}

enum FloorNews {
    Learned(u32),
    Broken,
    PutBack,
}

pub struct Opener {
    wrap: Arc<dyn KeyWrap>,
    ring: Arc<Ring>,
    floors: Shards<FloorKey, MinVersion>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl Opener {
    pub(crate) fn new(
        wrap: Arc<dyn KeyWrap>,
        ring: Arc<Ring>,
        world: &World,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        Self { wrap, ring, floors: Shards::default(), clock: Arc::clone(&world.clock), audit }
    }

    /// Opens a secret for the attempt that uses it. The secret is wiped when it is dropped.
    ///
    /// # Errors
    /// If it was changed, moved or rolled back, or its key is unknown; each refusal is audited.
    pub fn open(&self, workspace: WorkspaceId, object: &str, sealed: &Sealed) -> Result<Secret, OpenError> {
        match self.try_open(workspace, object, sealed) {
            Ok((secret, owner)) => {
                if let Some(owner) = owner {
                    self.audit.secret_opened(owner);
                }
                Ok(secret)
            }
            Err(error) => {
                let detail =
                    format!("{} (version {}, key {})", error.as_str(), sealed.version, sealed.key_id);
                self.audit_refusal(workspace, "credential.open_refused", object, detail);
                Err(error)
            }
        }
    }

    /// Learns keys, anti-rollback records and current versions. Keys that are known already cost nothing.
    pub async fn learn(&self, lesson: KeyUpdate) -> UpdateFailures {
        let mut listed: HashMap<WorkspaceId, Vec<String>> = HashMap::new();
        for (workspace, key_id, _) in &lesson.keys {
            listed.entry(*workspace).or_default().push(key_id.clone());
        }
        let mut unlearned = UpdateFailures { keys: self.learn_keys(lesson.keys).await, objects: Vec::new() };
        let now_us = self.clock.monotonic_us();
        self.ring.keep_only(listed, now_us, now_us.saturating_add(micros(DEADLINE)));
        let floors = lesson.floors.into_iter().map(|(workspace, object, sealed)| {
            let news =
                self.read_floor(workspace, &object, &sealed).map_or(FloorNews::Broken, FloorNews::Learned);
            (workspace, object, news)
        });
        self.learn_floors(floors.collect(), &mut unlearned);
        let put_back = lesson.current.into_iter().filter(|(workspace, object, version)| {
            self.of_floor(*workspace, object, |floor| *version < floor.lowest) == Some(true)
        });
        let put_back = put_back.map(|(workspace, object, _)| (workspace, object, FloorNews::PutBack));
        self.learn_floors(put_back.collect(), &mut unlearned);
        unlearned
    }

    /// Wipes workspace keys that were deleted from the store, once requests that were planned before are over.
    pub fn wipe_expired_keys(&self) {
        self.ring.wipe_expired(self.clock.monotonic_us());
    }

    /// The secret, and whose it is.
    fn try_open(
        &self,
        workspace: WorkspaceId,
        object: &str,
        sealed: &Sealed,
    ) -> Result<(Secret, Option<SecretOwner>), OpenError> {
        let key = self.key(workspace, &sealed.key_id).ok_or(OpenError::KeyUnknown)?;
        let allow = |floor: &MinVersion| {
            if floor.broken {
                return Err(OpenError::Refused);
            }
            if sealed.version < floor.lowest && !floor.still_opens(sealed.version, self.clock.monotonic_us())
            {
                return Err(OpenError::RolledBack);
            }
            Ok(floor.owner)
        };
        let owner = self.of_floor(workspace, object, allow).ok_or(OpenError::FloorMissing)??;
        let binding = Binding {
            purpose: Purpose::Secret,
            workspace,
            object,
            version: sealed.version,
            key_id: &sealed.key_id,
        };
        let secret = seal::open(&key.secrets, binding.bytes().as_slice(), &sealed.bytes);
        secret.map(|secret| (secret, owner)).map_err(|_| OpenError::Refused)
    }

    pub(crate) fn key(&self, workspace: WorkspaceId, key_id: &str) -> Option<Arc<WorkspaceKey>> {
        self.ring.key(workspace, key_id, || self.clock.monotonic_us())
    }

    fn of_floor<R>(
        &self,
        workspace: WorkspaceId,
        object: &str,
        of: impl FnOnce(&MinVersion) -> R,
    ) -> Option<R> {
        let key: &dyn AsFloorKey = &(workspace, object);
        self.floors.read(key, of)
    }

    async fn learn_keys(&self, keys: Vec<(WorkspaceId, String, Vec<u8>)>) -> Vec<(WorkspaceId, String)> {
        let (mut ready, mut failed) = (Vec::new(), Vec::new());
        for (workspace, key_id, wrapped) in keys {
            if self.key(workspace, &key_id).is_some() {
                continue;
            }
            let opened = self.wrap.unwrap(&wrapped, &workspace_key_context(workspace, &key_id)).await;
            match opened.map_err(|error| error.0).and_then(|key| {
                WorkspaceKey::new(key.expose()).map_err(|_| "it isn't a key of 32 bytes".to_owned())
            }) {
                Ok(key) => ready.push((workspace, (key_id, key))),
                Err(why) => {
                    self.audit_refusal(workspace, "workspace_key.unwrap_failed", &key_id, why);
                    failed.push((workspace, key_id));
                }
            }
        }
        if !ready.is_empty() {
            self.ring.add(ready);
        }
        failed
    }

    /// The minimum version in a record, if the record is what the sealer wrote for this object.
    pub(crate) fn read_floor(&self, workspace: WorkspaceId, object: &str, sealed: &Sealed) -> Option<u32> {
        let key = self.key(workspace, &sealed.key_id)?;
        let binding = Binding {
            purpose: Purpose::Floor,
            workspace,
            object,
            version: sealed.version,
            key_id: &sealed.key_id,
        };
        let opened = seal::open(&key.secrets, binding.bytes().as_slice(), &sealed.bytes).ok()?;
        <[u8; 4]>::try_from(opened.expose()).ok().map(u32::from_be_bytes)
    }

    /// In a process's memory the minimum version only rises: if an old record is restored together with its
    /// secret, it is noticed as long as the process lives.
    fn learn_floors(&self, news: Vec<(WorkspaceId, String, FloorNews)>, unlearned: &mut UpdateFailures) {
        if news.is_empty() {
            return;
        }
        for (workspace, object, what) in &news {
            let trouble = match what {
                FloorNews::Broken => "the floor record can't be opened",
                FloorNews::PutBack => "the secret is older than its floor allows",
                FloorNews::Learned(lowest) if self.is_lower(*workspace, object, *lowest) => {
                    "the floor record is older than the one that was read before"
                }
                FloorNews::Learned(_) => continue,
            };
            self.audit_refusal(*workspace, "credential.rollback_noticed", object, trouble.to_owned());
            unlearned.objects.push(object.clone());
        }
        let now_us = self.clock.monotonic_us();
        let until_us = now_us.saturating_add(micros(DEADLINE));
        let keyed = news.into_iter().map(|(workspace, object, what)| {
            let owner = object.parse().ok();
            ((workspace, object), (what, owner))
        });
        self.floors.change(keyed.collect(), |old, (what, owner)| match (old, what) {
            (Some(old), FloorNews::Learned(lowest)) if lowest > old.lowest => {
                old.raised(lowest, now_us, until_us)
            }
            (Some(old), FloorNews::Learned(_)) => MinVersion { broken: false, ..old },
            (None, FloorNews::Learned(lowest)) => MinVersion { lowest, owner, ..MinVersion::default() },
            (Some(old), FloorNews::PutBack) => MinVersion { earlier: Arc::default(), ..old },
            (Some(old), FloorNews::Broken) => MinVersion { broken: true, ..old },
            (None, FloorNews::Broken | FloorNews::PutBack) => {
                MinVersion { broken: true, owner, ..MinVersion::default() }
            }
        });
    }

    fn is_lower(&self, workspace: WorkspaceId, object: &str, lowest: u32) -> bool {
        self.of_floor(workspace, object, |known| !known.broken && lowest < known.lowest) == Some(true)
    }

    pub(crate) fn audit_refusal(
        &self,
        workspace: WorkspaceId,
        action: &'static str,
        object: &str,
        detail: String,
    ) {
        tracing::warn!(%workspace, action, object, detail, "the vault refused");
        self.audit.record(AuditEntry {
            workspace: Some(workspace),
            actor: "vault".to_owned(),
            action,
            object: object.to_owned(),
            detail,
            trace: None,
        });
    }
}

domain::brief_debug!(Opener, ring);
