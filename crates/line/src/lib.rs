//! The request pipeline: decode, admit, plan, execute, relay, settle, in the order in which `run_pipeline` calls
//! them. Beside it are the endpoints that use the same stages: model lists, idempotency, realtime sessions,
//! and probes.

mod alias_parameters;
mod app_plan;
mod apps;
mod background;
mod batch_items;
mod capture;
mod counters;
mod explain;
mod file_content;
mod history;
mod hooks;
mod idempotency;
mod kept_headers;
mod limits;
mod live_tasks;
mod models;
mod overload;
mod own_batches;
mod own_files;
mod own_uploads;
mod pooled;
mod reading;
mod realtime;
mod refuse;
mod response_cache;
mod screening;
mod side_requests;
mod stop;
mod stored_lists;
mod stored_lookup;
mod verify;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use admit::{Admitted, Caller, CoreAllowances, Needs, Signed, SignedHead, admit};
use bytes::Bytes;
use decode::{Call, Inbound};
use domain::ports::{AnswerStore, ContentStore, SessionStore};
use domain::{AgentStore, BatchStore, Dialect, Fault, FileStore, FlowStore, TaskStore, ToolStore, TraceId};
use execute::{Answer, Deps, Journal, SideRequest, execute};
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use plan::{PlanFailed, Planned, plan};
use relay::{relay, served_headers};
use settle::{ReplyBody, settle};

use crate::capture::Capture;
use crate::stop::EarlyExit;

pub use app_plan::{AppPlan, CalleeKind, NeedKind, PlannedCall, PlannedSecret, SecretState, UnmetNeed};
pub use apps::{AppRunner, NoApps, OnCore};
pub use background::{Background, Ending, Running};
pub use batch_items::{ItemAnswer, ItemCall, Postponable, serve_item, serve_postponable};
pub use counters::Counters;
pub use decode::{hints_of, tag_hints};
pub use execute::{AttemptPreview, ContextUse, Quote, TooLong};
pub use explain::{BatchExecution, CallExplanation, PricedPlan, context_use, explain};
pub use file_content::file_content;
pub use guardrails::ParameterChange;
pub use history::{AppendItems, Appending, append_answer, continue_in, continues, name_stored};
#[cfg(feature = "fixtures")]
pub use hooks::read_decision;
pub use idempotency::{
    ClaimGuard, KeyClaim, Keyed, RecordedBody, claim, first_headers, idempotency_key, mark_not_stored,
    replay, serve_idempotent,
};
pub use kept_headers::{of_kept as headers_of_kept, own_to_keep as own_headers_to_keep};
pub use live_tasks::{LiveTask, LiveTasks, TaskCall, TaskProgress};
pub use models::{
    SoldModel, chat_models, is_routed_elsewhere, known_since_unix_s, modality_of, models,
    named as named_model, served_of, sold_model,
};
pub use overload::{Overload, overloaded};
pub use own_batches::serve_batch;
pub use plan::{ModelFacts, ServedModel};
pub use realtime::{Session, open_session};
pub use refuse::refuse;
pub use response_cache::{
    Entry, Found, HeldAnswer, Keeping, Lead, Lookup, ResponseMemory, Shelf, Wish, again, keeps_answers,
    name_bypass, serve_cached,
};
pub use settle::{BUCKETS_MS, Labels, SettledCounts, SettledSums, TOKEN_KINDS, Times};
pub use stored_lists::list_objects;
pub use verify::{
    RuntimeReply, RuntimeRequest, SecretRenewal, SubscriptionTokens, VerifyReport, VerifyTarget,
    call_runtime, delete_object, is_probed, poll_object, probe, renew, verify,
};

/// One serving core, with everything that its requests need. Cores share only immutable data and thread-safe
/// services, by reference.
pub struct Core {
    pub number: u32,
    pub snapshot: snapshot::Reader,
    pub deps: Deps,
    pub journal: Rc<Journal>,
    pub allowances: Rc<CoreAllowances>,
    pub counters: Rc<Counters>,
    /// Stored answers to requests with an idempotency key; shared by all cores.
    pub answers: Arc<dyn AnswerStore>,
    /// Answers that are given again to the same request; shared by all cores.
    pub cached: Arc<ResponseMemory>,
    /// The sessions of agents; shared by all cores.
    pub sessions: Arc<dyn SessionStore>,
    /// Requests with their answers, where projects keep them; shared by all cores.
    pub contents: Arc<dyn ContentStore>,
    /// Batches that the gateway works through itself; shared by all cores.
    pub batches: Arc<dyn BatchStore>,
    /// Runs of apps, as tasks; shared by all cores.
    pub tasks: Arc<dyn TaskStore>,
    /// The tasks that this process works on now; shared by all cores.
    pub live_tasks: Arc<LiveTasks>,
    /// Files of projects; shared by all cores.
    pub files: Arc<dyn FileStore>,
    /// The tools that projects declare; shared by all cores.
    pub tools: Arc<dyn ToolStore>,
    /// The agents that projects define; shared by all cores.
    pub agents: Arc<dyn AgentStore>,
    /// What runs apps.
    pub apps: &'static dyn AppRunner,
    /// The flows of projects, as apps run them.
    pub flows: Arc<dyn FlowStore>,
    /// How far behind this core is.
    pub overload: Rc<Overload>,
    /// How many answers it makes in the background.
    pub in_background: Cell<u32>,
    /// What this process makes in the background; shared by all cores.
    pub background: Arc<Background>,
}

