//! The way of one request through the loop: steps of the model, each a request of its own, and the calls between them.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::limits::BODY_BYTES_MAX;
use domain::{Nanos, SideCall, SideCallPurpose, TraceId};
use http::{HeaderMap, Response};
use line::Core;
use serde_json::{Map, Value};
use settle::ReplyBody;
use tools::RESULT_BYTES_MAX;

use crate::forms::{self, ReportedCall};
use crate::kept_results::{self, READ_RESULT};
use crate::native::{Call, CallResult, Declaration, Native};
use crate::toolset::{Executed, Occasion, Toolset};
use crate::wish::Wish;

pub(crate) struct Trip {
    core: Rc<Core>,
    caller: Caller,
    /// As the client sent it; each step has its head.
    inbound: Inbound,
    pub native: Native,
    pub body: Map<String, Value>,
    pub tools: Toolset,
    wish: Wish,
    /// Steps that were begun.
    pub steps: u32,
    calls: u32,
    /// What the steps that are over cost.
    cost: Nanos,
    /// The model was told to make no more calls.
    pub is_last: bool,
    /// It was offered the tool that reads on in long results.
    reads_on: bool,
    /// Items that tell the client of servers that its request names, and of their calls.
    pub reported: Vec<Value>,
    /// The tools of the request itself.
    own_tools: Value,
    /// What the client decided about calls of earlier answers.
    decided: Vec<(String, bool)>,
}

/// What a step's answer leads to.
pub(crate) enum Next {
    /// Its calls are executed, and the model goes on.
    Calls(Vec<Call>),
    /// Its client gets it, without these calls.
    Answer(Vec<String>),
}

impl Trip {
    pub(crate) fn new(
        (core, caller): (Rc<Core>, Caller),
        inbound: Inbound,
        (native, mut body): (Native, Map<String, Value>),
        (tools, wish): (Toolset, Wish),
    ) -> Self {
        let own_tools = body.get("tools").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        for (name, offered) in &tools.offered {
            let (description, parameters) = (offered.description.as_str(), &offered.parameters);
            native.declare(&mut body, Declaration { name, description, parameters });
        }
        Self {
            core,
            caller,
            inbound,
            native,
            body,
            tools,
            wish,
            steps: 0,
            calls: 0,
            cost: Nanos::ZERO,
            is_last: false,
            reads_on: false,
            reported: Vec::new(),
            decided: Vec::new(),
            own_tools,
        }
    }

    /// The same, with what is told of servers that the request names, and what its client decided about their calls.
    pub(crate) fn with_named(mut self, reported: Vec<Value>, decided: Vec<(String, bool)>) -> Self {
        (self.reported, self.decided) = (reported, decided);
        self
    }

    pub(crate) const fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    fn time_left(&self) -> Duration {
        let passed_us = self.core.deps.world.clock.monotonic_us().saturating_sub(self.inbound.received_us);
        self.wish.time.saturating_sub(Duration::from_micros(passed_us))
    }

    /// Counts what a step cost whose answer is whole.
    pub(crate) fn count(&mut self, step: &ReplyBody) {
        self.cost = self.cost.plus(step.cost().unwrap_or_default());
    }

    fn is_spent(&self) -> bool {
        let cost = u64::try_from(self.cost.0).unwrap_or_default();
        self.wish.nano_usd.is_some_and(|limit| cost >= limit)
    }

    /// Executes the calls of earlier answers that its client approves; the others were refused.
    pub(crate) async fn settle_pending(&mut self) {
        let body = Value::Object(self.body.clone());
        let approved = self.wish.approved.clone();
        let decided = |call: &Call| {
            let decision =
                self.decided.iter().find(|(id, _)| *id == call.id).map(|(_, is_approved)| *is_approved);
            decision.or_else(|| approved.as_ref().map(|approved| approved.has(&call.id)))
        };
        let pending = self.native.pending(&body).into_iter().filter(|call| self.tools.executes(&call.name));
        let pending =
            pending.filter(|call| decided(call).is_some() || self.tools.origin(&call.name).is_some());
        let (given, refused): (Vec<Call>, Vec<Call>) = pending.partition(|call| decided(call) == Some(true));
        let (of_given, of_refused) = (self.occasion(given.len()), self.occasion(refused.len()));
        let mut executed = self.tools.execute(&self.core, &given, of_given).await;
        self.report(&given, &executed);
        executed.extend(self.tools.refuse(&self.core, &refused, of_refused));
        if !executed.is_empty() {
            self.append(executed);
        }
    }

    /// Notes calls that the client is told of.
    fn report(&mut self, calls: &[Call], executed: &[Executed]) {
        for (call, executed) in calls.iter().zip(executed) {
            let Some((label, tool)) = self.tools.origin(&call.name) else { continue };
            let arguments = call.arguments.clone().unwrap_or_default();
            let reported = ReportedCall { label, tool, id: &call.id, arguments: &arguments };
            let result = (executed.result.text.as_str(), executed.result.is_error);
            let items = forms::call_items(self.native, &reported, result);
            self.reported.extend(items);
        }
    }

