//! `/flowruns` as inference.sh's published clients call it: the same runs, with numbers for statuses and nodes by their names.

use std::sync::Arc;

use api::access::Access;
use api::failure::missing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::Fault;
use flowruns::RunRow;
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::flow_run_begin::{StartInput, begin};
use crate::flow_run_found::{found, runs_of};
use crate::flow_run_stream::{changed, event};
use crate::flow_run_view::detail;
use crate::flow_runs::cancel as cancelled;

const PATH: &str = "/v2/flowruns";
const ONE: &str = "/v2/flowruns/{id}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, start)
            .says("Starts a run of a flow; also at /flowruns, for inference.sh's clients.")
            .takes::<ClientInput>()
            .takes_content()
            .returns_value::<Envelope>()
            .refuses(400, "validation_error")
            .no_rehearsal("Steps of a run begin and end on their own."),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows a run of a flow; also at /flowruns, for inference.sh's clients.")
            .returns_value::<Envelope>(),
        Route::new(Method::POST, "/v2/flowruns/{id}/cancel", Access::WRITE_STATE, cancel)
            .says("Cancels a run of a flow; also at /flowruns, for inference.sh's clients.")
            .takes_nothing()
            .returns_value::<Envelope>()
            .refuses(409, "flow_run_ended")
            .no_rehearsal("Steps of a run begin and end on their own."),
        Route::new(Method::GET, "/v2/flowruns/{id}/stream", Access::READ_STATE, follow)
            .says("Follows a run as server-sent events; also at /flowruns, for inference.sh's clients.")
            .query("after", "The number of the last event, in place of Last-Event-ID.")
            .returns_events(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "FlowRunClientStart")]
struct ClientInput {
    /// By its id or its name.
    #[schemars(required)]
    flow: Option<String>,
    #[serde(default)]
    input: Value,
}

/// The answer, enveloped as `X-API-Version` asks for.
#[derive(JsonSchema)]
#[schemars(rename = "FlowRunEnvelope", extend("additionalProperties" = true))]
#[expect(dead_code, reason = "it describes the answer in the API document")]
struct Envelope {
    data: Option<Value>,
    messages: Option<Vec<Value>>,
}

/// A run as these clients read it.
async fn shape(control: &Control, run: &RunRow) -> Result<Value, Box<Fault>> {
    let detail = json!(detail(control, run).await?);
    let steps = detail.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let (mut nodes, mut tasks) = (Map::new(), Map::new());
    for step in steps {
        let of = |name: &str| step.get(name).cloned().unwrap_or_default();
        let Some(id) = step.get("id").and_then(Value::as_str) else { continue };
        if of("began").as_str().is_some_and(|began| began.starts_with("tsk_")) {
            tasks.insert(id.to_owned(), of("began"));
        }
        // What waits for somebody runs, for these clients.
        let status = match of("status").as_str() {
            Some("waiting") => json!("running"),
            _ => of("status"),
        };
        nodes.insert(id.to_owned(), json!({"id": id, "type": of("kind"), "status": status, "task_id": of("began"), "error": of("error_code")}));
    }
    let of = |name: &str| detail.get(name).cloned().unwrap_or_default();
    Ok(json!({
        "id": run.id.to_string(), "flow_id": of("flow_id"), "flow_version_id": of("version"),
        "created_at": of("created_at"), "updated_at": of("updated_at"), "status": run.status.code(),
        "status_text": run.status.as_str(), "input": of("input"), "output": of("output"),
        "error": of("error_code"), "node_run_states": nodes, "tasks": tasks, "fail_on_error": true,
        "flow_run_started": of("started_at"), "flow_run_finished": of("ended_at"), "flow_run_cancelled": null,
    }))
}

fn enveloped(request: &ApiRequest, value: &Value) -> Result<Reply, Box<Fault>> {
    let version = request.headers.get("x-api-version").and_then(|value| value.to_str().ok());
    match version {
        Some("2") => Reply::json(value),
        Some("1") => Reply::json(&json!({"success": true, "status": 200, "data": value})),
        _ => Reply::json(&json!({"data": value, "messages": []})),
    }
}

async fn start(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ClientInput = request.json()?;
    let flow = input.flow.ok_or_else(|| missing("flow", "Name a flow, by its id or its name."))?;
    let input = StartInput::of_flow(flow, input.input);
    let run = begin(control, &request, input).await?;
    enveloped(&request, &shape(control, &run).await?)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    enveloped(&request, &shape(control, &run).await?)
}

async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let version = request.headers.get("x-api-version").cloned();
    let workspace = request.workspace();
    drop(cancelled(control, request).await?);
    let run = runs_of(control).get(workspace, run.id).await.map_err(of_store)?;
    let value = shape(control, &run).await?;
    match version.as_ref().and_then(|value| value.to_str().ok()) {
        Some("2") => Reply::json(&value),
        _ => Reply::json(&json!({"data": value, "messages": []})),
    }
}

async fn follow(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let (run, is_changed) = changed(control, &request, run).await?;
    if !is_changed {
        return event(&run, None);
    }
    let document = shape(control, &run).await?;
    event(&run, Some(&document))
}