impl Core {
    /// The id of a request that is made on behalf of another one.
    pub fn new_trace(&self) -> TraceId {
        TraceId::new(self.now_unix_ms(), self.deps.world.id_bytes())
    }

    fn now_us(&self) -> u64 {
        self.deps.world.clock.monotonic_us()
    }

    fn now_unix_ms(&self) -> u64 {
        self.deps.world.clock.unix_ms()
    }
}

/// Authenticates the caller by its key, before the body is read.
///
/// # Errors
/// 401 without a valid key, 403 where the key may not do this or not from this address.
pub fn identify(core: &Core, headers: &HeaderMap, peer: IpAddr, needs: Needs) -> Result<Caller, Box<Fault>> {
    admit::identify(core.snapshot.current(), headers, peer, needs, core.now_unix_ms())
}

/// Finds the claimed signer of a signed request.
///
/// # Errors
/// Those of `identify`, and 401 where the head alone shows that the signature can't be valid.
pub fn identify_signed(
    core: &Core,
    head: &SignedHead<'_>,
    peer: IpAddr,
    needs: Needs,
) -> Result<Signed, Box<Fault>> {
    let snapshot = core.snapshot.current();
    let open = |workspace, object: &str, sealed: &_| core.deps.opener.open(workspace, object, sealed).ok();
    admit::identify_signed(snapshot, head, peer, needs, &open, core.now_unix_ms())
}

/// Verifies the signature once the body has arrived, and returns the caller.
///
/// # Errors
/// The signature is wrong, or was made over another body.
pub fn verify_signed_body(core: &Core, signed: Signed, body: &[u8]) -> Result<Caller, Box<Fault>> {
    let open = |workspace, object: &str, sealed: &_| core.deps.opener.open(workspace, object, sealed).ok();
    signed.into_caller(&open, body)
}

/// The head of an answer of the gateway's own, which no provider served.
pub fn own_headers(trace: TraceId, content_type: &'static str) -> HeaderMap {
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers
}

/// Serves one request. Every failure becomes a response in the client's dialect, and every admitted exchange
/// is booked exactly once.
pub fn serve(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
) -> impl Future<Output = Response<ReplyBody>> + use<'_> {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    // Not an `async` block: its future would hold the future of `run_pipeline` twice and copy it.
    run_pipeline(core, inbound, caller).map(move |result| concluded(core, dialect, trace, result))
}

/// The response, whatever the pipeline ended with.
fn concluded(
    core: &Core,
    dialect: Dialect,
    trace: TraceId,
    result: Result<Response<ReplyBody>, EarlyExit>,
) -> Response<ReplyBody> {
    let response = match result {
        Ok(response) => response,
        Err(EarlyExit::BeforeAdmission(fault)) => return refuse(core, dialect, &fault, trace),
        Err(EarlyExit::RateLimited(bounded)) => {
            let (fault, standings) = &*bounded;
            return refuse::with_standings(core, dialect, fault, standings, trace);
        }
        Err(EarlyExit::AfterAdmission(response, code)) => {
            core.counters.failed(code, response.fault());
            settle(*response)
        }
    };
    core.counters.answered(response.status().as_u16());
    response
}

async fn run_pipeline(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let call = reading::read(inbound, &caller, core.now_us())?;
    match Capture::of(&core.contents, &call, &caller) {
        None => call_to_settle(core, call, caller).await,
        // Boxed: few projects keep what their requests say.
        Some(capture) => capture.around(Box::pin(call_to_settle(core, call, caller))).await,
    }
}

