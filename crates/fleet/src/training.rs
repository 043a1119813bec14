//! `/v2/train/jobs`: training jobs on a workspace's own runtimes, which run and are stored on the nodes.
//! Training data passes through to the node and is stored nowhere on the way.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use bytes::Bytes;
use domain::Fault;
use domain::limits::RUNTIME_ACT_TIME_MAX;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::NodeRow;

use crate::limits::TRAINING_EVENTS_MAX;
use crate::runtimes::{self, UnreachableRuntime, path_part, read, runtime_route};

const PATH: &str = "/v2/train/jobs";
const ONE: &str = "/v2/train/jobs/{id}";
const ON_A_NODE: &str =
    "What a node does can't be tried without being done; /v2/train/preview says what a job would come to.";
const AS_IT_IS: &str = "What a node does can't be tried without being done.";
const NODE: (&str, &str) =
    ("node", "The job's node, by its id or name; optional if the workspace has one runtime.");

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the training jobs of the workspace's runtimes, newest first, and names each runtime that could not be queried.")
            .query("node", "Only those of this node, by its id or name.")
            .returns_value::<List>(),
        runtime_route(
            Route::new(Method::POST, PATH, Access::MANAGE, begin)
                .says("Starts a training job on a node: the conversations are sent to the node, which trains an adapter.")
                .takes::<Order>()
                .takes_content()
                .returns_value::<JobView>()
                .refuses(400, "invalid_training_data")
                .refuses(409, "adapter_exists")
                .no_rehearsal(ON_A_NODE),
        ),
        runtime_route(
            Route::new(Method::POST, "/v2/train/preview", Access::MANAGE, preview)
                .says("Estimates what a training job would take, without starting it.")
                .takes::<Order>()
                .takes_content()
                .returns_value::<Preview>()
                .refuses(400, "invalid_training_data")
                .no_rehearsal("It begins nothing."),
        ),
        runtime_route(
            Route::new(Method::GET, ONE, Access::LOOK, get)
                .says("Shows a training job and its progress.")
                .query(NODE.0, NODE.1)
                .returns_value::<JobView>(),
        ),
        runtime_route(
            Route::new(Method::GET, "/v2/train/jobs/{id}/events", Access::LOOK, events)
                .says("Lists the events of a training job, all of them or those after an event.")
                .query(NODE.0, NODE.1)
                .query("after", "`next` of the previous response; by default 0, the first event.")
                .query("limit", "The most events to return: 1 to 1000, by default 1000.")
                .returns_value::<Events>(),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/cancel", Access::MANAGE, cancel)
                .says("Cancels a training job; its results so far are discarded."),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/pause", Access::MANAGE, pause)
                .says("Pauses a training job until it is resumed. The next job runs meanwhile."),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/resume", Access::MANAGE, resume)
                .says("Resumes a paused training job where it stopped."),
        ),
        runtime_route(
            Route::new(Method::GET, "/v2/train/jobs/{id}/checkpoints", Access::LOOK, checkpoints)
                .says("Lists the checkpoints of a training job, newest first. There is one for each epoch, and each is a model.")
                .query(NODE.0, NODE.1)
                .returns_value::<Checkpoints>(),
        ),
    ]
}

