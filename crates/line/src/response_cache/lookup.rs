//! One request's look into the cache, apart from the core that serves it: the pipeline and the simulator both act on it.

use std::sync::Arc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use conversation::screening::Screening;
use decode::Call;
use domain::TraceId;
use domain::limits::{RESPONSE_CACHE_REQUEST_BYTES_MAX, RESPONSE_CACHE_WAIT_MAX};
use domain::ports::{AnswerStore, KeyedRequest};

use super::entry::Entry;
use super::memory::{Lead, Name, ResponseMemory, Turn};
use super::wish::Wish;
use crate::idempotency::{ClaimGuard, KeyClaim, claim};

/// Where answers are kept: in this process's memory, and in the store.
#[derive(Clone, Copy)]
pub struct Shelf<'a> {
    pub memory: &'a Arc<ResponseMemory>,
    pub store: &'a Arc<dyn AnswerStore>,
    pub now_unix_ms: &'a dyn Fn() -> u64,
}

/// A request whose answer may be given again, and how it looks for an earlier one.
pub struct Lookup {
    name: Name,
    wish: Wish,
    lifetime: Duration,
    request: TraceId,
}

/// What was found for a request.
pub enum Found {
    /// An earlier answer.
    Entry(Arc<Entry>),
    /// Nothing: this request answers, and its answer is kept.
    Lead(Box<Lead>, Option<ClaimGuard>),
    /// Nothing, and another one's answer is kept, or none.
    Nothing,
}

impl Lookup {
    /// `None` for a request that is neither looked up nor kept. `rest` is what must be the same of one that is compared by
    /// meaning: the model that compares, and the body without the text.
    pub fn of(
        memory: &ResponseMemory,
        wish: Wish,
        (call, rest): (&Call, Option<(&str, &[u8])>),
        caller: &Caller,
    ) -> Option<Self> {
        if wish.is_bypass || call.hints().is_some_and(|hints| hints.bypasses_reuse) {
            return None;
        }
        let lifetime = caller.project().caching.responses_lifetime(&caller.workspace().caching);
        Some(Self {
            name: name_of(memory, call, caller, rest)?,
            wish,
            lifetime: lifetime.unwrap_or_default(),
            request: call.trace(),
        })
    }

    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    /// The oldest answer that it takes.
    pub(super) fn age_ms_max(&self) -> u64 {
        self.wish.age_ms_within(self.lifetime)
    }

    /// It wants a new answer, whatever is kept.
    pub(super) const fn is_fresh(&self) -> bool {
        self.wish.is_fresh()
    }

    /// Looks in memory, behind the request that leads, and in the store, in this order.
    pub async fn find(&self, shelf: &Shelf<'_>) -> Found {
        if self.wish.is_fresh() {
            return self.refresh(shelf).await;
        }
        let age_ms_max = self.age_ms_max();
        loop {
            match shelf.memory.turn(&self.name, (shelf.now_unix_ms)(), age_ms_max) {
                Turn::Found(entry) => return Found::Entry(entry),
                Turn::Wait(flight) => {
                    match tokio::time::timeout(RESPONSE_CACHE_WAIT_MAX, flight.landed()).await {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return Found::Nothing,
                    }
                }
                Turn::Lead(lead) => return self.in_store(shelf, lead, age_ms_max).await,
            }
        }
    }

    async fn in_store(&self, shelf: &Shelf<'_>, lead: Lead, age_ms_max: u64) -> Found {
        match claim(shelf.store, self.keyed()).await {
            Ok(KeyClaim::First(claim)) => Found::Lead(Box::new(lead), Some(claim)),
            Ok(KeyClaim::Repeat(answer)) => match Entry::of_stored(answer) {
                Some(entry) if entry.age_ms((shelf.now_unix_ms)()) <= age_ms_max => {
                    let entry = Arc::new(entry);
                    lead.keep(Arc::clone(&entry), None);
                    Found::Entry(entry)
                }
                _ => self.replace(shelf, lead).await,
            },
            // Another replica answers it now, or the store is away: the answer is kept in memory alone.
            Err(_) => Found::Lead(Box::new(lead), None),
        }
    }

