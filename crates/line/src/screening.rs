//! Holds a request to the policies of its caller's project before it is decoded: parameters are fitted, and what
//! the checks find is masked or refused, so that every later stage reads what remains. A project without such
//! rules costs one look at its policies.

mod answer_guard;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use admit::Caller;
use conversation::request::StoredAct;
use conversation::screening::{GuardAnswers, Screening};
use decode::Inbound;
use domain::{
    CheckAction, CheckCount, Fault, FaultClass, Modality, Policies, Policy, PolicyRule, Refuser,
    RequestRules, Retention,
};
use guardrails::{Checks, Parameters, Tally, check_body, fit_parameters};

use crate::alias_parameters;
use crate::limits::COMPILED_POLICIES_MAX;
use answer_guard::Guard;

/// Policies with their checks.
type Compiled = Vec<(Arc<Policies>, Rc<Checks>)>;

thread_local! {
    /// The checks that were used on this core, compiled. A changed policy is another value.
    static COMPILED: RefCell<Compiled> = const { RefCell::new(Vec::new()) };
}

/// Checks a request, and fits it to the release of its alias and to the policies. `None` where nothing is about what requests
/// contain, and no hook is called.
pub(crate) fn screen(inbound: &mut Inbound, caller: &Caller, now_us: u64) -> Option<Box<Screening>> {
    let policies = caller.project().policy.as_ref();
    let has_hooks = policies.is_some_and(|policies| policies.hooks().next().is_some());
    let mut screening: Option<Box<Screening>> = has_hooks.then(Box::default);
    if let Some(policies) = policies.filter(|policies| policies.checks().next().is_some()) {
        check(inbound, policies, screening.get_or_insert_default());
    }
    if screening.as_ref().is_some_and(|screening| screening.fault.is_some()) {
        return screening;
    }
    // After the checks: who gets which release depends on the end user's name, which they may mask.
    if let Some(fault) = alias_parameters::fit(inbound, caller, now_us).fault {
        screening.get_or_insert_default().fault = Some(fault);
        return screening;
    }
    let is_conversation = inbound.form.is_none() && decode::facts(inbound.operation).is_conversation;
    if let Some(policies) = policies.filter(|policies| is_conversation && fits_parameters(policies)) {
        screening.get_or_insert_default().fault = fit(inbound, policies);
    }
    screening
}

fn fits_parameters(policies: &Policies) -> bool {
    let has_bounds = |rules: &RequestRules| !rules.parameters.is_empty() || rules.output_tokens_max.is_some();
    policies.retains_nothing() || policies.each().any(|policy| has_bounds(&policy.spec.request))
}

/// Fits the parameters to each policy in turn.
fn fit(inbound: &mut Inbound, policies: &Policies) -> Option<Box<Fault>> {
    let place = alias_parameters::place(inbound);
    for policy in policies.each() {
        let RequestRules { parameters, output_tokens_max, .. } = &policy.spec.request;
        let stores_nothing = policy.spec.retention == Some(Retention::Zero);
        let wanted = Parameters { rules: parameters, output_tokens: *output_tokens_max, stores_nothing };
        let written = fit_parameters(&inbound.body, place, wanted);
        if let Some(refused) = written.refused {
            let rule = if refused.is_storage { PolicyRule::Retention } else { PolicyRule::Parameters };
            let what =
                format!("\"{}\" is {}, and {} is allowed", refused.field, refused.value, refused.allowed);
            return Some(refusal(policy, rule, &refused.field, &what, "Change the value, or leave it out."));
        }
        if let Some(body) = written.body {
            inbound.body = body;
        }
    }
    None
}

fn check(inbound: &mut Inbound, policies: &Arc<Policies>, screening: &mut Screening) {
    let Some(checks) = compiled(policies) else {
        let first = policies.checks().next();
        let what = "a check of it can't be used";
        let fix = "Have an admin correct the policy's pattern.";
        screening.fault = first.map(|(policy, _)| refusal(policy, PolicyRule::Checks, "model", what, fix));
        return;
    };
    if let Some(what) = unreadable(inbound, &checks) {
        let enforced = policies.checks().find(|(_, check)| check.is_enforced());
        let fix = "Send content that can be checked, or have an admin change the policy.";
        screening.fault = enforced.map(|(policy, _)| refusal(policy, PolicyRule::Checks, "model", what, fix));
        return;
    }
    let mut restores: Rc<[(String, String)]> = Rc::new([]);
    if checks.covers_input() && !inbound.body.is_empty() {
        let masked = check_body(&checks, &inbound.body);
        note(&mut screening.found.borrow_mut(), &masked.tally, true);
        if let Some(body) = masked.body {
            inbound.body = body;
        }
        if let Some(name) = masked.blocked {
            let what = format!("it contains content that the check \"{name}\" blocks");
            let fix = "Remove that content from the request.";
            let policy = blocker(policies, name);
            screening.fault =
                policy.map(|policy| refusal(policy, PolicyRule::Checks, "messages", &what, fix));
            return;
        }
        restores = masked.restores.into();
    }
    if checks.covers_output() || !restores.is_empty() {
        let guard = Guard::new(checks, restores, Rc::clone(&screening.found));
        screening.guard = Some(Rc::new(guard) as Rc<dyn GuardAnswers>);
    }
}

