//! Files, batches, videos and cached prompts that providers store: who made each is recorded under an id of ours before its
//! client reads of it, and the ids in answers are replaced by ours.

use std::sync::Arc;

use conversation::answer::AnswerFacts;
use conversation::batch::BatchModels;
use conversation::objects::{RequestedBatch, StoredObjects};
use conversation::request::StoredAct;
use conversation::stored::StoredObjectReport;
use conversation::video::{VideoState, read_video};
use dialects::{BufferedAnswer, stored_objects};
use domain::{
    Fault, FaultClass, ObjectOwner, StoredKind, StoredObject, StoredObjectId, StoredObjectKind, Units, Usage,
    UsageSource,
};
use ledger::ReservationHandover;
use plan::Attempt;

use crate::exchange::Exchange;
use crate::failure::AttemptFailure;
use crate::open_attempt::OpenAttempt;
use crate::poll_stored::{self, StoredPoll};
use crate::verify::VerifyTarget;

const LOST: &str = "It was created at the provider, but its name couldn't be stored, so it can't be reached through Tidegate.";

impl Exchange {
    pub(crate) fn owner(&self) -> ObjectOwner {
        self.caller.owner()
    }

    /// Whether it makes an object whose cost is known once that has ended: the budgets that apply count it then.
    pub(crate) fn makes_what_is_booked_later(&self) -> bool {
        self.call.object().is_some_and(|object| object.is_booked_at_end) && self.call.makes_something()
    }

    /// Whether the object may exist although no answer said so: another attempt could make it twice.
    pub(crate) fn may_have_made(&self, failure: &AttemptFailure) -> bool {
        let stored = self.call.request().stored.as_ref();
        let makes = self.call.is_about_object() && stored.is_none_or(|stored| stored.act == StoredAct::Make);
        makes && failure.request_sent && failure.status.is_none_or(|status| status >= 500)
    }

    /// Rewrites a provider's word that it no longer has the cached prompt that a request goes on from.
    pub(crate) fn rewrite_cache_not_found(&self, failure: AttemptFailure) -> AttemptFailure {
        let report = failure.fault.upstream.as_deref();
        let is_denied = report.is_some_and(|report| report.status == Some(403));
        let is_gone = is_denied && failure.class() == FaultClass::UpstreamNotFound;
        let file = self.call.request().files.iter().find(|file| file.is_our_cached_content());
        let Some(file) = file.filter(|_| is_gone) else { return failure };
        let message = format!("The provider no longer has the cached prompt '{}'.", file.id);
        let gone = Fault::new(FaultClass::NotFound, "cached_content_not_found", message)
            .param(file.path.clone())
            .fix("Create it again, or send the whole prompt.");
        AttemptFailure { fault: Box::new(gone), ..failure }
    }

    /// Rewrites a provider's not-found for a stored object, which would name it by the provider's own id.
    pub(crate) fn rewrite_object_not_found(&self, failure: AttemptFailure) -> AttemptFailure {
        let (Some(stored), Some(object)) = (self.call.request().stored.as_deref(), self.call.object()) else {
            return failure;
        };
        if failure.class() != FaultClass::UpstreamNotFound {
            return failure;
        }
        let or_no_content = if stored.act == StoredAct::Content { object.or_no_content } else { "" };
        let named = self.call.operation().noun();
        let message = format!("The provider has no {named} '{}'{or_no_content}.", stored.id);
        let gone = Fault::new(FaultClass::NotFound, object.not_found, message)
            .fix("It was deleted, or its kind doesn't support this.");
        let gone = match &failure.fault.upstream {
            Some(report) => gone.upstream((**report).clone()),
            None => gone,
        };
        AttemptFailure { fault: Box::new(gone), ..failure }
    }
}

