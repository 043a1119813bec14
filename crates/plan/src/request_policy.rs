//! What the policies of a project say of a request itself: its amounts, its tools and files, what it would leave
//! behind, and the price that it may have.

use std::sync::Arc;
use std::time::Duration;

use admit::{Call, Caller};
use domain::money::with_markup;
use domain::ports::FoundResponse;
use domain::prompt::ToolKind;
use domain::{
    Fault, FaultClass, FileKind, Grammar, Modality, Nanos, Operation, Policies, Policy, PolicyRule,
    PolicySpec, Prompt, Refuser, RequestRules,
};

use crate::attempt::Attempt;
use crate::choice::{CallQuery, Choice};
use crate::planned::Timeouts;
use crate::prompt_view::files_of;
use crate::question::PlanInput;
use crate::reason::{Refusal, Rejection};

/// Estimated bytes per prompt token, as for rate limits.
const PROMPT_BYTES_PER_TOKEN: u64 = 4;
const TAG: &str = "tag";
const END_USER: &str = "end_user";

/// A rule that a request breaks, the field that breaks it, and what to do.
struct Breach {
    rule: PolicyRule,
    param: String,
    what: String,
    fix: String,
}

impl Breach {
    fn new(rule: PolicyRule, param: impl Into<String>, what: String, fix: impl Into<String>) -> Self {
        Self { rule, param: param.into(), what, fix: fix.into() }
    }
}

/// The refusal of a request that breaks a policy, wherever it would go.
pub(crate) fn fault(query: CallQuery<'_>) -> Option<Box<Fault>> {
    let screened = query.call.screening().and_then(|screening| screening.fault.clone());
    screened.or_else(|| broken(query.call, query.caller.project().policy.as_ref()?))
}

fn broken(call: &Call, policies: &Policies) -> Option<Box<Fault>> {
    if let Some(policy) = policies.zero_retention()
        && let Some(breach) = left_behind(call)
    {
        return Some(refusal(policy, breach));
    }
    if !holds_each_request(policies) || !call.makes_something() {
        return None;
    }
    // Read once, for both policies.
    let reads = policies.each().any(|policy| policy.spec.request.reads_prompts());
    let prompt = if reads { call.prompt() } else { None };
    policies.each().find_map(|policy| {
        let rules = &policy.spec.request;
        let breach = unreadable(call, &policy.spec)
            .or_else(|| amounts(call, rules))
            .or_else(|| metadata(call, rules, prompt.as_ref()))
            .or_else(|| tools(rules, prompt.as_ref()?))
            .or_else(|| files(call, rules, prompt.as_ref()))?;
        Some(refusal(policy, breach))
    })
}

/// The fault of a request that a rule of this policy refuses.
fn refusal(policy: &Policy, breach: Breach) -> Box<Fault> {
    let Breach { rule, param, what, fix } = breach;
    let message = format!(
        "The policy {} of this {} refuses this: {what} ({}).",
        policy.id,
        policy.owner(),
        rule.as_str()
    );
    let fault = Fault::new(FaultClass::Forbidden, "policy_forbids", message).fix(fix).param(param);
    Box::new(fault.refused_by(Refuser::PolicyRule(policy.id, rule)).should_retry(false))
}

/// What would stay at the provider.
fn left_behind(call: &Call) -> Option<Breach> {
    if !call.makes_something() {
        return None;
    }
    let left = |param: &str, what: &str, fix: &str| {
        Some(Breach::new(PolicyRule::Retention, param, format!("{what} would stay at the provider"), fix))
    };
    let request = call.request();
    if call.object().is_some() {
        let fix = if call.operation() == Operation::CachedContent {
            "Send the prompt with each request."
        } else {
            "Send the requests one by one."
        };
        left("model", &format!("a {}", call.operation().noun()), fix)
    } else if request.is_background {
        left("background", "a response in the background", "Leave \"background\" out.")
    } else if request.stores_answer && call.spec().facts().stores_answers {
        match call.dialect().grammar() {
            Grammar::Responses => left("store", "the stored answer", "Leave \"store\" out, or send false."),
            _ => left("thread", "the thread", "Leave \"thread\" out, and send the whole conversation."),
        }
    } else {
        None
    }
}

/// Whether a policy has rules that a file of requests is to be held to, request by request.
pub(crate) fn holds_each_request(policies: &Policies) -> bool {
    policies.reads_requests() || policies.names_models()
}