    /// The items that ask the client for the approval of the last step's calls.
    pub(crate) fn approvals(&self, calls: &[Call]) -> Vec<Value> {
        let waiting = calls.iter().filter(|call| !self.tools.runs(&call.name));
        let items = waiting.filter_map(|call| {
            let (label, tool) = self.tools.origin(&call.name)?;
            let arguments = call.arguments.clone().unwrap_or_default();
            Some(forms::approval_item(&ReportedCall { label, tool, id: &call.id, arguments: &arguments }))
        });
        items.collect()
    }

    fn occasion(&mut self, calls: usize) -> Occasion {
        let place = self.calls;
        self.calls = self.calls.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        let (owner, request) = (self.caller.owner(), self.inbound.trace);
        let (time_left, result_bytes_max) = (self.time_left(), RESULT_BYTES_MAX);
        Occasion { owner, request, step: self.steps, place, time_left, result_bytes_max }
    }

    /// Has the model answer. The first step is the client's own request; the others are made on its behalf.
    pub(crate) async fn step(&mut self) -> Response<ReplyBody> {
        self.steps += 1;
        let body = Bytes::from(Value::Object(self.body.clone()).to_string());
        if body.len() > BODY_BYTES_MAX {
            let fault = decode::too_large(BODY_BYTES_MAX);
            return line::refuse(&self.core, self.inbound.dialect, &fault, self.inbound.trace);
        }
        let mut inbound = self.inbound.with_body(body);
        let mut caller = self.caller.clone();
        if self.steps > 1 {
            let world = &self.core.deps.world;
            let unix_ms = world.clock.unix_ms();
            inbound.trace = TraceId::new(unix_ms, world.id_bytes());
            (inbound.received_us, inbound.received_unix_ms) = (world.clock.monotonic_us(), unix_ms);
            let side_call = SideCall { purpose: SideCallPurpose::ToolStep, parent: self.inbound.trace };
            caller = caller.for_side_call(side_call);
        }
        // Boxed: it is as large as the future of a client's request.
        Box::pin(line::serve(&self.core, inbound, caller)).await
    }

    /// What comes after a step's answer. A step that calls tools of the client as well ends the loop: the calls of ours are left
    /// out, and the model makes them again when it has the client's results.
    pub(crate) fn after(&self, calls: &[Call]) -> Next {
        let is_run = !calls.is_empty() && calls.iter().all(|call| self.tools.runs(&call.name));
        if is_run && !self.is_last {
            return Next::Calls(calls.to_vec());
        }
        let hidden = calls.iter().filter(|call| self.tools.hides(&call.name));
        Next::Answer(hidden.map(|call| call.id.clone()).collect())
    }

    /// Executes the calls of an answer, and prepares the next step.
    pub(crate) async fn go_on(&mut self, answer: &Value, calls: &[Call]) {
        self.native.append_answer(&mut self.body, answer);
        let occasion = self.occasion(calls.len());
        let executed = self.tools.execute(&self.core, calls, occasion).await;
        self.report(calls, &executed);
        self.append(executed);
        self.native.free_choice(&mut self.body);
        if self.steps.saturating_add(1) >= self.wish.steps || self.time_left().is_zero() || self.is_spent() {
            self.is_last = true;
            self.native.forbid_calls(&mut self.body);
        }
    }

    fn append(&mut self, executed: Vec<Executed>) {
        let (mut results, mut records): (Vec<CallResult>, Vec<_>) = (Vec::new(), Vec::new());
        for one in executed {
            results.push(one.result);
            records.push(one.record);
        }
        self.native.append_results(&mut self.body, &results);
        self.core.tools.record(records);
        if !self.tools.kept.is_empty() && !std::mem::replace(&mut self.reads_on, true) {
            let parameters = kept_results::parameters();
            let (name, description) = (READ_RESULT, kept_results::DESCRIPTION);
            self.native.declare(&mut self.body, Declaration { name, description, parameters: &parameters });
        }
    }

    /// A format that repeats the tools of a request in its answer repeats those of the client.
    pub(crate) fn restore_tools(&self, answer: &mut Value) {
        if let Some(tools) = answer.get_mut("tools") {
            *tools = self.own_tools.clone();
        }
    }

    /// Ends the sessions with its servers, for which nobody waits.
    pub(crate) fn close(self) {
        tasks::spawn_on_core(self.tools.close());
    }

    /// Says that the response cache was passed by, where the project has one.
    pub(crate) fn name_bypass(&self, headers: &mut HeaderMap) {
        if line::keeps_answers(&self.caller) {
            line::name_bypass(headers);
        }
    }
}
