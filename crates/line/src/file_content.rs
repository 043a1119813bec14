//! The content of a file that the gateway keeps, read as fast as a client takes it.

use bytes::Bytes;
use domain::KeptFile;
use futures_util::Stream;

use crate::Core;

/// The pieces of a file, in order; one is `None` where the store does not answer, and the last.
pub fn file_content(core: &Core, file: &KeptFile) -> impl Stream<Item = Option<Bytes>> + use<> {
    let (store, owner, id, pieces) = (core.files.clone(), file.owner, file.id, file.pieces);
    futures_util::stream::unfold(Some(0), move |position: Option<u64>| {
        let store = store.clone();
        async move {
            let position = position.filter(|position| *position < pieces)?;
            match store.piece(owner, id, position).await {
                Ok(Some(piece)) => Some((Some(piece), Some(position + 1))),
                Ok(None) | Err(_) => Some((None, None)),
            }
        }
    })
}
