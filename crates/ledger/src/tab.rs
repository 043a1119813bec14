//! The tab of one exchange: its open reservation and journal state. Opened at admission and closed exactly
//! once, also by `Drop`, without waiting or failing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::{RECORD_PLAN_ROWS_MAX, RECORD_TEXT_BYTES_MAX};
use domain::record::{Extras, PlanRecord, Reason, Rejected, StatedQos};
use domain::semantic::SemanticSearch;
use domain::{
    AliasPick, AttemptRecord, BudgetClaim, BudgetId, CacheRecord, Charge, CheckCount, Counts, CredentialId,
    Dialect, EndUserId, Fault, FaultClass, HookCall, HookServer, KeyId, Operation, Outcome, Principal,
    ProjectId, QosClass, RateLimitStates, Rates, SessionId, SideCall, TaskId, Timeline, TraceId, Usage,
    WorkspaceId,
};

use crate::entry::{Ending, OpenAttempt, SettledView, StreamCheckpoint, TabState};
use crate::journal::{Appended, Journal, PendingWrite};
use crate::reservation::{Ceiling, Draw, Reservation, ReservationHandover};

/// Upper bound on the size of a terminal record without texts, plan and attempts.
const RESERVE_BASE_BYTES: u64 = 384;
/// Upper bound on the size of a failure's reason without its texts.
const RESERVE_REASON_BYTES: u64 = 32;
/// Upper bound on the size of an attempt without its texts.
const RESERVE_ATTEMPT_BYTES: u64 = 256;
/// Upper bound on the size of a candidate or rejection without its texts.
const RESERVE_PLAN_ROW_BYTES: u64 = 32;
const RESERVE_CHECK_ROW_BYTES: u64 = 32;
/// More kinds of checks than there are.
const CHECK_ROWS: usize = 48;
/// With the host of its server.
const RESERVE_HOOK_ROW_BYTES: u64 = 40 + RECORD_TEXT_BYTES_MAX as u64;
/// More hooks than a workspace's and a project's policy may have together.
const HOOK_ROWS: usize = 16;
/// Upper bound on the size of what hints state about time.
const RESERVE_QOS_BYTES: u64 = 32;
/// Upper bound on the size of a search of the semantic cache, of what a side call was made for, and of a session.
const RESERVE_SEMANTIC_BYTES: u64 = 64;
/// The size of one budget's drawing in a record.
const RESERVE_DRAWING_BYTES: u64 = 48;
/// A stream does not start unless its budgets cover this many tokens.
const STREAM_BEGINS_TOKENS: u64 = 64;
/// Near a budget's end a prompt reserves up to this many times its expected tokens, while the budget has them.
const EXPECTED_TIMES: u64 = 2;
/// A stream is cut this many tokens before the money ends, so that what is in flight still fits.
const CUT_AHEAD_TOKENS: u64 = 16;

/// What is known of an exchange at admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub trace: TraceId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub key: Option<KeyId>,
    pub environment: Arc<str>,
    pub operation: Operation,
    pub dialect: Dialect,
    pub stream: bool,
    pub requested_model: String,
    pub tag: Option<String>,
    /// The class that its hints state.
    pub qos_class: Option<QosClass>,
    pub started_unix_ms: u64,
    /// On the monotonic clock.
    pub started_us: u64,
}

/// An attempt that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub principal: Principal,
    pub provider: Arc<str>,
    pub upstream_model: Arc<str>,
    pub region: Option<Arc<str>>,
    pub rates: Option<Rates>,
    pub markup_bps: u32,
    /// Text bytes of the prompt, for an estimate if nothing better becomes known.
    pub estimate_prompt_bytes: u64,
    /// The maximum usage of the attempt, if a budget needs it.
    pub ceiling: Option<Usage>,
    /// The tokens that the prompt is expected to have at most, with which it may start where a budget has less left than its
    /// ceiling. Without an estimate its ceiling counts.
    pub expected_input: Option<u64>,
    /// How long it may wait for reservations that other exchanges may not use.
    pub patience: Duration,
}

/// How an attempt stands to the commitment of its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitmentDraw {
    /// It draws on the commitment; or there is none.
    Within,
    /// The commitment is used up, and the attempt is made at the credential's prices all the same.
    Beyond,
    /// The commitment is used up, and the attempt is not made.
    Spilled,
}

