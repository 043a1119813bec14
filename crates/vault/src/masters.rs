//! The master keys of one process: the one that wraps new keys and, during a rotation, the other one.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use domain::ports::{KeyWrap, KeyWrapError, PortFuture};
use domain::{Secret, master_key};
use world::Random;

use crate::VaultRecords;
use crate::error::VaultError;
use crate::master::{MasterKey, MasterKeyError};
use crate::wrap::LocalKeyWrap;

/// Reads the master keys from where the operator stores them.
pub type ReadMasterKeys = Box<dyn Fn() -> Result<Vec<MasterKey>, MasterKeyError> + Send + Sync>;

/// The role of each master key, by its id: stored in the database, and the same for every replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MasterState {
    pub current: String,
    pub next: Option<String>,
    pub previous: Option<String>,
    pub retired: Vec<String>,
}

impl MasterState {
    /// Reads the state from an installation's facts.
    pub fn from_meta(facts: &[(String, Vec<u8>)]) -> Self {
        let find = |name: &str| {
            let found = facts.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| String::from_utf8(value.clone()).ok())
        };
        let retired = find(master_key::RETIRED).unwrap_or_default();
        Self {
            current: find(master_key::CURRENT).unwrap_or_default(),
            next: find(master_key::NEXT),
            previous: find(master_key::PREVIOUS),
            retired: retired.lines().map(str::to_owned).collect(),
        }
    }

    /// Whether a process with these keys can unwrap everything.
    pub fn is_served_by(&self, held: &[String]) -> bool {
        let needed = [Some(&self.current), self.next.as_ref()];
        needed.into_iter().flatten().all(|id| held.contains(id))
    }
}

#[derive(Default)]
struct MasterKeys {
    keys: Vec<Arc<LocalKeyWrap>>,
    state: MasterState,
}

impl MasterKeys {
    fn named(&self, id: &str) -> Option<&Arc<LocalKeyWrap>> {
        self.keys.iter().find(|key| key.key_id() == id)
    }
}

/// The holder of the master keys, which follows the state in the store.
pub struct MasterKeyring {
    read: ReadMasterKeys,
    random: Arc<dyn Random>,
    held: ArcSwap<MasterKeys>,
    /// Serialises writers of `held`.
    changing: Mutex<()>,
}

impl MasterKeyring {
    /// Reads the keys; the first one wraps until `follow` specifies another.
    pub fn new(read: ReadMasterKeys, random: Arc<dyn Random>) -> Result<Self, VaultError> {
        let masters = Self {
            read,
            random,
            held: ArcSwap::from_pointee(MasterKeys::default()),
            changing: Mutex::new(()),
        };
        masters.reread()?;
        let first = masters.held.load().keys.first().map(|key| key.key_id()).unwrap_or_default();
        masters.follow(MasterState { current: first, ..MasterState::default() });
        Ok(masters)
    }

    /// Reads the keys again, since a file may contain a new one. Retired keys stay unusable.
    ///
    /// # Errors
    /// If they can't be read; the keys held before stay.
    pub fn reread(&self) -> Result<(), VaultError> {
        let keys = (self.read)()?;
        let wraps = keys.iter().map(|key| LocalKeyWrap::new(key, Arc::clone(&self.random)).map(Arc::new));
        let keys = wraps.collect::<Result<Vec<_>, _>>()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.held.load().state.clone();
        self.hold(keys, state);
        Ok(())
    }

    /// Applies the store's state: which key wraps, and which are retired.
    pub fn follow(&self, state: MasterState) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.held.load().keys.clone();
        self.hold(keys, state);
    }

    fn hold(&self, mut keys: Vec<Arc<LocalKeyWrap>>, state: MasterState) {
        keys.retain(|key| !state.retired.contains(&key.key_id()));
        self.held.store(Arc::new(MasterKeys { keys, state }));
    }

    /// The ids of the keys that this process can use.
    pub fn held_ids(&self) -> Vec<String> {
        self.held.load().keys.iter().map(|key| key.key_id()).collect()
    }

    pub fn state(&self) -> MasterState {
        self.held.load().state.clone()
    }

    /// Unwraps with any of the keys, and wraps again under the key with this id.
    ///
    /// # Errors
    /// If it does not open, or that key is not held here.
    pub fn rewrap(&self, wrapped: &[u8], context: &[u8], under: &str) -> Result<Vec<u8>, KeyWrapError> {
        let held = self.held.load();
        let key =
            held.named(under).ok_or_else(|| KeyWrapError("this process doesn't have the new key".into()))?;
        key.wrapped(&open(&held, wrapped, context)?, context)
    }

    /// The installation's records, wrapped again under the key with this id.
    ///
    /// # Errors
    /// The same as for `rewrap`.
    pub fn rewrap_records(&self, records: &VaultRecords, under: &str) -> Result<VaultRecords, KeyWrapError> {
        Ok(VaultRecords {
            master_key_id: under.to_owned(),
            seal_check: self.rewrap(&records.seal_check, crate::SEAL_CHECK_CONTEXT, under)?,
            pepper: self.rewrap(&records.pepper, crate::PEPPER_CONTEXT, under)?,
            key_hash: records
                .key_hash
                .as_ref()
                .map(|wrapped| self.rewrap(wrapped, crate::KEY_HASH_CONTEXT, under))
                .transpose()?,
        })
    }
}

/// Tries every key: except for an instant there are at most two, and a wrong one fails at once.
fn open(held: &MasterKeys, wrapped: &[u8], context: &[u8]) -> Result<Secret, KeyWrapError> {
    let mut opened = held.keys.iter().filter_map(|key| key.unwrapped(wrapped, context).ok());
    opened.next().ok_or_else(|| KeyWrapError("the wrapped key can't be opened".into()))
}

impl KeyWrap for MasterKeyring {
    fn key_id(&self) -> String {
        self.held.load().state.current.clone()
    }

    fn wrap<'a>(
        &'a self,
        key: &'a Secret,
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Vec<u8>, KeyWrapError>> {
        let held = self.held.load();
        let current = held.named(&held.state.current);
        let wrapped =
            current.ok_or_else(|| KeyWrapError("this process doesn't have the master key in force".into()));
        let wrapped = wrapped.and_then(|current| current.wrapped(key, context));
        Box::pin(async move { wrapped })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Secret, KeyWrapError>> {
        let opened = open(&self.held.load(), wrapped, context);
        Box::pin(async move { opened })
    }
}

domain::brief_debug!(MasterKeyring, |it| held = it.held_ids());
