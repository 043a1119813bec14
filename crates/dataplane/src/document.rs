//! Signed documents of configuration: who may have signed one, and when one is not to be applied.

use domain::{DataPlaneId, WorkspaceId};
use proof::{PublicKey, Signature, SigningKey};

use crate::wire::{Document, SignedDocument, Unreadable, parse_ids};

/// Before the text of every document, so that no other signature of the installation is one of a document.
const PURPOSE: &[u8] = b"tidegate/data-plane-document/1\0";

/// Why an answer of the control plane is not applied.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("its signature is not that of the control plane that this data plane joined")]
    Signature,
    #[error("it is not a configuration document")]
    Form(#[source] serde_json::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("it is for another data plane, or another workspace")]
    OfAnother,
    #[error("it answers another question: it was sent before")]
    Replayed,
    #[error(
        "the control plane has the version {offered} of the configuration, and {applied} is applied here: it would take changes \
         back. It was restored to an earlier state, and is followed again once its version is beyond that one, which \
         `tidegate data-planes supersede` there makes it"
    )]
    RolledBack { offered: u64, applied: u64 },
    #[error(
        "the control plane's version {0} of the configuration is not the one that is applied here: it would take changes back. It \
         was restored to an earlier state, and is followed again once its version is beyond that one, which \
         `tidegate data-planes supersede` there makes it"
    )]
    OtherHistory(u64),
}

/// Whose documents a data plane takes, and which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub key: PublicKey,
    pub data_plane: DataPlaneId,
    pub workspace: WorkspaceId,
    pub nonce: &'a str,
    pub applied: Option<u64>,
    pub history: Option<&'a str>,
}

pub(crate) fn signed(document: &Document, key: &SigningKey) -> Result<SignedDocument, serde_json::Error> {
    Ok(sign(serde_json::to_string(document)?, key))
}

/// Signs the text of a document.
pub fn sign(document: String, key: &SigningKey) -> SignedDocument {
    let signature = key.sign(&[PURPOSE, document.as_bytes()].concat()).to_string();
    SignedDocument { document, signature }
}

impl Expected<'_> {
    /// # Errors
    /// It is not to be applied.
    #[cfg(test)]
    pub(crate) fn read(&self, signed_document: &SignedDocument) -> Result<Document, DocumentError> {
        self.applicable(self.authentic(signed_document)?)
    }

    /// Verifies that the control plane signed this as the answer to this question; it may still not be applicable.
    ///
    /// # Errors
    /// It did not.
    pub(crate) fn authentic(&self, signed_document: &SignedDocument) -> Result<Document, DocumentError> {
        let signature: Signature =
            signed_document.signature.parse().map_err(|()| DocumentError::Signature)?;
        if !self.key.verify(&[PURPOSE, signed_document.document.as_bytes()].concat(), &signature) {
            return Err(DocumentError::Signature);
        }
        let document: Document =
            serde_json::from_str(&signed_document.document).map_err(DocumentError::Form)?;
        if parse_ids(&document)? != (self.data_plane, self.workspace) {
            return Err(DocumentError::OfAnother);
        }
        if document.nonce != self.nonce {
            return Err(DocumentError::Replayed);
        }
        Ok(document)
    }

    /// # Errors
    /// It would take changes back.
    pub(crate) fn applicable(&self, document: Document) -> Result<Document, DocumentError> {
        match self.applied {
            Some(applied) if document.version < applied => {
                Err(DocumentError::RolledBack { offered: document.version, applied })
            }
            Some(applied) if document.version == applied && self.is_of_another(&document) => {
                Err(DocumentError::OtherHistory(applied))
            }
            _ => Ok(document),
        }
    }

    /// Whether its version is one of another history than the same version here. Older programs don't say.
    fn is_of_another(&self, document: &Document) -> bool {
        self.history.zip(document.history.as_deref()).is_some_and(|(applied, offered)| applied != offered)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn document() -> Document {
        Document {
            data_plane: DataPlaneId::new(1, [1; 10]).to_string(),
            workspace: WorkspaceId::new(1, [2; 10]).to_string(),
            version: 7,
            history: Some("h".into()),
            nonce: "n".into(),
            issued_unix_ms: 1,
            life_ms: 2,
            is_revoked: false,
            delivered_place: None,
            rows: None,
            base: None,
            gone: BTreeMap::new(),
            secrets: None,
        }
    }

    #[test]
    fn only_what_the_control_plane_signed_for_this_question_is_applied() {
        let (ours, others) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let expected = Expected {
            key: ours.public(),
            data_plane: DataPlaneId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [2; 10]),
            nonce: "n",
            applied: Some(7),
            history: Some("h"),
        };
        let check = |signed_document: SignedDocument| {
            expected.read(&signed_document).map_err(|error| error.to_string())
        };
        assert_eq!(check(signed(&document(), &ours).unwrap()).unwrap(), document());
        let refused = |of: Document, key: &SigningKey, why: &str| {
            let said = check(signed(&of, key).unwrap()).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        refused(document(), &others, "signature");
        refused(Document { nonce: "m".into(), ..document() }, &ours, "sent before");
        refused(Document { version: 6, ..document() }, &ours, "take changes back");
        let forked = Document { history: Some("g".into()), ..document() };
        refused(forked.clone(), &ours, "not the one that is applied here");
        let beyond = Document { version: 8, ..forked };
        assert_eq!(check(signed(&beyond, &ours).unwrap()).unwrap(), beyond, "it is beyond what is applied");
        let older = Document { history: None, ..document() };
        assert_eq!(check(signed(&older, &ours).unwrap()).unwrap(), older);
        let other = WorkspaceId::new(1, [3; 10]).to_string();
        refused(Document { workspace: other, ..document() }, &ours, "another workspace");
        let other = DataPlaneId::new(1, [3; 10]).to_string();
        refused(Document { data_plane: other, ..document() }, &ours, "another data plane");
        let mut signed_document = signed(&document(), &ours).unwrap();
        signed_document.document = signed_document.document.replace("\"version\":7", "\"version\":8");
        assert!(check(signed_document).unwrap_err().contains("signature"));
        let text = serde_json::to_string(&document()).unwrap();
        let without_purpose =
            SignedDocument { signature: ours.sign(text.as_bytes()).to_string(), document: text };
        assert!(check(without_purpose).unwrap_err().contains("signature"));
    }
}
