//! Batches that no provider takes as a whole for their project: the gateway keeps them, and works through them itself.

use std::future;
use std::rc::Rc;

use admit::{Caller, admit};
use bytes::Bytes;
use conversation::own_batch::{FileRequests, OwnBatches, OwnFiles, OwnResult};
use conversation::request::{Stored, StoredAct};
use decode::{Call, Inbound};
use domain::limits::{BATCH_ITEMS_WAITING_MAX, BATCH_TIME};
use domain::{
    BatchNotKept, Dialect, EndedItem, Fault, FaultClass, FoundBatch, NewBatch, ObjectOwner, Operation,
    OwnBatch, ResultsFile, StoredKind, StoredObjectId, StoredObjectKind, TraceId,
};
use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt as _};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use plan::{PlanFailed, is_left_to_us};
use relay::deliver_own;
use settle::{ReplyBody, settle, streamed, whole};

use crate::kept_headers::{header_text, own_to_keep};
use crate::own_files::OwnFile;
use crate::pooled;
use crate::stop::EarlyExit;
use crate::{
    Core, concluded, hooks, own_files, own_headers, own_uploads, planned, planned_to_settle, reading, refuse,
    resolved, serve, stored_lookup,
};

/// What a plan says of a file that no provider stores for the project.
const UNKNOWN_FILE: &str = "file_not_found";
/// Says who works through a batch.
const EXECUTION: HeaderName = HeaderName::from_static("agent-batch-execution");

/// Serves a request about batches: what the gateway works through is answered here, and everything else by the pipeline.
pub async fn serve_batch(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let is_file = inbound.operation == Operation::File;
    let format = dialects::own_batches(dialect).filter(|format| !is_file || format.files().is_some());
    let Some(format) = format else { return serve(core, inbound, caller).await };
    let stored = inbound.addressed.as_deref().and_then(|addressed| addressed.stored.clone());
    let Some(stored) = stored else {
        let result = create(core, format, inbound, caller).await;
        return concluded(core, dialect, trace, result);
    };
    let owner = caller.owner();
    let named = match find(core, owner, inbound.operation, dialect, &stored).await {
        Ok(Some(named)) => named,
        Ok(None) => return serve(core, inbound, caller).await,
        Err(fault) => return refuse(core, dialect, &fault, trace),
    };
    let done = match named {
        Named::Batch(batch) => act(core, &caller, format, &stored, &batch).await,
        Named::File(files, file) => own_files::act(core, &caller, files, &stored, file).await,
    };
    match done {
        Ok(Done::Document(body)) => {
            core.counters.answered(200);
            whole(StatusCode::OK, headers(trace, "application/json"), body.into())
        }
        Ok(Done::Lines(lines)) => {
            core.counters.answered(200);
            streamed(StatusCode::OK, headers(trace, format.lines_type()), lines)
        }
        Err(fault) => refuse(core, dialect, &fault, trace),
    }
}

fn headers(trace: TraceId, content_type: &'static str) -> HeaderMap {
    let mut headers = own_headers(trace, content_type);
    headers.insert(EXECUTION, HeaderValue::from_static("gateway"));
    headers
}

/// Headers that the requests of a batch have.
type Headers = Vec<(String, String)>;

