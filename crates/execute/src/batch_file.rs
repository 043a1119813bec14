//! The requests of a new batch whose call only names their file: they are read before it is made, so that one that a budget can't
//! hold is refused.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Fault, Operation, Rates, StoredKind, StoredObjectKind, Usage};
use plan::Attempt;
use snapshot::Snapshot;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::ceiling::{batch_price, dearest, most_used_by_line};
use crate::exchange::Exchange;
use crate::limits::BATCH_FILE_TIME_MAX;
use crate::poll_stored::{FileLines, StoredPoll, poll_object};
use crate::verify::VerifyTarget;

/// The most that they use together, and the prices of the dearest of their models, by the body that the provider is sent. `None`
/// where the call has its requests, or where their file can't be read in time: the first poll holds what it reads then.
pub(crate) async fn most_used(
    exchange: &Exchange,
    attempt: &Attempt,
    body: &[Bytes],
) -> Option<(Usage, Option<Rates>)> {
    let kind = StoredObjectKind::of(exchange.dialect(), StoredKind::Batch);
    let (id, endpoint) = dialects::stored_objects(kind)?.batch_requests(&body.concat())?;
    let (seat, provider) = (attempt.seat().clone(), Arc::clone(attempt.provider_shared()));
    let target = VerifyTarget { seat, provider, base_url: attempt.base_url().into() };
    let poll = StoredPoll { operation: Operation::File, id, is_content: true };
    let (sink, chunks) = mpsc::channel(1);
    let reading = async move { poll_object(&target, poll, &sink, &exchange.deps).await };
    let snapshot: &Snapshot = exchange.caller.snapshot();
    let seller = (attempt.provider(), attempt.seat().pricing());
    let model =
        Some(attempt.upstream_model()).filter(|name| dialects::lists_models(kind) && !name.is_empty());
    let summing = async move {
        let mut lines = FileLines::new(chunks, Fault::to_string);
        let (mut sum, mut rates) = (Usage::default(), None);
        while let Some(line) = lines.next().await.ok()? {
            let most = most_used_by_line((&line, endpoint.as_str()), (snapshot, seller.0, model));
            let Some((name, most)) = most else { continue };
            let (_, price) = batch_price(snapshot, seller, &name, most.prompt_total());
            rates = rates.into_iter().chain(price).reduce(dearest);
            sum = sum.plus(most);
        }
        Some((sum, rates))
    };
    let within = BATCH_FILE_TIME_MAX.min(exchange.time_left());
    timeout(within, async { tokio::join!(reading, summing).1 }).await.ok()?
}
