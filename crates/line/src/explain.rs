//! What would become of a request, without serving it: the stages before the first byte is sent, of which none takes,
//! opens or writes anything.

use std::sync::Arc;

use admit::{Caller, bounds_of, would_refuse};
use decode::{Inbound, decode};
use domain::{Budget, Dialect, Fault, ModelFallbackClass, Operation};
use execute::{AttemptPreview, ContextUse, Quote, TooLong, preview, quote, too_long};
use guardrails::ParameterChange;
use plan::{ExplainedAttempt, Explanation, OtherCandidate, explain_call};

use crate::reading::completed;
use crate::{Core, alias_parameters, own_batches, stored_lookup};

/// What would become of a request.
#[derive(Debug)]
pub struct CallExplanation {
    pub dialect: Dialect,
    /// `None` where the address is refused.
    pub operation: Option<Operation>,
    /// As the client wrote it; several where it is a batch of several.
    pub requested_model: String,
    pub is_stream: bool,
    /// What refuses it before it is planned: the request itself, or a rate limit.
    pub refusal: Option<Box<Fault>>,
    /// What the release of its alias sets and moves.
    pub alias_parameters: Vec<ParameterChange>,
    /// `None` where the request itself is refused.
    pub plan: Option<PricedPlan>,
}

/// Who would work through a new batch.
#[derive(Debug, Clone)]
pub enum BatchExecution {
    Gateway {
        /// Why no provider takes it as a whole.
        why: Box<Fault>,
    },
    Provider {
        /// Its models by their names there, each with the price of its requests in per cent of the usual one; `None`
        /// where the provider publishes none.
        percents: Vec<(String, Option<u16>)>,
    },
}

/// A plan with its prices, and with what its providers can't be asked for.
#[derive(Debug)]
pub struct PricedPlan {
    pub explanation: Explanation,
    /// In the order of the attempts.
    pub attempts: Vec<AttemptPreview>,
    /// In the order of the other candidates.
    pub other_prices: Vec<Option<Quote>>,
    /// In the order of the other models, and of the attempts of each.
    pub fallbacks: Vec<Vec<AttemptPreview>>,
    /// The prompt is longer than the context of the model, which is then not asked where another one is for that.
    pub too_long: Option<TooLong>,
    /// The budgets that it would count against.
    pub budgets: Vec<Arc<Budget>>,
    /// Of a new batch that somebody would work through.
    pub batch: Option<BatchExecution>,
}

impl CallExplanation {
    /// Of a request that is refused before it is known what it asks for.
    pub fn refused(dialect: Dialect, operation: Option<Operation>, fault: Box<Fault>) -> Self {
        let (requested_model, is_stream) = (String::new(), false);
        let (refusal, alias_parameters) = (Some(fault), Vec::new());
        Self { dialect, operation, requested_model, is_stream, refusal, alias_parameters, plan: None }
    }
}

/// Explains a request, as if `caller` made it in this environment.
pub async fn explain(
    core: &Core,
    mut inbound: Inbound,
    caller: Caller,
    environment: &str,
) -> CallExplanation {
    let (dialect, operation) = (inbound.dialect, inbound.operation);
    let fitted = alias_parameters::fit(&mut inbound, &caller, core.now_us());
    if let Some(fault) = fitted.fault {
        return CallExplanation::refused(dialect, Some(operation), fault);
    }
    let read = decode(inbound, core.now_us()).and_then(|call| completed(call, &caller));
    let call = match read {
        Ok(call) => call,
        Err(fault) => return CallExplanation::refused(dialect, Some(operation), fault),
    };
    let (requested_model, is_stream) = (requested_model(&call), call.request().stream);
    let bounds = bounds_of(&call, &caller);
    let refusal = bounds.as_ref().and_then(|bounds| {
        would_refuse(core.allowances.shared(), caller.workspace().id, bounds, core.now_us())
    });
    let call = with_findings(core, &caller, call).await;
    let (random, board) = (core.deps.world.random.next_u64(), &*core.deps.board);
    let explained =
        |call: &_| explain_call(call, &caller, environment, board, random, core.now_us(), core.now_unix_ms());
    let mut explanation = explained(&call);
    let call = if own_batches::would_pool(&call, &caller, explanation.fault.as_deref()).await {
        let call = call.for_pool();
        explanation = explained(&call);
        call
    } else {
        call
    };
    let batch = batch_execution(core, &call, &caller, &mut explanation).await;
    let model = explanation.resolved_model.clone().unwrap_or_default();
    let previewed = |of: &[ExplainedAttempt]| {
        of.iter().map(|one| preview(&call, &caller, &model, &one.attempt, &core.deps)).collect()
    };
    let price = |other: &OtherCandidate| quote(&call, &caller, &model, &other.candidate.attempt, &core.deps);
    let plan = PricedPlan {
        attempts: previewed(&explanation.attempts),
        other_prices: explanation.others.iter().map(price).collect(),
        fallbacks: explanation.fallbacks.iter().map(|fallback| previewed(&fallback.attempts)).collect(),
        too_long: too_long_of(&call, &caller, &model, &explanation, core),
        budgets: bounds.map(|bounds| bounds.budgets).unwrap_or_default(),
        batch,
        explanation,
    };
    CallExplanation {
        dialect,
        operation: Some(operation),
        requested_model,
        is_stream,
        refusal,
        alias_parameters: fitted.changes,
        plan: Some(plan),
    }
}

