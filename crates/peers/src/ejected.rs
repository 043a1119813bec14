//! Peers that were caught lying: ejected for a time, which survives a restart.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proof::PublicKey;
use serde::{Deserialize, Serialize};
use world::World;

use crate::files;
use crate::limits::{EJECTED_FOR, EJECTED_MAX, LIST_BYTES_MAX};

const FILE: &str = "ejected-peers.json";

/// Why a peer is ejected, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    pub public_key: PublicKey,
    pub name: String,
    /// What was seen.
    pub why: String,
    pub at_unix_ms: u64,
    pub until_unix_ms: u64,
}

/// The ejected peers, by key. `tidegate node fetch` writes the same file as a running node.
#[derive(Debug)]
pub(crate) struct Ejections {
    world: World,
    path: Option<PathBuf>,
    by_key: Mutex<BTreeMap<[u8; 32], Ejection>>,
}

impl Ejections {
    /// # Errors
    /// The file exists and can't be read.
    pub(crate) fn open(world: &World, data_dir: Option<&Path>) -> io::Result<Self> {
        let path = data_dir.map(|dir| dir.join(FILE));
        let by_key = path.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { world: world.clone(), path, by_key: Mutex::new(by_key) })
    }

    pub(crate) fn of(&self, key: &[u8; 32]) -> Option<Ejection> {
        let now = self.world.clock.unix_ms();
        self.lock().get(key).filter(|ejection| now < ejection.until_unix_ms).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Ejection> {
        let now = self.world.clock.unix_ms();
        self.lock().values().filter(|ejection| now < ejection.until_unix_ms).cloned().collect()
    }

    /// Ejects a peer. An ejection that can't be stored holds until the process ends.
    pub(crate) fn eject(&self, public_key: PublicKey, name: &str, why: &str) {
        let at_unix_ms = self.world.clock.unix_ms();
        let lasts = u64::try_from(EJECTED_FOR.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = at_unix_ms.saturating_add(lasts);
        tracing::warn!(peer = name, %public_key, why, "a peer lied, and is ejected for an hour");
        let ejection =
            Ejection { public_key, name: name.to_owned(), why: why.to_owned(), at_unix_ms, until_unix_ms };
        self.merge();
        let mut by_key = self.lock();
        by_key.retain(|_, known| at_unix_ms < known.until_unix_ms);
        if by_key.len() >= EJECTED_MAX {
            by_key.pop_first();
        }
        by_key.insert(*public_key.as_bytes(), ejection);
        let all: Vec<&Ejection> = by_key.values().collect();
        if let Some(path) = &self.path
            && let Err(error) = files::write_json(path, &all)
        {
            tracing::error!(%error, "the ejection of a peer can't be stored");
        }
    }

    /// Takes up what another process has stored.
    pub(crate) fn merge(&self) {
        let Some(path) = &self.path else { return };
        match read(path) {
            Ok(stored) => self.lock().extend(stored),
            Err(error) => tracing::warn!(%error, "the ejected peers can't be read"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Ejection>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<[u8; 32], Ejection>> {
    let stored: Option<Vec<Ejection>> = files::read_json(path, LIST_BYTES_MAX)?;
    let stored = stored.unwrap_or_default().into_iter().take(EJECTED_MAX);
    Ok(stored.map(|ejection| (*ejection.public_key.as_bytes(), ejection)).collect())
}

#[cfg(test)]
mod tests {
    use proof::SigningKey;

    use super::*;

    #[test]
    fn an_ejection_survives_a_restart_and_is_seen_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Ejections::open(&World::system(), Some(dir.path())).unwrap();
        let (node, fetch) = (open(), open());
        let key = SigningKey::from_seed(&[3; 32]).unwrap().public();
        fetch.eject(key, "attic", "a chunk had another digest");
        assert_eq!(node.of(key.as_bytes()), None);
        node.merge();
        assert_eq!(node.of(key.as_bytes()).unwrap().why, "a chunk had another digest");
        assert_eq!(open().all().len(), 1);
    }
}