    /// Drops what is kept, and takes the lead.
    pub async fn refresh(&self, shelf: &Shelf<'_>) -> Found {
        shelf.memory.forget(&self.name);
        match shelf.memory.turn(&self.name, (shelf.now_unix_ms)(), 0) {
            Turn::Lead(lead) => self.replace(shelf, lead).await,
            Turn::Found(_) | Turn::Wait(_) => Found::Nothing,
        }
    }

    async fn replace(&self, shelf: &Shelf<'_>, lead: Lead) -> Found {
        shelf.store.forget(self.keyed()).await;
        match claim(shelf.store, self.keyed()).await {
            Ok(KeyClaim::First(claim)) => Found::Lead(Box::new(lead), Some(claim)),
            Ok(KeyClaim::Repeat(_)) | Err(_) => Found::Lead(Box::new(lead), None),
        }
    }

    /// The request as the store knows it: of its text only a keyed hash is stored.
    fn keyed(&self) -> KeyedRequest {
        let (workspace, project) = self.name.generations;
        KeyedRequest {
            workspace: self.name.workspace,
            project: self.name.project,
            path: format!("cache {workspace} {project}").into(),
            key: (*self.name.request).to_owned(),
            body: Bytes::new(),
            request: self.request,
            lifetime: self.lifetime,
            is_cached: true,
        }
    }
}

/// The name of a request whose answer may be kept; `None` for one that stores or changes something, names what is stored,
/// lets the provider look elsewhere, or is too long.
fn name_of(
    memory: &ResponseMemory,
    call: &Call,
    caller: &Caller,
    rest: Option<(&str, &[u8])>,
) -> Option<Name> {
    let request = call.request();
    let is_kept = call.spec().facts().is_repeatable
        && !request.stores_answer
        && !request.is_background
        && request.files.is_empty()
        && request.terms.hosted.is_none()
        && call.screening().is_none_or(is_unmarked)
        && call.upload().is_none()
        && call.body().len() <= RESPONSE_CACHE_REQUEST_BYTES_MAX;
    if !is_kept {
        return None;
    }
    let mut text = Vec::with_capacity(call.body().len() + 128);
    let head = [
        call.dialect().as_str(),
        call.operation().as_str(),
        &request.model,
        if request.stream { "stream" } else { "" },
        if request.as_array { "array" } else { "" },
        if call.is_lenient() { "lenient" } else { "" },
    ];
    for part in head {
        text.extend_from_slice(part.as_bytes());
        text.push(b'\n');
    }
    for (name, value) in call.native_headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    // The kept headers name them.
    for name in call.unheeded() {
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
    }
    if let Some(policies) = &caller.project().policy {
        // Under other policies it might be refused or changed.
        text.extend_from_slice(format!("{policies:?}\n").as_bytes());
    }
    let (workspace, project) = (caller.workspace(), caller.project());
    let generations = (workspace.caching.generation, project.caching.generation);
    let owner = (workspace.id, project.id);
    let partition = rest.and_then(|(model, body)| {
        let head = [&*text, model.as_bytes(), b"\n"].concat();
        Some(memory.partition(owner, generations, &dialects::canonical_body(body, head)?))
    });
    let text = dialects::canonical_body(call.body(), text)?;
    Some(memory.name(owner, generations, text.into(), partition))
}

/// Whether the checks found nothing and have nothing to look for in the answer. Two requests whose texts differ in what
/// is masked are the same where they are sent, and their answers are not.
fn is_unmarked(screening: &Screening) -> bool {
    screening.fault.is_none() && screening.guard.is_none() && screening.found.borrow().is_empty()
}