/// What a request names of the gateway's own.
enum Named {
    Batch(Box<OwnBatch>),
    File(&'static dyn OwnFiles, OwnFile),
}

/// The batch or file that a request names, if the gateway works through it or keeps it.
async fn find(
    core: &Core,
    owner: ObjectOwner,
    operation: Operation,
    dialect: Dialect,
    stored: &Stored,
) -> Result<Option<Named>, Box<Fault>> {
    let Ok(id) = stored.id.parse::<StoredObjectId>() else { return Ok(None) };
    if StoredKind::of(operation).is_none_or(|kind| id.kind != StoredObjectKind::of(dialect, kind)) {
        return Ok(None);
    }
    if operation == Operation::File {
        let files = dialects::own_batches(dialect).and_then(|format| format.files());
        let Some(files) = files else { return Ok(None) };
        return Ok(own_files::find(core, owner, id).await?.map(|file| Named::File(files, file)));
    }
    match core.batches.find(owner, id).await {
        FoundBatch::Known(batch) => Ok(Some(Named::Batch(batch))),
        // A provider may have it.
        FoundBatch::Unknown => Ok(None),
        // What a provider has is in the same store: nobody can tell.
        FoundBatch::StoreUnavailable => Err(store_away()),
    }
}

/// What a request about a batch is answered with.
pub(crate) enum Done {
    Document(String),
    /// Its results, or the content of a file.
    Lines(LocalBoxStream<'static, Option<Bytes>>),
}

async fn act(
    core: &Core,
    caller: &Caller,
    format: &'static dyn OwnBatches,
    stored: &Stored,
    batch: &OwnBatch,
) -> Result<Done, Box<Fault>> {
    match stored.act {
        StoredAct::Cancel => match core.batches.cancel(batch.owner, batch.id).await {
            FoundBatch::Known(batch) => Ok(Done::Document(format.write_cancelled(&batch))),
            FoundBatch::Unknown => Err(gone(batch.id)),
            FoundBatch::StoreUnavailable => Err(store_away()),
        },
        StoredAct::Delete if batch.ended_unix_ms.is_none() => Err(not_ended(batch.id)),
        StoredAct::Delete => {
            caller.check_deletion()?;
            let is_gone = core.batches.forget(batch.owner, batch.id).await;
            is_gone.then(|| Done::Document(format.write_deleted(batch.id))).ok_or_else(store_away)
        }
        StoredAct::Content if batch.ended_unix_ms.is_none() => Err(no_results(batch.id)),
        StoredAct::Content => Ok(Done::Lines(lines(core, format, batch, None).boxed_local())),
        _ => Ok(match format.write_around_results(batch) {
            Some(around) => Done::Lines(with_results(core, format, batch, around).boxed_local()),
            None => Done::Document(format.write_batch(batch)),
        }),
    }
}

/// A batch that its results are a part of: they stand between these texts.
fn with_results(
    core: &Core,
    format: &'static dyn OwnBatches,
    batch: &OwnBatch,
    around: Vec<String>,
) -> impl Stream<Item = Option<Bytes>> + use<> {
    let last = around.len().saturating_sub(1);
    let parts: Vec<_> = around
        .into_iter()
        .enumerate()
        .map(|(at, text)| {
            let text = stream::iter([Some(Bytes::from(text))]);
            let results = (at < last).then(|| parted(lines(core, format, batch, None)));
            text.chain(stream::iter(results).flatten())
        })
        .collect();
    stream::iter(parts).flatten()
}

/// Lines as the elements of a list.
fn parted(lines: impl Stream<Item = Option<Bytes>>) -> impl Stream<Item = Option<Bytes>> {
    let mut is_first = true;
    lines.map(move |page| {
        let mut elements = Vec::new();
        let page = page?;
        for line in page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if !std::mem::replace(&mut is_first, false) {
                elements.push(b',');
            }
            elements.extend_from_slice(line);
        }
        Some(Bytes::from(elements))
    })
}

/// The results of a batch, of one of its files if one is given, read from the store as fast as the client takes them.
pub(crate) fn lines(
    core: &Core,
    format: &'static dyn OwnBatches,
    batch: &OwnBatch,
    of: Option<ResultsFile>,
) -> impl Stream<Item = Option<Bytes>> + use<> {
    let (store, owner, id) = (core.batches.clone(), batch.owner, batch.id);
    let pages = futures_util::stream::unfold(Some(None), move |after: Option<Option<u64>>| {
        let store = store.clone();
        async move {
            let page = store.ended_items(owner, id, after?).await;
            let Some(page) = page else { return Some((None, None)) };
            let last = page.last()?.position;
            let there = page.iter().filter(|item| of.is_none_or(|of| of.has(item.outcome)));
            let lines: Vec<u8> = there.flat_map(|item| line(format, item)).collect();
            Some((Some(Bytes::from(lines)), Some(Some(last))))
        }
    });
    pages.filter(|lines| future::ready(!lines.as_ref().is_some_and(Bytes::is_empty)))
}

/// The line of an item; empty where its content was purged.
fn line(format: &dyn OwnBatches, item: &EndedItem) -> Vec<u8> {
    let Some(content) = &item.content else { return Vec::new() };
    if item.outcome.has_result() {
        return content.to_vec();
    }
    let Some(read) = format.read_item(content) else { return Vec::new() };
    format.write_line(&OwnResult {
        custom_id: &read.custom_id,
        outcome: item.outcome,
        body: &[],
        position: item.position,
        exchange: None,
    })
}

async fn create(
    core: &Rc<Core>,
    format: &dyn OwnBatches,
    inbound: Inbound,
    caller: Caller,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let kept = kept_headers(inbound.dialect, &inbound.headers);
    let call = reading::read(inbound, &caller, core.now_us())?;
    let names = stored_lookup::names(&caller, &call);
    let admitted = admit(call, caller, &core.journal, &core.allowances, core.now_us())?;
    let admitted = hooks::before(core, resolved(core, admitted, names).await).await;
    let planned = match planned(core, admitted, core.now_us()) {
        Err(failed) if may_pool(format, &failed).await => {
            planned(core, failed.admitted.for_pool(), core.now_us())
        }
        planned => planned,
    };
    match planned {
        Ok(planned) => planned_to_settle(core, planned).await,
        Err(failed) if own_uploads::is_left_to_us(&failed) && format.files().is_some() => {
            keep_upload(core, format, failed).await
        }
        Err(failed) => match left_to_us(core, format, &failed).await {
            Some(requests) => keep(core, format, (kept, requests), failed).await,
            None => Err(failed.into()),
        },
    }
}

async fn may_pool(format: &dyn OwnBatches, failed: &PlanFailed) -> bool {
    pooled::may_be(format, failed.admitted.call(), failed.admitted.caller(), &failed.fault).await
}

/// What the gateway is to keep of a call that nobody else takes; `None` where that is not for it to keep.
async fn left_to_us(
    core: &Core,
    format: &dyn OwnBatches,
    failed: &PlanFailed,
) -> Option<Result<FileRequests, Box<Fault>>> {
    let (call, caller) = (failed.admitted.call(), failed.admitted.caller());
    if call.is_made_from_file() {
        let is_unknown = failed.fault.code == UNKNOWN_FILE;
        let files = format.files().filter(|_| is_unknown)?;
        return own_files::requests(core, files, caller.owner(), call).await;
    }
    if !is_left_to_us(&failed.fault) {
        return None;
    }
    if let Some(fault) = nothing_kept(caller) {
        return Some(Err(fault));
    }
    match format.files().filter(|_| call.operation() == Operation::File) {
        Some(files) => Some(own_files::received(files, call).await),
        None => Some(format.split(call.body(), &call.request().model)),
    }
}

/// Whether a batch that is refused with this fault may be its provider's own on an account that workspaces share.
pub(crate) async fn would_pool(call: &Call, caller: &Caller, fault: Option<&Fault>) -> bool {
    let (Some(fault), Some(format)) = (fault, dialects::own_batches(call.dialect())) else { return false };
    pooled::may_be(format, call, caller, fault).await
}

/// Whether the gateway would work through a new batch that can't be planned for this reason: `None` if not, else the
/// fault that it would meet there, if any.
pub(crate) async fn would_work_through(
    core: &Core,
    call: &Call,
    caller: &Caller,
    fault: &Fault,
) -> Option<Option<Box<Fault>>> {
    let format = dialects::own_batches(call.dialect())?;
    if call.is_made_from_file() {
        let id = call.request().stored.as_ref()?.id.parse().ok()?;
        format.files().filter(|_| fault.code == UNKNOWN_FILE)?;
        match core.batches.find(caller.owner(), id).await {
            FoundBatch::Known(_) => {}
            FoundBatch::Unknown => return None,
            FoundBatch::StoreUnavailable => return Some(Some(store_away())),
        }
    } else if !is_left_to_us(fault) {
        return None;
    }
    Some(nothing_kept(caller))
}

/// The headers that a batch's requests have as well: those of the format, and those of the gateway's own.
fn kept_headers(dialect: Dialect, headers: &HeaderMap) -> Headers {
    let native = dialects::native_headers(dialect.grammar(), headers);
    let native = native.iter().filter_map(|(name, value)| header_text(name, value));
    native.chain(own_to_keep(headers)).collect()
}

/// Keeps a batch, or a file of requests, and books the request that made it.
async fn keep(
    core: &Rc<Core>,
    format: &dyn OwnBatches,
    (headers, requests): (Headers, Result<FileRequests, Box<Fault>>),
    mut failed: Box<PlanFailed>,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let kept = match requests {
        Ok(requests) => kept(core, headers, requests, &failed).await,
        Err(fault) => Err(fault),
    };
    let body = match kept {
        Ok(batch) => match format.files().filter(|_| batch.id.kind.kind() == StoredKind::File) {
            Some(files) => Bytes::from(files.write_file(&batch)),
            None => Bytes::from(format.write_batch(&batch)),
        },
        Err(fault) => {
            failed.fault = fault;
            return Err(failed.into());
        }
    };
    Ok(kept_answer(failed, body))
}

/// Keeps a file of another purpose, and books the request that made it.
async fn keep_upload(
    core: &Rc<Core>,
    format: &dyn OwnBatches,
    mut failed: Box<PlanFailed>,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let (call, caller) = (failed.admitted.call(), failed.admitted.caller());
    let kept = match nothing_kept(caller) {
        Some(fault) => Err(fault),
        None => own_uploads::keep(core, call, caller.owner()).await,
    };
    match (kept, format.files()) {
        (Ok(file), Some(files)) => {
            let body = Bytes::from(files.write_kept_file(&file));
            Ok(kept_answer(failed, body))
        }
        (Ok(_), None) => Err(failed.into()),
        (Err(fault), _) => {
            failed.fault = fault;
            Err(failed.into())
        }
    }
}

fn kept_answer(failed: Box<PlanFailed>, body: Bytes) -> Response<ReplyBody> {
    let PlanFailed { admitted, resolved_model, record, manifest_revision, .. } = *failed;
    let (call, _caller, mut tab) = admitted.into_parts();
    tab.record_plan(resolved_model, record);
    tab.record_manifest(manifest_revision);
    if let Some(screening) = call.screening() {
        tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
    }
    let execution = Some((EXECUTION, HeaderValue::from_static("gateway")));
    settle(deliver_own(tab, body, call.dialect()).with_header(execution))
}

async fn kept(
    core: &Core,
    headers: Headers,
    FileRequests { items, details }: FileRequests,
    failed: &PlanFailed,
) -> Result<OwnBatch, Box<Fault>> {
    let (call, caller) = (failed.admitted.call(), failed.admitted.caller());
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault);
    }
    let made = StoredKind::of(call.operation()).ok_or_else(|| Box::new(Fault::internal()))?;
    let created_unix_ms = call.received_unix_ms();
    let time_ms = u64::try_from(BATCH_TIME.as_millis()).unwrap_or(u64::MAX);
    let batch = NewBatch {
        kind: StoredObjectKind::of(call.dialect(), made),
        owner: caller.owner(),
        request: call.trace(),
        key: caller.key().map(|key| key.id),
        headers,
        details,
        items,
        created_unix_ms,
        expires_unix_ms: created_unix_ms.saturating_add(time_ms),
    };
    core.batches.keep(batch).await.map_err(|error| match error {
        BatchNotKept::TooManyWaiting(_) if made == StoredKind::File => own_files::too_many(),
        BatchNotKept::TooManyWaiting(waiting) => too_many_waiting(waiting),
        BatchNotKept::StoreUnavailable => store_away(),
    })
}

