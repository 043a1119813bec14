//! Apps that are no models: HTTP servers that the project declares, and its tools, agents and flows, each by the same call.

use std::borrow::Cow;

use admit::{Caller, Needs};
use agents::Definition;
use domain::app::host_of;
use domain::{AppRequirement, DeclaredApp, Fault, FoundApp, FoundFlow, MissingSecret, ReadyApp, StoredFlow};
use line::{Core, NeedKind, UnmetNeed};
use serde_json::{Map, Value, json};
use toolloop::DeclaredCall;
use tools::misfits;

use super::App;
use crate::chats;
use crate::input::InputError;
use crate::kept_content::store_away;
use crate::problem::integration;
use crate::refusal::Refusal;

/// An app that is no model.
pub(crate) enum OwnApp {
    Http(Box<ReadyApp>),
    Tool(OwnListing),
    Agent(Box<chats::Agent>, OwnListing),
    Flow(StoredFlow, OwnListing),
}

/// What lists show of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnListing {
    pub name: String,
    pub description: String,
    pub category: &'static str,
    pub input_schema: Value,
    pub output_schema: Value,
    pub created_unix_ms: u64,
    pub version: u64,
    /// The names of secrets and the providers of credentials that a run needs.
    pub secrets: Vec<String>,
    pub integrations: Vec<String>,
}

impl OwnListing {
    pub(crate) fn of(app: &DeclaredApp) -> Self {
        let definition = &app.definition;
        let integrations = definition.requirements.iter().filter_map(|requirement| match requirement {
            AppRequirement::Integration { provider } => Some(provider.clone()),
            AppRequirement::Scope { .. } => None,
        });
        Self {
            name: app.name.clone(),
            description: definition.description.clone(),
            category: "app",
            input_schema: read_schema(&definition.input_schema),
            output_schema: read_schema(&definition.output_schema),
            created_unix_ms: app.created_unix_ms,
            version: app.version,
            secrets: definition.secrets.iter().map(|secret| secret.name.clone()).collect(),
            integrations: integrations.collect(),
        }
    }

    fn of_tool(tool: DeclaredCall) -> Self {
        Self {
            name: format!("tools/{}", tool.name),
            description: tool.description,
            category: "tool",
            input_schema: tool.parameters,
            output_schema: json!({
                "type": "object", "required": ["result"],
                "properties": {"result": {"description": "What the tool returned: its JSON, or its text."}},
            }),
            ..Self::default()
        }
    }

    fn of_agent(name: String, version: u64, definition: &Definition) -> Self {
        Self {
            name,
            description: definition.description.clone(),
            category: "agent",
            input_schema: chats::input_schema(),
            output_schema: chats::output_schema(definition),
            version,
            ..Self::default()
        }
    }

    fn of_flow(name: String, flow: &StoredFlow) -> Self {
        let document: Value = serde_json::from_slice(&flow.document).unwrap_or_default();
        let input = document.get("input").filter(|schema| schema.is_object()).cloned();
        let description = document.get("description").and_then(Value::as_str).unwrap_or_default();
        Self {
            name,
            description: description.to_owned(),
            category: "flow",
            input_schema: input.unwrap_or_else(|| json!({"type": "object"})),
            output_schema: json!({}),
            version: flow.number,
            ..Self::default()
        }
    }
}

