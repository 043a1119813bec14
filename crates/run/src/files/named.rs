//! The uploaded file that an input names, by its id or its address.

use bytes::{Bytes, BytesMut};
use domain::limits::DOCUMENT_BYTES_MAX;
use domain::{Fault, FaultClass, FileId, KeptFile, ObjectOwner, StoredObjectId, file_of_object};
use line::Core;

use super::complete;

/// The file that a text names: its id, in either form, or an address of its content. Whose it is, is looked up: an address of
/// another server that looks like one of ours is of no use to anyone.
pub(crate) fn named(uri: &str) -> Option<FileId> {
    if let Ok(id) = uri.parse() {
        return Some(id);
    }
    if let Ok(id) = uri.parse::<StoredObjectId>() {
        return file_of_object(id);
    }
    let (scheme, rest) = uri.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (_, path) = rest.split_once('/')?;
    let path = path.strip_suffix("/content").unwrap_or(path);
    let id = path.strip_prefix("files/").or_else(|| path.strip_prefix("v1/files/"))?;
    id.parse().ok()
}

/// A file with its content, of at most as many bytes as a document has.
///
/// # Errors
/// There is no such file, it is not complete, it is too large, or its store does not answer.
pub(crate) async fn open(
    core: &Core,
    owner: ObjectOwner,
    id: FileId,
) -> Result<(KeptFile, Bytes), Box<Fault>> {
    let file = complete(&*core.files, owner, id).await?;
    if file.received > DOCUMENT_BYTES_MAX as u64 {
        let message = format!("The document {id} is larger than {DOCUMENT_BYTES_MAX} bytes.");
        let fault = Fault::new(FaultClass::TooLarge, "document_too_large", message);
        return Err(Box::new(fault.fix("Upload a shorter document, or the part of it that matters.")));
    }
    let mut content = BytesMut::new();
    for position in 0..file.pieces {
        match core.files.piece(owner, id, position).await? {
            Some(piece) => content.extend_from_slice(&piece),
            None => break,
        }
    }
    Ok((file, content.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_id_or_its_address() {
        let id = FileId::new(1, [7; 10]);
        let object = StoredObjectId { kind: domain::StoredObjectKind::FILE, digest: *id.as_bytes() };
        for uri in [
            id.to_string(),
            object.to_string(),
            format!("https://gateway.example/files/{id}"),
            format!("http://127.0.0.1:1/files/{id}/content"),
            format!("https://gateway.example/v1/files/{id}/content"),
        ] {
            assert_eq!(named(&uri), Some(id), "{uri}");
        }
        for uri in [
            "https://gateway.example/report.txt".to_owned(),
            format!("ftp://gateway.example/files/{id}"),
            format!("https://gateway.example/files/{id}/upload/x"),
            format!("data:,{id}"),
            String::new(),
        ] {
            assert_eq!(named(&uri), None, "{uri}");
        }
    }
}
