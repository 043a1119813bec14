//! Billing of asynchronous batches: polls each batch until it has ended, then books each of its requests
//! exactly once, at batch prices, whoever else reads its results and however often reading them restarts.

use bytes::Bytes;
use conversation::batch::{
    BatchEnd, BatchOutputLine, BatchResults, BatchState, EndedBatch, SplitResults, TooLong,
};
use conversation::objects::StoredObjects;
use domain::{
    Drawn, Fault, MeterRecord, ObjectOwner, Operation, Rates, SideCall, SideCallPurpose, StoredObjectId,
    StoredObjectKind, Tier, Usage,
};
use execute::{FileLines, StoredPoll, batch_price, most_used_by_line};
use jobs::Outcome;
use std::collections::{BTreeMap, HashMap, VecDeque};
use store::JobRow;
use tokio::sync::mpsc;

use crate::async_billing::{
    BilledUsage, BillingContext, GONE, ObjectBilling, fault_message, lost, lost_if_repeated,
};
use crate::{Deps, moment};

/// Records that are booked in one write.
const BOOKED_AT_ONCE: usize = 100;

/// One poll.
pub(crate) async fn poll(
    deps: &Deps,
    owner: ObjectOwner,
    id: StoredObjectId,
    job: &JobRow,
) -> Result<Outcome, String> {
    let now = deps.world.clock.unix_ms();
    let found = deps.store.kept_objects().find(owner, id, now).await.map_err(|error| error.to_string())?;
    let snapshot = deps.keeper.current();
    let Some(object) = found else { return Ok(lost(&snapshot, owner)) };
    let Some(books) = ObjectBilling::of(deps, &snapshot, owner, id, &object) else {
        return lost_if_repeated(
            job,
            "the credential, the account or the project of the batch no longer exists",
        );
    };
    let claims = deps.store.kept_objects().holds(id).await.map_err(|error| error.to_string())?;
    let books = ObjectBilling { claims, ..books };
    let format = dialects::stored_objects(id.kind).ok_or("its dialect doesn't support batches")?;
    books.poll(format, &object.provider_id, job).await
}