impl OwnApp {
    /// The app of a name that no model has. Names of models are never looked for here: their runs do without the store.
    ///
    /// # Errors
    /// There is no such tool, agent or flow, or the store does not answer.
    pub(crate) async fn find(core: &Core, caller: &Caller, app: &App) -> Result<Option<Self>, Box<Fault>> {
        let Some((namespace, rest)) = app.name.split_once('/').filter(|_| app.facts.is_none()) else {
            return Ok(None);
        };
        match namespace {
            "tools" => {
                let tools = toolloop::declared(core, caller.owner()).await.ok_or_else(store_away)?;
                let tool = tools.into_iter().find(|tool| tool.name == rest);
                let tool = tool.ok_or_else(|| super::list::unknown(&app.name))?;
                Ok(Some(Self::Tool(OwnListing::of_tool(tool))))
            }
            "agents" => {
                let (agent, definition) = chats::named(core, caller, rest).await?;
                let version = agent.version.unwrap_or_default();
                let listing = OwnListing::of_agent(app.name.clone(), version, &definition);
                Ok(Some(Self::Agent(Box::new(agent), listing)))
            }
            "flows" => found_flow(core, caller, (&app.name, rest)).await.map(Some),
            _ if line::sold_model(caller, &app.name).is_some() => Ok(None),
            _ => found_server(core, caller, &app.name).await,
        }
    }

    pub(crate) fn listing(&self) -> OwnListing {
        match self {
            Self::Http(ready) => OwnListing::of(&ready.app),
            Self::Tool(listing) | Self::Agent(_, listing) | Self::Flow(_, listing) => listing.clone(),
        }
    }

    fn input_schema(&self) -> Cow<'_, Value> {
        match self {
            Self::Http(ready) => Cow::Owned(read_schema(&ready.app.definition.input_schema)),
            Self::Tool(listing) | Self::Agent(_, listing) | Self::Flow(_, listing) => {
                Cow::Borrowed(&listing.input_schema)
            }
        }
    }

    /// Compares an input with the app's schema, and checks that nothing is missing that a run needs.
    ///
    /// # Errors
    /// All places that do not fit, or all that is missing.
    pub(crate) fn check(
        &self,
        (caller, now_unix_ms): (&Caller, u64),
        input: &Value,
    ) -> Result<Map<String, Value>, Refusal> {
        let wrong = self.misfits(input);
        if !wrong.is_empty() {
            return Err(Refusal::Input(wrong));
        }
        let unmet = self.unmet(caller, now_unix_ms);
        if !unmet.is_empty() {
            return Err(Refusal::Unmet(unmet));
        }
        let fields = input.as_object().cloned();
        fields.ok_or_else(|| Refusal::Input(vec![InputError::new("/input", "it must be an object")]))
    }

    /// All places of an input that do not fit the app's schema.
    pub(crate) fn misfits(&self, input: &Value) -> Vec<InputError> {
        let at = |(place, why): (String, String)| InputError::new(format!("/input{place}"), why);
        misfits(&self.input_schema(), input).into_iter().map(at).collect()
    }

    /// All that a run lacks.
    pub(crate) fn unmet(&self, caller: &Caller, now_unix_ms: u64) -> Vec<UnmetNeed> {
        match self {
            Self::Http(ready) => unmet(caller, ready, now_unix_ms),
            Self::Tool(_) | Self::Agent(..) | Self::Flow(..) => Vec::new(),
        }
    }
}

/// An app of the project by `NAME` or `NAME@VERSION`. A version that an app of the project does not have is nobody's.
async fn found_server(core: &Core, caller: &Caller, reference: &str) -> Result<Option<OwnApp>, Box<Fault>> {
    let find = |name: &str, version| core.tools.app(caller.owner(), name.to_owned(), version);
    let Some((name, number)) = reference.split_once('@') else {
        return server_of(find(reference, None).await);
    };
    if let Ok(number) = number.parse()
        && let Some(found) = server_of(find(name, Some(number)).await)?
    {
        return Ok(Some(found));
    }
    match server_of(find(name, None).await)? {
        Some(_) => Err(super::list::unknown(reference)),
        None => Ok(None),
    }
}

fn server_of(found: FoundApp) -> Result<Option<OwnApp>, Box<Fault>> {
    match found {
        FoundApp::Known(ready) => Ok(Some(OwnApp::Http(ready))),
        FoundApp::Unknown => Ok(None),
        FoundApp::StoreUnavailable => Err(store_away()),
    }
}