/// An attempt whose intent is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedAttempt {
    pub number: u32,
    /// On the monotonic clock.
    pub at_us: u64,
}

/// How an attempt starts.
enum Start {
    Started(Result<(u32, Appended), Box<Fault>>),
    /// Money has to be reserved first.
    Bounded(Box<Intent>),
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptEnd {
    pub status: Option<u16>,
    pub fault: Option<FaultClass>,
    pub upstream_request_id: Option<Arc<str>>,
    /// What it used nevertheless; the provider may bill it.
    pub usage: Usage,
}

/// How the exchange ended.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    pub outcome: Outcome,
    /// The status that the client was sent.
    pub status: u16,
    pub fault: Option<&'a Fault>,
    /// The usage of the attempt that answered.
    pub usage: Usage,
    pub bytes_out: u64,
    pub fallback_used: bool,
}

/// An open exchange. Dropped without `close`, it closes itself as cancelled by the client.
///
/// A journal opens it, and `close` consumes it:
///
/// ```
/// use std::rc::Rc;
/// fn book(journal: &Rc<ledger::Journal>, opening: ledger::Opening, closing: ledger::Closing<'_>) {
///     if let Ok(tab) = journal.open_tab(opening) {
///         let _ = tab.close(closing);
///     }
/// }
/// ```
///
/// Nothing else opens one:
///
/// ```compile_fail
/// use std::rc::Rc;
/// fn book(journal: &Rc<ledger::Journal>, opening: ledger::Opening, closing: ledger::Closing<'_>) {
///     if let Ok(tab) = ledger::Tab::open(journal, opening) {
///         let _ = tab.close(closing);
///     }
/// }
/// ```
///
/// It is not closed twice:
///
/// ```compile_fail
/// use std::rc::Rc;
/// fn book(journal: &Rc<ledger::Journal>, opening: ledger::Opening, closing: ledger::Closing<'_>) {
///     if let Ok(tab) = journal.open_tab(opening) {
///         let _ = tab.close(closing);
///         let _ = tab.close(closing);
///     }
/// }
/// ```
///
/// It is not copied:
///
/// ```compile_fail
/// use std::rc::Rc;
/// fn book(journal: &Rc<ledger::Journal>, opening: ledger::Opening, closing: ledger::Closing<'_>) {
///     if let Ok(tab) = journal.open_tab(opening) {
///         let copy: ledger::Tab = tab.clone();
///         let _ = tab.close(closing);
///         let _ = copy.close(closing);
///     }
/// }
/// ```
pub struct Tab {
    journal: Rc<Journal>,
    state: Box<TabState<Arc<str>>>,
    started_us: u64,
    reserved_bytes: u64,
    /// The segment with the last full state; `None` before the first attempt.
    anchor_segment: Option<u64>,
    /// The intent of the current attempt is on disk: it may have been sent.
    sent: bool,
    closed: bool,
    /// `None` if no limit or budget applies.
    reservation: Option<Box<Reservation>>,
}

impl Tab {
    pub(crate) fn open(journal: &Rc<Journal>, opening: Opening) -> Result<Self, Box<Fault>> {
        let started_us = opening.started_us;
        let state = Box::new(state_of(opening));
        let texts = state.environment.len()
            + state.requested_model.len()
            + state.tag.as_ref().map_or(0, String::len)
            + RECORD_TEXT_BYTES_MAX;
        let reserved_bytes = RESERVE_BASE_BYTES + texts as u64;
        journal.reserve(reserved_bytes)?;
        Ok(Self {
            journal: Rc::clone(journal),
            state,
            started_us,
            reserved_bytes,
            anchor_segment: None,
            sent: false,
            closed: false,
            reservation: None,
        })
    }

    /// Takes over the exchange's reservations, which are then released exactly once.
    pub fn with_reservation(mut self, hold: Option<Box<Reservation>>) -> Self {
        if let Some(hold) = &hold {
            self.state.drawings = hold.drawings();
            self.grow(self.state.drawings.len() as u64 * RESERVE_DRAWING_BYTES);
        }
        self.reservation = hold;
        self
    }

    /// Whether budgets apply, so that attempts need a ceiling.
    pub fn has_budgets(&self) -> bool {
        self.reservation.as_ref().is_some_and(|hold| hold.has_budgets())
    }

