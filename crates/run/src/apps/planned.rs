//! What a run of an app that is no model would do, found out without calling anything.

use admit::Caller;
use agents::{AgentTool, Definition};
use domain::app::host_of;
use domain::tools::{DeclaredTool, DeclaredTools};
use domain::{DeclaredApp, DeclaredServer, Fault, ReadyApp, StoredFlow};
use line::{AppPlan, CalleeKind, Core, PlannedCall, PlannedSecret, SecretState};
use serde_json::Value;

use super::{App, OwnApp};
use crate::chats;
use crate::input::InputError;
use crate::kept_content::store_away;
use crate::problem;

/// Plans a run; `None` where the name is a model's, or nobody's.
///
/// # Errors
/// There is no such tool, agent or flow, or the store does not answer.
pub async fn plan_app(
    core: &Core,
    caller: &Caller,
    (name, input): (&str, Option<&Value>),
) -> Result<Option<AppPlan>, Box<Fault>> {
    let app = App::find(core, caller, name);
    let Some(own) = OwnApp::find(core, caller, &app).await? else { return Ok(None) };
    let listing = own.listing();
    let missing = own.unmet(caller, core.deps.world.clock.unix_ms());
    let wrong: Vec<InputError> = input.map(|input| own.misfits(input)).unwrap_or_default();
    let fault = if !wrong.is_empty() {
        Some(Box::new(problem::fault(&wrong)))
    } else if !missing.is_empty() {
        Some(Box::new(problem::requirements_not_met(&missing)))
    } else {
        None
    };
    let mut plan = AppPlan {
        name: listing.name,
        category: listing.category,
        version: listing.version,
        calls: Vec::new(),
        model: None,
        nanos_max: None,
        missing,
        fault,
    };
    match &own {
        OwnApp::Http(ready) => {
            plan.calls.push(of_server(ready));
            plan.nanos_max = Some(0);
        }
        OwnApp::Tool(_) => {
            let called = name.strip_prefix("tools/").unwrap_or(name);
            plan.calls.push(of_tool(&declared(core, caller).await?, called));
            plan.nanos_max = Some(0);
        }
        OwnApp::Agent(agent, _) => {
            let (_, definition) = chats::named(core, caller, &agent.reference()).await?;
            plan.calls = of_agent(&declared(core, caller).await?, &definition);
            plan.model = Some(definition.model);
        }
        OwnApp::Flow(flow, _) => {
            let apps = core.tools.apps(caller.owner()).await.ok_or_else(store_away)?;
            (plan.calls, plan.nanos_max) = of_flow(&declared(core, caller).await?, &apps, flow);
        }
    }
    Ok(Some(plan))
}

async fn declared(core: &Core, caller: &Caller) -> Result<DeclaredTools, Box<Fault>> {
    core.tools.declared(caller.owner()).await.ok_or_else(store_away)
}

/// The call of an HTTP app.
fn of_server(ready: &ReadyApp) -> PlannedCall {
    let mut call = of_app(&ready.app);
    for secret in &mut call.secrets {
        let missing = ready.missing.iter().find(|missing| Some(&missing.name) == secret.name.as_ref());
        secret.state = match missing {
            None => SecretState::There,
            Some(missing) if missing.is_of_other_host => SecretState::OtherHost,
            Some(_) => SecretState::Missing,
        };
    }
    call
}

/// The same of one whose secrets are not looked at.
fn of_app(app: &DeclaredApp) -> PlannedCall {
    let definition = &app.definition;
    let secrets = definition.secrets.iter().map(|secret| PlannedSecret {
        name: Some(secret.name.clone()),
        header: secret.header.clone(),
        state: SecretState::There,
    });
    PlannedCall {
        method: Some(definition.http.method.clone()),
        host: host_of(&definition.http.url),
        secrets: secrets.collect(),
        ..PlannedCall::new(CalleeKind::Server, &app.name)
    }
}