/// Who would work through the batch that a call makes. That no provider takes it is no fault where the gateway does.
async fn batch_execution(
    core: &Core,
    call: &admit::Call,
    caller: &Caller,
    explanation: &mut Explanation,
) -> Option<BatchExecution> {
    let is_new = call.request().batch().is_some() || call.is_made_from_file();
    if !is_new || call.operation() != Operation::Batch {
        return None;
    }
    if let Some(why) = &explanation.fault {
        let there = own_batches::would_work_through(core, call, caller, why).await?;
        let why = std::mem::replace(&mut explanation.fault, there)?;
        return explanation.fault.is_none().then_some(BatchExecution::Gateway { why });
    }
    let provider = &explanation.attempts.first()?.provider;
    let catalogue = caller.snapshot().catalogue();
    let percent = |model: &String| (model.clone(), catalogue.batch_percent(provider, model));
    Some(BatchExecution::Provider { percents: explanation.batch_models.iter().map(percent).collect() })
}

/// The call with the stored objects that it names.
async fn with_findings(core: &Core, caller: &Caller, call: admit::Call) -> admit::Call {
    let Some(names) = stored_lookup::names(caller, &call) else { return call };
    let findings = stored_lookup::find(&core.deps, &call, names).await;
    call.with_stored(findings)
}

/// What a request takes of the context of the model that it would be sent to first; `None` of one that would be refused, or
/// whose provider sees to its context itself.
pub async fn context_use(core: &Core, mut inbound: Inbound, caller: &Caller) -> Option<ContextUse> {
    if alias_parameters::fit(&mut inbound, caller, core.now_us()).fault.is_some() {
        return None;
    }
    let call = decode(inbound, core.now_us()).and_then(|call| completed(call, caller)).ok()?;
    let call = with_findings(core, caller, call).await;
    let (random, board) = (core.deps.world.random.next_u64(), &*core.deps.board);
    let (now_us, now_unix_ms) = (core.now_us(), core.now_unix_ms());
    let explanation = explain_call(&call, caller, caller.environment(), board, random, now_us, now_unix_ms);
    let model = explanation.resolved_model.as_deref().unwrap_or_default();
    let first = explanation.attempts.first().filter(|_| explanation.fault.is_none())?;
    execute::context_use(&call, caller, model, &first.attempt, &core.deps)
}

/// Only where another model is for that: nothing else depends on it.
fn too_long_of(
    call: &admit::Call,
    caller: &Caller,
    model: &str,
    explanation: &Explanation,
    core: &Core,
) -> Option<TooLong> {
    let is_wanted =
        explanation.fallbacks.iter().any(|one| one.on.contains(&ModelFallbackClass::ContextLength));
    let first = explanation.attempts.first().filter(|_| is_wanted)?;
    too_long(call, caller, model, &first.attempt, (call.body(), None), &core.deps)
}

fn requested_model(call: &admit::Call) -> String {
    match call.request().batch() {
        Some(batch) if call.request().model.is_empty() => {
            let mut names: Vec<&str> = batch.models.iter().map(|model| &*model.name).collect();
            names.dedup();
            names.join(", ")
        }
        _ => call.request().model.clone(),
    }
}
