//! The response cache: a project that wants it is given an earlier answer to the same request again, and of
//! concurrent requests that are the same one goes upstream. Where it wants that, too, an answer is given to a request
//! that means the same.
//!
//! It stands around the pipeline's stages. A hit is decoded, admitted, planned and booked like any request: limits,
//! policies and routes hold for it, and only nothing is sent.

mod entry;
mod lookup;
mod meaning;
mod memory;
mod semantic;
mod wish;

use std::rc::Rc;
use std::sync::Arc;

use admit::{Caller, admit};
use bytes::Bytes;
use decode::{Call, Inbound};
use dialects::LastText;
use domain::limits::RESPONSE_CACHE_BODY_BYTES_MAX;
use domain::semantic::SemanticSearch;
use domain::{CacheRecord, CachedAnswer, Fault, Grammar, ResponseCacheMode, TraceId, Usage};
use execute::{Served, execute};
use http::Response;
use http::header::{AGE, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use plan::{PlanFailed, Planned, PlannedParts};
use relay::{deliver_again, target_met};
use settle::{ReplyBody, settle};

use self::entry::kept_headers;
use self::meaning::Meaning;
use self::semantic::{Searched, Sought, Wanted};
use crate::capture::Capture;
use crate::idempotency::{ClaimGuard, RecordedBody};
use crate::stop::EarlyExit;
use crate::{Core, hooks, reading, stored_lookup};

pub use entry::Entry;
pub use lookup::{Found, Lookup, Shelf};
pub use memory::{HeldAnswer, Lead, ResponseMemory};
pub use wish::Wish;

const CACHE: HeaderName = HeaderName::from_static("agent-cache");
const BYPASS: &str = "bypass";

/// Whether the caller's project keeps answers: not where its policy lets nothing be retained.
pub fn keeps_answers(caller: &Caller) -> bool {
    let (own, wider) = (caller.project().caching.responses, caller.workspace().caching.responses);
    let is_wanted = own.or(wider).is_some_and(|mode| mode != ResponseCacheMode::Off);
    is_wanted && !caller.retains_nothing()
}

/// Says that the answer of a project that keeps answers was neither looked up nor kept.
pub fn name_bypass(headers: &mut HeaderMap) {
    headers.insert(CACHE, HeaderValue::from_static(BYPASS));
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
pub struct Keeping {
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
            Self::Bypass => (BYPASS, None),
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
    /// Of a request that answers for those that are the same.
    pub fn of(
        (lead, claim): (Box<Lead>, Option<ClaimGuard>),
        request: TraceId,
        made_unix_ms: u64,
        conversation: Option<Grammar>,
    ) -> Self {
        let headers = HeaderMap::new();
        Self { lead: *lead, claim, request, served: None, meaning: None, made_unix_ms, conversation, headers }
    }

    /// By which requests that mean the same find it.
    fn meaning(self, meaning: Option<Arc<Meaning>>) -> Self {
        Self { meaning, ..self }
    }

    /// An upstream answers it.
    pub fn served_by(self, served: Served) -> Self {
        Self { served: Some(served), ..self }
    }

    /// The answer grew too long.
    pub(crate) fn give_up(self) {
        self.lead.keep_nothing();
    }

    /// The answer ended well.
    pub fn ended(self, body: Bytes, usage: Option<Usage>) {
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

async fn run(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    report: &mut CacheReport,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let wish = Wish::of(&inbound.headers);
    let wanted = Wanted::of(&caller, &inbound.headers);
    let call = reading::read(inbound, &caller, core.now_us())?;
    match Capture::of(&core.contents, &call, &caller) {
        None => run_call(core, call, caller, (wish, wanted), report).await,
        // Boxed: few projects keep what their requests say.
        Some(capture) => capture.around(Box::pin(run_call(core, call, caller, (wish, wanted), report))).await,
    }
}

/// The same, once the request is read.
async fn run_call(
    core: &Rc<Core>,
    call: Call,
    caller: Caller,
    (wish, wanted): (Wish, Option<Wanted>),
    report: &mut CacheReport,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let names = stored_lookup::names(&caller, &call);
    let wanted = wanted.filter(|_| names.is_none());
    let text = wanted.and_then(|wanted| wanted.take(&call).map(|last| (wanted, last)));
    let rest = text.as_ref().map(|(wanted, last)| (wanted.model(), &*last.rest));
    let lookup = match names {
        Some(_) => None,
        None => Lookup::of(&core.cached, wish, (&call, rest), &caller),
    };
    if let Some(lookup) = lookup {
        return serve_named(core, call, caller, (lookup, text), report).await;
    }
    let now_us = core.now_us();
    let admitted = admit(call, caller, &core.journal, &core.allowances, now_us)?;
    if names.is_none() && !hooks::has_any(admitted.caller()) {
        return crate::plan_to_settle(core, admitted, now_us).await;
    }
    Box::pin(crate::resolve_to_settle(core, admitted, names)).await
}

/// Serves a request whose answer may be kept; `text` is searched for by its meaning.
async fn serve_named(
    core: &Rc<Core>,
    call: Call,
    caller: Caller,
    (lookup, text): (Lookup, Option<(Wanted, LastText)>),
    report: &mut CacheReport,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let now_unix_ms = || core.now_unix_ms();
    let shelf = Shelf { memory: &core.cached, store: &core.answers, now_unix_ms: &now_unix_ms };
    let trace = call.trace();
    let found = lookup.find(&shelf).await;
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
                let now = (core.now_us(), core.now_unix_ms());
                return Ok(settle(again(planned, &entry, worth, now)));
            }
            // Routes or credentials have changed since it was made.
            match lookup.refresh(&shelf).await {
                Found::Lead(lead, claim) => (Some(lead), claim),
                Found::Entry(_) | Found::Nothing => (None, None),
            }
        }
        Found::Lead(lead, claim) => (Some(lead), claim),
        Found::Nothing => (None, None),
    };
    let searched = by_meaning(core, &mut planned, &lookup, text.as_ref()).await;
    report.search = searched.as_ref().map(|searched| searched.search);
    let (hit, meaning) = searched.map_or((None, None), |searched| (searched.hit, searched.meaning));
    if let Some((entry, worth)) = hit {
        // Those that wait for the same request are to search at once, not one behind the other.
        if let Some(lead) = lead {
            lead.keep_nothing();
        }
        report.after = After::Hit;
        let now = (core.now_us(), core.now_unix_ms());
        return Ok(settle(again(planned, &entry, worth, now)));
    }
    let call = planned.admitted().call();
    let conversation = call.spec().facts().is_conversation.then(|| call.dialect().grammar());
    let keeping = lead.map(|lead| {
        let keeping = Keeping::of((lead, claim), trace, core.now_unix_ms(), conversation);
        Box::new(keeping.meaning(meaning))
    });
    report.after = After::Absent(None);
    // Boxed: inline, the future of a hit would be as large as that of an upstream call, though it makes none.
    let answer = Box::pin(execute(planned, &core.deps)).await?;
    let keeping = keeping.map(|keeping| Box::new(keeping.served_by(answer.served().clone())));
    report.after = match keeping {
        Some(keeping) if lookup.is_fresh() => After::Store(keeping),
        keeping => After::Absent(keeping),
    };
    hooks::finish(core, answer).await
}

/// Searches by meaning where the project wants that, and enters it into the record.
async fn by_meaning(
    core: &Rc<Core>,
    planned: &mut Planned,
    lookup: &Lookup,
    text: Option<&(Wanted, LastText)>,
) -> Option<Searched> {
    let (wanted, LastText { text, .. }) = text?;
    let sought = Sought { wanted, text, name: lookup.name(), age_ms_max: lookup.age_ms_max() };
    // Boxed: it holds a whole request of its own.
    let searched = Box::pin(semantic::search(core, planned, sought)).await;
    planned.searched(searched.search);
    Some(searched)
}

/// A hook refuses an answer that would be given again.
fn refused(planned: Planned, fault: Box<Fault>) -> EarlyExit {
    let PlannedParts { admitted, resolved_model, record, manifest_revision, .. } = planned.into_parts();
    let resting = None;
    EarlyExit::from(Box::new(PlanFailed {
        fault,
        admitted,
        resolved_model,
        record,
        manifest_revision,
        resting,
    }))
}

/// Gives an answer again, and books the exchange.
pub fn again(
    planned: Planned,
    entry: &Entry,
    worth: CachedAnswer,
    (now_us, now_unix_ms): (u64, u64),
) -> relay::ClientResponse {
    let PlannedParts { admitted, resolved_model, record, manifest_revision, .. } = planned.into_parts();
    let (call, _caller, mut tab) = admitted.into_parts();
    tab.record_plan(resolved_model, record);
    tab.record_manifest(manifest_revision);
    if let Some(screening) = call.screening() {
        tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
    }
    tab.caching(Some(CacheRecord { served: Some(worth), ..CacheRecord::default() }));
    let at_us = now_us.saturating_sub(call.received_us());
    let timeline = tab.timeline_mut();
    (timeline.planned_us, timeline.first_byte_us) = (at_us, at_us);
    let mut headers = entry.headers.clone();
    headers.insert(AGE, HeaderValue::from(entry.age_ms(now_unix_ms) / 1_000));
    let is_met = call.meets_target(at_us);
    tab.began(is_met);
    headers.extend(target_met(is_met));
    deliver_again(tab, headers, entry.body.clone(), call.dialect())
}
