//! Reseals under a workspace's current key what an earlier one sealed. What does not open stays as it is:
//! nothing that was tampered with becomes genuine by resealing.

use domain::{Sealed, WorkspaceId};

use crate::associated::{Binding, Purpose};
use crate::error::OpenError;
use crate::kept::ContentRef;
use crate::{MasterKeyring, Vault, associated};

impl Vault {
    /// Reseals a secret at its version.
    ///
    /// # Errors
    /// If it was changed, moved or rolled back; the refusal is audited.
    pub fn reseal_secret(
        &self,
        workspace: WorkspaceId,
        object: &str,
        sealed: &Sealed,
    ) -> Result<Sealed, OpenError> {
        let secret = self.opener.open(workspace, object, sealed)?;
        self.reseal(Purpose::Secret, workspace, object, sealed.version, secret.expose())
    }

    /// Reseals an anti-rollback record with the same minimum version.
    ///
    /// # Errors
    /// If it was changed or moved.
    pub fn reseal_floor(
        &self,
        workspace: WorkspaceId,
        object: &str,
        sealed: &Sealed,
    ) -> Result<Sealed, OpenError> {
        let lowest = self.opener.read_floor(workspace, object, sealed).ok_or(OpenError::Refused)?;
        self.reseal(Purpose::Floor, workspace, object, sealed.version, &lowest.to_be_bytes())
    }

    /// Reseals stored content.
    ///
    /// # Errors
    /// If it was changed or moved; the refusal is audited.
    pub fn reseal_content(&self, content_ref: &ContentRef, sealed: &Sealed) -> Result<Sealed, OpenError> {
        let content = self.opener.open_content(content_ref, sealed)?;
        self.sealer.seal_content(content_ref, content.expose()).map_err(|_| OpenError::KeyUnknown)
    }

    fn reseal(
        &self,
        purpose: Purpose,
        workspace: WorkspaceId,
        object: &str,
        version: u32,
        plaintext: &[u8],
    ) -> Result<Sealed, OpenError> {
        let (key_id, key) = self.sealer.current(workspace).map_err(|_| OpenError::KeyUnknown)?;
        let binding = Binding { purpose, workspace, object, version, key_id: &key_id };
        self.sealer.under(&key.secrets, &binding, plaintext).map_err(|_| OpenError::Refused)
    }
}

impl MasterKeyring {
    /// Wraps a workspace key again, under the master key with this id.
    ///
    /// # Errors
    /// If it does not open, or that key is not held here.
    pub fn rewrap_workspace_key(
        &self,
        workspace: WorkspaceId,
        key_id: &str,
        wrapped: &[u8],
        under: &str,
    ) -> Result<Vec<u8>, domain::ports::KeyWrapError> {
        self.rewrap(wrapped, &associated::workspace_key_context(workspace, key_id), under)
    }
}
