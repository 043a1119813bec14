//! The hooks of policies as plans and requests show them.

use domain::{HookCall, Policies};
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::ProjectEntry;

/// A hook that the request would be shown to.
#[derive(Serialize, JsonSchema)]
pub struct PlannedHook {
    policy_id: String,
    /// `pre` or `post`.
    at: &'static str,
    url: String,
    timeout_ms: u64,
    /// `allow` or `refuse`: what happens where it gives no decision in time.
    on_silence: &'static str,
    /// It is sent the text, and not only the facts.
    content: bool,
}

/// The hooks of a project's requests. A plan calls none.
pub fn planned(project: &ProjectEntry) -> Vec<PlannedHook> {
    let hooks = project.policy.as_deref().into_iter().flat_map(Policies::hooks);
    let planned = hooks.map(|(policy, _, hook)| PlannedHook {
        policy_id: policy.id.to_string(),
        at: hook.at.as_str(),
        url: hook.url.clone(),
        timeout_ms: hook.timeout_ms,
        on_silence: hook.on_silence.as_str(),
        content: hook.reads_content,
    });
    planned.collect()
}

/// How the call of a hook ended.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HookCall")]
pub struct HookCallView {
    /// `pre` or `post`.
    at: &'static str,
    /// `workspace` or `project`: whose policy has the hook.
    policy: String,
    /// Its place among the hooks of the policy, from 0.
    place: usize,
    /// `allowed` or `refused`; `timeout`, `unreachable`, `malformed`, `skipped` or `unreadable` where there was no decision.
    outcome: &'static str,
    latency_ms: u64,
}

pub fn calls(calls: &[HookCall]) -> Vec<HookCallView> {
    let views = calls.iter().map(|call| HookCallView {
        at: call.at.as_str(),
        policy: call.owner.clone(),
        place: call.place,
        outcome: call.outcome.as_str(),
        latency_ms: call.latency_ms,
    });
    views.collect()
}