/// Compiled once on each core, and again when a policy changes.
fn compiled(policies: &Arc<Policies>) -> Option<Rc<Checks>> {
    COMPILED.with_borrow_mut(|known| {
        if let Some((_, checks)) = known.iter().find(|(one, _)| Arc::ptr_eq(one, policies)) {
            return Some(Rc::clone(checks));
        }
        let checks = Checks::compile(policies.checks().map(|(_, check)| check));
        let checks = Rc::new(checks.map_err(|error| tracing_error(policies, &error)).ok()?);
        if known.len() >= COMPILED_POLICIES_MAX {
            known.remove(0);
        }
        known.push((Arc::clone(policies), Rc::clone(&checks)));
        Some(checks)
    })
}

fn tracing_error(policies: &Policies, error: &str) {
    let ids: Vec<String> = policies.each().map(|policy| policy.id.to_string()).collect();
    tracing::error!(policies = ids.join(", "), error, "the checks of a policy can't be used");
}

/// What can't be checked, where a check must not be passed over: what is no JSON, what comes later, and answers
/// that were made unchecked.
fn unreadable(inbound: &Inbound, checks: &Checks) -> Option<&'static str> {
    let stored = inbound.addressed.as_ref().and_then(|addressed| addressed.stored.as_ref());
    let ends = stored.is_some_and(|stored| matches!(stored.act, StoredAct::Delete | StoredAct::Cancel));
    if ends || !checks.enforces_input() && !checks.enforces_output() {
        return None;
    }
    let facts = decode::facts(inbound.operation);
    if facts.is_session {
        return Some("what is said in a session can't be checked");
    }
    if facts.object().is_some() {
        return Some("what a provider stores can't be checked");
    }
    if checks.enforces_input() && inbound.form.is_some() {
        return Some("a form can't be checked");
    }
    let is_text = matches!(inbound.operation.modality(), Modality::Chat | Modality::Audio | Modality::Rerank);
    let is_other = is_text && !facts.is_conversation && !facts.only_counts;
    match stored {
        Some(_) if checks.enforces_output() => Some("a stored answer can't be checked"),
        None if checks.enforces_output() && is_other => Some("this kind of answer can't be checked"),
        _ => None,
    }
}

/// The policy whose check of this name blocks.
fn blocker<'p>(policies: &'p Policies, name: &str) -> Option<&'p Arc<Policy>> {
    let is_it = |action, detect: &str| action == CheckAction::Block && detect == name;
    policies.checks().find(|(_, check)| is_it(check.action, check.detect.as_str())).map(|(policy, _)| policy)
}

/// Adds counts to what was found.
fn note(found: &mut Vec<CheckCount>, tally: &Tally, is_input: bool) {
    for (check, action, count) in tally.rows() {
        let same =
            |one: &&mut CheckCount| one.check == check && one.action == action && one.is_input == is_input;
        match found.iter_mut().find(same) {
            Some(known) => known.count += count,
            None => found.push(CheckCount { check: check.into(), action, is_input, count }),
        }
    }
}

/// The fault of what a rule of this policy refuses.
pub(crate) fn refusal(
    policy: &Policy,
    rule: PolicyRule,
    param: &str,
    what: &str,
    fix: &'static str,
) -> Box<Fault> {
    let message = format!(
        "The policy {} of this {} refuses this: {what} ({}).",
        policy.id,
        policy.owner(),
        rule.as_str()
    );
    let fault = Fault::new(FaultClass::Forbidden, "policy_forbids", message).fix(fix).param(param.to_owned());
    Box::new(fault.refused_by(Refuser::PolicyRule(policy.id, rule)).should_retry(false))
}
