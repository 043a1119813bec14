//! The files of batches that the gateway works through itself: those of requests, which it keeps, and those of results, which
//! are read from their batch.

use admit::Caller;
use bytes::{Bytes, BytesMut};
use conversation::own_batch::{FileRequests, OwnFiles};
use conversation::request::{Stored, StoredAct};
use decode::{Call, requests_file, too_large, whole_form};
use domain::limits::BODY_BYTES_MAX;
use domain::{
    Fault, FaultClass, FoundBatch, KeptFile, ObjectOwner, OwnBatch, ResultsFile, StoredObjectId,
    file_of_object,
};
use futures_util::{Stream, StreamExt as _};

use crate::Core;
use crate::file_content::file_content;
use crate::limits::FILE_PIECE_BYTES;
use crate::own_batches::{Done, lines, store_away};

/// A file of the gateway's own.
pub(crate) enum OwnFile {
    Requests(Box<OwnBatch>),
    Results(Box<OwnBatch>, ResultsFile),
    /// Of another purpose.
    Kept(Box<KeptFile>),
}

/// The file of this id, if the gateway has it.
pub(crate) async fn find(
    core: &Core,
    owner: ObjectOwner,
    id: StoredObjectId,
) -> Result<Option<OwnFile>, Box<Fault>> {
    match core.batches.find(owner, id).await {
        FoundBatch::Known(file) => return Ok(Some(OwnFile::Requests(file))),
        FoundBatch::Unknown => {}
        FoundBatch::StoreUnavailable => return Err(store_away()),
    }
    if let Some(kept) = file_of_object(id) {
        let kept = core.files.find(owner, kept).await?;
        if let Some(kept) = kept.filter(|kept| kept.is_complete) {
            return Ok(Some(OwnFile::Kept(Box::new(kept))));
        }
    }
    for results in ResultsFile::ALL {
        match core.batches.find(owner, results.batch(id)).await {
            FoundBatch::Known(batch) if batch.ended_unix_ms.is_some() => {
                return Ok(Some(OwnFile::Results(batch, results)));
            }
            FoundBatch::Known(_) | FoundBatch::Unknown => {}
            FoundBatch::StoreUnavailable => return Err(store_away()),
        }
    }
    Ok(None)
}

/// Does with a file what a request asks for.
pub(crate) async fn act(
    core: &Core,
    caller: &Caller,
    files: &dyn OwnFiles,
    stored: &Stored,
    file: OwnFile,
) -> Result<Done, Box<Fault>> {
    match (stored.act, file) {
        (StoredAct::Delete, file) => {
            caller.check_deletion()?;
            let is_gone = match &file {
                OwnFile::Requests(file) => core.batches.forget(file.owner, file.id).await,
                OwnFile::Results(batch, results) => core.batches.forget_results(batch.id, *results).await,
                OwnFile::Kept(file) => core.files.forget(file.owner, file.id).await?,
            };
            let id = file.id();
            is_gone.then(|| Done::Document(files.write_file_deleted(id))).ok_or_else(store_away)
        }
        (StoredAct::Content, OwnFile::Kept(file)) => Ok(Done::Lines(file_content(core, &file).boxed_local())),
        (StoredAct::Content, file) => {
            let mut content = content(core, &file)?;
            // What was purged or deleted is not there, and an empty file is kept by nobody.
            let first = content.next().await.ok_or_else(|| no_file(file.id()))?;
            Ok(Done::Lines(futures_util::stream::once(async { first }).chain(content).boxed_local()))
        }
        (_, OwnFile::Kept(file)) => Ok(Done::Document(files.write_kept_file(&file))),
        (_, OwnFile::Requests(file)) => Ok(Done::Document(files.write_file(&file))),
        (_, OwnFile::Results(batch, results)) => {
            let file = OwnFile::Results(batch.clone(), results);
            let mut content = content(core, &file)?;
            let mut bytes = 0;
            while let Some(piece) = content.next().await {
                bytes += piece.ok_or_else(store_away)?.len() as u64;
            }
            match bytes {
                0 => Err(no_file(file.id())),
                bytes => Ok(Done::Document(files.write_results_file(&batch, results, bytes))),
            }
        }
    }
}

impl OwnFile {
    fn id(&self) -> StoredObjectId {
        match self {
            Self::Requests(file) => file.id,
            Self::Results(batch, results) => results.of(batch.id),
            Self::Kept(file) => file.object_id(),
        }
    }
}