/// Where nothing may be retained, there is nothing to work through.
fn nothing_kept(caller: &Caller) -> Option<Box<Fault>> {
    let policies = caller.project().policy.as_ref()?;
    let kept = "the gateway keeps a batch that it works through itself";
    policies.refuse_to_keep(kept, "Send its requests one by one.").map(Box::new)
}

fn too_many_waiting(waiting: u64) -> Box<Fault> {
    let message = format!(
        "{waiting} requests of this project's batches wait already, and at most {BATCH_ITEMS_WAITING_MAX} may."
    );
    let fault = Fault::new(FaultClass::Limited, "batch_items_waiting", message);
    Box::new(fault.fix("Send the batch again when others have ended.").retry_after_ms(60_000))
}

fn not_ended(id: StoredObjectId) -> Box<Fault> {
    let message = format!("The batch {id} has not ended yet.");
    let fault = Fault::new(FaultClass::Conflict, "batch_not_ended", message);
    Box::new(fault.fix("Cancel it, and delete it once it has ended.").should_retry(false))
}

fn no_results(id: StoredObjectId) -> Box<Fault> {
    let message = format!("There are no results of the batch {id} yet: some of its requests have not ended.");
    let fault = Fault::new(FaultClass::NotFound, "batch_not_found", message);
    Box::new(fault.fix("Read the batch until it has ended."))
}