    /// Offers what is reserved of the budgets to whatever the exchange makes and costs only later; `None` if no budget applies.
    pub fn hand_over(&mut self) -> Option<Rc<ReservationHandover>> {
        self.reservation.as_mut().filter(|hold| hold.has_budgets()).map(|hold| hold.hand_over())
    }

    /// The state of the client's rate limits; `None` if there are none.
    pub fn rate_limit_status(&self) -> Option<RateLimitStates> {
        self.reservation.as_ref().map(|hold| hold.rate_limit_status(self.journal.monotonic_us()))
    }

    /// The fault with which to cut an answer that exceeds its budget; `None` if it may continue. It used
    /// `certain` so far, and perhaps as much as `used`.
    pub fn cut_at(&mut self, certain: &Usage, used: &Usage) -> Option<Box<Fault>> {
        let hold = self.reservation.as_mut()?;
        let attempt = &self.state.attempts.last().filter(|attempt| !attempt.ended)?.record;
        let soon = Usage { output: used.output.saturating_add(CUT_AHEAD_TOKENS), ..*used };
        let (profile, rates) = (attempt.profile(), attempt.rates);
        let charge = |usage: &Usage| crate::price::charge(profile, rates, attempt.markup_bps, usage);
        let (now, soon) = (charge(certain), charge(&soon));
        let with =
            |counts: Counts, charge: &Charge| self.state.cost_by(counts).plus(counts.of(profile, charge));
        let (now, soon) = (|counts| with(counts, &now), |counts| with(counts, &soon));
        if hold.covers(now, soon, self.journal.monotonic_us()) {
            return None;
        }
        hold.cut().map(crate::refusal::cut)
    }

    pub fn trace(&self) -> TraceId {
        self.state.trace
    }

