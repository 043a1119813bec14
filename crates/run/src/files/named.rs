//! The uploaded file that an input names, by its id or its address.

use bytes::{Bytes, BytesMut};
use domain::limits::DOCUMENT_BYTES_MAX;
use domain::{Fault, FaultClass, FileId, KeptFile, ObjectOwner};
use line::Core;

use super::complete;

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
