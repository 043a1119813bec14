//! The list of a workspace's nodes that a gateway signs. It is stored, so that the mesh works without the gateway until the list
//! expires.

use std::io;
use std::path::Path;

use proof::PublicKey;
use proof::document::{self, Forged};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files;
use crate::limits::{LIST_BYTES_MAX, MEMBERS_MAX};
use crate::members::Member;

/// What the document says that it is.
pub const LIST_OBJECT: &str = "peer_list";

/// A verified list, and the text that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedList {
    /// The node that this one joined as.
    pub node_id: String,
    pub workspace: String,
    pub issued_unix_ms: u64,
    pub expires_unix_ms: u64,
    pub signer: PublicKey,
    pub members: Vec<Member>,
    pub text: Vec<u8>,
}

/// Why a list isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("it can't be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Forged(#[from] Forged),
    #[error("it was issued before the list that is stored")]
    Older,
    #[error("it has expired")]
    Expired,
    #[error("it can't be stored: {0}")]
    Disk(io::Error),
}

#[derive(Deserialize)]
struct Statement {
    object: String,
    workspace_id: String,
    issued_unix_ms: u64,
    expires_unix_ms: u64,
    members: Vec<ListedMember>,
}

/// Fields of later gateways are ignored.
#[derive(Deserialize)]
struct ListedMember {
    name: String,
    public_key: PublicKey,
    #[serde(default)]
    addresses: Vec<Value>,
    #[serde(default)]
    models: Vec<String>,
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    node_id: String,
    document: String,
}

impl SignedList {
    /// Verifies a list. Without `signer`, the first one of a node is trusted as it came from the gateway that the node joined; later ones
    /// must have the same signer, and be no older.
    pub(crate) fn verify(
        text: &[u8],
        node_id: &str,
        (signer, pinned): (Option<PublicKey>, Option<&Self>),
        now_unix_ms: u64,
    ) -> Result<Self, ListError> {
        let list = Self::parse(text, node_id, signer.or_else(|| pinned.map(|list| list.signer)))?;
        if pinned.is_some_and(|pinned| pinned.issued_unix_ms > list.issued_unix_ms) {
            return Err(ListError::Older);
        }
        if list.is_valid(now_unix_ms) { Ok(list) } else { Err(ListError::Expired) }
    }

    pub(crate) fn parse(text: &[u8], node_id: &str, trusted: Option<PublicKey>) -> Result<Self, ListError> {
        let unreadable = |why: String| ListError::Unreadable(why);
        let signed = document::read(text).map_err(|error| unreadable(error.to_string()))?;
        let signer = document::verify(&signed, trusted)?;
        let statement: Statement =
            serde_json::from_value(Value::Object(signed)).map_err(|error| unreadable(error.to_string()))?;
        if statement.object != LIST_OBJECT {
            return Err(unreadable(format!("it is a {:?}", statement.object)));
        }
        if statement.members.len() > MEMBERS_MAX {
            return Err(unreadable(format!("it has more than {MEMBERS_MAX} members")));
        }
        let members = statement.members.into_iter().filter_map(usable).collect();
        Ok(Self {
            node_id: node_id.to_owned(),
            workspace: statement.workspace_id,
            issued_unix_ms: statement.issued_unix_ms,
            expires_unix_ms: statement.expires_unix_ms,
            signer,
            members,
            text: text.to_owned(),
        })
    }

    pub(crate) const fn is_valid(&self, now_unix_ms: u64) -> bool {
        now_unix_ms < self.expires_unix_ms
    }

    /// Reads the stored list, which is verified again. `None` if there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(Stored { node_id, document }) = files::read_json(path, 2 * LIST_BYTES_MAX)? else {
            return Ok(None);
        };
        let list = Self::parse(document.as_bytes(), &node_id, None);
        list.map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let document = String::from_utf8_lossy(&self.text).into_owned();
        files::write_json(path, &Stored { node_id: self.node_id.clone(), document })
    }
}

/// One member that can't be used doesn't cost the others.
fn usable(listed: ListedMember) -> Option<Member> {
    let ListedMember { name, public_key, addresses, models } = listed;
    let addresses = addresses.iter().filter_map(|address| address.as_str()?.parse().ok()).collect();
    let member = Member { public_key, name, addresses, models };
    match member.check() {
        Ok(()) => Some(member),
        Err(why) => {
            tracing::warn!(name = member.name, why, "a member of the gateway's list can't be used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proof::SigningKey;
    use serde_json::{Map, json};

    use super::*;

    fn list(key: &SigningKey, issued: u64, expires: u64) -> Vec<u8> {
        let member = SigningKey::from_seed(&[7; 32]).unwrap().public();
        let statement = json!({
            "object": LIST_OBJECT, "workspace_id": "ws_1", "issued_unix_ms": issued, "expires_unix_ms": expires,
            "members": [
                {"node_id": "n1", "name": "attic", "public_key": member, "addresses": ["10.0.0.1:7000", "attic:7"], "models": []},
                {"node_id": "n2", "name": "no spaces", "public_key": member},
            ],
        });
        let object: Map<String, Value> = statement.as_object().unwrap().clone();
        serde_json::to_vec(&document::sign(object, key).unwrap()).unwrap()
    }

    #[test]
    fn only_the_gateway_that_signed_the_first_list_signs_the_next() {
        let (key, other) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let first = SignedList::verify(&list(&key, 10, 100), "n0", (None, None), 50).unwrap();
        assert_eq!((first.members.len(), first.signer), (1, key.public()));
        assert_eq!(first.members[0].addresses, ["10.0.0.1:7000".parse().unwrap()]);
        let verify = |text: &[u8], now| SignedList::verify(text, "n0", (None, Some(&first)), now);
        assert!(verify(&list(&key, 11, 200), 50).is_ok());
        assert!(matches!(verify(&list(&key, 9, 200), 50), Err(ListError::Older)));
        assert!(matches!(verify(&list(&key, 11, 200), 200), Err(ListError::Expired)));
        assert!(matches!(verify(&list(&other, 11, 200), 50), Err(ListError::Forged(Forged::Key { .. }))));
        let elsewhere = SignedList::verify(&list(&key, 11, 200), "n0", (Some(other.public()), None), 50);
        assert!(matches!(elsewhere, Err(ListError::Forged(Forged::Key { .. }))));
        let changed = String::from_utf8(list(&key, 11, 200)).unwrap().replace("attic", "cellar");
        assert!(matches!(verify(changed.as_bytes(), 50), Err(ListError::Forged(Forged::Signature))));
    }

    #[test]
    fn a_stored_list_is_verified_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let first = SignedList::verify(&list(&key, 10, 100), "n0", (None, None), 50).unwrap();
        assert_eq!(SignedList::read(&path).unwrap(), None);
        first.write(&path).unwrap();
        assert_eq!(SignedList::read(&path).unwrap(), Some(first));
        let text = std::fs::read_to_string(&path).unwrap().replace("attic", "cellar");
        std::fs::write(&path, text).unwrap();
        assert!(SignedList::read(&path).unwrap_err().to_string().contains("changed after it was signed"));
    }
}
