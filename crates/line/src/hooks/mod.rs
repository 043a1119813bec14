//! The hooks of policies: servers of the customer that decide about a request before it is planned, and about its answer
//! before the client gets it. All hooks of one point are called at once, those of the workspace and of the project.

mod gauge;
mod message;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::{Admitted, Caller};
use bytes::Bytes;
use conversation::request::StoredAct;
use decode::Call;
use domain::limits::{POLICY_HOOK_CONTENT_BYTES_MAX, WEBHOOK_OVERLAP};
use domain::{
    Fault, HookCall, HookOutcome, HookPoint, HookServer, OnSilence, Policy, PolicyHook, PolicyRule, Secret,
    Usage,
};
use execute::{Answer, Exchange, HookMessage, Served, call_hook};
use futures_util::future::join_all;
use http::Response;
use relay::{deliver_refused, relay};
use serde_json::{Map, Value};
use settle::{ReplyBody, WatchStream, settle};
use tokio::time::timeout;

use crate::Core;
use crate::screening::refusal;
use crate::stop::EarlyExit;
use gauge::Gauge;
use message::{AnswerFacts, Decision};

/// The length of a signing key: a sealed secret is the newest, and the one before it.
const KEY_BYTES: usize = 32;
const US_PER_MS: u64 = 1_000;

thread_local! {
    /// How the hooks answered lately. A core is a thread.
    static GAUGE: Rc<Gauge> = Rc::default();
}

/// Whether the answer of a hook allows, and the reason with which it refuses; `None` where it decides nothing. For the fuzz targets.
#[cfg(feature = "fixtures")]
pub fn read_decision(answer: &[u8]) -> Option<Result<(), String>> {
    match Decision::read(answer) {
        Decision::Allowed => Some(Ok(())),
        Decision::Refused(reason) => Some(Err(reason)),
        Decision::Silent(_) => None,
    }
}

/// Whether a policy of the caller's project has a hook.
pub(crate) fn has_any(caller: &Caller) -> bool {
    caller.project().policy.as_ref().is_some_and(|policies| policies.hooks().next().is_some())
}

/// Whether hooks are called at this point. What only ends or lists something is no matter of theirs.
fn is_called(call: &Call, caller: &Caller, at: HookPoint) -> bool {
    let act = call.request().stored.as_ref().map(|stored| stored.act);
    let is_read = at == HookPoint::Post && matches!(act, Some(StoredAct::Read | StoredAct::Content));
    let mut hooks = caller.project().policy.iter().flat_map(|policies| policies.hooks());
    (call.makes_something() || is_read) && hooks.any(|(_, _, hook)| hook.at == at)
}

/// Calls the hooks before a request is planned. What they refuse, its plan tells.
pub(crate) async fn before(core: &Core, admitted: Admitted) -> Admitted {
    let (call, caller) = (admitted.call(), admitted.caller());
    let is_refused = call.screening().is_some_and(|screening| screening.fault.is_some());
    if is_refused || !is_called(call, caller, HookPoint::Pre) {
        return admitted;
    }
    let facts = message::of_request(call, caller);
    // A form, an upload and what is said in a session are no text that could be sent.
    let has_text = call.upload().is_none() && call.request().form().is_none();
    let content = Some(call.body()).filter(|body| has_text && !body.is_empty());
    match (HookQuery { core, call, caller, at: HookPoint::Pre, facts, content }).run().await {
        Some(fault) => admitted.with_refusal(fault),
        None => admitted,
    }
}

/// The last stages of an answer. A buffered one waits for the hooks; of a stream they are told at its end, and refuse
/// nothing.
pub(crate) async fn finish(core: &Rc<Core>, answer: Answer) -> Result<Response<ReplyBody>, EarlyExit> {
    let exchange = Rc::clone(answer.exchange());
    if !is_called(&exchange.call, &exchange.caller, HookPoint::Post) {
        return Ok(settle(relay(answer, &core.deps)));
    }
    let served = answer.served().clone();
    let Some((bytes, usage)) = answer.whole() else {
        let stream = WatchedStream { core: Rc::clone(core), exchange, served, sent: Some(Vec::new()) };
        return Ok(settle(relay(answer, &core.deps)).map(|body| body.watched(Box::new(stream))));
    };
    let facts = AnswerFacts { served: Some(&served), usage, is_stream: false };
    match of_answer(core, (&exchange.call, &exchange.caller), &facts, Some(bytes)).await {
        None => Ok(settle(relay(answer, &core.deps))),
        Some(fault) => {
            let code = fault.code;
            Err(EarlyExit::AfterAdmission(Box::new(deliver_refused(answer, fault, &core.deps)), code))
        }
    }
}

