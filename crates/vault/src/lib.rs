//! Sealed secrets: master key, workspace keys and credentials, with a `Sealer` that writes and an `Opener`
//! that reads, and the keyed hash of Tidegate's own API keys. The only place where a provider's secret is in
//! plaintext.
//!
//! Key wrapping: a master key (from a file, the environment, a command, or a KMS behind `ports::KeyWrap`)
//! wraps one random key per workspace; that key seals the workspace's credentials. Each seal is bound to its
//! purpose, workspace, object, version and key, so that a row that was changed, moved or rolled back no
//! longer opens.

mod associated;
mod boxed;
mod error;
mod file_key;
mod fingerprint;
mod hasher;
mod kept;
mod master;
mod masters;
mod message;
mod opener;
mod reseal;
mod ring;
mod seal;
mod sealer;
mod stack;
mod wrap;

use std::sync::Arc;

use domain::ports::{AuditSink, KeyWrap};
use domain::{Secret, WorkspaceId, master_key};
use world::{Random, World};

pub use boxed::{BoxKey, BoxedFor};
pub use error::{OpenError, VaultError};
pub use file_key::{FileKey, PieceRef};
pub use fingerprint::Fingerprinter;
pub use hasher::{KeyHasher, MintedKey, mint_access_secret, mint_api_key};
pub use kept::{ContentRef, RequestHasher};
pub use master::{MasterKey, MasterKeyError, is_private};
pub use masters::{MasterKeyring, MasterState, ReadMasterKeys};
pub use message::{sign_message, webhook_signatures};
pub use opener::{KeyUpdate, Opener, UpdateFailures};
pub use sealer::{Resealed, Sealer};
pub use wrap::LocalKeyWrap;

/// The workspace under which the operator's own accounts are sealed.
pub const OPERATOR: WorkspaceId = WorkspaceId::from_uuid(uuid::Uuid::nil());

/// What the vault stores in the database; no secret in it is in plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRecords {
    /// The id of the master key.
    pub master_key_id: String,
    /// A known text that only the right master key unwraps.
    pub seal_check: Vec<u8>,
    /// The wrapped key of the API keys' hash; a rotation of the master key does not change the hashes.
    pub pepper: Vec<u8>,
    /// On a data plane, whose API keys another installation makes: the wrapped key that they are hashed with there.
    pub key_hash: Option<Vec<u8>>,
}

impl VaultRecords {
    /// Each record under its name in the store.
    pub fn to_meta(&self) -> Vec<(String, Vec<u8>)> {
        let mut facts = vec![
            (master_key::CURRENT.to_owned(), self.master_key_id.clone().into_bytes()),
            (META_SEAL_CHECK.to_owned(), self.seal_check.clone()),
            (META_PEPPER.to_owned(), self.pepper.clone()),
        ];
        facts.extend(self.key_hash.iter().map(|wrapped| (META_KEY_HASH.to_owned(), wrapped.clone())));
        facts
    }

    /// Those of a data plane: with the key with which its control plane hashes API keys.
    ///
    /// # Errors
    /// If the key service does not answer.
    pub async fn with_key_hash(self, wrap: &dyn KeyWrap, key_hash: &Secret) -> Result<Self, VaultError> {
        Ok(Self { key_hash: Some(wrap.wrap(key_hash, KEY_HASH_CONTEXT).await?), ..self })
    }

    /// Reads the records from an installation's facts.
    ///
    /// # Errors
    /// If one is missing.
    pub fn from_meta(facts: &[(String, Vec<u8>)]) -> Result<Self, VaultError> {
        let find = |name: &'static str| {
            let found = facts.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).ok_or(VaultError::RecordMissing(name))
        };
        let master_key_id = String::from_utf8(find(master_key::CURRENT)?)
            .map_err(|_| VaultError::RecordMissing(master_key::CURRENT))?;
        let key_hash = facts.iter().find(|(known, _)| known == META_KEY_HASH).map(|(_, value)| value.clone());
        Ok(Self { master_key_id, seal_check: find(META_SEAL_CHECK)?, pepper: find(META_PEPPER)?, key_hash })
    }
}

