//! The policies of workspaces in a run, and what the oracle makes of them: where a request may go, read apart from the
//! code that plans.

use std::sync::Arc;

use domain::{Policies, Policy, PolicyId, PolicySpec, Principal, Profile};

use crate::fixture::{index, other_account, small};

/// The models that a policy may be limited to.
const MODELS: [&[&str]; 4] = [
    &["openai/gpt-4o-mini", "own/qwen"],
    &["openai/", "own/*"],
    &["openai/gpt-4o", "anthropic/claude-haiku-4-5", "own/phi"],
    &["anthropic/", "openai/gpt-4o-mini", "own/"],
];

/// A policy as an operator may write it: most say nothing of most.
pub fn any(chance: &impl Fn(u64) -> u64) -> Option<PolicySpec> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let spec = PolicySpec {
        models: if chance(4) == 0 { owned(MODELS[index(chance(4))]) } else { Vec::new() },
        providers: if chance(6) == 0 { owned(&["openai", "byoc"]) } else { Vec::new() },
        // Nothing goes to the operator's accounts.
        profiles: if chance(6) == 0 { vec![Profile::Byok, Profile::Byoc] } else { Vec::new() },
        ..PolicySpec::default()
    };
    (spec != PolicySpec::default()).then_some(spec)
}

pub fn layers(workspace: usize, spec: Option<&PolicySpec>) -> Option<Arc<Policies>> {
    let id = PolicyId::new(small(workspace), [8; 10]);
    let policy = |spec: &PolicySpec| Policy { id, project: None, spec: spec.clone(), hook_secret: None };
    Policies::of(spec.map(policy).map(Arc::new), None)
}

/// Whether a policy lets a model be asked of a principal.
pub fn allows(spec: &PolicySpec, principal: Principal, model: &str) -> bool {
    let (provider, is_own) = match principal {
        Principal::Credential(_) | Principal::Subscription(_) => ("openai", true),
        Principal::Node(_) => ("byoc", true),
        one if one == other_account() => ("anthropic", false),
        Principal::Account(_) => ("openai", false),
    };
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => model.starts_with(start),
        None if pattern.ends_with('/') => model.starts_with(&**pattern),
        None => model == pattern,
    };
    (spec.profiles.is_empty() || is_own)
        && (spec.providers.is_empty() || spec.providers.iter().any(|one| one == provider))
        && (spec.models.is_empty() || spec.models.iter().any(fits))
}