impl ObjectBilling<'_> {
    async fn poll(
        &self,
        format: &dyn StoredObjects,
        provider_id: &str,
        job: &JobRow,
    ) -> Result<Outcome, String> {
        // Where results are inside the batch object, it is read twice, because the time it ended may come
        // after them in the document.
        let body = match self.results(format, provider_id) {
            Some(mut results) => {
                while results.next().await?.is_some() {}
                results.rest()
            }
            None => self.context.fetch_object(Operation::Batch, provider_id).await?,
        };
        let state = format.read_batch(&body)?;
        self.update_listing(self.id, provider_id, &body).await?;
        match &state {
            BatchState::Running(why) => {
                // A poll that saw the same before has held what there is to hold.
                if job.last_error.as_ref() != Some(why) {
                    self.hold(format, &body).await?;
                }
                Err(why.clone())
            }
            BatchState::NoResults => self.all_booked().await,
            BatchState::Ended(batch) => {
                let ended_unix_ms = match &batch.ended {
                    BatchEnd::UnixMs(unix_ms) => *unix_ms,
                    BatchEnd::Written(text, member) => {
                        moment::read(text, member).map_err(|fault| fault_message(&fault))?
                    }
                };
                self.book_batch(format, provider_id, batch, ended_unix_ms).await
            }
        }
    }

    async fn book_batch(
        &self,
        format: &dyn StoredObjects,
        provider_id: &str,
        batch: &EndedBatch,
        ended_unix_ms: u64,
    ) -> Result<Outcome, String> {
        let EndedBatch { endpoint, results, .. } = batch;
        match results {
            BatchResults::Files { results, requests } => {
                self.book_files(results, requests.as_deref(), endpoint, ended_unix_ms).await
            }
            BatchResults::Below => {
                let source =
                    StoredPoll { operation: Operation::Batch, id: provider_id.to_owned(), is_content: true };
                self.book_lines(source, endpoint, ended_unix_ms, &HashMap::new()).await?;
                self.all_booked().await
            }
            BatchResults::Inside => {
                let mut again = self.results(format, provider_id).ok_or("its results can't be split")?;
                self.book_results(&mut again, endpoint, ended_unix_ms).await?;
                // A truncated or changed response does not count as this batch.
                let is_same = matches!(
                    format.read_batch(&again.rest()),
                    Ok(BatchState::Ended(same)) if same.ended == batch.ended
                );
                if is_same { self.all_booked().await } else { Err("it was told otherwise".to_owned()) }
            }
            BatchResults::Storage(uri) => {
                let id = uri.clone().ok_or("it does not say where its results lie")?;
                let source = StoredPoll { operation: Operation::File, id, is_content: true };
                let booked = self.book_lines(source, endpoint, ended_unix_ms, &HashMap::new()).await;
                // The customer's storage may deny access for a long time, and only the customer can grant it.
                booked
                    .inspect_err(|error| tracing::warn!(batch = %self.id, error, "results can't be read"))?;
                self.all_booked().await
            }
        }
    }

    /// Books results that are in files at the provider.
    async fn book_files(
        &self,
        results: &[String],
        requests: Option<&str>,
        endpoint: &str,
        ended_unix_ms: u64,
    ) -> Result<Outcome, String> {
        for file in results {
            // Lists show the file from now on, if the provider still has it.
            if let Ok(body) = self.context.fetch_object(Operation::File, file).await {
                let id = self.object_id_of(StoredObjectKind::FILE, file);
                self.update_listing(id, file, &body).await?;
            }
        }
        let requested_models = match requests {
            Some(file) => self.models(file).await?,
            None => HashMap::new(),
        };
        for file in results {
            let source = StoredPoll { operation: Operation::File, id: file.clone(), is_content: true };
            self.book_lines(source, endpoint, ended_unix_ms, &requested_models).await?;
        }
        self.all_booked().await
    }

    /// From now on the batch and its results may be deleted, and a purge forgets its name.
    async fn all_booked(&self) -> Result<Outcome, String> {
        let booked =
            self.context.deps.store.kept_objects().book(self.context.owner, self.id, self.request).await;
        booked.map_err(|error| error.to_string())?;
        Ok(Outcome::Done)
    }
}