/// A schema that was checked when it was declared.
fn read_schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A flow by `NAME` or `NAME@VERSION`.
async fn found_flow(
    core: &Core,
    caller: &Caller,
    (app, reference): (&str, &str),
) -> Result<OwnApp, Box<Fault>> {
    let (name, version) = match reference.split_once('@') {
        Some((name, version)) => (name, Some(version.parse().map_err(|_| super::list::unknown(app))?)),
        None => (reference, None),
    };
    let flow = match core.flows.find(caller.owner(), name.to_owned(), version).await {
        FoundFlow::Known(flow) => *flow,
        FoundFlow::Unknown => return Err(super::list::unknown(app)),
        FoundFlow::StoreUnavailable => return Err(store_away()),
    };
    let listing = OwnListing::of_flow(app.to_owned(), &flow);
    Ok(OwnApp::Flow(flow, listing))
}

/// Apps of the project as lists show them.
pub(crate) async fn listed(core: &Core, caller: &Caller) -> Result<Vec<OwnListing>, Box<Fault>> {
    let owner = caller.owner();
    let apps = core.tools.apps(owner).await.ok_or_else(store_away)?;
    let tools = toolloop::declared(core, owner).await.ok_or_else(store_away)?;
    let tools = tools.into_iter().map(OwnListing::of_tool);
    let agents = core.agents.all(owner).await.ok_or_else(store_away)?;
    let agents = agents.into_iter().filter_map(|agent| {
        let definition: Definition = serde_json::from_slice(&agent.definition).ok()?;
        Some(OwnListing::of_agent(format!("agents/{}", agent.name), agent.version, &definition))
    });
    let flows = core.flows.all(owner).await.ok_or_else(store_away)?;
    let flows = flows.into_iter().map(|(name, flow)| OwnListing::of_flow(format!("flows/{name}"), &flow));
    Ok(apps.iter().map(OwnListing::of).chain(tools).chain(agents).chain(flows).collect())
}

/// What is missing for a run.
fn unmet(caller: &Caller, ready: &ReadyApp, now_unix_ms: u64) -> Vec<UnmetNeed> {
    let host = host_of(&ready.app.definition.http.url).unwrap_or_default();
    let secrets = ready.missing.iter().map(|missing| secret(missing, &host));
    let requirements = ready.app.definition.requirements.iter();
    let others = requirements.filter_map(|requirement| match requirement {
        AppRequirement::Integration { provider } => {
            (!has_credential(caller, provider, now_unix_ms)).then(|| integration(provider))
        }
        AppRequirement::Scope { scope } => (!has_scope(caller, scope)).then(|| {
            let message =
                format!("Run it with a key that has the scope {scope}: `tidegate key create` makes one.");
            UnmetNeed { kind: NeedKind::Scope, key: scope.clone(), message }
        }),
    });
    secrets.chain(others).collect()
}

fn secret(missing: &MissingSecret, host: &str) -> UnmetNeed {
    let name = &missing.name;
    let what = if missing.is_of_other_host { "Allow the secret to be sent to" } else { "Add the secret for" };
    let message = format!("{what} {host}: POST /v2/secrets, or `tidegate secret set {name} --host {host}`.");
    UnmetNeed { kind: NeedKind::Secret, key: name.clone(), message }
}

fn has_credential(caller: &Caller, provider: &str, now_unix_ms: u64) -> bool {
    let (project, environment) = (caller.project().id, caller.environment());
    caller.workspace().credentials.iter().any(|credential| {
        &*credential.provider == provider && credential.is_for(project, environment, now_unix_ms)
    })
}

fn has_scope(caller: &Caller, scope: &str) -> bool {
    match scope {
        "inference" => caller.may(Needs::Inference),
        "read" => caller.may(Needs::Read),
        "admin" => caller.may(Needs::Admin),
        _ => caller.may(Needs::Operator),
    }
}
