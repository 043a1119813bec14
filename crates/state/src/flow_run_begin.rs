//! Starts runs of flows: of a declared version, of a document, or again of what another run was given.

use std::sync::Arc;

use api::failure::{invalid, missing, not_found};
use api::openapi::bounds::at_least_one;
use api::request::ApiRequest;
use api::state::Control;
use domain::{Fault, FlowId, FlowRunId, KeyId, ObjectOwner};
use flowruns::{NewRun, RunRow, StoredFlows, part};
use reconcilers::{FLOW_RUN_KEPT, milliseconds, of_store};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::flow_fields::{check_input, compiled, document_of};
use crate::flow_run_found::runs_of;
use crate::scope;

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRunStart", extend("anyOf" = at_least_one(&["flow", "document"])))]
pub(crate) struct StartInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The flow, by its id or its name.
    flow: Option<String>,
    /// By default the newest.
    version: Option<u64>,
    /// In place of a declared flow: an object, or a text in JSON or YAML.
    document: Option<Value>,
    #[serde(default)]
    input: Value,
    /// In place of the document's, where it is less.
    budget_nano_usd: Option<i64>,
    /// For people: the key that the steps run with, and that pays for them.
    key_id: Option<String>,
}

impl StartInput {
    pub fn of_flow(flow: String, input: Value) -> Self {
        Self { flow: Some(flow), input, ..Self::default() }
    }
}

/// What a run is made of.
struct Origin {
    owner: ObjectOwner,
    flow: Option<(FlowId, u64)>,
    document: Value,
    replay_of: Option<FlowRunId>,
    budget_nanos: Option<i64>,
}

/// The key that pays: the caller's own, or the one that a person names.
async fn payer(
    control: &Control,
    request: &ApiRequest,
    owner: ObjectOwner,
    named: Option<&str>,
) -> Result<KeyId, Box<Fault>> {
    if let Some(key) = request.caller.key() {
        return Ok(key.id);
    }
    let text = named.ok_or_else(|| missing("key_id", "Name the API key for the run's steps."))?;
    let id: KeyId = text.parse().map_err(|_| not_found("API key", text))?;
    let row = control.deps.store.api_keys().get(owner.workspace, id).await.map_err(of_store)?;
    if row.project == owner.project && row.revoked_unix_ms.is_none() {
        return Ok(id);
    }
    Err(invalid(
        "key_id",
        "This key is revoked or belongs to another project.",
        "Name a key of the run's project.",
    ))
}

pub(crate) async fn begin(
    control: &Arc<Control>,
    request: &ApiRequest,
    input: StartInput,
) -> Result<RunRow, Box<Fault>> {
    let flows = StoredFlows::of(&control.deps.store);
    let workspace = request.workspace();
    let (owner, flow, document) = match (input.flow.as_deref(), input.document) {
        (Some(named), None) => {
            let row = match named.parse::<FlowId>() {
                Ok(id) => flows.get(workspace, id).await.map_err(of_store)?,
                Err(_) => {
                    let project = scope::of_new(control, request, input.project_id.as_deref())?;
                    let found = flows.named(ObjectOwner { workspace, project }, named.to_owned()).await;
                    found.map_err(of_store)?.ok_or_else(|| not_found("flow", named))?
                }
            };
            scope::check(request, row.owner.project, "flow", &row.id)?;
            let number = input.version.unwrap_or(row.latest);
            let version = flows.version(workspace, row.id, number).await.map_err(of_store)?;
            let document = serde_json::from_str(&version.document).unwrap_or_default();
            (row.owner, Some((row.id, number)), document)
        }
        (None, Some(document)) => {
            let project = scope::of_new(control, request, input.project_id.as_deref())?;
            (ObjectOwner { workspace, project }, None, document_of(Some(document))?)
        }
        _ => return Err(missing("flow", "Name a flow, or send a document.")),
    };
    if input.budget_nano_usd.is_some_and(|budget| budget < 0) {
        return Err(invalid(
            "budget_nano_usd",
            "A budget can't be negative.",
            "Send a whole number of nano-USD.",
        ));
    }
    let origin = Origin { owner, flow, document, replay_of: None, budget_nanos: input.budget_nano_usd };
    store(control, request, origin, (input.input, input.key_id.as_deref())).await
}

/// Runs what a run was given again, under another version.
pub(crate) async fn replayed(
    control: &Arc<Control>,
    request: &ApiRequest,
    run: &RunRow,
    version: Option<u64>,
) -> Result<RunRow, Box<Fault>> {
    let flows = StoredFlows::of(&control.deps.store);
    let (id, _) = run.flow.ok_or_else(|| {
        invalid("id", "The run doesn't belong to a declared flow.", "Start a run with the changed document.")
    })?;
    let row = flows.get(request.workspace(), id).await.map_err(of_store)?;
    let number = version.unwrap_or(row.latest);
    let version = flows.version(request.workspace(), id, number).await.map_err(of_store)?;
    let content = runs_of(control).content(run.id, part::INPUT.to_owned()).await.map_err(of_store)?;
    let input = content.and_then(|content| content.open(&control.deps.vault, run.owner));
    let input = input.ok_or_else(|| not_found("input of the run", &run.id.to_string()))?;
    let origin = Origin {
        owner: run.owner,
        flow: Some((id, number)),
        document: serde_json::from_str(&version.document).unwrap_or_default(),
        replay_of: Some(run.id),
        budget_nanos: run.budget_nanos,
    };
    store(control, request, origin, (input, Some(&run.key.to_string()))).await
}

async fn store(
    control: &Arc<Control>,
    request: &ApiRequest,
    origin: Origin,
    (input, key): (Value, Option<&str>),
) -> Result<RunRow, Box<Fault>> {
    let owner = origin.owner;
    scope::check_retention(control, request, owner.project)?;
    let flow = compiled(&origin.document)?;
    let input = if input.is_null() { json!({}) } else { input };
    check_input(&flow, &input)?;
    let key = payer(control, request, owner, key).await?;
    let engine = control.deps.flows.engine().await?;
    let world = &control.deps.world;
    let now = world.clock.unix_ms();
    let budgets = origin.budget_nanos.into_iter().chain(flow.budget_nano_usd);
    let of = (FlowRunId::new(now, world.id_bytes()), owner, request.trace);
    let times = (now, now.saturating_add(milliseconds(FLOW_RUN_KEPT)));
    let run = RunRow {
        flow: origin.flow,
        replay_of: origin.replay_of,
        budget_nanos: budgets.min(),
        engine,
        ..RunRow::queued(of, key, flow.name, times)
    };
    let new = NewRun::sealed(&control.deps.vault, run.clone(), &origin.document, &input);
    let new = new.map_err(|_| Box::new(Fault::internal()))?;
    runs_of(control).create(new, Some(request.act(world))).await.map_err(of_store)?;
    control.deps.flows.arrived();
    Ok(run)
}