impl ObjectBilling<'_> {
    /// Streams the lines of a file.
    fn lines(&self, source: StoredPoll) -> FileLines {
        let chunks = self.context.deps.outbound.fetch_object(self.context.target.clone(), source);
        FileLines::new(chunks, fault_message)
    }

    /// Holds of the budgets that count the batch the most that its requests can cost, where the call that made it only named their file.
    async fn hold(&self, format: &dyn StoredObjects, body: &[u8]) -> Result<(), String> {
        let named = format.batch_requests(body).filter(|_| !self.claims.is_empty());
        let Some((id, endpoint)) = named else { return Ok(()) };
        let mut lines = self.lines(StoredPoll { operation: Operation::File, id, is_content: true });
        let mut parts: BTreeMap<_, Drawn> = BTreeMap::new();
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => break,
                // Its client has deleted the file, and what the batch costs is counted once it is booked.
                Err(error) if error.starts_with(GONE) => return Ok(()),
                Err(error) => return Err(format!("its requests can't be read: {error}")),
            };
            for drawn in self.most_drawn(&line, &endpoint) {
                let part = parts.entry((drawn.budget, drawn.period_unix_ms));
                part.and_modify(|sum| sum.amount = sum.amount.plus(drawn.amount)).or_insert(drawn);
            }
        }
        let objects = self.context.deps.store.kept_objects();
        objects.hold(self.id, parts.into_values().collect()).await.map_err(|error| error.to_string())
    }

    /// The most that a request in a file can draw on budgets: as much as a record of such an answer would.
    fn most_drawn(&self, line: &Bytes, endpoint: &str) -> Vec<Drawn> {
        let BillingContext { snapshot, target, deps, .. } = &self.context;
        let of_model = (*snapshot, &*target.provider, self.model.as_deref());
        let Some((model, most)) = most_used_by_line((line, endpoint), of_model) else { return Vec::new() };
        let item = BatchOutputLine {
            custom_id: String::new(),
            model: Some(model),
            status: 200,
            request_id: None,
            error_code: None,
            usage: Some(most),
        };
        self.record(item, endpoint, deps.world.clock.unix_ms(), &HashMap::new()).drawn
    }

    /// The model of each request in an input file; empty if the client has deleted that file.
    async fn models(&self, file: &str) -> Result<HashMap<String, String>, String> {
        let source = StoredPoll { operation: Operation::File, id: file.to_owned(), is_content: true };
        let (mut models, mut lines) = (HashMap::new(), self.lines(source));
        loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    let request = dialects::read_batch_input(&line);
                    models.extend(request.map(|request| (request.custom_id, request.model)));
                }
                Ok(None) => return Ok(models),
                Err(error) if error.starts_with(GONE) => return Ok(models),
                Err(error) => return Err(error),
            }
        }
    }

    async fn book_lines(
        &self,
        source: StoredPoll,
        endpoint: &str,
        ended_unix_ms: u64,
        requested_models: &HashMap<String, String>,
    ) -> Result<(), String> {
        let (mut records, mut lines) = (Vec::new(), self.lines(source));
        let mut named = CustomIdDeduplicator::default();
        while let Some(line) = lines.next().await? {
            if let Some(item) = dialects::read_batch_output(&line, endpoint) {
                records.push(self.record(named.deduplicate(item), endpoint, ended_unix_ms, requested_models));
            }
            if records.len() >= BOOKED_AT_ONCE {
                self.context.book(std::mem::take(&mut records)).await?;
            }
        }
        self.context.book(records).await
    }

    /// Streams the results inside a batch object; `None` in a dialect whose results are elsewhere.
    fn results(&self, format: &dyn StoredObjects, provider_id: &str) -> Option<Results> {
        let splitter = format.split_results()?;
        let source = StoredPoll { operation: Operation::Batch, id: provider_id.to_owned(), is_content: true };
        let chunks = self.context.deps.outbound.fetch_object(self.context.target.clone(), source);
        Some(Results { chunks, splitter, found: VecDeque::new() })
    }

    async fn book_results(
        &self,
        results: &mut Results,
        endpoint: &str,
        ended_unix_ms: u64,
    ) -> Result<(), String> {
        let (mut records, mut named) = (Vec::new(), CustomIdDeduplicator::default());
        while let Some(result) = results.next().await? {
            let item = read_result(&result, endpoint);
            records.push(self.record(named.deduplicate(item), endpoint, ended_unix_ms, &HashMap::new()));
            if records.len() >= BOOKED_AT_ONCE {
                self.context.book(std::mem::take(&mut records)).await?;
            }
        }
        self.context.book(records).await
    }

    fn record(
        &self,
        item: BatchOutputLine,
        endpoint: &str,
        ended_unix_ms: u64,
        requested_models: &HashMap<String, String>,
    ) -> MeterRecord {
        let is_well = (200..300).contains(&item.status);
        // Unreported usage is not estimated: the record counts as unmetered.
        let is_unmetered = is_well && item.usage.is_none();
        let requested = requested_models.get(&item.custom_id).or(self.model.as_ref()).cloned();
        let requested = requested.or(item.model).unwrap_or_default();
        // Whatever tier the response reports, it was served as part of a batch.
        let usage = Usage { tier: item.usage.map(|_| Tier::Batch), ..item.usage.unwrap_or_default() };
        let (resolved, rates) = self.price(&requested, usage.prompt_total());
        let (operation, grammar) = dialects::batch_operation(endpoint);
        let used = BilledUsage {
            trace: self.context.deps.vault.requests.of_item(ended_unix_ms, self.id, &item.custom_id),
            unix_ms: ended_unix_ms,
            operation,
            dialect: grammar.dialect(),
            resolution: if is_unmetered { "batch_unmetered" } else { "batch" },
            upstream_model: requested.clone(),
            requested,
            resolved,
            status: item.status,
            fault_code: (!is_well).then(|| item.error_code.unwrap_or_else(|| "batch_item_failed".to_owned())),
            upstream_request_id: item.request_id,
            usage,
            rates,
            made_for: Some(SideCall { purpose: SideCallPurpose::BatchItem, parent: self.request }),
        };
        self.context.record_of(used, &self.claims)
    }

    /// The model's public name, and the price of a batched request to it.
    fn price(&self, upstream_model: &str, prompt_tokens: u64) -> (String, Option<Rates>) {
        // A request that was never tried, in a batch of several models.
        if upstream_model.is_empty() {
            return (String::new(), None);
        }
        let BillingContext { snapshot, target, .. } = &self.context;
        let seller = (&*target.provider, target.seat.pricing());
        batch_price(snapshot, seller, upstream_model, prompt_tokens)
    }
}