fn sealed(headers: &[String]) -> Vec<PlannedSecret> {
    let of =
        |header: &String| PlannedSecret { name: None, header: header.clone(), state: SecretState::There };
    headers.iter().map(of).collect()
}

fn of_own_tool(tool: &DeclaredTool) -> PlannedCall {
    let definition = &tool.definition;
    if let Some(app) = &definition.app {
        let needs_approval = definition.needs_approval;
        return PlannedCall { needs_approval, ..PlannedCall::new(CalleeKind::App, app) };
    }
    let Some(http) = &definition.http else { return PlannedCall::new(CalleeKind::Client, &tool.name) };
    PlannedCall {
        method: Some(http.method.clone()),
        host: host_of(&http.url),
        secrets: sealed(&definition.secret_headers),
        needs_approval: definition.needs_approval,
        ..PlannedCall::new(CalleeKind::Server, &tool.name)
    }
}

fn of_mcp(server: &DeclaredServer, name: &str) -> PlannedCall {
    PlannedCall {
        host: host_of(&server.definition.url),
        secrets: sealed(&server.definition.secret_headers),
        needs_approval: server.definition.approval == domain::tools::Approval::Always,
        ..PlannedCall::new(CalleeKind::McpServer, name)
    }
}

/// A tool by the name that models know it by, or a whole MCP server by its own.
fn of_tool(declared: &DeclaredTools, name: &str) -> PlannedCall {
    if let Some(tool) = declared.tools.iter().find(|tool| tool.name == name) {
        return of_own_tool(tool);
    }
    let is_of = |server: &&DeclaredServer| {
        server.name == name || name.strip_prefix(&*server.name).is_some_and(|rest| rest.starts_with('_'))
    };
    match declared.servers.iter().find(is_of) {
        Some(server) => of_mcp(server, name),
        None => PlannedCall { is_there: false, ..PlannedCall::new(CalleeKind::Server, name) },
    }
}

/// Whom a turn of an agent would and may call.
fn of_agent(declared: &DeclaredTools, definition: &Definition) -> Vec<PlannedCall> {
    let model = PlannedCall::new(CalleeKind::Model, &definition.model);
    let tools = definition.tools.iter().map(|tool| match tool {
        AgentTool::Project { name, require_approval } => {
            let call = of_tool(declared, name);
            PlannedCall { needs_approval: call.needs_approval || *require_approval, ..call }
        }
        AgentTool::Agent { name, require_approval } => {
            PlannedCall { needs_approval: *require_approval, ..PlannedCall::new(CalleeKind::Agent, name) }
        }
        AgentTool::Client { name, .. } => PlannedCall::new(CalleeKind::Client, name),
    });
    let hooks = definition.hooks.iter().map(|hook| PlannedCall {
        method: Some("POST".to_owned()),
        host: host_of(&hook.url),
        ..PlannedCall::new(CalleeKind::Hook, &hook.event)
    });
    std::iter::once(model).chain(tools).chain(hooks).collect()
}

/// Whom the steps of a flow may call, and the most that they may cost together.
fn of_flow(
    declared: &DeclaredTools,
    apps: &[DeclaredApp],
    flow: &StoredFlow,
) -> (Vec<PlannedCall>, Option<i64>) {
    let document: Value = serde_json::from_slice(&flow.document).unwrap_or_default();
    let budget = document.get("budget_nano_usd").and_then(Value::as_i64);
    let steps = document.get("steps").and_then(Value::as_object);
    let calls = steps.into_iter().flatten().flat_map(|(step, what)| {
        let inner = [what.get("step"), what.get("compensate")];
        let leaves = std::iter::once(what).chain(inner.into_iter().flatten());
        leaves.filter_map(|leaf| {
            Some(PlannedCall { step: Some(step.clone()), ..of_leaf(declared, apps, leaf)? })
        })
    });
    (calls.collect(), budget)
}

