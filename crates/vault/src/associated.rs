//! The associated data that each seal (AEAD) is bound to: every part is length-prefixed, so that no two
//! bindings share their bytes.

use domain::WorkspaceId;

/// The version of the sealed format: the first byte of every seal.
pub(crate) const FORMAT: u8 = 1;

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Purpose {
        Secret = "tidegate/secret",
        Floor = "tidegate/floor",
        Answer = "tidegate/answer",
        Turn = "tidegate/turn",
        State = "tidegate/state",
        Batch = "tidegate/batch",
        Export = "tidegate/export",
        Request = "tidegate/request",
        Task = "tidegate/task",
        File = "tidegate/file",
        Tool = "tidegate/tool",
        Flow = "tidegate/flow",
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

/// Large enough for a binding of Tidegate's own ids, so that opening does not allocate.
const BOUND_BYTES: usize = 256;

/// An encoded binding: on the stack, unless its names are longer than Tidegate's ids ever are.
pub(crate) struct Bound {
    bytes: [u8; BOUND_BYTES],
    length: usize,
    spilt: Vec<u8>,
}

impl Bound {
    /// Appends a part, prefixed with its length.
    fn push(&mut self, part: &[u8]) {
        let length = (part.len() as u64).to_be_bytes();
        let end = self.length + length.len() + part.len();
        match self.bytes.get_mut(self.length..end).map(<[u8]>::split_first_chunk_mut) {
            Some(Some((head, rest))) if self.spilt.is_empty() => {
                *head = length;
                rest.copy_from_slice(part);
                self.length = end;
            }
            _ => {
                if self.spilt.is_empty() {
                    self.spilt = self.as_slice().to_vec();
                }
                self.spilt.extend_from_slice(&length);
                self.spilt.extend_from_slice(part);
            }
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.spilt.is_empty() { self.bytes.get(..self.length).unwrap_or_default() } else { &self.spilt }
    }
}

impl Binding<'_> {
    pub(crate) fn bytes(&self) -> Bound {
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 6] = [
            &[FORMAT],
            self.purpose.as_str().as_bytes(),
            self.workspace.as_bytes(),
            self.object.as_bytes(),
            &version,
            self.key_id.as_bytes(),
        ];
        let mut bound = Bound { bytes: [0; BOUND_BYTES], length: 0, spilt: Vec::new() };
        for part in parts {
            bound.push(part);
        }
        bound
    }
}

/// The associated data that a workspace key's wrapping is bound to.
pub(crate) fn workspace_key_context(workspace: WorkspaceId, key_id: &str) -> Vec<u8> {
    let mut bytes = b"tidegate/workspace-key/1".to_vec();
    for part in [workspace.as_bytes().as_slice(), key_id.as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_the_same_bytes_on_the_stack_and_beyond_it() {
        let workspace = WorkspaceId::new(1, [2; 10]);
        for length in [1, 30, 100, 148, 149, 150, 200, 1_000] {
            let (object, key_id) = ("o".repeat(length), "k".repeat(12));
            let binding =
                Binding { purpose: Purpose::Secret, workspace, object: &object, version: 3, key_id: &key_id };
            let version = 3_u32.to_be_bytes();
            let parts: [&[u8]; 6] = [
                &[FORMAT],
                b"tidegate/secret",
                workspace.as_bytes(),
                object.as_bytes(),
                &version,
                key_id.as_bytes(),
            ];
            let mut expected = Vec::new();
            for part in parts {
                expected.extend_from_slice(&(part.len() as u64).to_be_bytes());
                expected.extend_from_slice(part);
            }
            assert_eq!(binding.bytes().as_slice(), expected, "{length}");
        }
    }
}
