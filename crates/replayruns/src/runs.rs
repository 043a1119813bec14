//! `/v2/replay-runs`: stored requests are sent to a candidate, and a signed report tells how it did.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::openapi::bounds::MOMENT;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Fault, FaultClass, KeyId, NodeId, ProjectId, ReplayRunId};
use http::Method;
use reconcilers::{moment, of_store};
use replay::{ReplayKind, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{
    REPLAY_AHEAD_MS_MAX, REPLAY_AT_ONCE_DEFAULT, REPLAY_AT_ONCE_MAX, REPLAY_DAYS_MAX,
    REPLAY_REQUESTS_DEFAULT, REPLAY_REQUESTS_MAX, REPLAY_SPAN_MS_MAX, REPLAY_SPEED_MAX, REPORT_DAYS_DEFAULT,
    REPORT_DAYS_MAX,
};
use crate::reporting::{GatesForm, SignedReport};
use crate::rows::{Candidate, Comparison, ReplayContent, ReplayRunRow, RunSpec, RunState, SetFilter};
use crate::sql::{ReplayRuns, RunEnding};

const PATH: &str = "/v2/replay-runs";
const ONE: &str = "/v2/replay-runs/{id}";
const DAY_MS: u64 = 24 * 3_600_000;
const DAYS_DEFAULT: u32 = 30;
const MAX: &str = "max";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::DEVELOP, create)
            .says("Sends stored requests to a candidate, and makes a signed report on how it did. They are metered and paid for like any of their projects.")
            .takes::<Input>()
            .makes::<RunView>(),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the replay runs of the workspace, newest first; the newest 100 are kept.")
            .lists::<RunView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get)
            .says("Shows a replay run, its progress and its result.")
            .returns::<RunView>(),
        Route::new(Method::GET, "/v2/replay-runs/{id}/report", Access::LOOK, report)
            .says("Shows the report of a replay run as it was signed, for `tidegate receipt verify`.")
            .returns_value::<SignedReport>(),
        Route::new(Method::POST, "/v2/replay-runs/{id}/cancel", Access::DEVELOP, cancel)
            .says("Cancels a replay run that has not ended. Requests already sent stay in the records.")
            .takes_nothing()
            .returns::<RunView>()
            .refuses(409, "replay_run_over"),
    ]
}

/// Which requests are replayed, on what, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayRun")]
struct Input {
    #[serde(default)]
    from: SetInput,
    #[schemars(required)]
    candidate: Option<CandidateInput>,
    /// `synthetic`, which is also the default, or `kept`: the content that projects kept, and synthetic content for the rest.
    #[schemars(extend("enum" = ["kept", "synthetic", null]))]
    content: Option<String>,
    /// `max`, which is also the default; or a factor of the speed at which the requests came in, such as 1.
    #[schemars(with = "Option<Value>")]
    speed: Option<SpeedInput>,
    comparison: Option<ComparisonForm>,
    /// Requests at once: 8 by default.
    #[schemars(range(min = 1, max = REPLAY_AT_ONCE_MAX))]
    concurrency_max: Option<u32>,
    /// Instead of the workspace's. A report of looser ones lets nothing move.
    gates: Option<GatesForm>,
    /// When it starts; by default now.
    #[schemars(regex(pattern = MOMENT))]
    scheduled_for: Option<String>,
    /// How long its report holds: 14 days by default.
    #[schemars(range(min = 1, max = REPORT_DAYS_MAX))]
    valid_days: Option<u32>,
}

