//! Pagination cursors: where the next page begins, sealed so that a cursor works only for the list it was
//! issued for.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::WorkspaceId;
use domain::ports::KeyHash;
use subtle::ConstantTimeEq;

const SEAL_BYTES: usize = 16;

/// Binds a cursor to one list of one workspace under one filter.
pub struct CursorSeal {
    hasher: Arc<dyn KeyHash>,
    list: String,
}

impl CursorSeal {
    /// `query` without the parameters that may differ from page to page.
    pub fn new(
        hasher: Arc<dyn KeyHash>,
        workspace: Option<WorkspaceId>,
        path: &str,
        query: &BTreeMap<String, String>,
    ) -> Self {
        let mut list = String::from("cursor");
        let workspace = workspace.map(|id| id.to_string()).unwrap_or_default();
        let filter = query.iter().filter(|(name, _)| !["limit", "cursor", "format"].contains(&name.as_str()));
        let parts = [workspace.as_str(), path].into_iter();
        for part in parts.chain(filter.flat_map(|(name, value)| [name.as_str(), value.as_str()])) {
            // Length-prefixed, so that no two lists are written alike.
            list.push_str(&format!("\n{}:{part}", part.len()));
        }
        Self { hasher, list }
    }

    pub fn write(&self, position: &str) -> String {
        let mut bytes = self.seal(position).to_vec();
        bytes.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that a cursor of this list encodes.
    pub fn read<Id: std::str::FromStr>(&self, cursor: &str) -> Option<Id> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (seal, position) = bytes.split_at_checked(SEAL_BYTES)?;
        let position = std::str::from_utf8(position).ok()?;
        let is_ours = bool::from(self.seal(position).ct_eq(seal));
        if is_ours { position.parse().ok() } else { None }
    }

    fn seal(&self, position: &str) -> [u8; SEAL_BYTES] {
        let digest = self.hasher.digest(&format!("{}\n{position}", self.list));
        digest.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    impl KeyHash for Plain {
        fn digest(&self, presented: &str) -> [u8; 32] {
            let mut digest = [0_u8; 32];
            for (at, byte) in presented.bytes().enumerate() {
                digest[at % 16] = digest[at % 16].wrapping_mul(31).wrapping_add(byte);
            }
            digest
        }
    }

    fn seal(workspace: u64, path: &str, query: &[(&str, &str)]) -> CursorSeal {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CursorSeal::new(Arc::new(Plain), Some(WorkspaceId::new(workspace, [0; 10])), path, &query)
    }

    #[test]
    fn a_cursor_is_good_for_its_list_and_no_other() {
        let cursor = seal(1, "/v2/routes", &[("model", "a"), ("limit", "5")]).write("42");
        assert_eq!(seal(1, "/v2/routes", &[("model", "a"), ("limit", "9")]).read::<u64>(&cursor), Some(42));
        let others = [
            seal(2, "/v2/routes", &[("model", "a")]),
            seal(1, "/v2/audit", &[("model", "a")]),
            seal(1, "/v2/routes", &[("model", "b")]),
            seal(1, "/v2/routes", &[]),
        ];
        for other in others {
            assert_eq!(other.read::<u64>(&cursor), None);
        }
        let own = seal(1, "/v2/routes", &[("model", "a")]);
        for at in 0..cursor.len() {
            let mut touched = cursor.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            // The last base64 character has unused bits; the decoder rejects text that sets them.
            assert_eq!(own.read::<u64>(&touched), None, "{touched}");
        }
        for text in ["", "!", "NDI", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(own.read::<u64>(text), None, "{text}");
        }
    }
}
