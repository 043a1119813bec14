//! What a seal is bound to, as bytes: a length before each part, so that no two bindings share their bytes.

use domain::WorkspaceId;

/// Formats of sealed bytes; the first byte of each says which.
pub(crate) const FORMAT: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Secret,
    Floor,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "tidegate/secret",
            Self::Floor => "tidegate/floor",
        }
    }
}

/// Everything that must be the same on opening as it was on sealing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub purpose: Purpose,
    pub workspace: WorkspaceId,
    pub object: &'a str,
    pub version: u32,
    pub key_id: &'a str,
}

impl Binding<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 6] = [
            &[FORMAT],
            self.purpose.as_str().as_bytes(),
            self.workspace.as_bytes(),
            self.object.as_bytes(),
            &version,
            self.key_id.as_bytes(),
        ];
        let mut bytes = Vec::with_capacity(128);
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// The context that a workspace key's wrapping is bound to.
pub(crate) fn workspace_key_context(workspace: WorkspaceId, key_id: &str) -> Vec<u8> {
    let mut bytes = b"tidegate/workspace-key/1".to_vec();
    for part in [workspace.as_bytes().as_slice(), key_id.as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