/// The newest requests that others than nodes answered, taken evenly.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ReplaySet")]
struct SetInput {
    /// Of the last days: 30 by default.
    #[schemars(range(min = 1, max = REPLAY_DAYS_MAX))]
    days: Option<u32>,
    project_id: Option<String>,
    /// The requested or the resolved name.
    model: Option<String>,
    key_id: Option<String>,
    /// The id of the route that applied.
    route_id: Option<String>,
    /// The name of an alias, or the id of one of its releases.
    alias: Option<String>,
    /// `chat`, which is also the default, `complete` or `embed`.
    #[schemars(extend("enum" = [ReplayKind::WORDS[0], ReplayKind::WORDS[1], ReplayKind::WORDS[2], null]))]
    operation: Option<String>,
    /// 1000 by default.
    #[schemars(range(min = 1, max = REPLAY_REQUESTS_MAX))]
    requests_max: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayCandidate")]
struct CandidateInput {
    /// A node of the workspace, which is tried whatever the routes say; without one, what serves the model.
    node_id: Option<String>,
    /// A model, an alias, or the id of one of its releases.
    #[schemars(required)]
    #[schemars(length(min = 1))]
    model: Option<String>,
    /// What the hardware costs, idle times included.
    cost_per_hour_micros: Option<u64>,
}

/// The models that compare answers with the kept ones, in requests of the project whose content they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayComparison")]
struct ComparisonForm {
    /// Embeds both answers; the report has the mean cosine.
    #[schemars(length(max = MODEL_NAME_BYTES_MAX))]
    embedding_model: Option<String>,
    /// Says which answer is better; the report has how often the candidate's was at least as good.
    #[schemars(length(max = MODEL_NAME_BYTES_MAX))]
    judge_model: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpeedInput {
    Word(String),
    Factor(f64),
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayRun")]
struct RunView {
    id: String,
    object: &'static str,
    #[schemars(extend("enum" = RunState::WORDS))]
    status: &'static str,
    /// Of its report.
    #[schemars(extend("enum" = [Verdict::WORDS[0], Verdict::WORDS[1], Verdict::WORDS[2], null]))]
    verdict: Option<String>,
    /// Why it failed.
    error: Option<String>,
    from: SetView,
    candidate: CandidateView,
    #[schemars(extend("enum" = ReplayContent::WORDS))]
    content: &'static str,
    comparison: ComparisonForm,
    /// A factor of the recorded speed in thousandths; `null` as fast as it can be.
    speed_milli: Option<u32>,
    concurrency_max: u32,
    gates: GatesForm,
    /// Requests that matched; `null` before the set is drawn.
    matched: Option<u64>,
    requests: Option<u64>,
    ended: Option<u64>,
    scheduled_for: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// Until when its report holds.
    expires_at: Option<Moment>,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayRunSet")]
struct SetView {
    since: Moment,
    until: Moment,
    project_id: Option<String>,
    model: Option<String>,
    key_id: Option<String>,
    route_id: Option<String>,
    alias: Option<String>,
    #[schemars(extend("enum" = ReplayKind::WORDS))]
    operation: &'static str,
    requests_max: u32,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayCandidate")]
struct CandidateView {
    node_id: Option<String>,
    model: String,
    cost_per_hour_micros: Option<u64>,
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let runs = ReplayRuns::of(&control.deps.store);
    let world = &control.deps.world;
    let act = request.act(world);
    let scheduled_unix_ms = scheduled(input.scheduled_for.as_deref(), act.unix_ms)?;
    let spec = spec_of(control, &request, input, act.unix_ms).await?;
    let row = ReplayRunRow {
        id: ReplayRunId::new(act.unix_ms, world.id_bytes()),
        workspace: request.workspace(),
        spec,
        state: RunState::Queued,
        drawn: None,
        error: None,
        verdict: None,
        scheduled_unix_ms,
        started_unix_ms: None,
        ended_unix_ms: None,
        expires_unix_ms: None,
        created_unix_ms: act.unix_ms,
        version: 1,
    };
    runs.create(row.clone(), act).await.map_err(of_store)?;
    let location = format!("{PATH}/{}", row.id);
    Ok(Reply::json(&show(&row, None))?.version(row.version).as_created(location))
}

async fn spec_of(
    control: &Control,
    request: &ApiRequest,
    input: Input,
    now_unix_ms: u64,
) -> Result<RunSpec, Box<Fault>> {
    let gates = match input.gates {
        Some(form) => checked_gates(&form)?,
        None => {
            let settings = ReplayRuns::of(&control.deps.store).gates(request.workspace()).await;
            settings.map_err(of_store)?.gates
        }
    };
    let world = &control.deps.world;
    let set = set_of(request, input.from, now_unix_ms)?;
    let speed_milli = speed_of(input.speed, now_unix_ms.saturating_sub(set.since_unix_ms))?;
    let content = content_of(input.content.as_deref())?;
    Ok(RunSpec {
        set,
        content,
        comparison: comparison_of(input.comparison, content)?,
        candidate: candidate_of(control, request, input.candidate)?,
        speed_milli,
        at_once: within(
            input.concurrency_max,
            REPLAY_AT_ONCE_DEFAULT,
            REPLAY_AT_ONCE_MAX,
            "concurrency_max",
        )?,
        gates,
        valid_days: within(input.valid_days, REPORT_DAYS_DEFAULT, REPORT_DAYS_MAX, "valid_days")?,
        seed: world.random.next_u64(),
    })
}

/// # Errors
/// They judge nothing.
pub fn checked_gates(form: &GatesForm) -> Result<replay::Gates, Box<Fault>> {
    let gates = form.gates();
    gates.check().map_err(|(field, message)| {
        invalid(format!("gates.{field}"), message, "Correct it, or leave it out for the default.")
    })?;
    Ok(gates)
}

fn within(given: Option<u32>, default: u32, most: u32, field: &'static str) -> Result<u32, Box<Fault>> {
    match given.unwrap_or(default) {
        value if (1..=most).contains(&value) => Ok(value),
        value => {
            Err(invalid(field, format!("{field} is {value}."), format!("Give a number from 1 to {most}.")))
        }
    }
}

fn kind_of(word: Option<&str>) -> Result<ReplayKind, Box<Fault>> {
    let Some(word) = word else { return Ok(ReplayKind::default()) };
    let found = ReplayKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| {
        let message = format!("\"{word}\" can't be replayed.");
        invalid("from.operation", message, format!("Send one of {}.", ReplayKind::WORDS.join(", ")))
    })
}

fn content_of(word: Option<&str>) -> Result<ReplayContent, Box<Fault>> {
    match word {
        None => Ok(ReplayContent::default()),
        Some(word) if word == ReplayContent::Kept.as_str() => Ok(ReplayContent::Kept),
        Some(word) if word == ReplayContent::Synthetic.as_str() => Ok(ReplayContent::Synthetic),
        Some(word) => {
            let message = format!("\"{word}\" isn't a content.");
            Err(invalid("content", message, "Send kept or synthetic, or leave it out."))
        }
    }
}

fn comparison_of(input: Option<ComparisonForm>, content: ReplayContent) -> Result<Comparison, Box<Fault>> {
    let Some(ComparisonForm { embedding_model, judge_model }) = input else {
        return Ok(Comparison::default());
    };
    for (field, name) in
        [("comparison.embedding_model", &embedding_model), ("comparison.judge_model", &judge_model)]
    {
        let Some(name) = name else { continue };
        if name.trim().is_empty() || name.len() > MODEL_NAME_BYTES_MAX {
            let message = format!("{field} has {} bytes.", name.len());
            let fix = format!("Name a model in at most {MODEL_NAME_BYTES_MAX} bytes, or leave it out.");
            return Err(invalid(field, message, fix));
        }
        if content != ReplayContent::Kept {
            let message = "Answers to made-up content say nothing about those to the recorded requests.";
            return Err(invalid(field, message, "Send \"content\": \"kept\", or leave it out."));
        }
    }
    Ok(Comparison { embedding_model, judge_model })
}

/// In thousandths. A run that lasts longer than a day compares with what nobody remembers.
fn speed_of(input: Option<SpeedInput>, reach_ms: u64) -> Result<Option<u32>, Box<Fault>> {
    let factor = match input {
        None => return Ok(None),
        Some(SpeedInput::Word(word)) if word == MAX => return Ok(None),
        Some(SpeedInput::Word(word)) => {
            return Err(invalid(
                "speed",
                format!("\"{word}\" isn't a speed."),
                "Send max, or a factor such as 1.",
            ));
        }
        Some(SpeedInput::Factor(factor)) => factor,
    };
    if !(0.001..=REPLAY_SPEED_MAX).contains(&factor) {
        let fix = format!("Give a factor from 0.001 to {REPLAY_SPEED_MAX}, or max.");
        return Err(invalid("speed", format!("speed is {factor}."), fix));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just bounded")]
    let milli = (factor * 1_000.0).round() as u32;
    if reach_ms.saturating_mul(1_000) / u64::from(milli.max(1)) > REPLAY_SPAN_MS_MAX {
        let hours = REPLAY_SPAN_MS_MAX / 3_600_000;
        let message = format!("At this speed the run could last longer than {hours} h.");
        return Err(invalid("speed", message, "Give a higher factor, max, or fewer from.days."));
    }
    Ok(Some(milli))
}

fn scheduled(text: Option<&str>, now_unix_ms: u64) -> Result<u64, Box<Fault>> {
    let Some(text) = text else { return Ok(now_unix_ms) };
    let at = moment::read(text, "scheduled_for")?;
    if at > now_unix_ms.saturating_add(REPLAY_AHEAD_MS_MAX) {
        let days = REPLAY_AHEAD_MS_MAX / DAY_MS;
        let fix = format!("Give a time within {days} days.");
        return Err(invalid("scheduled_for", "scheduled_for is too far ahead.", fix));
    }
    Ok(at.max(now_unix_ms))
}

fn set_of(request: &ApiRequest, input: SetInput, now_unix_ms: u64) -> Result<SetFilter, Box<Fault>> {
    let days = within(input.days, DAYS_DEFAULT, REPLAY_DAYS_MAX, "from.days")?;
    let project = match &input.project_id {
        None => None,
        Some(text) => {
            let id: ProjectId = text.parse().map_err(|_| not_found("project", text))?;
            Some(id.to_string())
        }
    };
    if let Some(text) = &input.key_id {
        text.parse::<KeyId>().map_err(|_| not_found("key", text))?;
    }
    let project = match request.confined_to() {
        Some(own) => Some(own.to_string()),
        None => project,
    };
    Ok(SetFilter {
        since_unix_ms: now_unix_ms.saturating_sub(u64::from(days) * DAY_MS),
        until_unix_ms: now_unix_ms,
        project,
        model: input.model,
        key: input.key_id,
        route: input.route_id,
        alias: input.alias,
        kind: kind_of(input.operation.as_deref())?,
        requests_max: within(
            input.requests_max,
            REPLAY_REQUESTS_DEFAULT,
            REPLAY_REQUESTS_MAX,
            "from.requests_max",
        )?,
    })
}

fn candidate_of(
    control: &Control,
    request: &ApiRequest,
    input: Option<CandidateInput>,
) -> Result<Candidate, Box<Fault>> {
    let fix = "Name the node and its model, or a model, an alias or a release of one.";
    let input = input.ok_or_else(|| missing("candidate", fix))?;
    let model = input.model.filter(|model| !model.trim().is_empty());
    let model = model.ok_or_else(|| missing("candidate.model", fix))?;
    if model.len() > MODEL_NAME_BYTES_MAX {
        let fix = format!("Give at most {MODEL_NAME_BYTES_MAX} bytes.");
        return Err(invalid("candidate.model", "candidate.model is too long.", fix));
    }
    let node = match &input.node_id {
        None => None,
        Some(text) => Some(node_of(control, request, text, &model)?),
    };
    Ok(Candidate { model, node, cost_per_hour_micros: input.cost_per_hour_micros })
}

/// The node, which must serve the model.
fn node_of(control: &Control, request: &ApiRequest, text: &str, model: &str) -> Result<NodeId, Box<Fault>> {
    let id: NodeId = text.parse().map_err(|_| not_found("node", text))?;
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace()).ok_or_else(|| not_found("node", text))?;
    let node = workspace.nodes.iter().find(|node| node.id == id).ok_or_else(|| not_found("node", text))?;
    if !node.models.iter().any(|one| one == model) {
        let listed: Vec<&str> = node.models.iter().take(5).map(String::as_str).collect();
        let message = format!("The node does not serve \"{model}\".");
        let fix = format!("Name one of its models: {}.", listed.join(", "));
        return Err(invalid("candidate.model", message, fix));
    }
    Ok(id)
}

async fn load(control: &Control, request: &ApiRequest) -> Result<ReplayRunRow, Box<Fault>> {
    let id: ReplayRunId = request.id("replay run")?;
    ReplayRuns::of(&control.deps.store).get(request.workspace(), id).await.map_err(of_store)
}

async fn reply_of(control: &Control, row: &ReplayRunRow) -> Result<Reply, Box<Fault>> {
    let ended = ReplayRuns::of(&control.deps.store).ended(row.id).await.map_err(of_store)?;
    Ok(Reply::json(&show(row, Some(ended)))?.version(row.version))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let runs = ReplayRuns::of(&control.deps.store);
    let listed = runs.list(request.workspace(), request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, |row| show(row, None)))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    reply_of(control, &load(control, &request).await?).await
}

async fn report(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let runs = ReplayRuns::of(&control.deps.store);
    let report = runs.report(row.workspace, row.id).await.map_err(of_store)?;
    let report = report.ok_or_else(|| not_found("report of", &row.id.to_string()))?;
    Ok(Reply::verbatim(report.into()))
}

async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let runs = ReplayRuns::of(&control.deps.store);
    let act = request.act(&control.deps.world);
    if !runs.end(row.id, RunEnding::Cancelled, act).await.map_err(of_store)? {
        let message = format!("The replay run {} is over.", row.id);
        let fault = Fault::new(FaultClass::Conflict, "replay_run_over", message);
        return Err(Box::new(fault.fix("Read what came of it with GET /v2/replay-runs/{id}.")));
    }
    reply_of(control, &runs.get(row.workspace, row.id).await.map_err(of_store)?).await
}

fn show(row: &ReplayRunRow, ended: Option<u64>) -> RunView {
    let RunSpec { set, candidate, comparison, .. } = &row.spec;
    RunView {
        id: row.id.to_string(),
        object: "replay_run",
        status: row.state.as_str(),
        verdict: row.verdict.clone(),
        error: row.error.clone(),
        from: SetView {
            since: Moment(set.since_unix_ms),
            until: Moment(set.until_unix_ms),
            project_id: set.project.clone(),
            model: set.model.clone(),
            key_id: set.key.clone(),
            route_id: set.route.clone(),
            alias: set.alias.clone(),
            operation: set.kind.as_str(),
            requests_max: set.requests_max,
        },
        candidate: CandidateView {
            node_id: candidate.node.map(|id| id.to_string()),
            model: candidate.model.clone(),
            cost_per_hour_micros: candidate.cost_per_hour_micros,
        },
        content: row.spec.content.as_str(),
        comparison: ComparisonForm {
            embedding_model: comparison.embedding_model.clone(),
            judge_model: comparison.judge_model.clone(),
        },
        speed_milli: row.spec.speed_milli,
        concurrency_max: row.spec.at_once,
        gates: GatesForm::of(&row.spec.gates),
        matched: row.drawn.map(|drawn| drawn.matched),
        requests: row.drawn.map(|drawn| drawn.taken),
        ended,
        scheduled_for: Moment(row.scheduled_unix_ms),
        started_at: row.started_unix_ms.map(Moment),
        ended_at: row.ended_unix_ms.map(Moment),
        expires_at: row.expires_unix_ms.map(Moment),
        created_at: Moment(row.created_unix_ms),
    }
}