/// The requests of a session come later, and those of a batch are in a file that a provider has: no rule reads them.
fn unreadable(call: &Call, spec: &PolicySpec) -> Option<Breach> {
    let is_of_stored_file =
        call.is_made_from_file() && matches!(call.found_response(), Some(FoundResponse::Known(_)));
    let is_in_storage = call.request().batch().is_some_and(|batch| batch.storage.is_some());
    let later = if call.spec().facts().is_session {
        "what is said in a session"
    } else if is_of_stored_file || is_in_storage {
        "the requests of a batch"
    } else {
        return None;
    };
    let names_models = is_of_stored_file && !spec.models.is_empty();
    let rule = first_rule(&spec.request).or_else(|| names_models.then_some(PolicyRule::Models))?;
    if is_of_stored_file {
        let what = format!("{later} are in a file that its provider has, and can't be held to its rules");
        let fix =
            "Upload the file again without naming a provider: the gateway keeps it and works through it.";
        return Some(Breach::new(rule, "input_file_id", what, fix));
    }
    let what = format!("{later} can't be held to its rules");
    Some(Breach::new(
        rule,
        "model",
        what,
        "Send the requests one by one, or have an admin change the policy.",
    ))
}

fn first_rule(rules: &RequestRules) -> Option<PolicyRule> {
    let set = [
        (rules.output_tokens_max.is_some(), PolicyRule::OutputTokens),
        (rules.input_tokens_max.is_some(), PolicyRule::InputTokens),
        (rules.cost_micros_max.is_some(), PolicyRule::Cost),
        (!rules.required_metadata.is_empty(), PolicyRule::Metadata),
        (!rules.parameters.is_empty(), PolicyRule::Parameters),
        (rules.tools.is_some(), PolicyRule::Tools),
        (rules.hosted_tools.is_some(), PolicyRule::HostedTools),
        (rules.file_kinds.is_some(), PolicyRule::FileKinds),
    ];
    set.into_iter().find_map(|(is_set, rule)| is_set.then_some(rule))
}

fn amounts(call: &Call, rules: &RequestRules) -> Option<Breach> {
    let request = call.request();
    let facts = call.spec().facts();
    if let Some(most) = rules.input_tokens_max {
        let tokens = request.prompt_bytes.div_ceil(PROMPT_BYTES_PER_TOKEN);
        if tokens > most {
            let what = format!("the prompt has about {tokens} tokens, and at most {most} are allowed");
            return Some(Breach::new(PolicyRule::InputTokens, "model", what, "Send a shorter prompt."));
        }
    }
    let most = rules.output_tokens_max.filter(|_| facts.continues_conversation)?;
    let fix = format!("Ask for at most {most} tokens.");
    let breach = |what: String| Some(Breach::new(PolicyRule::OutputTokens, "max_tokens", what, fix));
    match request.max_output_tokens {
        Some(wanted) if wanted > most => {
            breach(format!("it asks for {wanted} tokens, and at most {most} are allowed"))
        }
        Some(_) => None,
        None => breach(format!("it sets no limit to its answer, and at most {most} tokens are allowed")),
    }
}

fn metadata(call: &Call, rules: &RequestRules, prompt: Option<&Prompt>) -> Option<Breach> {
    let is_given = |key: &String| match key.as_str() {
        TAG => call.tag().is_some(),
        END_USER => call.request().end_user(call.body()).is_some_and(|user| !user.is_empty()),
        key => prompt.is_some_and(|prompt| prompt.metadata.iter().any(|(name, _)| name == key)),
    };
    let missing = rules.required_metadata.iter().find(|key| !is_given(key))?;
    let (param, fix) = match missing.as_str() {
        TAG => ("Agent-Hints", "Send a tag in the header Agent-Hints.".to_owned()),
        END_USER => ("user", "Name the end user.".to_owned()),
        key => ("metadata", format!("Send \"{key}\" in the request's metadata.")),
    };
    Some(Breach::new(PolicyRule::Metadata, param, format!("\"{missing}\" is missing"), fix))
}

fn tools(rules: &RequestRules, prompt: &Prompt) -> Option<Breach> {
    prompt.tools.iter().find_map(|tool| {
        let (rule, name) = match &tool.kind {
            ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => {
                (PolicyRule::Tools, Some(name).filter(|name| !rules.allows_tool(name)))
            }
            ToolKind::Hosted { kind, .. } => {
                (PolicyRule::HostedTools, Some(kind).filter(|kind| !rules.allows_hosted_tool(kind)))
            }
        };
        let what = format!("the tool \"{}\" is not allowed", name?);
        Some(Breach::new(rule, "tools", what, "Leave the tool out."))
    })
}

