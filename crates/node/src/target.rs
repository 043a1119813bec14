//! What a request asks for, resolved: the mode, the model and its adapter, and whether this node has the model.

use std::time::Duration;

use decode::Call;
use domain::runtime::{GenerateRequest, RuntimeModel, RuntimeParameters};
use domain::{Fault, FaultClass, Operation};
use egress::Client;
use http::HeaderMap;

use crate::books::RequestGuard;
use crate::hybrid::{Departure, Forwarded, LeftBecause};
use crate::journal::StartedRequest;
use crate::mode::{self, Mode, Selected};
use crate::request_ids::RequestIds;
use crate::service::Service;

/// A request, and what it is forwarded with.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub call: &'a Call,
    pub headers: &'a HeaderMap,
    pub path: &'a str,
    pub ids: RequestIds,
    /// What requests to backends are sent with; `None` if nothing may leave.
    pub client: Option<&'a Client>,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Target {
    pub mode: Mode,
    pub model: String,
    pub adapter: Option<String>,
    /// The adapter changes within the answer, which only this node can do.
    pub has_timeline: bool,
    /// This node has the model for this operation.
    pub is_here: bool,
    /// A real model serves it here, so that its usage is measured.
    pub is_measured: bool,
    /// The longest wait in the queue here, where whoever sent the request goes elsewhere after it.
    pub queue_wait: Option<Duration>,
}

impl Target {
    /// The answer of this node.
    pub(crate) fn selected_here(&self) -> Selected<'_> {
        Selected { mode: self.mode, backend: None, adapter: self.adapter.as_deref(), because: None }
    }

    /// Only a backend can answer.
    pub(crate) fn must_leave(&self) -> bool {
        self.mode == Mode::Cloud || (self.mode == Mode::Hybrid && !self.is_here)
    }
}

impl Service {
    /// Resolves the execution mode, the model and the adapter of a request.
    pub(crate) fn resolve(
        &self,
        received: Received<'_>,
        parameters: &RuntimeParameters,
    ) -> Result<Target, Box<Fault>> {
        let Received { call, headers, .. } = received;
        self.hops.check(headers)?;
        let (model, adapter) = (call.request().model.clone(), parameters.adapter.clone());
        let parameters_here = RuntimeParameters { adapter, ..RuntimeParameters::default() };
        let mut request =
            GenerateRequest { model, parameters: parameters_here, ..GenerateRequest::default() };
        let named = mode::settle(headers, &mut request)?;
        let hybrid = self.settings.topology.hybrid();
        let default_mode = hybrid.map_or(Mode::Local, |hybrid| hybrid.default_mode);
        let mode = mode::resolve(named, default_mode, self.why_local(received))?;
        // What is declared is what the workspace may use; whoever has the machine uses what it has.
        if let Some(policy) = self.policy().filter(|_| !received.ids.is_local) {
            policy.check_model(&request.model)?;
        }
        let models = self.runtime.models();
        mode::take_adapter(&models, &mut request);
        let adapter = request.parameters.adapter.take();
        let adapter = self.sessions.settle(headers, adapter, mode::names_none(headers))?;
        let known = models.iter().find(|known| known.id == request.model);
        Ok(Target {
            mode,
            adapter,
            has_timeline: !parameters.adapter_switches.is_empty(),
            is_here: known.is_some_and(|known| serves(known, call.operation())),
            is_measured: known.is_some_and(|known| known.is_model),
            // The owner's bound holds, too: it says how long requests wait here where another may answer.
            queue_wait: mode::queue_wait(headers)
                .map(|stated| hybrid.map_or(stated, |hybrid| stated.min(hybrid.queue_wait))),
            model: request.model,
        })
    }