/// Calls the hooks before an answer of the response cache is given again.
pub(crate) async fn of_repeat(core: &Core, admitted: &Admitted, body: &Bytes) -> Option<Box<Fault>> {
    let (call, caller) = (admitted.call(), admitted.caller());
    if !is_called(call, caller, HookPoint::Post) {
        return None;
    }
    let facts = AnswerFacts { served: None, usage: Usage::default(), is_stream: false };
    of_answer(core, (call, caller), &facts, Some(body)).await
}

async fn of_answer(
    core: &Core,
    (call, caller): (&Call, &Caller),
    answer: &AnswerFacts<'_>,
    content: Option<&Bytes>,
) -> Option<Box<Fault>> {
    let facts = message::of_answer(call, caller, answer);
    HookQuery { core, call, caller, at: HookPoint::Post, facts, content }.run().await
}

/// A stream whose hooks are told of its end.
struct WatchedStream {
    core: Rc<Core>,
    exchange: Rc<Exchange>,
    served: Served,
    /// What was sent, if a hook reads it; `None` once it is too long.
    sent: Option<Vec<u8>>,
}

impl WatchStream for WatchedStream {
    fn sent(&mut self, bytes: &[u8]) {
        let policies = self.exchange.caller.project().policy.iter();
        let is_read = policies
            .flat_map(|policies| policies.hooks())
            .any(|(_, _, hook)| hook.at == HookPoint::Post && hook.reads_content);
        let Some(sent) = self.sent.as_mut().filter(|_| is_read) else { return };
        if sent.len() + bytes.len() > POLICY_HOOK_CONTENT_BYTES_MAX {
            self.sent = None;
        } else {
            sent.extend_from_slice(bytes);
        }
    }

    fn ended(self: Box<Self>, usage: Usage) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let Self { core, exchange, served, sent } = *self;
            let content = sent.map(Bytes::from);
            let facts = AnswerFacts { served: Some(&served), usage, is_stream: true };
            let refused =
                of_answer(&core, (&exchange.call, &exchange.caller), &facts, content.as_ref()).await;
            if let Some(fault) = refused {
                tracing::warn!(request = %exchange.trace(), "{}", fault.message);
            }
        })
    }
}

/// The question that the hooks of one point decide.
struct HookQuery<'a> {
    core: &'a Core,
    call: &'a Call,
    caller: &'a Caller,
    at: HookPoint,
    facts: Map<String, Value>,
    /// `None` where there is no text.
    content: Option<&'a Bytes>,
}