fn gone(id: StoredObjectId) -> Box<Fault> {
    let message = format!("There is no batch {id} here.");
    Box::new(
        Fault::new(FaultClass::NotFound, "batch_not_found", message)
            .fix("Use the id of a batch of this project."),
    )
}

pub(crate) fn store_away() -> Box<Fault> {
    let fault =
        Fault::new(FaultClass::Unavailable, "store_unavailable", "Batches can't be read or stored now.");
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_with_a_batch_is_said_by_its_code() {
        let kind = StoredObjectKind::of(Dialect::Chat, StoredKind::Batch);
        let id = StoredObjectId { kind, digest: [7; 16] };
        for (fault, class, code) in [
            (too_many_waiting(9), FaultClass::Limited, "batch_items_waiting"),
            (not_ended(id), FaultClass::Conflict, "batch_not_ended"),
            (no_results(id), FaultClass::NotFound, "batch_not_found"),
            (gone(id), FaultClass::NotFound, "batch_not_found"),
            (store_away(), FaultClass::Unavailable, "store_unavailable"),
        ] {
            assert_eq!((fault.class, fault.code), (class, code));
            assert!(fault.fix.is_some(), "{code}");
        }
    }

    #[test]
    fn the_requests_of_a_batch_have_the_gateways_own_headers_but_those_of_this_one() {
        let headers: HeaderMap = ["agent-hints", "agent-idempotency-key", "authorization", "accept"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")))
            .into_iter()
            .collect();
        let kept = kept_headers(Dialect::Chat, &headers);
        assert_eq!(kept, [("agent-hints".to_owned(), "x".to_owned())]);
    }
}