    /// Why a request may not leave; `None` if it may.
    fn why_local(&self, received: Received<'_>) -> Option<&'static str> {
        let topology = &self.settings.topology;
        if topology.is_strict {
            return Some("This node is strictly local: nothing leaves this machine.");
        }
        if topology.hybrid().is_none() {
            return Some("This node has no backends, so that nothing leaves this machine.");
        }
        if received.client.is_none() {
            return Some("A peer sent this request: this node serves it, and sends it to no backend.");
        }
        let came_through_gateway = received.ids.request.is_some();
        came_through_gateway.then_some(
            "This request came through a gateway, which decides what leaves: the node serves it here.",
        )
    }

    /// Records the start of an answer.
    pub(crate) fn begin(&self, operation: Operation, target: &Target, ids: RequestIds) -> RequestGuard {
        let started = StartedRequest {
            id: ids.trace.to_string(),
            request: ids.request.map(|request| request.to_string()),
            unix_ms: self.settings.world.clock.unix_ms(),
            model: target.model.clone(),
            adapter: target.adapter.clone(),
            operation: operation.as_str().to_owned(),
            left_to: None,
        };
        self.books.begin(started, target.is_measured)
    }

    /// How a request leaves, if it may.
    pub(crate) fn departure<'a>(
        &'a self,
        received: Received<'a>,
        target: &'a Target,
    ) -> Option<Departure<'a>> {
        let Received { call, headers, path, ids, client } = received;
        let forwarded = Forwarded {
            call,
            headers,
            path: path.strip_prefix("/v1")?,
            adapter: target.adapter.as_deref(),
            hops: self.hops.next(headers)?,
        };
        let (hybrid, model, mode) = (self.settings.topology.hybrid()?, target.model.as_str(), target.mode);
        let departure = Departure { client: client?, hybrid, forwarded, model, mode, trace: ids.trace };
        (departure.is_possible() && !target.has_timeline && mode != Mode::Local).then_some(departure)
    }

    /// Whether the estimated wait in the queue is above a bound; without an estimate it is not.
    pub(crate) fn would_wait_longer(&self, bound: Duration) -> bool {
        is_longer(self.books.rates().wait_us(self.runtime.load()), bound)
    }

    /// Whether a request would wait too long here, or be late. It is an estimate from the load and the measured rate.
    pub(crate) fn delay(&self, call: &Call, departure: &Departure<'_>) -> Option<LeftBecause> {
        let rates = self.books.rates();
        let wait_us = rates.wait_us(self.runtime.load());
        if is_longer(wait_us, departure.hybrid.queue_wait) {
            return Some(LeftBecause::QueueWait);
        }
        let deadline_ms = call.hints()?.qos.deadline_ms?;
        let answer_us = rates.answer_us(call.request().max_output_tokens)?;
        let now_us = self.settings.world.clock.monotonic_us();
        let passed_us = now_us.saturating_sub(call.received_us());
        let needed_us = passed_us.saturating_add(wait_us?).saturating_add(answer_us);
        (needed_us > deadline_ms.saturating_mul(1_000)).then_some(LeftBecause::Deadline)
    }
}

fn is_longer(wait_us: Option<u64>, bound: Duration) -> bool {
    wait_us.is_some_and(|wait_us| u128::from(wait_us) > bound.as_micros())
}

/// The fault of a request that would wait here, or has waited, longer than it may.
pub(crate) fn queue_too_long() -> Box<Fault> {
    let message = "The queue of this node is longer than the request may wait.";
    let fault = Fault::new(FaultClass::Limited, "queue_full", message);
    // No Retry-After: a request with nowhere else to go may come back at once, and wait.
    Box::new(fault.fix("Send it to another node, or again in a moment."))
}

fn serves(model: &RuntimeModel, operation: Operation) -> bool {
    match operation {
        Operation::Embed => model.operations.vectors,
        Operation::Rerank => model.operations.ranks,
        _ => model.operations.answers,
    }
}

/// The fault of a request that only a backend may answer, and that none takes.
pub(crate) fn not_taken(target: &Target) -> Box<Fault> {
    if target.adapter.is_some() || target.has_timeline {
        let message = "The request names an adapter, which no backend of this node has.";
        let fault = Fault::new(FaultClass::Unsupported, "adapter_is_local", message);
        return Box::new(fault.fix("Leave the adapter out, or send the request without mode cloud."));
    }
    let name: String = target.model.chars().take(128).collect();
    let message = format!("No backend of this node serves the model \"{name}\".");
    let fault = Fault::new(FaultClass::NotFound, "model_not_found", message).param("model");
    Box::new(fault.fix("Name a model of a backend, or add it to one in the node's configuration."))
}

/// The fault of a model that this node does not have.
pub(crate) fn missing_here(target: &Target) -> Fault {
    let name: String = target.model.chars().take(128).collect();
    Fault::new(FaultClass::NotFound, "model_not_found", format!("It has no model \"{name}\" for this."))
}