    /// The alias that the client named, and how it was resolved.
    pub fn alias(&self) -> Option<AliasPick<'_>> {
        AliasPick::read(&self.state.plan.resolution)
    }

    /// Stores the plan, for the record.
    pub fn record_plan(&mut self, mut resolved_model: Arc<str>, mut plan: PlanRecord) {
        plan.candidates.truncate(RECORD_PLAN_ROWS_MAX);
        plan.rejected.truncate(RECORD_PLAN_ROWS_MAX);
        clip_shared(&mut resolved_model);
        clip(&mut plan.route);
        let mut bytes = plan.resolution.len() + plan.route.len();
        for rejected in &mut plan.rejected {
            clip(&mut rejected.provider);
            clip(&mut rejected.reason);
            clip(&mut rejected.detail);
            bytes += rejected.provider.len() + rejected.reason.len() + rejected.detail.len();
        }
        let rows = (plan.candidates.len() + plan.rejected.len()) as u64;
        self.state.resolved_model = resolved_model;
        self.state.plan = plan;
        self.grow(rows * RESERVE_PLAN_ROW_BYTES + bytes as u64);
    }

    /// Stores what the request's hints state about time, and whether it offers the model tools, where
    /// that is known.
    pub fn describe_request(&mut self, qos: Option<StatedQos>, has_tools: Option<bool>) {
        if qos.is_some() {
            self.grow(RESERVE_QOS_BYTES);
        }
        (self.state.extras.qos, self.state.extras.has_tools) = (qos, has_tools);
    }

    /// Stores how the search of the semantic response cache ended.
    pub fn searched(&mut self, search: SemanticSearch) {
        self.grow(RESERVE_SEMANTIC_BYTES);
        self.state.extras.semantic = Some(search);
    }

    /// Stores what the exchange is made for, which no client asked for.
    pub fn made_for(&mut self, side_call: SideCall) {
        self.grow(RESERVE_SEMANTIC_BYTES);
        self.state.extras.side_call = Some(side_call);
    }

    /// Stores the agent's session that the exchange belongs to.
    pub fn in_session(&mut self, session: SessionId) {
        self.grow(RESERVE_SEMANTIC_BYTES);
        self.state.extras.session = Some(session);
    }

    /// Stores the client's own user whom the request named.
    pub fn on_behalf_of(&mut self, end_user: EndUserId) {
        self.grow(RESERVE_SEMANTIC_BYTES);
        self.state.extras.end_user = Some(end_user);
    }

    /// Stores the task that the exchange is made for, and the agent whose turn that is.
    pub fn in_task(&mut self, task: TaskId, agent: Option<&str>) {
        self.grow(RESERVE_SEMANTIC_BYTES + agent.map_or(0, str::len) as u64);
        self.state.extras.task = Some(task);
        self.state.extras.agent = agent.map(str::to_owned);
    }

    /// Stores the adapter with which a node answers.
    pub fn record_adapter(&mut self, adapter: &str) {
        self.grow(RESERVE_SEMANTIC_BYTES + adapter.len() as u64);
        self.state.extras.adapter = Some(adapter.to_owned());
    }

    /// Stores whether the answer's head went out within the target of the hints; `None` without one.
    pub fn began(&mut self, is_target_met: Option<bool>) {
        if let Some(qos) = &mut self.state.extras.qos {
            qos.target_met = is_target_met;
        }
    }

    /// Stores the revision of the capability manifest, if that kept the exchange from a candidate.
    pub fn record_manifest(&mut self, revision: Option<String>) {
        let Some(mut revision) = revision else { return };
        clip(&mut revision);
        self.grow(revision.len() as u64);
        self.state.extras.manifest_revision = Some(revision);
    }

    /// Stores how often the checks of policies matched, and how their hooks answered; the last call counts.
    pub fn screened(&mut self, mut checks: Vec<CheckCount>, mut hooks: Vec<(HookCall, HookServer)>) {
        checks.truncate(CHECK_ROWS);
        hooks.truncate(HOOK_ROWS);
        let extras = &self.state.extras;
        if extras.checks.is_empty() && extras.hooks.is_empty() {
            let checks = CHECK_ROWS as u64 * RESERVE_CHECK_ROW_BYTES;
            self.grow(checks + HOOK_ROWS as u64 * RESERVE_HOOK_ROW_BYTES);
        }
        self.state.extras.checks = checks;
        (self.state.extras.hooks, self.state.extras.hook_servers) = hooks.into_iter().unzip();
    }

    /// Stores what is done for the cache of the next attempt's provider.
    pub const fn caching(&mut self, caching: Option<CacheRecord>) {
        self.state.caching = caching;
    }

    pub fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.state.checkpoint.timeline
    }

    /// Draws the next attempt on the commitment of its credential, with what the prompt costs: that is certain
    /// to be used; if it `waits`, also for what other replicas may return. Where the commitment is used up and the attempt `spills`, it must not be made.
    pub async fn draw_on_commitment(
        &mut self,
        credential: CredentialId,
        rates: Option<Rates>,
        prompt_bytes: u64,
        (spills, waits): (bool, bool),
    ) -> CommitmentDraw {
        let Some(hold) = &mut self.reservation else { return CommitmentDraw::Within };
        let principal = Principal::Credential(credential);
        let prompt = crate::price::estimate(prompt_bytes, 0, false);
        let least = crate::price::charge(principal.profile(), rates, 0, &prompt).provider_cost;
        let journal = &self.journal;
        let commitment = BudgetId::of_commitment(credential);
        let (claim, draw) = match hold.draw(commitment, least.0, waits, || journal.monotonic_us()).await {
            Draw::None => return CommitmentDraw::Within,
            Draw::Within(claim) => (claim, CommitmentDraw::Within),
            Draw::UsedUp(_) if spills => return CommitmentDraw::Spilled,
            Draw::UsedUp(claim) => (claim.beyond(), CommitmentDraw::Beyond),
        };
        self.claim(claim);
        draw
    }

    /// An exchange draws on a commitment once: the costs of all attempts on its credential are summed. The last draw says
    /// where: one that finds something after another went beyond has a lease, which pays for both.
    fn claim(&mut self, claim: BudgetClaim) {
        let mut drawings = self.state.drawings.iter_mut();
        if let Some(drawing) = drawings.find(|drawing| drawing.budget == claim.budget) {
            *drawing = claim;
        } else {
            self.state.drawings.push(claim);
            self.grow(RESERVE_DRAWING_BYTES);
        }
    }

    /// Adds a candidate that was rejected after the plan was made.
    pub fn record_rejected(&mut self, mut rejected: Rejected) {
        if self.state.plan.rejected.len() >= RECORD_PLAN_ROWS_MAX {
            return;
        }
        clip(&mut rejected.provider);
        clip(&mut rejected.reason);
        clip(&mut rejected.detail);
        let bytes = rejected.provider.len() + rejected.reason.len() + rejected.detail.len();
        self.state.plan.rejected.push(rejected);
        self.grow(RESERVE_PLAN_ROW_BYTES + bytes as u64);
    }

    /// The exchange goes on with another model, at which it is booked; the record shows why.
    pub fn record_model_fallback(&mut self, mut resolved_model: Arc<str>, rejected: Rejected) {
        clip_shared(&mut resolved_model);
        self.state.resolved_model = resolved_model;
        // It says more than the last of many candidates.
        self.state.plan.rejected.truncate(RECORD_PLAN_ROWS_MAX - 1);
        self.record_rejected(rejected);
    }

    /// Starts an attempt: resolves once the intent is in the journal, and only then may a byte go upstream.
    ///
    /// # Errors
    /// 503 `storage_full` if the disk refuses the intent: the attempt must not be made.
    pub fn start_attempt(
        &mut self,
        intent: Intent,
    ) -> impl Future<Output = Result<StartedAttempt, Box<Fault>>> {
        // Started here if no budget applies: the future is part of every request's, and must not be large
        // enough for an intent.
        let start = match self.reservation {
            None => Start::Started(self.begin(intent)),
            Some(_) => Start::Bounded(Box::new(intent)),
        };
        async move {
            let started = match start {
                Start::Started(started) => started,
                Start::Bounded(intent) => {
                    Box::pin(self.reserve(&intent)).await?;
                    self.begin(*intent)
                }
            };
            let (number, appended) = started?;
            if let Err(fault) = self.journal.durable(appended.end).await {
                let end = AttemptEnd { fault: Some(FaultClass::Unavailable), ..AttemptEnd::default() };
                self.end_attempt(number, end);
                return Err(fault);
            }
            self.sent = true;
            let at_us = self.journal.monotonic_us();
            let timeline = &mut self.state.checkpoint.timeline;
            if timeline.intent_us == 0 {
                timeline.intent_us = at_us.saturating_sub(self.started_us);
            }
            Ok(StartedAttempt { number, at_us })
        }
    }

    /// Whether a budget may have less left than the ceiling of an attempt, so that an estimate of its prompt is worth its time.
    pub fn is_near_an_end(&self, intent: &Intent) -> bool {
        let (Some(hold), Some(most)) = (&self.reservation, intent.ceiling) else { return false };
        let profile = intent.principal.profile();
        let most = crate::price::charge(profile, intent.rates, intent.markup_bps, &most);
        hold.lacks_room_for(|counts| self.state.cost_by(counts).plus(counts.of(profile, &most)))
    }

    async fn reserve(&mut self, intent: &Intent) -> Result<(), Box<Fault>> {
        let (Some(hold), Some(most)) = (&mut self.reservation, intent.ceiling) else { return Ok(()) };
        let profile = intent.principal.profile();
        let charge = |usage: &Usage| crate::price::charge(profile, intent.rates, intent.markup_bps, usage);
        let least = least_reserved(most, intent.expected_input, self.state.stream);
        let input = most.input.min(least.input.saturating_mul(EXPECTED_TIMES));
        let most = Usage { input, ..most };
        let (most, least) = (charge(&most), charge(&least));
        let ceiling = Ceiling { profile, most, least, patience: intent.patience };
        let (state, journal) = (&self.state, &self.journal);
        let now_unix_ms = state.started_unix_ms;
        let so_far = |counts| state.cost_by(counts);
        hold.reserve(ceiling, so_far, || journal.monotonic_us(), now_unix_ms).await
    }

    /// Ends a failed attempt; its charge stays with the exchange as a memo.
    pub fn end_attempt(&mut self, number: u32, end: AttemptEnd) {
        let now = self.now_us();
        let Some(open) = self.state.attempts.iter_mut().find(|a| a.record.number == number && !a.ended)
        else {
            return;
        };
        open.ended = true;
        let attempt = &mut open.record;
        attempt.duration_us = now.saturating_sub(attempt.started_us);
        attempt.status = end.status;
        attempt.fault = end.fault;
        attempt.upstream_request_id = end.upstream_request_id;
        if let Some(id) = &mut attempt.upstream_request_id {
            clip_shared(id);
        }
        attempt.usage = end.usage;
        let principal = attempt.principal;
        attempt.charge =
            crate::price::charge(principal.profile(), attempt.rates, attempt.markup_bps, &attempt.usage);
        // The next attempt starts from zero.
        self.state.checkpoint.usage = Usage::default();
        self.state.keep_running_last();
        self.append_state_if_room();
    }

    /// Of two attempts that ran at once, the one that the exchange goes on with: it becomes the last, which is
    /// the one that is charged.
    pub fn answered_by(&mut self, number: u32) {
        let attempts = &mut self.state.attempts;
        if let Some(at) = attempts.iter().position(|attempt| attempt.record.number == number) {
            let answering = attempts.remove(at);
            attempts.push(answering);
        }
    }

    /// Records the best known usage so far, in case the process dies; appended without waiting. `false` if the journal has no
    /// room for it, beside what is reserved for terminal records.
    pub fn checkpoint(&mut self, usage: Usage, bytes_out: u64) -> bool {
        let state = &mut self.state;
        state.checkpoint = StreamCheckpoint { usage, bytes_out, ..state.checkpoint };
        let Some(anchor) = self.anchor_segment else { return false };
        if anchor == self.journal.current_segment() {
            self.journal.append_checkpoint(state.trace, &state.checkpoint)
        } else {
            // The full state again, so that the segment with the last one can be recycled.
            self.append_state_if_room()
        }
    }

    /// Sets the attempt's rates once the length of its prompt is known: some providers charge more for long
    /// ones.
    pub fn price(&mut self, number: u32, rates: Rates) {
        let mut attempts = self.state.attempts.iter_mut();
        if let Some(open) = attempts.find(|attempt| attempt.record.number == number && !attempt.ended) {
            open.record.rates = Some(rates);
        }
    }

    /// Marks the attempt as unpriced: what it used has no known price.
    pub fn mark_unpriced(&mut self, number: u32) {
        let mut attempts = self.state.attempts.iter_mut();
        if let Some(open) = attempts.find(|attempt| attempt.record.number == number && !attempt.ended) {
            open.record.rates = None;
        }
    }

    /// Stores the upstream's id of the current attempt, if it sent one.
    pub fn upstream_request_id(&mut self, mut id: Arc<str>) {
        if let Some(open) = self.state.open_attempt() {
            clip_shared(&mut id);
            open.record.upstream_request_id = Some(id);
        }
    }

    /// Closes the tab: computes the charge and appends the terminal record. Never waits, never fails.
    pub fn close(mut self, closing: Closing<'_>) -> PendingWrite {
        let ending = Ending {
            outcome: closing.outcome,
            status: closing.status,
            fault: closing.fault.map(|fault| fault.class),
            fault_code: closing.fault.map(|fault| fault.code.to_owned()),
            reason: closing.fault.and_then(|fault| self.reason(fault)),
            usage: closing.usage,
            bytes_out: closing.bytes_out,
            fallback_used: closing.fallback_used,
            finished_us: self.now_us(),
        };
        self.settle(&ending)
    }

    /// The reason of a failure. Failures are rare, so no tab reserves space for it: on a full disk the record
    /// goes without.
    fn reason(&self, fault: &Fault) -> Option<Reason> {
        let reason = Reason::of(fault);
        let texts = [Some(&reason.message), reason.fix.as_ref(), reason.param.as_ref()];
        let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        self.journal.has_capacity(RESERVE_REASON_BYTES + bytes as u64).then_some(reason)
    }

    fn settle(&mut self, ending: &Ending) -> PendingWrite {
        self.closed = true;
        let charge = self.state.conclude(ending);
        if let Some(mut hold) = self.reservation.take() {
            let tokens = ending.usage.prompt_total().saturating_add(ending.usage.completion_total());
            let (by_counts, by_commitment) =
                (|counts| self.state.cost_by(counts), |id| self.state.committed_cost(id));
            hold.settle(tokens, by_counts, by_commitment, self.journal.monotonic_us());
        }
        let cost = self.state.cost_by(Counts::All);
        let record = SettledView::of(&self.state, ending, charge);
        self.journal.append_settled(self.state.trace, &record, (self.reserved_bytes, cost))
    }

    fn begin(&mut self, intent: Intent) -> Result<(u32, Appended), Box<Fault>> {
        let now = self.now_us();
        let state = &mut self.state;
        let number = state.attempts.iter().map(|attempt| attempt.record.number).max().unwrap_or(0) + 1;
        let texts = intent.provider.len()
            + intent.upstream_model.len()
            + intent.region.as_ref().map_or(0, |region| region.len());
        let record = AttemptRecord {
            number,
            principal: intent.principal,
            provider: intent.provider,
            upstream_model: intent.upstream_model,
            region: intent.region,
            started_us: now,
            duration_us: 0,
            status: None,
            fault: None,
            upstream_request_id: None,
            usage: Usage::default(),
            rates: intent.rates,
            markup_bps: intent.markup_bps,
            charge: Charge::default(),
        };
        // There is nearly always one, and capacity for four takes two kilobytes.
        state.attempts.reserve_exact(1);
        state.attempts.push(OpenAttempt {
            record,
            ended: false,
            estimate_prompt_bytes: intent.estimate_prompt_bytes,
        });
        self.sent = false;
        self.grow(RESERVE_ATTEMPT_BYTES + texts as u64 + RECORD_TEXT_BYTES_MAX as u64);
        match self.append_state() {
            Ok(appended) => Ok((number, appended)),
            Err(fault) => {
                self.state.attempts.pop();
                Err(fault)
            }
        }
    }

    fn append_state(&mut self) -> Result<Appended, Box<Fault>> {
        let appended = self.journal.append_state(&self.state)?;
        self.anchor_segment = Some(appended.segment);
        Ok(appended)
    }

    /// For entries that only make recovery more exact: skipped if the space is reserved for terminal records.
    fn append_state_if_room(&mut self) -> bool {
        let is_appended = self.append_state().is_ok();
        if !is_appended {
            tracing::debug!(trace = %self.state.trace, "no room in the journal for the state of an open tab");
        }
        is_appended
    }

    fn grow(&mut self, bytes: u64) {
        self.reserved_bytes += bytes;
        self.journal.grow_reserve(bytes, self.reserved_bytes);
    }

    fn now_us(&self) -> u64 {
        self.journal.monotonic_us().saturating_sub(self.started_us)
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let bytes_out = self.state.checkpoint.bytes_out;
        // An intent that never reached the disk was never sent.
        let usage = if self.sent { self.state.last_known_usage() } else { Usage::default() };
        let (outcome, status, fault) = if std::thread::panicking() {
            (Outcome::Failed, 500, FaultClass::Internal)
        } else {
            (Outcome::ClientCancelled, if bytes_out > 0 { 200 } else { 499 }, FaultClass::Cancelled)
        };
        let ending = Ending {
            outcome,
            status,
            fault: Some(fault),
            fault_code: Some(fault.as_str().to_owned()),
            reason: None,
            usage,
            bytes_out,
            fallback_used: false,
            finished_us: self.now_us(),
        };
        self.settle(&ending);
    }
}