fn files(call: &Call, rules: &RequestRules, prompt: Option<&Prompt>) -> Option<Breach> {
    rules.file_kinds.as_ref()?;
    let breach = |kind: FileKind, param: &str| {
        let what = format!("files of the kind \"{}\" are not allowed", kind.as_str());
        Breach::new(PolicyRule::FileKinds, param, what, "Leave the file out.")
    };
    if let Some(kind) = uploaded(call).filter(|kind| !rules.allows_file(*kind)) {
        return Some(breach(kind, "file"));
    }
    let (kind, part) = files_of(prompt?).find(|(kind, _)| !rules.allows_file(*kind))?;
    Some(breach(kind, part.path.as_str().unwrap_or("model")))
}

/// The kind of the files that a form holds.
fn uploaded(call: &Call) -> Option<FileKind> {
    call.request().form()?;
    Some(match call.operation().modality() {
        Modality::Image | Modality::Video => FileKind::Image,
        Modality::Audio => FileKind::Audio,
        _ => FileKind::Document,
    })
}

/// Rejects the attempts that could cost more than a policy allows. One without a known price could.
pub(crate) fn reject_dear(query: CallQuery<'_>, input: &PlanInput<'_>, choice: &mut Choice<'_>) {
    let Some(policies) = &input.query.project.policy else { return };
    let bounds = policies.each().filter_map(|policy| Some((policy, policy.spec.request.cost_micros_max?)));
    for (policy, micros) in bounds {
        let most = Nanos(i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX));
        let split = |attempts: &mut Vec<Attempt>, model: &str| -> (Vec<_>, Vec<_>) {
            let model = input.catalogue.model(model);
            let limits_at = |attempt: &Attempt| {
                let model = model?;
                let known = (attempt.known_model(), model.context_tokens);
                Some((input.catalogue.context_tokens(attempt.provider(), known), model.output_tokens_max))
            };
            let is_cheap =
                |one: &Attempt| cost_of(query.call, one, limits_at(one)).is_some_and(|cost| cost <= most);
            std::mem::take(attempts).into_iter().partition(is_cheap)
        };
        for fallback in &mut choice.fallbacks {
            fallback.attempts = split(&mut fallback.attempts, &fallback.model).0;
        }
        let decision = &mut choice.decision;
        let name = decision.resolved.as_ref().map(|resolved| Arc::clone(&resolved.name));
        let (cheap, dear) = split(&mut decision.attempts, &name.unwrap_or_default());
        decision.attempts = cheap;
        let refusal =
            Refusal::PolicyForbids { rule: PolicyRule::Cost, policy: policy.id, owner: policy.owner() };
        decision.rejected.extend(dear.iter().map(|one| Rejection { seat: one.seat().clone(), refusal }));
        if decision.attempts.is_empty() && decision.fault.is_none() {
            let what =
                format!("it could cost more than {micros} millionths of a dollar, or its price is unknown");
            let fix = "Ask for fewer tokens, or for a model that costs less.";
            decision.fault = Some(refusal_of_cost(policy, what, fix));
        }
    }
}

fn refusal_of_cost(policy: &Policy, what: String, fix: &str) -> Box<Fault> {
    refusal(policy, Breach::new(PolicyRule::Cost, "model", what, fix))
}

/// The most that the attempt could cost; `None` if its price is unknown.
fn cost_of(call: &Call, attempt: &Attempt, limits: Option<(Option<u64>, Option<u64>)>) -> Option<Nanos> {
    if attempt.is_node() {
        return Some(Nanos::ZERO);
    }
    let ceiling = call.usage_ceiling(limits);
    let rates = attempt.rates_on(call.request().terms, ceiling.input)?;
    rates.has_price_for(&ceiling).then(|| with_markup(rates.cost(&ceiling), attempt.markup_bps()))
}

impl Timeouts {
    /// No longer than the policies of the caller's project allow.
    pub(crate) fn within_policy(mut self, caller: &Caller) -> Self {
        let policies = caller.project().policy.as_ref();
        if let Some(most) = policies.and_then(|policies| policies.duration_ms_max()) {
            let most = Duration::from_millis(most);
            self.deadline = self.deadline.min(most);
            self.head_wait = self.head_wait.min(most);
            self.first_byte = self.first_byte.min(most);
            self.idle = self.idle.min(most);
        }
        self
    }
}
