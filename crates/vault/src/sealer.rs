//! The vault's writer, for the control plane: new workspace keys, new seals, fingerprints.

use std::sync::Arc;

use aws_lc_rs::aead::LessSafeKey;
use domain::ports::KeyWrap;
use domain::{Sealed, Secret, WorkspaceId};
use world::Random;
use zeroize::Zeroizing;

use crate::associated::{Binding, Purpose, workspace_key_context};
use crate::error::VaultError;
use crate::fingerprint::Fingerprinter;
use crate::ring::{Ring, WorkspaceKey};
use crate::seal;
use crate::stack::wiped;

/// The result of sealing a secret: all three are stored together, the anti-rollback record in a row of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    pub sealed: Sealed,
    pub floor: Sealed,
    pub fingerprint: String,
}

pub struct Sealer {
    wrap: Arc<dyn KeyWrap>,
    ring: Arc<Ring>,
    random: Arc<dyn Random>,
    fingerprinter: Fingerprinter,
}

impl Sealer {
    pub(crate) fn new(
        wrap: Arc<dyn KeyWrap>,
        ring: Arc<Ring>,
        random: Arc<dyn Random>,
        fingerprinter: Fingerprinter,
    ) -> Self {
        Self { wrap, ring, random, fingerprinter }
    }

    /// Creates the key of a new workspace: `(key id, wrapped key)`, for the store. It can seal at once; the
    /// other replicas learn it from the store.
    ///
    /// # Errors
    /// If the key service does not answer.
    pub async fn new_workspace_key(&self, workspace: WorkspaceId) -> Result<(String, Vec<u8>), VaultError> {
        let (key_id, wrapped, ready) = self.mint(workspace).await?;
        self.ring.add(vec![(workspace, (key_id.clone(), ready))]);
        Ok((key_id, wrapped))
    }

    /// Creates a further key for a workspace. It seals only once it was learned from the store: before that
    /// nothing else could open what it sealed.
    ///
    /// # Errors
    /// If the key service does not answer.
    pub async fn next_workspace_key(&self, workspace: WorkspaceId) -> Result<(String, Vec<u8>), VaultError> {
        self.mint(workspace).await.map(|(key_id, wrapped, _)| (key_id, wrapped))
    }

    /// The id of the key that seals new secrets.
    pub fn current_key_id(&self, workspace: WorkspaceId) -> Option<String> {
        self.ring.current(workspace).map(|(key_id, _)| key_id)
    }

    async fn mint(&self, workspace: WorkspaceId) -> Result<(String, Vec<u8>, WorkspaceKey), VaultError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        self.random.fill(&mut *bytes);
        let mut name = [0_u8; 8];
        self.random.fill(&mut name);
        let key_id = format!("wk_{}", crate::wrap::hex(&name));
        let ready = WorkspaceKey::new(&*bytes).map_err(|_| VaultError::Crypto)?;
        let key = Secret::new(bytes.to_vec());
        let wrapped = self.wrap.wrap(&key, &workspace_key_context(workspace, &key_id)).await?;
        Ok((key_id, wrapped, ready))
    }

    /// Seals a secret as the given version of an object, under the workspace's current key. The first version
    /// of an object is 1; each rotation takes the next.
    ///
    /// # Errors
    /// If the workspace has no key in this process, or the library refuses.
    pub fn seal(
        &self,
        workspace: WorkspaceId,
        object: &str,
        version: u32,
        secret: &Secret,
    ) -> Result<Resealed, VaultError> {
        let (key_id, key) = self.current(workspace)?;
        let binding = Binding { purpose: Purpose::Secret, workspace, object, version, key_id: &key_id };
        let sealed = self.under(&key.secrets, &binding, secret.expose())?;
        let binding = Binding { purpose: Purpose::Floor, ..binding };
        let floor = self.under(&key.secrets, &binding, &version.to_be_bytes())?;
        Ok(Resealed { sealed, floor, fingerprint: self.fingerprint(workspace, secret) })
    }

    /// 16 hexadecimal digits by which a person recognises a secret.
    pub fn fingerprint(&self, workspace: WorkspaceId, secret: &Secret) -> String {
        wiped(|| self.fingerprinter.of(workspace, secret))
    }

    pub(crate) fn current(&self, workspace: WorkspaceId) -> Result<(String, Arc<WorkspaceKey>), VaultError> {
        self.ring.current(workspace).ok_or(VaultError::NoWorkspaceKey)
    }

    pub(crate) fn under(
        &self,
        key: &LessSafeKey,
        binding: &Binding<'_>,
        plaintext: &[u8],
    ) -> Result<Sealed, VaultError> {
        let bytes = wiped(|| seal::seal(key, binding.bytes().as_slice(), plaintext, &*self.random))
            .map_err(|_| VaultError::Crypto)?;
        Ok(Sealed { version: binding.version, key_id: binding.key_id.to_owned(), bytes })
    }
}

domain::brief_debug!(Sealer, ring);
