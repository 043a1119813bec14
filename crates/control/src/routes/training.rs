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

use crate::runtimes::{self, UnreachableRuntime, path_part, read, runtime_route};

const PATH: &str = "/v2/train/jobs";
const ONE: &str = "/v2/train/jobs/{id}";
const ON_A_NODE: &str =
    "What a node does can't be tried without being done; /v2/train/preview says what a job would come to.";
const AS_IT_IS: &str = "What a node does can't be tried without being done.";
const NODE: (&str, &str) =
    ("node", "The job's node, by its id or name; may be left out where the workspace has one runtime.");
const EVENTS_MAX: u32 = 1_000;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the training jobs of the workspace's runtimes, the latest first, and names each runtime that could not be asked.")
            .query("node", "Only those of this node, by its id or name.")
            .returns_value::<List>(),
        runtime_route(
            Route::new(Method::POST, PATH, Access::MANAGE, begin)
                .says("Begins a training job on a node: the conversations pass to it, and an adapter comes of them.")
                .takes::<Order>()
                .takes_content()
                .returns_value::<JobView>()
                .refuses(400, "invalid_training_data")
                .refuses(409, "adapter_exists")
                .no_rehearsal(ON_A_NODE),
        ),
        runtime_route(
            Route::new(Method::POST, "/v2/train/preview", Access::MANAGE, preview)
                .says("Says what a training job would come to, and begins nothing.")
                .takes::<Order>()
                .takes_content()
                .returns_value::<Preview>()
                .refuses(400, "invalid_training_data")
                .no_rehearsal("It begins nothing."),
        ),
        runtime_route(
            Route::new(Method::GET, ONE, Access::LOOK, get)
                .says("Shows a training job and how far it is.")
                .query(NODE.0, NODE.1)
                .returns_value::<JobView>(),
        ),
        runtime_route(
            Route::new(Method::GET, "/v2/train/jobs/{id}/events", Access::LOOK, events)
                .says("Lists what happened in a training job, from the beginning or behind an event.")
                .query(NODE.0, NODE.1)
                .query("after", "`next` of the answer before; 0, or left out, begins at the beginning.")
                .query("limit", "How many events at most: 1 to 1000, 1000 where it is left out.")
                .returns_value::<Events>(),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/cancel", Access::MANAGE, cancel)
                .says("Calls a training job off; what it made so far is left."),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/pause", Access::MANAGE, pause)
                .says("Has a training job wait until it is told to go on; the next one has its turn meanwhile."),
        ),
        acts_on_one(
            Route::new(Method::POST, "/v2/train/jobs/{id}/resume", Access::MANAGE, resume)
                .says("Has a training job that was paused go on where it was."),
        ),
        runtime_route(
            Route::new(Method::GET, "/v2/train/jobs/{id}/checkpoints", Access::LOOK, checkpoints)
                .says("Lists what is kept of a training job at the ends of its epochs, each of which is a model; the latest first.")
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
    /// A node's id or name; may be left out where the workspace has one runtime.
    node: Option<String>,
    /// Conversations, a line of JSON each, as one text; or a list of them.
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
    /// The job's node, by its id or name; may be left out where the workspace has one runtime.
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

/// What a job comes to.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainOutlook")]
struct Outlook {
    /// Texts that are learned from; a conversation may be several.
    texts: u64,
    /// Texts that are only looked at.
    held_out_texts: u64,
    /// Of one time over all that is learned from.
    tokens: u64,
    /// Those among them that are learned.
    learned_tokens: u64,
    longest_text_tokens: u64,
    steps: u64,
    /// The numbers that are trained.
    parameters: u64,
    /// What it takes beside the model that answers, about.
    memory_bytes: u64,
}

/// How far a job is.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainProgress")]
struct Progress {
    step: u64,
    of: u64,
    /// The mean over the tokens that were learned in this step.
    loss: f64,
    /// The same of what is held out, where that was looked at.
    held_out_loss: Option<f64>,
    learning_rate: f64,
    /// All tokens that were gone over.
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
    /// Its node's.
    id: String,
    object: &'static str,
    node_id: String,
    /// The node's name.
    node: String,
    /// `queued`, `running`, `paused`, `completed`, `failed` or `cancelled`.
    status: String,
    model: String,
    adapter: String,
    /// What requests name to be answered with what came of it; nothing before that.
    result: Option<String>,
    created_at: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// What it is trained with, in the words that it is asked for in.
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
    /// The runtimes that could not be asked: theirs are not in the list.
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
    /// Send it as `after` to go on.
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

/// What a job was at the end of an epoch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrainCheckpoint")]
struct CheckpointView {
    step: u64,
    created_at: Moment,
    /// What requests name to be answered with it.
    model: String,
    loss: f64,
    held_out_loss: Option<f64>,
}

/// What happened; what an event of its kind does not say is left out.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TrainHappened")]
struct JobChange {
    /// Its place among them, from 1 on.
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
    /// It can be taken up again from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_checkpoint: Option<bool>,
    /// What requests name to be answered with what it was here, at the end of an epoch.
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

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        // An inference-only runtime has no jobs.
        let only_answers = ["training_not_served", "unknown_path"];
        let heard =
            runtimes::query_each::<NodeJobList>(control, &request, "train/jobs", &only_answers).await?;
        let away = heard.failures;
        let mut data: Vec<JobView> = Vec::new();
        for (row, list) in heard.responses {
            data.extend(list.data.into_iter().map(|train_job| show(&row, train_job)));
        }
        data.sort_by(|one, other| (other.created_at.0, &other.id).cmp(&(one.created_at.0, &one.id)));
        Reply::json(&List { object: "list", data, away })
    })
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

fn begin(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let (row, order) = read_order(control, &request).await?;
        let train_job: NodeJob = runtimes::command(control, &row, "train/sft", &Value::Object(order)).await?;
        let detail = format!("job {}, adapter {}", train_job.id, train_job.adapter);
        runtimes::note_act(control, &request, &row, "train.begin", detail).await?;
        Reply::json(&show(&row, train_job))
    })
}

fn preview(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let (row, mut order) = read_order(control, &request).await?;
        order.insert("preview".to_owned(), true.into());
        let reply: NodePreview = runtimes::command(control, &row, "train/sft", &Value::Object(order)).await?;
        let NodePreview { model, settings, outlook } = reply;
        let (node_id, node) = (row.id.to_string(), row.name);
        Reply::json(&Preview { object: "train.preview", node_id, node, model, settings, outlook })
    })
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let (row, id) = job(control, &request, None).await?;
        let train_job: NodeJob = runtimes::query(control, &row, format!("train/jobs/{id}")).await?;
        learn(control, &row, train_job.result.as_deref()).await;
        Reply::json(&show(&row, train_job))
    })
}

fn events(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let limit = request.number("limit", EVENTS_MAX, EVENTS_MAX)?;
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
    })
}

/// A client that sees a finished job may call its result at once, so a node whose new model is not known yet
/// is polled before the response is sent.
async fn learn(control: &Control, row: &NodeRow, made: Option<&str>) {
    let Some(made) = made.filter(|made| !row.models().iter().any(|known| known == made)) else { return };
    if let Err(fault) = control.deps.poll_node(row.clone()).await {
        tracing::warn!(node = %row.id, made, %fault, "what a training job made is learned at the node's next turn");
    }
}

fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(act(control, request, "cancel"))
}

fn pause(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(act(control, request, "pause"))
}

fn resume(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(act(control, request, "resume"))
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

fn checkpoints(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
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
    })
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