/// The prefix of the vault's facts in the store.
pub const META_PREFIX: &str = "vault.";
const META_SEAL_CHECK: &str = "vault.seal_check";
const META_PEPPER: &str = "vault.pepper";
const META_KEY_HASH: &str = "vault.key_hash";

const SIGNING_PURPOSE: &[u8] = b"tidegate/signing/1";
const SEAL_CHECK_TEXT: &[u8] = b"tidegate seal check 1";
const SEAL_CHECK_CONTEXT: &[u8] = b"tidegate/seal-check/1";
const PEPPER_CONTEXT: &[u8] = b"tidegate/pepper/1";
const KEY_HASH_CONTEXT: &[u8] = b"tidegate/key-hash/1";

/// An unlocked vault, whose parts share one ring of unwrapped workspace keys.
#[derive(Debug, Clone)]
pub struct Vault {
    pub sealer: Arc<Sealer>,
    pub opener: Arc<Opener>,
    pub hasher: Arc<KeyHasher>,
    pub requests: Arc<RequestHasher>,
    /// The seed of the installation's signing key. It is derived from the pepper, like the hash of API keys,
    /// so that every replica has it and no rotation changes it.
    pub signing_seed: Arc<Secret>,
    /// The key of the API keys' hash. A data plane is given it, sealed, so that it knows the keys that it serves.
    pub key_hash: Arc<Secret>,
}

impl Vault {
    /// Creates the records of a fresh installation.
    ///
    /// # Errors
    /// If the key service does not answer.
    pub async fn create(wrap: &dyn KeyWrap, random: &dyn Random) -> Result<VaultRecords, VaultError> {
        let mut pepper = zeroize::Zeroizing::new([0_u8; 32]);
        random.fill(&mut *pepper);
        let pepper = Secret::new(pepper.to_vec());
        let check = Secret::new(SEAL_CHECK_TEXT.to_vec());
        Ok(VaultRecords {
            master_key_id: wrap.key_id(),
            seal_check: wrap.wrap(&check, SEAL_CHECK_CONTEXT).await?,
            pepper: wrap.wrap(&pepper, PEPPER_CONTEXT).await?,
            key_hash: None,
        })
    }

    /// Unlocks the vault: proves that the master key is the one that sealed this store, before anything is
    /// served.
    ///
    /// # Errors
    /// `WrongMasterKey` if it is not, or the key service's own error.
    pub async fn open(
        wrap: Arc<dyn KeyWrap>,
        records: &VaultRecords,
        world: &World,
        audit: Arc<dyn AuditSink>,
    ) -> Result<Self, VaultError> {
        let wrong =
            || VaultError::WrongMasterKey { given: wrap.key_id(), wanted: records.master_key_id.clone() };
        if wrap.key_id() != records.master_key_id {
            return Err(wrong());
        }
        let check = wrap.unwrap(&records.seal_check, SEAL_CHECK_CONTEXT).await.map_err(|_| wrong())?;
        if check.expose() != SEAL_CHECK_TEXT {
            return Err(wrong());
        }
        let pepper =
            wrap.unwrap(&records.pepper, PEPPER_CONTEXT).await.map_err(|_| VaultError::PepperBroken)?;
        let ring = Arc::new(ring::Ring::default());
        let fingerprinter = Fingerprinter::new(&pepper)?;
        let key_hash = match &records.key_hash {
            None => Secret::new(wrap::derive(pepper.expose(), hasher::PURPOSE)?.to_vec()),
            Some(wrapped) => {
                wrap.unwrap(wrapped, KEY_HASH_CONTEXT).await.map_err(|_| VaultError::PepperBroken)?
            }
        };
        let hasher = Arc::new(KeyHasher::of_key(&key_hash));
        let requests = Arc::new(RequestHasher::new(&pepper)?);
        let signing_seed = Arc::new(Secret::new(wrap::derive(pepper.expose(), SIGNING_PURPOSE)?.to_vec()));
        let random = Arc::clone(&world.random);
        let sealer = Arc::new(Sealer::new(Arc::clone(&wrap), Arc::clone(&ring), random, fingerprinter));
        let opener = Arc::new(Opener::new(wrap, ring, world, audit));
        Ok(Self { sealer, opener, hasher, requests, signing_seed, key_hash: Arc::new(key_hash) })
    }
}