/// The common description of all actions on a job.
fn acts_on_one(route: Route) -> Route {
    let route = route.takes::<NodeSelector>().returns_value::<JobView>();
    runtime_route(route.refuses(409, "job_is_over").no_rehearsal(AS_IT_IS))
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "TrainOrder")]
struct Order {
    /// A node's id or name; optional if the workspace has one runtime.
    node: Option<String>,
    /// Conversations as one text with a line of JSON each, or as a list.
    #[schemars(required)]
    data: Option<Value>,
    /// Every other field is the node's: docs/training.md lists them (`model`, `adapter`, `epochs`, `lr`, `lora_rank`, …).
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrainActing")]
struct NodeSelector {
    /// The job's node, by its id or name; optional if the workspace has one runtime.
    node: Option<String>,
}

/// A job as a node reports it.
#[derive(Deserialize)]
struct NodeJob {
    id: String,
    status: String,
    model: String,
    adapter: String,
    result: Option<String>,
    created_at: u64,
    started_at: Option<u64>,
    ended_at: Option<u64>,
    #[serde(default)]
    settings: Map<String, Value>,
    outlook: Option<Outlook>,
    progress: Option<Progress>,
    error: Option<JobError>,
}

#[derive(Deserialize)]
struct NodeJobList {
    data: Vec<NodeJob>,
}

#[derive(Deserialize)]
struct NodePreview {
    model: String,
    #[serde(default)]
    settings: Map<String, Value>,
    outlook: Outlook,
}

#[derive(Deserialize)]
struct NodeEvents {
    data: Vec<NodeEvent>,
    next: u64,
}

#[derive(Deserialize)]
struct NodeEvent {
    unix_ms: u64,
    #[serde(flatten)]
    what: JobChange,
}

/// The estimate of a job.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainOutlook")]
struct Outlook {
    /// Training examples; a conversation may yield several.
    texts: u64,
    /// Validation examples, which are not trained on.
    held_out_texts: u64,
    /// Steps of one epoch.
    tokens: u64,
    /// Those of them that are trained on.
    learned_tokens: u64,
    longest_text_tokens: u64,
    steps: u64,
    /// The number of trained parameters.
    parameters: u64,
    /// The estimated memory in addition to the served model.
    memory_bytes: u64,
}

/// The progress of a job.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainProgress")]
struct Progress {
    step: u64,
    of: u64,
    /// The mean over the trained tokens of this step.
    loss: f64,
    /// The loss on the validation set, where it was evaluated.
    held_out_loss: Option<f64>,
    learning_rate: f64,
    /// All tokens that were trained on, over all epochs.
    tokens: u64,
    /// How long it has run.
    seconds: f64,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainError")]
struct JobError {
    code: String,
    message: String,
    param: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainJob")]
struct JobView {
    /// The status of its node.
    id: String,
    object: &'static str,
    node_id: String,
    /// The node's name.
    node: String,
    /// `queued`, `running`, `paused`, `completed`, `failed` or `cancelled`.
    status: String,
    model: String,
    adapter: String,
    /// The model name for requests that use the result; absent until there is one.
    result: Option<String>,
    created_at: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// The training settings, under the names that requests use.
    settings: Map<String, Value>,
    outlook: Option<Outlook>,
    progress: Option<Progress>,
    error: Option<JobError>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainJobList")]
struct List {
    object: &'static str,
    data: Vec<JobView>,
    /// The runtimes that could not be queried; their objects are not in the list.
    away: Vec<UnreachableRuntime>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainPreview")]
struct Preview {
    object: &'static str,
    node_id: String,
    node: String,
    model: String,
    settings: Map<String, Value>,
    outlook: Outlook,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainEvents")]
struct Events {
    object: &'static str,
    data: Vec<Event>,
    /// Send it as `after` to continue.
    next: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainEvent")]
struct Event {
    at: Moment,
    #[serde(flatten)]
    what: JobChange,
}

/// Checkpoints as a node reports them.
#[derive(Deserialize)]
struct NodeCheckpoints {
    data: Vec<NodeCheckpoint>,
}

#[derive(Deserialize)]
struct NodeCheckpoint {
    step: u64,
    created_at: u64,
    model: String,
    loss: f64,
    held_out_loss: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainCheckpoints")]
struct Checkpoints {
    object: &'static str,
    data: Vec<CheckpointView>,
}

/// A checkpoint of a job, at the end of an epoch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainCheckpoint")]
struct CheckpointView {
    step: u64,
    created_at: Moment,
    /// The model name for requests that use it.
    model: String,
    loss: f64,
    held_out_loss: Option<f64>,
}

/// The event. Fields that its kind does not have are absent.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainHappened")]
struct JobChange {
    /// Its number among the job's events, from 1.
    sequence: u64,
    /// `queued`, `started`, `resumed`, `progress`, `paused`, `completed`, `failed` or `cancelled`.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// It can be resumed from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_checkpoint: Option<bool>,
    /// The model name for requests that use this epoch's checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

fn show(row: &NodeRow, train_job: NodeJob) -> JobView {
    let moment = |unix_s: u64| Moment(unix_s.saturating_mul(1_000));
    JobView {
        id: train_job.id,
        object: "train.job",
        node_id: row.id.to_string(),
        node: row.name.clone(),
        status: train_job.status,
        model: train_job.model,
        adapter: train_job.adapter,
        result: train_job.result,
        created_at: moment(train_job.created_at),
        started_at: train_job.started_at.map(moment),
        ended_at: train_job.ended_at.map(moment),
        settings: train_job.settings,
        outlook: train_job.outlook,
        progress: train_job.progress,
        error: train_job.error,
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    // An inference-only runtime has no jobs.
    let only_answers = ["training_not_served", "unknown_path"];
    let heard = runtimes::query_each::<NodeJobList>(control, &request, "train/jobs", &only_answers).await?;
    let away = heard.failures;
    let mut data: Vec<JobView> = Vec::new();
    for (row, list) in heard.responses {
        data.extend(list.data.into_iter().map(|train_job| show(&row, train_job)));
    }
    data.sort_by(|one, other| (other.created_at.0, &other.id).cmp(&(one.created_at.0, &one.id)));
    Reply::json(&List { object: "list", data, away })
}

/// Reads a job order, and which node it is for.
async fn read_order(
    control: &Control,
    request: &ApiRequest,
) -> Result<(NodeRow, Map<String, Value>), Box<Fault>> {
    let Order { node, data, mut settings } = request.json()?;
    let Some(data) = data else {
        return Err(missing("data", "Send conversations, a line of JSON each, as one text."));
    };
    if settings.contains_key("preview") {
        let fix = "POST /v2/train/preview says what a job would come to.";
        return Err(invalid("preview", "A job is not tried here.", fix));
    }
    settings.insert("data".to_owned(), data);
    let row = runtimes::pick(control, request.workspace(), node.as_deref()).await?;
    Ok((row, settings))
}

async fn begin(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, order) = read_order(control, &request).await?;
    let train_job: NodeJob = runtimes::command(control, &row, "train/sft", &Value::Object(order)).await?;
    let detail = format!("job {}, adapter {}", train_job.id, train_job.adapter);
    runtimes::note_act(control, &request, &row, "train.begin", detail).await?;
    Reply::json(&show(&row, train_job))
}

async fn preview(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, mut order) = read_order(control, &request).await?;
    order.insert("preview".to_owned(), true.into());
    let reply: NodePreview = runtimes::command(control, &row, "train/sft", &Value::Object(order)).await?;
    let NodePreview { model, settings, outlook } = reply;
    let (node_id, node) = (row.id.to_string(), row.name);
    Reply::json(&Preview { object: "train.preview", node_id, node, model, settings, outlook })
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, id) = job(control, &request, None).await?;
    let train_job: NodeJob = runtimes::query(control, &row, format!("train/jobs/{id}")).await?;
    learn(control, &row, train_job.result.as_deref()).await;
    Reply::json(&show(&row, train_job))
}

async fn events(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let limit = request.number("limit", TRAINING_EVENTS_MAX, TRAINING_EVENTS_MAX)?;
    let after: u64 = match request.query.get("after") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            invalid("after", format!("after is \"{text}\"."), "Send `next` of the answer before.")
        })?,
    };
    let (row, id) = job(control, &request, None).await?;
    let path = format!("train/jobs/{id}/events?after={after}&limit={limit}");
    let NodeEvents { data, next } = runtimes::query(control, &row, path).await?;
    let end = data.iter().rev().find(|event: &&NodeEvent| event.what.kind == "completed");
    learn(control, &row, end.and_then(|event| event.what.model.as_deref())).await;
    let data = data.into_iter().map(|event| Event { at: Moment(event.unix_ms), what: event.what });
    Reply::json(&Events { object: "list", data: data.collect(), next })
}

/// A client that sees a finished job may call its result at once, so a node whose new model is not known yet
/// is polled before the response is sent.
async fn learn(control: &Control, row: &NodeRow, made: Option<&str>) {
    let Some(made) = made.filter(|made| !row.models().iter().any(|known| known == made)) else { return };
    if let Err(fault) = control.deps.poll_node(row.clone()).await {
        tracing::warn!(node = %row.id, made, %fault, "what a training job made is learned at the node's next turn");
    }
}

async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    act(control, request, "cancel").await
}

async fn pause(control: &Arc<Control>, request: ApiRequest) -> Handled {
    act(control, request, "pause").await
}

async fn resume(control: &Arc<Control>, request: ApiRequest) -> Handled {
    act(control, request, "resume").await
}

/// Performs an action on a job, and records it in the audit.
async fn act(control: &Arc<Control>, request: ApiRequest, what: &'static str) -> Result<Reply, Box<Fault>> {
    let NodeSelector { node } = request.json()?;
    let (row, id) = job(control, &request, node.as_deref()).await?;
    let (method, path) = match what {
        "cancel" => (Method::DELETE, format!("train/jobs/{id}")),
        _ => (Method::POST, format!("train/jobs/{id}/{what}")),
    };
    let body: Bytes = runtimes::ask(control, &row, method, path, None, RUNTIME_ACT_TIME_MAX).await?;
    let train_job: NodeJob = read(&row, &body)?;
    let named = match what {
        "cancel" => "train.cancel",
        "pause" => "train.pause",
        _ => "train.resume",
    };
    runtimes::note_act(control, &request, &row, named, format!("job {}", train_job.id)).await?;
    Reply::json(&show(&row, train_job))
}

async fn checkpoints(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, id) = job(control, &request, None).await?;
    let list: NodeCheckpoints =
        runtimes::query(control, &row, format!("train/jobs/{id}/checkpoints")).await?;
    let one = |checkpoint: NodeCheckpoint| CheckpointView {
        step: checkpoint.step,
        created_at: Moment(checkpoint.created_at.saturating_mul(1_000)),
        model: checkpoint.model,
        loss: checkpoint.loss,
        held_out_loss: checkpoint.held_out_loss,
    };
    Reply::json(&Checkpoints { object: "list", data: list.data.into_iter().map(one).collect() })
}

/// The job in the path, validated for use in the node's path, and the node that has it.
async fn job(
    control: &Control,
    request: &ApiRequest,
    named: Option<&str>,
) -> Result<(NodeRow, String), Box<Fault>> {
    let named = named.or_else(|| request.query.get("node").map(String::as_str));
    let row = runtimes::pick(control, request.workspace(), named).await?;
    let id = path_part("training job", request.parameters.first().map_or("", String::as_str))?;
    Ok((row, id))
}
