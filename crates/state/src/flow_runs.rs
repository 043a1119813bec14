//! `/v2/flow-runs`: runs of flows, how far they are, and what is done with them.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Handler, Route, RouteAuth};
use api::state::Control;
use domain::{Fault, FaultClass};
use flowruns::{FlowContent, RunRow, RunStatus, StepStatus, Wish, part};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::flow_fields::check_depth;
use crate::flow_run_begin::{StartInput, begin, replayed};
use crate::flow_run_found::{found, runs_of};
use crate::flow_run_view::{RunDetail, RunView, StepDetail, detail, show, step_detail};
use crate::flows::DifferenceView;
use crate::limits::FLOW_EVENT_TRIES_MAX;
use crate::scope;

const PATH: &str = "/v2/flow-runs";
const ONE: &str = "/v2/flow-runs/{id}";

pub(crate) fn routes() -> Vec<Route> {
    let acting = |pattern, handler: Handler, says| {
        Route::by(Method::POST, pattern, RouteAuth::Known(Access::WRITE_STATE, handler))
            .says(says)
            .returns_value::<RunView>()
            .no_rehearsal("Steps of a run begin and end on their own.")
    };
    vec![
        acting(PATH, &start, "Starts a run of a flow, or of a document that is stored nowhere else.")
            .takes::<StartInput>()
            .takes_content()
            .refuses(400, "flow_invalid")
            .refuses(400, "validation_error")
            .refuses(409, "flow_runs_waiting")
            .refuses(503, "flow_engine_unavailable"),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists runs of flows, newest first.")
            .query("project_id", "Only those of this project.")
            .query("status", "Only those of this status.")
            .one_of("status", &["pending", "running", "completed", "failed", "cancelled"])
            .lists::<RunView>(),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows a run with its steps, what each cost and how long it took.")
            .returns_value::<RunDetail>(),
        Route::new(Method::GET, "/v2/flow-runs/{id}/step", Access::READ_STATE, step)
            .says("Shows a step of a run with its output.")
            .query("path", "The step's name; for an iteration, its number follows in brackets.")
            .returns_value::<StepDetail>(),
        Route::new(Method::GET, "/v2/flow-runs/{id}/stream", Access::READ_STATE, crate::flow_run_stream::follow)
            .says("Follows a run as server-sent events: its state now, or once it changes. Reconnect with Last-Event-ID.")
            .query("after", "The number of the last event, in place of Last-Event-ID.")
            .returns_events(),
        acting("/v2/flow-runs/{id}/cancel", &cancel, "Cancels a run with everything that its steps began.")
            .takes_nothing()
            .refuses(409, "flow_run_ended"),
        acting("/v2/flow-runs/{id}/pause", &pause, "Pauses a run: running steps finish, and no others start.")
            .takes_nothing()
            .refuses(409, "flow_run_ended"),
        acting("/v2/flow-runs/{id}/resume", &resume, "Resumes a paused run.")
            .takes_nothing()
            .refuses(409, "flow_run_ended"),
        acting("/v2/flow-runs/{id}/retry", &retry, "Runs an ended run again from a step, or from the steps that failed.")
            .takes::<RetryInput>()
            .refuses(409, "flow_run_not_ended"),
        acting("/v2/flow-runs/{id}/events", &send_event, "Sends an event to a run, for a step that waits for it.")
            .takes::<EventInput>()
            .refuses(400, "validation_error")
            .refuses(409, "flow_run_ended"),
        acting("/v2/flow-runs/{id}/approvals", &decide, "Approves or refuses a step of a run that waits for approval.")
            .takes::<DecisionInput>()
            .refuses(409, "flow_step_not_waiting"),
        acting("/v2/flow-runs/{id}/replay", &replay, "Replays the input of a run with another version of its flow.")
            .takes::<ReplayInput>()
            .refuses(503, "flow_engine_unavailable"),
        Route::new(Method::GET, "/v2/flow-runs/{id}/diff", Access::READ_STATE, differences)
            .says("Shows the differences between the output of a replay and that of the run that it repeats.")
            .returns_value::<OutputDiff>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRunRetry")]
struct RetryInput {
    /// The step to start from; steps that need it run again as well. By default all that did not complete.
    from: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRunEvent")]
struct EventInput {
    /// The event that a step waits for.
    #[schemars(required)]
    name: Option<String>,
    /// What the step makes of it.
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRunApproval")]
struct DecisionInput {
    #[schemars(required)]
    step: Option<String>,
    #[schemars(required)]
    approved: Option<bool>,
    comment: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRunReplay")]
struct ReplayInput {
    /// By default the newest.
    version: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowOutputDiff")]
struct OutputDiff {
    object: &'static str,
    run_id: String,
    replay_of: String,
    changes: Vec<DifferenceView>,
}

async fn start(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: StartInput = request.json()?;
    let run = begin(control, &request, input).await?;
    Reply::json(&show(&run))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let status = request.query.get("status").map(|word| {
        let wrong = || {
            invalid(
                "status",
                "This isn't a run status.",
                "Send pending, running, completed, failed or cancelled.",
            )
        };
        RunStatus::by_name(word).ok_or_else(wrong)
    });
    let of = (scope::listed(&request)?, status.transpose()?);
    let listed = runs_of(control).list(request.workspace(), of, request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    Reply::json(&detail(control, &run).await?)
}

async fn step(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let path = request.query.get("path").cloned();
    let path = path.ok_or_else(|| missing("path", "Name the step."))?;
    let found = step_detail(control, &run, &path).await?;
    Reply::json(&found.ok_or_else(|| not_found("step", &path))?)
}

async fn wished(control: &Arc<Control>, request: &ApiRequest, wish: Wish) -> Result<Reply, Box<Fault>> {
    let run = found(control, request).await?;
    let act = request.act(&control.deps.world);
    let run = runs_of(control).wish((request.workspace(), run.id), wish, act).await.map_err(of_store)?;
    control.deps.flows.touch(run.id);
    Reply::json(&show(&run))
}

pub(crate) async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    wished(control, &request, Wish::Cancel).await
}

async fn pause(control: &Arc<Control>, request: ApiRequest) -> Handled {
    wished(control, &request, Wish::Pause).await
}

async fn resume(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let act = request.act(&control.deps.world);
    let run = runs_of(control).resume((request.workspace(), run.id), act).await.map_err(of_store)?;
    control.deps.flows.touch(run.id);
    Reply::json(&show(&run))
}

async fn retry(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: RetryInput = request.json()?;
    let run = found(control, &request).await?;
    let paths = again(control, &run, input.from.as_deref()).await?;
    let act = request.act(&control.deps.world);
    let run = runs_of(control).retry((request.workspace(), run.id), paths, act).await.map_err(of_store)?;
    control.deps.flows.arrived();
    Reply::json(&show(&run))
}

/// The paths of the steps that run again.
async fn again(control: &Control, run: &RunRow, from: Option<&str>) -> Result<Vec<String>, Box<Fault>> {
    let loaded = runs_of(control).load(run.id).await.map_err(of_store)?;
    let open = |content: &FlowContent| content.open(&control.deps.vault, run.owner);
    let document = loaded.contents.iter().find(|content| content.part == part::DOCUMENT).and_then(open);
    let gone = || {
        let message = "The content of this run was purged, so it can't run again.";
        Box::new(Fault::new(FaultClass::Conflict, "task_content_gone", message).fix("Start another run."))
    };
    let flow = flows::compile(&document.ok_or_else(gone)?).map_err(|_| gone())?;
    let mut is_again = vec![false; flow.steps.len()];
    match from {
        Some(name) => {
            let place = flow.place_of(name);
            let place = place
                .ok_or_else(|| invalid("from", "The flow has no such step.", "Name a step of the flow."))?;
            if let Some(again) = is_again.get_mut(place) {
                *again = true;
            }
        }
        None => {
            for (again, step) in is_again.iter_mut().zip(&flow.steps) {
                let row = loaded.steps.iter().find(|row| row.path == step.name);
                *again = row.is_none_or(|row| {
                    row.status != StepStatus::Completed && row.status != StepStatus::Skipped
                });
            }
        }
    }
    let mut order: Vec<usize> = (0..flow.steps.len()).collect();
    order.sort_by_key(|place| flow.steps.get(*place).map(|step| step.depth));
    for place in order {
        let needs = flow.steps.get(place).map(|step| step.needs.as_slice()).unwrap_or_default();
        if needs.iter().any(|need| is_again.get(*need) == Some(&true))
            && let Some(again) = is_again.get_mut(place)
        {
            *again = true;
        }
    }
    let names: std::collections::HashSet<&str> = flow
        .steps
        .iter()
        .zip(&is_again)
        .filter(|(_, again)| **again)
        .map(|(step, _)| step.name.as_str())
        .collect();
    // Iterations that completed stay, unless their step is the one to begin with: then all of it runs again.
    let is_meant = |path: &str, status: StepStatus| {
        let name = path.split(['[', '!']).next().unwrap_or(path);
        let stays = path.contains('[') && status == StepStatus::Completed && from.is_none();
        names.contains(name) && !stays || path.contains('!')
    };
    let meant = loaded.steps.iter().filter(|row| is_meant(&row.path, row.status));
    Ok(meant.map(|row| row.path.clone()).collect())
}

/// Stores an event under the next free number.
async fn send(
    control: &Arc<Control>,
    request: &ApiRequest,
    run: &RunRow,
    (name, payload): (String, Value),
) -> Result<Reply, Box<Fault>> {
    let runs = runs_of(control);
    for attempt in 0.. {
        let number = runs.events(run.id).await.map_err(of_store)?.last().map_or(0, |event| event.number + 1);
        let of = (run.owner, run.id, run.request);
        let content = FlowContent::seal(&control.deps.vault, of, part::of_event(number), &payload);
        let content = content.map_err(|_| Box::new(Fault::internal()))?;
        let (act, event) = (request.act(&control.deps.world), (number, name.clone()));
        match runs.send((request.workspace(), run.id), event, content, act).await {
            Ok(()) => break,
            // Somebody else sent one at the same time.
            Err(store::StoreError::Conflict { what: "already_exists", .. })
                if attempt < FLOW_EVENT_TRIES_MAX => {}
            Err(error) => return Err(of_store(error)),
        }
    }
    control.deps.flows.touch(run.id);
    let run = runs.get(request.workspace(), run.id).await.map_err(of_store)?;
    Reply::json(&show(&run))
}

async fn send_event(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: EventInput = request.json()?;
    let run = found(control, &request).await?;
    let name = input.name.ok_or_else(|| missing("name", "Name the event that a step waits for."))?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err(invalid(
            "name",
            "This isn't a valid event name.",
            "Use up to 64 letters, digits, dots, dashes and underscores.",
        ));
    }
    check_depth("payload", &input.payload)?;
    send(control, &request, &run, (name, input.payload)).await
}

async fn decide(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: DecisionInput = request.json()?;
    let run = found(control, &request).await?;
    let step = input.step.ok_or_else(|| missing("step", "Name the step that waits for an approval."))?;
    let approved = input.approved.ok_or_else(|| missing("approved", "Send true or false."))?;
    let row = runs_of(control).step(run.id, step.clone()).await.map_err(of_store)?;
    let waits = row.is_some_and(|row| row.kind == "approval" && row.status == StepStatus::Waiting);
    if !waits {
        let message = format!(
            "The step \"{}\" isn't waiting for an approval.",
            step.chars().take(64).collect::<String>()
        );
        let fault = Fault::new(FaultClass::Conflict, "flow_step_not_waiting", message).param("step");
        return Err(Box::new(fault.fix("GET /v2/flow-runs/{id} shows the steps that wait.")));
    }
    let payload = json!({"approved": approved, "by": request.caller.actor(), "comment": input.comment});
    send(control, &request, &run, (format!(":{step}"), payload)).await
}

async fn replay(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ReplayInput = request.json()?;
    let run = found(control, &request).await?;
    Reply::json(&show(&replayed(control, &request, &run, input.version).await?))
}

async fn differences(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let of = run.replay_of.ok_or_else(|| not_found("replay", &run.id.to_string()))?;
    let runs = runs_of(control);
    let mut outputs = Vec::new();
    for id in [of, run.id] {
        let content = runs.content(id, part::OUTPUT.to_owned()).await.map_err(of_store)?;
        outputs.push(
            content.and_then(|content| content.open(&control.deps.vault, run.owner)).unwrap_or_default(),
        );
    }
    let changes = outputs.first().zip(outputs.last());
    let changes = changes.map(|(before, after)| flows::diff(before, after)).unwrap_or_default();
    Reply::json(&OutputDiff {
        object: "flow_output_diff",
        run_id: run.id.to_string(),
        replay_of: of.to_string(),
        changes: changes.into_iter().map(DifferenceView::of).collect(),
    })
}
