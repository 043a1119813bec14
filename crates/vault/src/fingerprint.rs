//! Fingerprints, by which a person distinguishes two secrets without seeing either.

use aws_lc_rs::hmac;
use domain::{Secret, WorkspaceId};

use crate::error::VaultError;
use crate::wrap::{derive, hex};

/// 64 bits of a keyed hash: enough to distinguish a workspace's secrets, and useless for finding a secret
/// without the key. The workspace is part of the input, so that two tenants can't learn that they share a
/// secret.
pub struct Fingerprinter(hmac::Key);

impl Fingerprinter {
    pub(crate) fn new(pepper: &Secret) -> Result<Self, VaultError> {
        let key = derive(pepper.expose(), b"tidegate/fingerprint/1")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &*key)))
    }

    pub(crate) fn of(&self, workspace: WorkspaceId, secret: &Secret) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(workspace.as_bytes());
        context.update(secret.expose());
        hex(context.sign().as_ref().get(..8).unwrap_or_default())
    }
}

domain::brief_debug!(Fingerprinter as "Fingerprinter(hidden)");
