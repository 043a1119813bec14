//! Lists a project's files, batches and videos at providers from our own records, since a provider account
//! may be shared with other projects.

use admit::Caller;
use conversation::objects::ObjectPage;
use dialects::stored_objects;
use domain::{
    Dialect, Fault, FaultClass, FileQuery, KeptFile, ObjectListQuery, OwnBatch, StoredKind, StoredObjectId,
    StoredObjectKind, TraceId, file_of_object,
};
use http::{Response, StatusCode};
use settle::{ReplyBody, whole};

use crate::{Core, own_headers, refuse};

/// Lists the objects of one kind that the caller's project made, in the format of `dialect`. `query` is the
/// raw query string.
pub async fn list_objects(
    core: &Core,
    caller: &Caller,
    (dialect, kind): (Dialect, StoredKind),
    query: &str,
    trace: TraceId,
) -> Response<ReplyBody> {
    match read_page(core, caller, StoredObjectKind::of(dialect, kind), query).await {
        Ok(body) => {
            let headers = own_headers(trace, "application/json");
            core.counters.answered(200);
            whole(StatusCode::OK, headers, body.into())
        }
        Err(fault) => refuse(core, dialect, &fault, trace),
    }
}

async fn read_page(
    core: &Core,
    caller: &Caller,
    kind: StoredObjectKind,
    query: &str,
) -> Result<String, Box<Fault>> {
    let owner = caller.owner();
    let format = stored_objects(kind).ok_or_else(|| Box::new(Fault::internal()))?;
    let request = format.read_list_query(owner, query)?;
    let (wanted, is_oldest_first) = (request.limit, request.oldest_first);
    let page = ObjectListQuery { limit: wanted + 1, ..request };
    let mut rows = listed(core, page).await.ok_or_else(|| {
        let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", "The list can't be read now.");
        Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
    })?;
    let has_more = rows.len() > wanted as usize;
    rows.truncate(wanted as usize);
    Ok(format.write_page(ObjectPage { rows, is_oldest_first, has_more }))
}

/// What providers store, and among it the batches that the gateway works through; `None` if the store does not answer.
async fn listed(core: &Core, page: ObjectListQuery) -> Option<Vec<(StoredObjectId, String)>> {
    let write = own_form(&page);
    let is_oldest_first = page.oldest_first;
    let stored = core.deps.objects.list(page.clone()).await?;
    let stored = stored.into_iter().map(|(id, object)| (object.created_unix_ms, id, object.list_entry));
    let kept = kept_files(core, &page).await?;
    let mut rows: Vec<_> = stored.chain(kept).collect();
    if let Some(write) = write {
        let own = core.batches.list(page).await?;
        rows.extend(own.into_iter().map(|batch| (batch.created_unix_ms, batch.id, write(&batch))));
    }
    rows.sort_by_key(|(created_unix_ms, id, _)| (*created_unix_ms, id.digest));
    if !is_oldest_first {
        rows.reverse();
    }
    Some(rows.into_iter().map(|(_, id, entry)| (id, entry)).collect())
}

/// The files of other purposes than batches that the gateway keeps, where the page is one of files.
async fn kept_files(core: &Core, page: &ObjectListQuery) -> Option<Vec<(u64, StoredObjectId, String)>> {
    let form = dialects::own_batches(page.kind.dialect());
    let Some(files) = form.filter(|_| page.kind == StoredObjectKind::FILE).and_then(|form| form.files())
    else {
        return Some(Vec::new());
    };
    let query = FileQuery {
        owner: page.owner,
        purpose: page.label.clone(),
        after: page.after.and_then(file_of_object),
        oldest_first: page.oldest_first,
        limit: page.limit,
    };
    let kept = core.files.list(query).await.ok()?;
    let written = |file: KeptFile| (file.created_unix_ms, file.object_id(), files.write_kept_file(&file));
    Some(kept.into_iter().map(written).collect())
}

/// Writes what the gateway has itself as lists show it.
type WriteOwn = Box<dyn Fn(&OwnBatch) -> String>;

/// What writes the gateway's own among the objects of a page; `None` where it has none of the kind.
fn own_form(page: &ObjectListQuery) -> Option<WriteOwn> {
    let form = dialects::own_batches(page.kind.dialect())?;
    match page.kind.kind() {
        StoredKind::Batch => Some(Box::new(|batch| form.write_batch(batch))),
        StoredKind::File => {
            let files = form.files()?;
            let is_wanted = page.label.as_deref().is_none_or(|label| label == files.purpose());
            is_wanted.then(|| Box::new(|file: &OwnBatch| files.write_file(file)) as WriteOwn)
        }
        StoredKind::Video | StoredKind::CachedContent => None,
    }
}