impl HookQuery<'_> {
    /// Calls all hooks, notes how each answered, and returns the first refusal.
    async fn run(self) -> Option<Box<Fault>> {
        let policies = Arc::clone(self.caller.project().policy.as_ref()?);
        let hooks = policies.hooks().filter(|(_, _, hook)| hook.at == self.at);
        let calls = hooks.map(async |(policy, place, hook)| {
            let (call, fault) = self.call(policy, place, hook).await;
            ((call, HookServer::of(hook)), fault)
        });
        let mut refused = None;
        for (called, fault) in join_all(calls).await {
            self.core.counters.hook_called(called.0.outcome);
            if let Some(screening) = self.call.screening() {
                screening.hook_calls.borrow_mut().push(called);
            }
            refused = refused.or(fault);
        }
        refused
    }

    /// Calls one hook: how that ended, and the fault of what it refuses.
    async fn call(&self, policy: &Policy, place: usize, hook: &PolicyHook) -> (HookCall, Option<Box<Fault>>) {
        let started_us = self.core.now_us();
        let decision = self.decide(policy, place, hook).await;
        let latency_ms = self.core.now_us().saturating_sub(started_us) / US_PER_MS;
        let outcome = decision.outcome();
        let owner = policy.owner().to_owned();
        let call = HookCall { at: self.at, owner, place, outcome, latency_ms };
        let is_refused = match hook.on_silence {
            OnSilence::Refuse => outcome != HookOutcome::Allowed,
            OnSilence::Allow => outcome == HookOutcome::Refused,
        };
        let fault = is_refused.then(|| {
            let fix = if outcome.is_silence() {
                "Send it again in a moment, or have an admin see to the hook."
            } else {
                "Change the content that the hook refuses, or have an admin change the policy."
            };
            refusal(policy, PolicyRule::Hooks, "model", &message::why(hook, &decision), fix)
        });
        (call, fault)
    }

    async fn decide(&self, policy: &Policy, place: usize, hook: &PolicyHook) -> Decision {
        let content = match (hook.reads_content, self.content) {
            (false, _) => None,
            (true, Some(bytes)) if bytes.len() <= POLICY_HOOK_CONTENT_BYTES_MAX => {
                match std::str::from_utf8(bytes) {
                    Ok(text) => Some(text),
                    Err(_) => return Decision::Silent(HookOutcome::Unreadable),
                }
            }
            (true, _) => return Decision::Silent(HookOutcome::Unreadable),
        };
        let gauge = GAUGE.with(Rc::clone);
        let Some(open) = gauge.begin(policy.id, &hook.url, self.core.now_us()) else {
            return Decision::Silent(HookOutcome::Skipped);
        };
        let Some(keys) = self.keys(policy) else { return Decision::Silent(HookOutcome::Skipped) };
        let workspace = self.caller.workspace().id;
        let id = format!("{}-{}-{}-{place}", self.call.trace(), self.at.as_str(), policy.owner());
        let body = message::body(&id, self.at, (workspace, policy.id), &self.facts, content);
        let sent = HookMessage { url: &hook.url, owner: workspace, id, keys: &keys, body };
        let time_max = Duration::from_millis(hook.timeout_ms).min(self.time_left());
        let decision = match timeout(time_max, call_hook(&self.core.deps, sent)).await {
            Ok(Ok(answer)) => Decision::read(&answer),
            Ok(Err(outcome)) => Decision::Silent(outcome),
            Err(_) => Decision::Silent(HookOutcome::Timeout),
        };
        open.ended(decision.outcome().is_silence(), self.core.now_us());
        decision
    }

    /// Until the deadline of the request, as its client or a policy states it.
    fn time_left(&self) -> Duration {
        let stated = self.call.hints().and_then(|hints| hints.qos.deadline_ms);
        let policies = self.caller.project().policy.as_ref();
        let longest = policies.and_then(|policies| policies.duration_ms_max());
        let Some(ms) = stated.into_iter().chain(longest).min() else { return Duration::MAX };
        let passed_us = self.core.now_us().saturating_sub(self.call.received_us());
        Duration::from_millis(ms).saturating_sub(Duration::from_micros(passed_us))
    }

    /// What signs: the newest key, and for a day beside it the one before. `None` if they don't open.
    fn keys(&self, policy: &Policy) -> Option<Vec<Secret>> {
        let own = policy.hook_secret.as_ref()?;
        let workspace = self.caller.workspace().id;
        let opened = self.core.deps.opener.open(workspace, &policy.id.to_string(), &own.sealed);
        let opened = opened.inspect_err(
            |error| tracing::warn!(policy = %policy.id, ?error, "the secret of its hooks does not open"),
        );
        let opened = opened.ok()?;
        let overlap_ms = u64::try_from(WEBHOOK_OVERLAP.as_millis()).unwrap_or(u64::MAX);
        let is_overlap = self.core.now_unix_ms() < own.made_unix_ms.saturating_add(overlap_ms);
        let keys = opened.expose().chunks(KEY_BYTES).take(if is_overlap { 2 } else { 1 });
        Some(keys.map(|key| Secret::new(key.to_vec())).collect())
    }
}