/// Reads a result inside a batch object. One that can't be read stands for a request that was made, too.
fn read_result(result: &[u8], endpoint: &str) -> BatchOutputLine {
    dialects::read_batch_output(result, endpoint).unwrap_or_else(|| BatchOutputLine {
        custom_id: String::new(),
        model: None,
        status: 0,
        request_id: None,
        error_code: Some("batch_item_unreadable".to_owned()),
        usage: None,
    })
}

/// Not every provider rejects duplicate or missing custom ids. Results come in the same order each time, so a
/// running number tells duplicates apart.
#[derive(Default)]
struct CustomIdDeduplicator(HashMap<String, u32>);

impl CustomIdDeduplicator {
    fn deduplicate(&mut self, item: BatchOutputLine) -> BatchOutputLine {
        let times = self.0.entry(item.custom_id.clone()).or_default();
        *times += 1;
        let custom_id = if *times > 1 { format!("{}\n{times}", item.custom_id) } else { item.custom_id };
        BatchOutputLine { custom_id, ..item }
    }
}

/// A batch object, parsed for its results as it streams in.
struct Results {
    chunks: mpsc::Receiver<Result<Bytes, Box<Fault>>>,
    splitter: Box<dyn SplitResults>,
    found: VecDeque<Bytes>,
}

impl Results {
    /// The next result; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(result) = self.found.pop_front() {
                return Ok(Some(result));
            }
            let piece = self.chunks.recv().await.ok_or("nobody looks any more")?;
            let piece = piece.map_err(|fault| fault_message(&fault))?;
            if piece.is_empty() {
                return Ok(None);
            }
            let found = self.splitter.push(&piece);
            self.found.extend(found.map_err(|TooLong| "it is too long or too deep")?);
        }
    }

    /// The object without its results.
    fn rest(self) -> Bytes {
        self.splitter.rest().into()
    }
}

#[cfg(test)]
mod tests {
    use super::read_result;

    #[test]
    fn a_result_that_can_not_be_read_is_booked_as_a_request_that_failed() {
        const ENDPOINT: &str = ":generateContent";
        let code = |result: &str| read_result(result.as_bytes(), ENDPOINT).error_code;
        for unreadable in ["{", "[]", r#"{"response":{},"error":"busy"}"#] {
            let line = read_result(unreadable.as_bytes(), ENDPOINT);
            assert_eq!((line.status, line.usage, &*line.custom_id), (0, None, ""), "{unreadable}");
            assert_eq!(line.error_code.as_deref(), Some("batch_item_unreadable"), "{unreadable}");
        }
        assert_eq!(code(r#"{"response":{}}"#), None);
        assert_eq!(code(r#"{"error":{"code":14}}"#).as_deref(), Some("UNAVAILABLE"));
    }
}