/// Records the objects that an answer names, and replaces their ids by ours.
pub(crate) async fn record_objects(
    exchange: &Exchange,
    attempt: &Attempt,
    open: &OpenAttempt,
    whole: BufferedAnswer,
) -> Result<BufferedAnswer, AttemptFailure> {
    let is_native = open.is_native();
    let Some(kind) = StoredKind::of(exchange.call.operation()) else { return Ok(whole) };
    let kind = StoredObjectKind::of(exchange.dialect(), kind);
    let Some(objects) = stored_objects(kind) else { return Ok(whole) };
    let (keeper, owner, maker) = (&exchange.deps.objects, exchange.owner(), attempt.principal());
    let stored = exchange.call.request().stored.as_deref();
    let act = stored.map(|stored| stored.act);
    if let Some(stored) = stored.filter(|stored| objects.has_empty_answer(stored.act)) {
        if stored.act == StoredAct::Delete {
            keeper.forget(owner, keeper.id(owner, kind, maker, stored.upstream_id())).await;
        }
        return Ok(whole);
    }
    let mut ours = |kind: StoredObjectKind, id: &str| keeper.id(owner, kind, maker, id).to_string();
    let Some((body, made)) = objects.rewrite_ids(&whole.body, &mut ours) else {
        return Err(
            AttemptFailure::broken(attempt.provider(), "it doesn't identify the object").not_retryable()
        );
    };
    if exchange.caller.side_call().is_some_and(|call| !call.is_wanted()) {
        // No client gets its name, and no list has it.
        let facts = AnswerFacts { usage: storage_used(exchange, &made).or(whole.facts.usage), ..whole.facts };
        return Ok(BufferedAnswer { facts, ..whole });
    }
    let id = keeper.id(owner, kind, maker, &made.id);
    if act == Some(StoredAct::Delete) && !is_native {
        return delete_polled_video(exchange, attempt, id, made, whole).await;
    }
    if act == Some(StoredAct::Delete) {
        keeper.forget(owner, id).await;
        return Ok(BufferedAnswer { body, ..whole });
    }
    // Clients request its files as soon as the answer names them.
    for file in &made.files {
        let named = StoredObjectReport { id: file.clone(), ..StoredObjectReport::default() };
        let kept =
            keep(exchange, attempt, keeper.id(owner, StoredObjectKind::FILE, maker, file), named, None);
        if !kept.await {
            return Err(lost());
        }
    }
    let usage = storage_used(exchange, &made);
    let made = as_requested(exchange, objects, id, made);
    if !keep(exchange, attempt, id, made, open.handover()).await
        && act.is_none_or(|act| act == StoredAct::Make)
    {
        return Err(lost());
    }
    let facts = AnswerFacts { usage: usage.or(whole.facts.usage), ..whole.facts };
    Ok(BufferedAnswer { body, facts, ..whole })
}

/// What the creation or extension of a cached prompt uses: its tokens, and their storage for the time that is added.
fn storage_used(exchange: &Exchange, made: &StoredObjectReport) -> Option<Usage> {
    let request = exchange.call.request();
    request.cache_life()?;
    let tokens = made.tokens?;
    let (input, since) = match request.stored.as_deref() {
        None => (tokens, made.created_unix_ms.unwrap_or_else(|| exchange.call.received_unix_ms())),
        Some(stored) => (0, stored.until_unix_ms?),
    };
    let added_ms = made.expires_unix_ms?.saturating_sub(since);
    let units = Units::stored(tokens, added_ms);
    Some(Usage { input, units, source: UsageSource::Provider, ..Usage::default() })
}

/// A new batch in its customer's own storage is answered with its name alone:
/// lists show it as it was requested.
fn as_requested(
    exchange: &Exchange,
    objects: &dyn StoredObjects,
    id: StoredObjectId,
    made: StoredObjectReport,
) -> StoredObjectReport {
    let request = exchange.call.request();
    let bundle = request.batch();
    let Some(storage) = bundle.and_then(|bundle| bundle.storage.as_ref()) else { return made };
    let created_unix_s = exchange.call.received_unix_ms() / 1_000;
    let id = id.to_string();
    let requested = RequestedBatch { storage, id: &id, model: &request.model, created_unix_s };
    match objects.requested_entry(&requested) {
        Some(entry) => {
            StoredObjectReport { list_entry: entry.list_entry, purpose: entry.label.to_owned(), ..made }
        }
        None => made,
    }
}

