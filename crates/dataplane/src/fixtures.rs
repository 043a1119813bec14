//! Reads documents of a control plane without one, for the fuzz targets.

use domain::{DataPlaneId, WorkspaceId};
use proof::SigningKey;

use crate::document::{DocumentError, Expected, sign};
use crate::wire::{Document, WireSecret};

/// What is written again of a document that a control plane signed, for a data plane that has version 7.
///
/// # Errors
/// It is not applied.
pub fn applied(text: &str, key: &SigningKey) -> Result<String, DocumentError> {
    let expected = Expected {
        key: key.public(),
        data_plane: DataPlaneId::new(1, [1; 10]),
        workspace: WorkspaceId::new(1, [2; 10]),
        nonce: "n",
        applied: Some(7),
        history: Some("h"),
    };
    let document: Document = expected.applicable(expected.authentic(&sign(text.to_owned(), key))?)?;
    serde_json::to_string(&document).map_err(DocumentError::Form)
}

/// How many secrets are sealed together in these bytes.
pub fn count_secrets(opened: &[u8]) -> Option<usize> {
    postcard::from_bytes::<Vec<WireSecret>>(opened).ok().map(|secrets| secrets.len())
}
