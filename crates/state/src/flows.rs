//! `/v2/flows`: the flows that a project declares, version by version.

use std::sync::Arc;

use ::flows::{Difference, diff, schema};
use api::access::Access;
use api::failure::{invalid, not_there};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FlowId, ObjectOwner};
use flowruns::{FlowRow, FlowVersion, StoredFlows};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::flow_fields::{ErrorView, NodeView, compiled, document_of, errors_of, nodes_of};
use crate::limits::FLOW_VERSIONS_LISTED_MAX;
use crate::scope;

const PATH: &str = "/v2/flows";
const ONE: &str = "/v2/flows/{id}";
const VERSIONS: &str = "/v2/flows/{id}/versions";
const WHAT: &str = "flow";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Declares a flow: steps, with what each needs.")
            .takes::<FlowInput>()
            .takes_content()
            .makes::<FlowView>()
            .refuses(400, "flow_invalid")
            .refuses(409, "name_taken"),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists flows.")
            .query("project_id", "Only those of this project.")
            .lists::<FlowView>(),
        Route::new(Method::GET, "/v2/flows/schema", Access::READ_STATE, show_schema)
            .says("Shows the JSON Schema of a flow's document.")
            .returns_value::<SchemaView>(),
        Route::new(Method::POST, "/v2/flows/validate", Access::WRITE_STATE, validate)
            .says("Validates a flow without storing it.")
            .takes::<FlowInput>()
            .takes_content()
            .returns_value::<ValidationView>()
            .no_rehearsal("It stores nothing."),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows a flow with its newest document.")
            .returns::<FlowView>(),
        Route::new(Method::POST, VERSIONS, Access::MANAGE, add_version)
            .says("Stores a new version of a flow. Runs continue with the version that they started with.")
            .takes::<FlowInput>()
            .takes_content()
            .makes::<FlowView>()
            .refuses(400, "flow_invalid")
            .refuses(409, "name_taken"),
        Route::new(Method::GET, VERSIONS, Access::READ_STATE, versions)
            .says("Lists the versions of a flow, newest first.")
            .returns_value::<Page<VersionView>>(),
        Route::new(Method::GET, "/v2/flows/{id}/versions/{number}", Access::READ_STATE, version)
            .says("Shows a version of a flow.")
            .returns_value::<VersionView>(),
        Route::new(Method::GET, "/v2/flows/{id}/diff", Access::READ_STATE, differences)
            .says("Shows what differs between two versions of a flow.")
            .query("from", "The number of the first version; by default the one before the newest.")
            .query("to", "The number of the second version; by default the newest.")
            .returns_value::<DiffView>(),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete)
            .says("Deletes a flow with its versions. Its runs stay.")
            .returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowDocument")]
struct FlowInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The flow: an object, or a text in JSON or YAML.
    #[schemars(required, extend("type" = ["object", "string"]))]
    document: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
struct FlowView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    /// The number of its newest version.
    version: u64,
    /// Of one flow, the newest version's.
    document: Option<Value>,
    /// Its steps, as they are drawn.
    graph: Option<Vec<NodeView>>,
    created_at: Moment,
    updated_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowVersion")]
struct VersionView {
    object: &'static str,
    flow_id: String,
    version: u64,
    document: Option<Value>,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowSchema")]
struct SchemaView {
    object: &'static str,
    schema: Value,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowValidation")]
struct ValidationView {
    object: &'static str,
    valid: bool,
    errors: Vec<ErrorView>,
    graph: Vec<NodeView>,
}

/// One place in which two documents or outputs differ.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowDifference")]
pub(crate) struct DifferenceView {
    /// `add`, `remove` or `replace`.
    op: String,
    /// A JSON pointer.
    path: String,
    before: Value,
    after: Value,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowDiff")]
struct DiffView {
    object: &'static str,
    from: u64,
    to: u64,
    changes: Vec<DifferenceView>,
}

impl DifferenceView {
    pub fn of(difference: Difference) -> Self {
        let op = match (&difference.before, &difference.after) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "replace",
        };
        let Difference { pointer: path, before, after } = difference;
        Self { op: op.to_owned(), path, before: before.unwrap_or_default(), after: after.unwrap_or_default() }
    }
}

fn show(row: &FlowRow, document: Option<Value>) -> FlowView {
    let graph = document.as_ref().and_then(|document| ::flows::compile(document).ok());
    FlowView {
        id: row.id.to_string(),
        object: WHAT,
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        version: row.latest,
        document,
        graph: graph.map(|flow| nodes_of(&flow)),
        created_at: Moment(row.created_unix_ms),
        updated_at: Moment(row.updated_unix_ms),
    }
}

fn show_version(id: FlowId, version: &FlowVersion) -> VersionView {
    VersionView {
        object: "flow_version",
        flow_id: id.to_string(),
        version: version.number,
        document: serde_json::from_str(&version.document).ok(),
        created_at: Moment(version.created_unix_ms),
    }
}

/// The flow of the path, where the caller may see it.
pub(crate) async fn found(control: &Control, request: &ApiRequest) -> Result<FlowRow, Box<Fault>> {
    let id: FlowId = request.id(WHAT)?;
    let row = StoredFlows::of(&control.deps.store).get(request.workspace(), id).await;
    let row = row.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, row.owner.project, WHAT, &id)?;
    Ok(row)
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: FlowInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let document = document_of(input.document)?;
    let flow = compiled(&document)?;
    let world = &control.deps.world;
    let now_unix_ms = world.clock.unix_ms();
    let row = FlowRow {
        id: FlowId::new(now_unix_ms, world.id_bytes()),
        owner: ObjectOwner { workspace: request.workspace(), project },
        name: flow.name,
        latest: 1,
        created_unix_ms: now_unix_ms,
        updated_unix_ms: now_unix_ms,
        version: 1,
    };
    let act = request.act(world);
    let flows = StoredFlows::of(&control.deps.store);
    flows.create(row.clone(), document.to_string(), act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row, Some(document)))?.version(1).as_created(format!("{PATH}/{}", row.id)))
}