/// The call of one step; `None` of what only computes.
fn of_leaf(declared: &DeclaredTools, apps: &[DeclaredApp], leaf: &Value) -> Option<PlannedCall> {
    let text = |field: &str| leaf.get(field).and_then(Value::as_str);
    Some(match text("kind")? {
        "app" => {
            let name = text("app")?;
            match apps.iter().find(|app| name.split('@').next() == Some(&*app.name)) {
                Some(app) => of_app(app),
                None => PlannedCall::new(CalleeKind::App, name),
            }
        }
        "model" => PlannedCall::new(CalleeKind::Model, text("model")?),
        "tool" => of_tool(declared, text("tool")?),
        "flow" => PlannedCall::new(CalleeKind::Flow, text("flow")?),
        "http" => {
            let url = text("url")?;
            let host = host_of(url).filter(|host| !host.contains(['{', '$']));
            PlannedCall {
                method: Some(text("method").unwrap_or("GET").to_owned()),
                host,
                ..PlannedCall::new(CalleeKind::Server, url.split(['?', '#']).next().unwrap_or(url))
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::FlowId;
    use domain::ToolId;
    use domain::tools::{HttpAction, ToolDefinition};
    use serde_json::json;

    use super::*;

    fn tools() -> DeclaredTools {
        let definition = ToolDefinition {
            description: String::new(),
            parameters: "{}".to_owned(),
            http: Some(HttpAction {
                method: "GET".to_owned(),
                url: "https://weather.example/{city}".to_owned(),
                places: std::collections::BTreeMap::new(),
            }),
            app: None,
            secret_headers: vec!["authorization".to_owned()],
            needs_approval: true,
        };
        let tool = DeclaredTool {
            id: ToolId::new(1, [1; 10]),
            name: "weather".to_owned(),
            definition,
            headers: Vec::new(),
        };
        DeclaredTools { tools: vec![tool], servers: Vec::new() }
    }

    #[test]
    fn a_step_of_a_flow_names_whom_it_calls() {
        let document = json!({"name": "f", "budget_nano_usd": 5, "steps": {
            "ask": {"kind": "model", "model": "openai/gpt-4o-mini"},
            "each": {"kind": "map", "over": "ask.output", "step": {"kind": "tool", "tool": "weather"}},
            "tell": {"kind": "http", "url": "https://api.example/a?b", "method": "POST",
                "compensate": {"kind": "http", "url": "https://${input.host}/undo"}},
            "sum": {"kind": "expression", "expression": "1 + 1"},
        }});
        let document = Bytes::from(document.to_string());
        let flow = StoredFlow { id: FlowId::new(1, [1; 10]), number: 1, document };
        let (calls, budget) = of_flow(&tools(), &[], &flow);
        assert_eq!(budget, Some(5));
        let mut seen: Vec<_> = calls
            .iter()
            .map(|call| (call.step.as_deref().unwrap_or_default(), call.kind, call.host.as_deref()))
            .collect();
        seen.sort_by_key(|(step, _, host)| (*step, *host));
        assert_eq!(
            seen,
            [
                ("ask", CalleeKind::Model, None),
                ("each", CalleeKind::Server, Some("weather.example")),
                ("tell", CalleeKind::Server, None),
                ("tell", CalleeKind::Server, Some("api.example")),
            ]
        );
    }

    #[test]
    fn an_agent_names_what_is_not_there() {
        let definition = Definition {
            model: "echo".to_owned(),
            tools: vec![
                AgentTool::Project { name: "weather".to_owned(), require_approval: false },
                AgentTool::Project { name: "gone".to_owned(), require_approval: false },
            ],
            ..Definition::default()
        };
        let calls = of_agent(&tools(), &definition);
        let seen: Vec<_> =
            calls.iter().map(|call| (&*call.name, call.is_there, call.needs_approval)).collect();
        assert_eq!(seen, [("echo", true, false), ("weather", true, true), ("gone", false, false)]);
    }
}
