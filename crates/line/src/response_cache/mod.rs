//! The response cache: a project that wants it is given an earlier answer to the same request again, and of
//! concurrent requests that are the same one goes upstream. Where it wants that, too, an answer is given to a request
//! that means the same.
//!
//! It stands around the pipeline's stages. A hit is decoded, admitted, planned and booked like any request: limits,
//! policies and routes hold for it, and only nothing is sent.

mod entry;
mod meaning;
mod memory;
mod semantic;
mod wish;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::{Caller, admit};
use bytes::Bytes;
use conversation::screening::Screening;
use decode::{Call, Inbound};
use dialects::LastText;
use domain::limits::{
    RESPONSE_CACHE_BODY_BYTES_MAX, RESPONSE_CACHE_REQUEST_BYTES_MAX, RESPONSE_CACHE_WAIT_MAX,
};
use domain::ports::KeyedRequest;
use domain::semantic::SemanticSearch;
use domain::{CacheRecord, CachedAnswer, Fault, Grammar, ResponseCacheMode, TraceId, Usage};
use execute::{Served, execute};
use http::Response;
use http::header::{AGE, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use plan::{PlanFailed, Planned, PlannedParts};
use relay::{deliver_again, target_met};
use settle::{ReplyBody, settle};

use self::entry::{Entry, kept_headers};
use self::meaning::Meaning;
use self::memory::{Lead, Name, Turn};
use self::semantic::{Searched, Sought, Wanted};
use self::wish::Wish;
use crate::idempotency::{ClaimGuard, KeyClaim, RecordedBody, claim};
use crate::stop::EarlyExit;
use crate::{Core, hooks, reading, stored_lookup};

pub use memory::ResponseMemory;

const CACHE: HeaderName = HeaderName::from_static("agent-cache");

/// Whether the caller's project keeps answers: not where its policy lets nothing be retained.
#[must_use]
pub fn keeps_answers(caller: &Caller) -> bool {
    let (own, wider) = (caller.project().caching.responses, caller.workspace().caching.responses);
    let is_wanted = own.or(wider).is_some_and(|mode| mode != ResponseCacheMode::Off);
    is_wanted && caller.project().policy.as_ref().is_none_or(|policies| !policies.retains_nothing())
}

/// Serves one request of a project that keeps answers.
pub async fn serve_cached(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<RecordedBody> {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let mut report = CacheReport { after: After::Bypass, search: None };
    let result = run(core, inbound, caller, &mut report).await;
    if matches!(report.after, After::Hit) {
        core.counters.cache_hit();
    }
    let mut response = report.after.wrap(crate::concluded(core, dialect, trace, result));
    if let Some(search) = report.search {
        semantic::tell(response.headers_mut(), &search);
    }
    response
}

/// What is known of a request beside its response.
struct CacheReport {
    after: After,
    /// By meaning, where nothing was found by name.
    search: Option<SemanticSearch>,
}

/// What becomes of the response.
enum After {
    /// Neither looked up nor kept.
    Bypass,
    Hit,
    /// Looked up and not found. Not kept if another request does, or if the store can't.
    Absent(Option<Box<Keeping>>),
    /// Kept without having been looked up.
    Store(Box<Keeping>),
}

/// What is kept of the answer that is being sent.
pub(crate) struct Keeping {
    lead: Lead,
    /// The place in the store; without one it is kept in memory alone.
    claim: Option<ClaimGuard>,
    request: TraceId,
    served: Option<Served>,
    meaning: Option<Arc<Meaning>>,
    made_unix_ms: u64,
    /// Of a conversation, whose end says whether it may be given again.
    conversation: Option<Grammar>,
    headers: HeaderMap,
}

impl After {
    fn wrap(self, mut response: Response<ReplyBody>) -> Response<RecordedBody> {
        let (word, keeping) = match self {
            Self::Bypass => ("bypass", None),
            Self::Hit => ("hit", None),
            Self::Absent(keeping) => ("miss", keeping),
            Self::Store(keeping) => ("store", Some(keeping)),
        };
        response.headers_mut().insert(CACHE, HeaderValue::from_static(word));
        let Some(mut keeping) = keeping.filter(|_| response.status().as_u16() == 200) else {
            return response.map(RecordedBody::plain);
        };
        let is_long = |bytes: u64| bytes > RESPONSE_CACHE_BODY_BYTES_MAX as u64;
        if is_long(response.body().size_hint().lower()) || keeping.served.is_none() {
            keeping.lead.keep_nothing();
            return response.map(RecordedBody::plain);
        }
        keeping.headers = kept_headers(response.headers());
        response.map(|inner| RecordedBody::kept(inner, keeping))
    }
}

impl Keeping {
    /// The answer grew too long.
    pub(crate) fn give_up(self) {
        self.lead.keep_nothing();
    }

    /// The answer ended well.
    pub(crate) fn ended(self, body: Bytes, usage: Option<Usage>) {
        let Self { lead, claim, request, served, meaning, made_unix_ms, conversation, headers } = self;
        let is_kept = conversation.is_none_or(|grammar| dialects::is_repeatable_answer(grammar, &body));
        let (Some(served), true) = (served, is_kept) else { return lead.keep_nothing() };
        let entry = Arc::new(Entry {
            made_unix_ms,
            request,
            resolved_model: served.resolved_model,
            principal: served.principal,
            upstream_model: served.upstream_model,
            usage: usage.unwrap_or_default(),
            headers,
            body,
        });
        // The store goes on by itself: nobody waits for it, since this process finds the answer in memory.
        drop(claim.and_then(|claim| claim.keep(entry.stored())));
        lead.keep(entry, meaning);
    }
}

/// A request whose answer may be kept.
struct Named {
    name: Name,
    wish: Wish,
    lifetime: Duration,
    /// The text that is searched for by its meaning.
    text: Option<(Wanted, LastText)>,
}

async fn run(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    report: &mut CacheReport,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let wish = Wish::of(&inbound.headers);
    let wanted = Wanted::of(&caller, &inbound.headers);
    let call = reading::read(inbound, &caller, core.now_us())?;
    let names = stored_lookup::names(&caller, &call);
    let is_bypass = wish.is_bypass || call.hints().is_some_and(|hints| hints.bypasses_reuse);
    let is_named = names.is_none() && !is_bypass;
    let text = wanted.filter(|_| is_named).and_then(|wanted| Some((wanted.take(&call)?, wanted)));
    let text = text.map(|(last, wanted)| (wanted, last));
    let rest = text.as_ref().map(|(wanted, last)| (wanted.model(), &*last.rest));
    let name = if is_named { name_of(core, &call, &caller, rest) } else { None };
    if let Some(name) = name {
        let lifetime = caller.project().caching.or(&caller.workspace().caching).responses_lifetime();
        let lifetime = lifetime.unwrap_or_default();
        return serve_named(core, call, caller, Named { name, wish, lifetime, text }, report).await;
    }
    let now_us = core.now_us();
    let admitted = admit(call, caller, &core.journal, &core.allowances, now_us)?;
    if names.is_none() && !hooks::has_any(admitted.caller()) {
        return crate::plan_to_settle(core, admitted, now_us).await;
    }
    Box::pin(crate::resolve_to_settle(core, admitted, names)).await
}

async fn serve_named(
    core: &Rc<Core>,
    call: Call,
    caller: Caller,
    named: Named,
    report: &mut CacheReport,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let (trace, wish) = (call.trace(), named.wish);
    let found = find(core, &named, trace).await;
    let now_us = core.now_us();
    let admitted = admit(call, caller, &core.journal, &core.allowances, now_us)?;
    let admitted = hooks::before(core, admitted).await;
    let mut planned = crate::planned(core, admitted, now_us)?;
    let (lead, claim) = match found {
        Found::Entry(entry) => {
            if let Some(worth) = entry.maker(&planned).map(|maker| entry.worth(maker)) {
                if let Some(fault) = hooks::of_repeat(core, planned.admitted(), &entry.body).await {
                    return Err(refused(planned, fault));
                }
                report.after = After::Hit;
                return Ok(settle(again(core, planned, &entry, worth)));
            }
            // Routes or credentials have changed since it was made.
            match refresh(core, &named, trace).await {
                Found::Lead(lead, claim) => (Some(lead), claim),
                Found::Entry(_) | Found::Nothing => (None, None),
            }
        }
        Found::Lead(lead, claim) => (Some(lead), claim),
        Found::Nothing => (None, None),
    };
    let searched = by_meaning(core, &mut planned, &named).await;
    report.search = searched.as_ref().map(|searched| searched.search);
    let (hit, meaning) = searched.map_or((None, None), |searched| (searched.hit, searched.meaning));
    if let Some((entry, worth)) = hit {
        // Those that wait for the same request are to search at once, not one behind the other.
        if let Some(lead) = lead {
            lead.keep_nothing();
        }
        report.after = After::Hit;
        return Ok(settle(again(core, planned, &entry, worth)));
    }
    let call = planned.admitted().call();
    let conversation = call.spec().facts().is_conversation.then(|| call.dialect().grammar());
    let made_unix_ms = core.now_unix_ms();
    let (request, headers) = (trace, HeaderMap::new());
    report.after = After::Absent(None);
    // Boxed: inline, the future of a hit would be as large as that of an upstream call, though it makes none.
    let answer = Box::pin(execute(planned, &core.deps)).await?;
    let served = Some(answer.served().clone());
    let keeping = lead.map(|lead| Keeping {
        lead: *lead,
        claim,
        request,
        served,
        meaning,
        made_unix_ms,
        conversation,
        headers,
    });
    report.after = match keeping.map(Box::new) {
        Some(keeping) if wish.is_fresh() => After::Store(keeping),
        keeping => After::Absent(keeping),
    };
    hooks::finish(core, answer).await
}

/// Searches by meaning where the project wants that, and enters it into the record.
async fn by_meaning(core: &Rc<Core>, planned: &mut Planned, named: &Named) -> Option<Searched> {
    let (wanted, LastText { text, .. }) = named.text.as_ref()?;
    let age_ms_max = named.wish.age_ms_within(named.lifetime);
    let sought = Sought { wanted, text, name: &named.name, age_ms_max };
    // Boxed: it holds a whole request of its own.
    let searched = Box::pin(semantic::search(core, planned, sought)).await;
    planned.searched(searched.search);
    Some(searched)
}

/// What was found for a request.
enum Found {
    Entry(Arc<Entry>),
    /// Nothing: this request answers, and its answer is kept.
    Lead(Box<Lead>, Option<ClaimGuard>),
    /// Nothing, and another one's answer is kept, or none.
    Nothing,
}

/// Looks in memory, behind the request that leads, and in the store, in this order.
async fn find(core: &Core, named: &Named, trace: TraceId) -> Found {
    let Named { name, wish, lifetime, .. } = named;
    if wish.is_fresh() {
        return refresh(core, named, trace).await;
    }
    let age_ms_max = wish.age_ms_within(*lifetime);
    loop {
        match core.cached.turn(name, core.now_unix_ms(), age_ms_max) {
            Turn::Found(entry) => return Found::Entry(entry),
            Turn::Wait(flight) => {
                match tokio::time::timeout(RESPONSE_CACHE_WAIT_MAX, flight.landed()).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Found::Nothing,
                }
            }
            Turn::Lead(lead) => return in_store(core, lead, *lifetime, age_ms_max, trace).await,
        }
    }
}

async fn in_store(core: &Core, lead: Lead, lifetime: Duration, age_ms_max: u64, trace: TraceId) -> Found {
    match claim(&core.answers, keyed(lead.name(), lifetime, trace)).await {
        Ok(KeyClaim::First(claim)) => Found::Lead(Box::new(lead), Some(claim)),
        Ok(KeyClaim::Repeat(answer)) => match Entry::of_stored(answer) {
            Some(entry) if entry.age_ms(core.now_unix_ms()) <= age_ms_max => {
                let entry = Arc::new(entry);
                lead.keep(Arc::clone(&entry), None);
                Found::Entry(entry)
            }
            _ => replace(core, lead, lifetime, trace).await,
        },
        // Another replica answers it now, or the store is away: the answer is kept in memory alone.
        Err(_) => Found::Lead(Box::new(lead), None),
    }
}

/// Drops what is kept, and takes the lead.
async fn refresh(core: &Core, named: &Named, trace: TraceId) -> Found {
    core.cached.forget(&named.name);
    match core.cached.turn(&named.name, core.now_unix_ms(), 0) {
        Turn::Lead(lead) => replace(core, lead, named.lifetime, trace).await,
        Turn::Found(_) | Turn::Wait(_) => Found::Nothing,
    }
}

async fn replace(core: &Core, lead: Lead, lifetime: Duration, trace: TraceId) -> Found {
    core.answers.forget(keyed(lead.name(), lifetime, trace)).await;
    match claim(&core.answers, keyed(lead.name(), lifetime, trace)).await {
        Ok(KeyClaim::First(claim)) => Found::Lead(Box::new(lead), Some(claim)),
        Ok(KeyClaim::Repeat(_)) | Err(_) => Found::Lead(Box::new(lead), None),
    }
}

/// The request as the store knows it: of its text only a keyed hash is stored.
fn keyed(name: &Name, lifetime: Duration, request: TraceId) -> KeyedRequest {
    let (workspace, project) = name.generations;
    KeyedRequest {
        workspace: name.workspace,
        project: name.project,
        path: format!("cache {workspace} {project}").into(),
        key: (*name.request).to_owned(),
        body: Bytes::new(),
        request,
        lifetime,
        is_cached: true,
    }
}

/// The name of a request whose answer may be kept; `None` for one that stores or changes something, names what is stored,
/// lets the provider look elsewhere, or is too long. `rest` is what must be the same of a request that is compared by
/// meaning: the model that compares, and the body without the text.
fn name_of(core: &Core, call: &Call, caller: &Caller, rest: Option<(&str, &[u8])>) -> Option<Name> {
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
        Some(core.cached.partition(owner, generations, &dialects::canonical_body(body, head)?))
    });
    let text = dialects::canonical_body(call.body(), text)?;
    Some(core.cached.name(owner, generations, text.into(), partition))
}