async fn add_version(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: FlowInput = request.json()?;
    let row = found(control, &request).await?;
    let document = document_of(input.document)?;
    let flow = compiled(&document)?;
    let (act, expected) = (request.act(&control.deps.world), request.if_match()?);
    let flows = StoredFlows::of(&control.deps.store);
    let of = (request.workspace(), row.id);
    let row = flows.replace(of, (flow.name, document.to_string()), expected, act).await.map_err(of_store)?;
    let location = format!("{PATH}/{}/versions/{}", row.id, row.latest);
    Ok(Reply::json(&show(&row, Some(document)))?.version(row.version).as_created(location))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let flows = StoredFlows::of(&control.deps.store);
    let listed = flows.list(request.workspace(), scope::listed(&request)?, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, |row| show(row, None)))
}

async fn show_schema(_control: &Arc<Control>, _request: ApiRequest) -> Handled {
    Reply::json(&SchemaView { object: "json_schema", schema: schema() })
}

async fn validate(_control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: FlowInput = request.json()?;
    let document = document_of(input.document)?;
    let (errors, graph) = match ::flows::compile(&document) {
        Ok(flow) => (Vec::new(), nodes_of(&flow)),
        Err(errors) => (errors_of(&errors), Vec::new()),
    };
    Reply::json(&ValidationView { object: "flow_validation", valid: errors.is_empty(), errors, graph })
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = found(control, &request).await?;
    let flows = StoredFlows::of(&control.deps.store);
    let newest = flows.version(request.workspace(), row.id, row.latest).await.map_err(of_store)?;
    let document = serde_json::from_str(&newest.document).ok();
    Ok(Reply::json(&show(&row, document))?.version(row.version))
}

async fn versions(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = found(control, &request).await?;
    let flows = StoredFlows::of(&control.deps.store);
    let versions = flows.versions(request.workspace(), row.id, FLOW_VERSIONS_LISTED_MAX).await;
    let versions = versions.map_err(of_store)?;
    Reply::json(&Page::whole(versions.iter().map(|version| show_version(row.id, version)).collect()))
}

fn number(text: Option<&String>, field: &'static str, default: u64) -> Result<u64, Box<Fault>> {
    let Some(text) = text else { return Ok(default) };
    text.parse().map_err(|_| invalid(field, "This isn't a version number.", "Send a whole number."))
}

async fn version(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = found(control, &request).await?;
    let number = number(request.parameters.get(1), "number", row.latest)?;
    let flows = StoredFlows::of(&control.deps.store);
    let version = flows.version(request.workspace(), row.id, number).await.map_err(of_store)?;
    Reply::json(&show_version(row.id, &version))
}

async fn differences(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = found(control, &request).await?;
    let to = number(request.query.get("to"), "to", row.latest)?;
    let from = number(request.query.get("from"), "from", to.saturating_sub(1).max(1))?;
    let flows = StoredFlows::of(&control.deps.store);
    let mut documents = Vec::new();
    for number in [from, to] {
        let version = flows.version(request.workspace(), row.id, number).await.map_err(of_store)?;
        documents.push(serde_json::from_str::<Value>(&version.document).unwrap_or_default());
    }
    let (before, after) = (documents.first(), documents.last());
    let changes = before.zip(after).map(|(before, after)| diff(before, after)).unwrap_or_default();
    let changes = changes.into_iter().map(DifferenceView::of).collect();
    Reply::json(&DiffView { object: "flow_diff", from, to, changes })
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = found(control, &request).await?;
    let (act, expected) = (request.act(&control.deps.world), request.if_match()?);
    let flows = StoredFlows::of(&control.deps.store);
    flows.delete(request.workspace(), row.id, expected, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}
