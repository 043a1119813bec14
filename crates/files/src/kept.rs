//! What is known of a file, sealed in one: its key, name and type. The row beside it has nothing of what its client wrote but
//! the purpose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{ContentKind, FileId, KeptFile, ObjectOwner, Sealed, Secret, TraceId};
use serde::{Deserialize, Serialize};
use vault::{ContentRef, FileKey, OpenError, Vault, VaultError};

use crate::sql::FileRow;

/// What a file's client wrote of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub name: String,
    pub content_type: String,
    pub path: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SealedForm {
    key: String,
    name: String,
    content_type: String,
    path: Option<String>,
}

/// A file as its owner sees it, with its key.
pub(crate) struct OpenedFile {
    pub kept: KeptFile,
    pub key: FileKey,
}

fn content_ref(vault: &Vault, owner: ObjectOwner, id: FileId, request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    let digest = vault.requests.of_file(id);
    ContentRef { kept: ContentKind::File, workspace, project, digest, request }
}

pub(crate) fn seal(
    vault: &Vault,
    (owner, id, request): (ObjectOwner, FileId, TraceId),
    key: &FileKey,
    facts: &Facts,
) -> Result<Sealed, VaultError> {
    let form = SealedForm {
        key: STANDARD.encode(key.expose()),
        name: facts.name.clone(),
        content_type: facts.content_type.clone(),
        path: facts.path.clone(),
    };
    // Wiped on drop: it holds the key.
    let text = Secret::new(serde_json::to_vec(&form).map_err(|_| VaultError::Crypto)?);
    drop(Secret::from_text(form.key));
    vault.sealer.seal_content(&content_ref(vault, owner, id, request), text.expose())
}

pub(crate) fn open(vault: &Vault, row: FileRow) -> Result<OpenedFile, OpenError> {
    let content_ref = content_ref(vault, row.owner, row.id, row.request);
    let text = vault.opener.open_content(&content_ref, &row.sealed)?;
    let form: SealedForm = serde_json::from_slice(text.expose()).map_err(|_| OpenError::Refused)?;
    let bytes = Secret::new(STANDARD.decode(&form.key).map_err(|_| OpenError::Refused)?);
    drop(Secret::from_text(form.key));
    let key = FileKey::from_secret(&bytes).map_err(|_| OpenError::Refused)?;
    let FileRow { id, owner, request, purpose, declared, received, pieces, last_piece, is_complete, .. } =
        row;
    let kept = KeptFile {
        id,
        owner,
        request,
        name: form.name,
        content_type: form.content_type,
        path: form.path,
        purpose,
        declared,
        received,
        pieces,
        last_piece,
        is_complete,
        created_unix_ms: row.created_unix_ms,
        link_key: vault.requests.of_link(id, &row.sealed.key_id),
        until_unix_ms: row.until_unix_ms,
    };
    Ok(OpenedFile { kept, key })
}