/// Whether the checks found nothing and have nothing to look for in the answer. Two requests whose texts differ in what
/// is masked are the same where they are sent, and their answers are not.
fn is_unmarked(screening: &Screening) -> bool {
    screening.fault.is_none() && screening.guard.is_none() && screening.found.borrow().is_empty()
}

/// A hook refuses an answer that would be given again.
fn refused(planned: Planned, fault: Box<Fault>) -> EarlyExit {
    let PlannedParts { admitted, resolved_model, record, manifest_revision, .. } = planned.into_parts();
    EarlyExit::from(Box::new(PlanFailed { fault, admitted, resolved_model, record, manifest_revision }))
}

/// Gives an answer again, and books the exchange.
fn again(core: &Core, planned: Planned, entry: &Entry, worth: CachedAnswer) -> relay::ClientResponse {
    let PlannedParts { admitted, resolved_model, record, manifest_revision, .. } = planned.into_parts();
    let (call, _caller, mut tab) = admitted.into_parts();
    tab.record_plan(resolved_model, record);
    tab.record_manifest(manifest_revision);
    if let Some(screening) = call.screening() {
        tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
    }
    tab.caching(Some(CacheRecord { served: Some(worth), ..CacheRecord::default() }));
    let at_us = core.now_us().saturating_sub(call.received_us());
    let timeline = tab.timeline_mut();
    (timeline.planned_us, timeline.first_byte_us) = (at_us, at_us);
    let mut headers = entry.headers.clone();
    headers.insert(AGE, HeaderValue::from(entry.age_ms(core.now_unix_ms()) / 1_000));
    let is_met = call.meets_target(at_us);
    tab.began(is_met);
    headers.extend(target_met(is_met));
    deliver_again(tab, headers, entry.body.clone(), call.dialect())
}
