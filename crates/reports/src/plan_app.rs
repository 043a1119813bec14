//! The plan of an app that is no model, as `/v2/plan` shows it.

use line::{AppPlan, PlannedCall, PlannedSecret, UnmetNeed};
use schemars::JsonSchema;
use serde::Serialize;

/// What a run of a server, tool, agent or flow of the project would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PlannedApp {
    name: String,
    #[schemars(extend("enum" = ["app", "tool", "agent", "flow"]))]
    category: &'static str,
    /// Which of its versions would run; `null` for a tool, which has none.
    version: Option<u64>,
    /// What it calls, or may call.
    calls: Vec<PlannedAppCall>,
    /// The most that a run may cost, in nano-USD: 0 where it calls servers alone, a flow's budget, `null` where models decide.
    price_max_nanos: Option<i64>,
    /// What is missing before it may run.
    missing: Vec<MissingNeed>,
}

#[derive(Serialize, JsonSchema)]
struct PlannedAppCall {
    #[schemars(extend("enum" = ["server", "mcp_server", "model", "agent", "flow", "app", "hook", "client"]))]
    kind: &'static str,
    name: String,
    /// The step of a flow that makes it.
    step: Option<String>,
    method: Option<String>,
    /// `null` for a call that is planned separately, and where an expression builds the address.
    host: Option<String>,
    /// What the host is sent. Values are never shown.
    secrets: Vec<PlannedAppSecret>,
    needs_approval: bool,
    /// Whether the project has what is named.
    exists: bool,
}

#[derive(Serialize, JsonSchema)]
struct PlannedAppSecret {
    /// `null` for a header that is sealed with a tool.
    name: Option<String>,
    header: String,
    #[schemars(extend("enum" = ["there", "missing", "other_host"]))]
    state: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct MissingNeed {
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["integration", "secret", "scope"]))]
    kind: &'static str,
    /// The provider, the secret or the scope.
    key: String,
    /// How it is added.
    message: String,
}

impl From<&AppPlan> for PlannedApp {
    fn from(plan: &AppPlan) -> Self {
        Self {
            name: plan.name.clone(),
            category: plan.category,
            version: (plan.version > 0).then_some(plan.version),
            calls: plan.calls.iter().map(call).collect(),
            price_max_nanos: plan.nanos_max,
            missing: plan.missing.iter().map(need).collect(),
        }
    }
}

fn call(call: &PlannedCall) -> PlannedAppCall {
    PlannedAppCall {
        kind: call.kind.as_str(),
        name: call.name.clone(),
        step: call.step.clone(),
        method: call.method.clone(),
        host: call.host.clone(),
        secrets: call.secrets.iter().map(secret).collect(),
        needs_approval: call.needs_approval,
        exists: call.is_there,
    }
}

fn secret(secret: &PlannedSecret) -> PlannedAppSecret {
    PlannedAppSecret {
        name: secret.name.clone(),
        header: secret.header.clone(),
        state: secret.state.as_str(),
    }
}

fn need(need: &UnmetNeed) -> MissingNeed {
    MissingNeed { kind: need.kind.as_str(), key: need.key.clone(), message: need.message.clone() }
}