domain::brief_debug!(Tab, state);

/// What an attempt must be able to reserve to be sent, where its answer uses `most` at most, and its prompt perhaps only the
/// tokens that are expected. A stream may start with less, since it can be cut when the money ends.
pub fn least_reserved(most: Usage, expected_input: Option<u64>, is_stream: bool) -> Usage {
    let input = expected_input.map_or(most.input, |expected| expected.min(most.input));
    let output = if is_stream { most.output.min(STREAM_BEGINS_TOKENS) } else { most.output };
    Usage { input, output, ..most }
}

fn state_of(mut opening: Opening) -> TabState<Arc<str>> {
    clip_shared(&mut opening.environment);
    clip(&mut opening.requested_model);
    if let Some(tag) = &mut opening.tag {
        clip(tag);
    }
    TabState {
        trace: opening.trace,
        workspace: opening.workspace,
        project: opening.project,
        key: opening.key,
        environment: opening.environment,
        operation: opening.operation,
        dialect: opening.dialect,
        stream: opening.stream,
        requested_model: opening.requested_model,
        resolved_model: Arc::default(),
        tag: opening.tag,
        started_unix_ms: opening.started_unix_ms,
        plan: PlanRecord::default(),
        attempts: Vec::new(),
        checkpoint: StreamCheckpoint::default(),
        drawings: Vec::new(),
        caching: None,
        extras: Extras { qos_class: opening.qos_class, ..Extras::default() },
    }
}

fn clip(text: &mut String) {
    if text.len() > RECORD_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(RECORD_TEXT_BYTES_MAX));
    }
}

fn clip_shared(text: &mut Arc<str>) {
    if text.len() > RECORD_TEXT_BYTES_MAX {
        *text = text.get(..text.floor_char_boundary(RECORD_TEXT_BYTES_MAX)).unwrap_or_default().into();
    }
}