/// What is in a file, in pieces that are not empty; one is `None` where the store does not answer.
fn content(
    core: &Core,
    file: &OwnFile,
) -> Result<impl Stream<Item = Option<Bytes>> + Unpin + use<>, Box<Fault>> {
    Ok(match file {
        OwnFile::Kept(file) => file_content(core, file).boxed_local(),
        OwnFile::Requests(file) => pieces(core, file).boxed_local(),
        OwnFile::Results(batch, results) => {
            let dialect = batch.id.kind.dialect();
            let format = dialects::own_batches(dialect).ok_or_else(|| Box::new(Fault::internal()))?;
            lines(core, format, batch, Some(*results)).boxed_local()
        }
    })
}

fn pieces(core: &Core, file: &OwnBatch) -> impl Stream<Item = Option<Bytes>> + use<> {
    let (store, owner, id) = (core.batches.clone(), file.owner, file.id);
    let pages = futures_util::stream::unfold(Some(None), move |after: Option<Option<u64>>| {
        let store = store.clone();
        async move {
            let Some(page) = store.pieces(owner, id, after?).await else { return Some((vec![None], None)) };
            let last = page.last()?.0;
            Some((page.into_iter().map(|(_, piece)| Some(piece)).collect(), Some(Some(last))))
        }
    });
    pages.flat_map(futures_util::stream::iter)
}

/// The pieces of an uploaded file, and the details stored with them.
pub(crate) async fn received(files: &dyn OwnFiles, call: &Call) -> Result<FileRequests, Box<Fault>> {
    let form = call.request().form().ok_or_else(|| Box::new(Fault::internal()))?;
    let most = (BODY_BYTES_MAX, (|| too_large(BODY_BYTES_MAX)) as fn() -> Box<Fault>);
    let body = whole_form(call.upload(), call.body().clone(), most).await?;
    let file = requests_file(&form.boundary, &body).ok_or_else(|| Box::new(Fault::internal()))?;
    let items = file.content.chunks(FILE_PIECE_BYTES).map(|piece| body.slice_ref(piece)).collect();
    Ok(FileRequests { items, details: files.describe(&file.name, file.content.len() as u64) })
}

/// The requests of the batch that a call makes of a file; `None` where the gateway has no such file.
pub(crate) async fn requests(
    core: &Core,
    files: &dyn OwnFiles,
    owner: ObjectOwner,
    call: &Call,
) -> Option<Result<FileRequests, Box<Fault>>> {
    let id: StoredObjectId = call.request().stored.as_ref()?.id.parse().ok()?;
    let file = match core.batches.find(owner, id).await {
        FoundBatch::Known(file) => file,
        FoundBatch::Unknown => return None,
        FoundBatch::StoreUnavailable => return Some(Err(store_away())),
    };
    let (mut content, mut received) = (BytesMut::new(), 0);
    let mut pieces = pieces(core, &file).boxed_local();
    while let Some(piece) = pieces.next().await {
        let Some(piece) = piece else { return Some(Err(store_away())) };
        content.extend_from_slice(&piece);
        received += 1;
    }
    if received != file.counts.processing {
        return Some(Err(no_file(id)));
    }
    let is_endpoint = |endpoint: &str| dialects::file_batch_operation(endpoint).is_some();
    Some(files.read_file(call.body(), &content.freeze(), &is_endpoint))
}

fn no_file(id: StoredObjectId) -> Box<Fault> {
    let fault = Fault::new(FaultClass::NotFound, "file_not_found", format!("The file {id} has no content."));
    Box::new(fault.fix("It was deleted or purged. Upload it again, or read another file."))
}

pub(crate) fn too_many() -> Box<Fault> {
    let message = "The gateway already stores as much of this project's request files as it may.";
    let fault = Fault::new(FaultClass::Limited, "too_many_files", message);
    Box::new(fault.fix("Delete files whose batches have been created.").should_retry(false))
}

#[cfg(test)]
mod tests {
    use domain::StoredObjectKind;

    use super::*;

    #[test]
    fn what_is_not_done_with_a_file_is_said_by_its_code() {
        let id = StoredObjectId { kind: StoredObjectKind::FILE, digest: [7; 16] };
        for (fault, class, code) in [
            (no_file(id), FaultClass::NotFound, "file_not_found"),
            (too_many(), FaultClass::Limited, "too_many_files"),
        ] {
            assert_eq!((fault.class, fault.code), (class, code));
            assert!(fault.fix.is_some(), "{code}");
        }
    }
}