/// Deletes a video at a provider that can't delete and was polled instead: once it has ended, it is forgotten
/// here, and booked from that poll if it is not booked yet.
async fn delete_polled_video(
    exchange: &Exchange,
    attempt: &Attempt,
    id: StoredObjectId,
    made: StoredObjectReport,
    whole: BufferedAnswer,
) -> Result<BufferedAnswer, AttemptFailure> {
    let video = read_video(&whole.body).unwrap_or_default();
    if video.state == VideoState::InProgress {
        let message = "The video can't be deleted: its status is 'in_progress'.";
        let fault = Fault::new(FaultClass::BadRequest, "video_not_ended", message);
        return Err(AttemptFailure::new(fault.fix("Delete it once it has ended.")).not_retryable());
    }
    if !keep(exchange, attempt, id, made, None).await {
        return Err(unseen());
    }
    exchange.deps.objects.forget(exchange.owner(), id).await;
    let body = format!(r#"{{"id":"{id}","object":"video.deleted","deleted":true}}"#);
    Ok(BufferedAnswer { body: body.into(), ..whole })
}

/// Polls an object before it is deleted, where its usage is booked from the last state that was seen.
pub(crate) async fn poll_before_delete(
    exchange: &Exchange,
    attempt: &Attempt,
    is_native: bool,
) -> Result<(), AttemptFailure> {
    let stored = exchange.call.request().stored.as_deref();
    let Some(stored) = stored.filter(|stored| stored.act == StoredAct::Delete) else { return Ok(()) };
    // Where the provider can't delete, the request itself is the poll.
    let operation = exchange.call.operation();
    let is_polled = exchange.call.object().is_some_and(|object| object.is_booked_by_last_poll);
    let Some(kind) = StoredKind::of(operation).filter(|_| is_polled && is_native) else { return Ok(()) };
    let kind = StoredObjectKind::of(exchange.dialect(), kind);
    let poll = StoredPoll { operation, id: stored.upstream_id().to_owned(), is_content: false };
    let provider = attempt.provider();
    let target = VerifyTarget {
        seat: attempt.seat().clone(),
        provider: provider.into(),
        base_url: attempt.base_url().into(),
    };
    let body = poll_stored::whole(&target, poll, &exchange.deps).await?;
    let (keeper, owner, maker) = (&exchange.deps.objects, exchange.owner(), attempt.principal());
    let mut ours = |kind: StoredObjectKind, id: &str| keeper.id(owner, kind, maker, id).to_string();
    let objects = stored_objects(kind);
    let Some((_, made)) = objects.and_then(|objects| objects.rewrite_ids(&body, &mut ours)) else {
        return Err(AttemptFailure::broken(provider, "it doesn't identify the object").not_retryable());
    };
    let id = keeper.id(owner, kind, maker, &made.id);
    if keep(exchange, attempt, id, made, None).await { Ok(()) } else { Err(unseen()) }
}

async fn keep(
    exchange: &Exchange,
    attempt: &Attempt,
    id: StoredObjectId,
    made: StoredObjectReport,
    handover: Option<&ReservationHandover>,
) -> bool {
    // An object of several models is recorded under none.
    let bundle = exchange.call.request().batch();
    let is_of_one = bundle.is_none_or(BatchModels::is_of_one_model);
    let word = |name: &str| if is_of_one { name.to_owned() } else { String::new() };
    let object = StoredObject {
        request: exchange.trace(),
        created_by: attempt.principal(),
        provider_id: made.id,
        model: word(exchange.model_of(attempt)),
        upstream_model: word(attempt.upstream_model()),
        label: made.purpose,
        list_entry: made.list_entry,
        is_booked: false,
        // Finer than the provider reports it, for the order of lists.
        created_unix_ms: exchange.call.received_unix_ms(),
        // A batch may be read long after the time by which its requests had to be done.
        until_unix_ms: made
            .expires_unix_ms
            .filter(|_| matches!(id.kind.kind(), StoredKind::File | StoredKind::CachedContent)),
    };
    let holds = handover.map(|handover| handover.parts.clone()).unwrap_or_default();
    let is_kept = Arc::clone(&exchange.deps.objects).keep(exchange.owner(), id, object, holds).await;
    if let Some(handover) = handover.filter(|_| is_kept) {
        handover.take();
    }
    is_kept
}

fn unseen() -> AttemptFailure {
    let message = "Its record can't be stored right now, so it was not deleted.";
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    AttemptFailure::new(fault.fix("Send it again in a moment.")).not_retryable().unsent()
}

fn lost() -> AttemptFailure {
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", LOST);
    AttemptFailure::new(fault.fix("Send it again in a moment.")).not_retryable()
}