/// The stages after the request is read.
async fn call_to_settle(
    core: &Rc<Core>,
    call: Call,
    caller: Caller,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let names = stored_lookup::names(&caller, &call);
    // Decoding and admitting take a microsecond together, so one clock reading serves both.
    let now_us = core.now_us();
    let admitted = admit(call, caller, &core.journal, &core.allowances, now_us)?;
    let needs_store = names.is_some() || admitted.call().session().is_some();
    if !needs_store && !hooks::has_any(admitted.caller()) {
        return plan_to_settle(core, admitted, now_us).await;
    }
    // Boxed: few requests name a stored object or meet a hook, and awaiting this inline would enlarge the future of
    // every request.
    Box::pin(resolve_to_settle(core, admitted, names)).await
}

/// The stages after the caller is known, for a request that names stored objects or whose policy has hooks.
async fn resolve_to_settle(
    core: &Rc<Core>,
    admitted: Admitted,
    names: Option<stored_lookup::Names>,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let admitted = resolved(core, admitted, names).await;
    resolved_to_settle(core, admitted).await
}

/// The call with the session and the stored objects that it names.
async fn resolved(core: &Core, admitted: Admitted, names: Option<stored_lookup::Names>) -> Admitted {
    let admitted = stored_lookup::check_session(&*core.sessions, admitted).await;
    match names {
        Some(names) => stored_lookup::resolve_stored(&core.deps, admitted, names).await,
        None => admitted,
    }
}

/// The stages after the stored objects are known, for a request whose policy may have hooks.
async fn resolved_to_settle(core: &Rc<Core>, admitted: Admitted) -> Result<Response<ReplyBody>, EarlyExit> {
    let admitted = hooks::before(core, admitted).await;
    let planned = planned(core, admitted, core.now_us())?;
    planned_to_settle(core, planned).await
}

/// The stages after the plan, for a request whose policy may have hooks.
async fn planned_to_settle(core: &Rc<Core>, planned: Planned) -> Result<Response<ReplyBody>, EarlyExit> {
    let mut answer = execute(planned, &core.deps).await?;
    start_side_requests(core, &mut answer);
    hooks::finish(core, answer).await
}

/// The planned call, unless the core is too far behind for what its route, and hints in its body, make of its priority.
fn planned(core: &Core, admitted: Admitted, now_us: u64) -> Result<Planned, Box<PlanFailed>> {
    let random = core.deps.world.random.next_u64();
    let planned = plan(admitted, &*core.deps.board, random, now_us, core.now_unix_ms())?;
    let is_behind = core.overload.behind_for(now_us).is_some();
    if is_behind {
        core.background.press(now_us);
    }
    if is_behind && core.overload.sheds(planned.priority(), now_us) {
        return Err(stop::shed(planned));
    }
    Ok(planned)
}

/// The stages after the caller and the stored objects are known.
async fn plan_to_settle(
    core: &Rc<Core>,
    admitted: Admitted,
    now_us: u64,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let planned = planned(core, admitted, now_us)?;
    // Boxed: every connection is as large as the future of its request, and this is most of that.
    let mut answer = Box::pin(execute(planned, &core.deps)).await?;
    start_side_requests(core, &mut answer);
    let response = relay(answer, &core.deps);
    Ok(settle(response))
}

/// Starts what an answered request ordered for its provider's cache, if it ordered something. Nothing waits for it.
fn start_side_requests(core: &Rc<Core>, answer: &mut Answer) {
    if let Some(order) = answer.take_context_order() {
        let core = Rc::clone(core);
        order.run(&core.deps.clone(), async move |request| answer_side_request(&core, request).await);
    }
    if let Some(keep_alive) = answer.take_keep_alive() {
        let core = Rc::clone(core);
        keep_alive.run(&core.deps.clone(), async move |request| answer_side_request(&core, request).await);
    }
}

/// The provider's answer to a request of the gateway's own; `None` if nobody wants it any more, or it failed.
async fn answer_side_request(core: &Rc<Core>, request: &SideRequest) -> Option<Bytes> {
    let snapshot = core.snapshot.current();
    let caller = admit::system(snapshot, request.workspace, request.project, request.side_call)?;
    if !request.is_wanted(&caller) {
        return None;
    }
    let inbound = side_requests::inbound(request, &core.deps);
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let result = serve_side_request(core, inbound, caller, request).await;
    side_requests::answer(concluded(core, dialect, trace, result)).await
}

/// All stages for a request of the gateway's own.
async fn serve_side_request(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    request: &SideRequest,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let call = reading::read(inbound, &caller, core.now_us())?;
    let admitted = admit(call, caller, &core.journal, &core.allowances, core.now_us())?;
    resolved_to_settle(core, admitted.with_stored(side_requests::findings(request))).await
}
