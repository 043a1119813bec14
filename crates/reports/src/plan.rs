//! `POST /v2/plan`: which attempts would serve a model or a request and why, from the planner that would serve it,
//! without sending anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::ENVIRONMENT_BYTES_MAX;
use api::names::checked_environment;
use api::openapi::bounds::{ENVIRONMENT, at_least_one};
use api::planner::{AppPlanRequest, Caller, PlanAddress, PlanRequest, assumed_caller};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Dialect, Fault, Modality, PriceTerms};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ledger::over_budget;
use line::{AppPlan, CallExplanation};
use plan::{CommitmentBoard, PlanQuery, SplitBy, split_key};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use snapshot::{KeyEntry, ProjectEntry, Snapshot, WorkspaceEntry};

use crate::commitments::used_up;
use crate::hooks;
use crate::limits::{PLANNED_HEADER_BYTES_MAX, PLANNED_HEADERS_MAX, PLANNED_PATH_BYTES_MAX};
use crate::plan_answer::Plan;

/// Headers that no plan reads, and that hold secrets.
const SECRET: [&str; 2] = ["x-api-key", "x-goog-api-key"];
/// Where apps are run.
const RUNS: [&str; 4] = ["/v1/run", "/run", "/v1/apps/run", "/apps/run"];
const METHODS: [Method; 3] = [Method::POST, Method::GET, Method::DELETE];

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/plan", Access::LOOK, explain)
            .says("Explains what would serve a model or a whole request, why, and at what price, without sending anything.")
            .takes::<Input>()
            .returns_value::<Plan>(),
    ]
}

/// What a plan depends on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Plan", extend("anyOf" = at_least_one(&["model", "app", "request", "path"])))]
struct Input {
    /// The model to plan for. A `request` names its own, except where its path does.
    model: Option<String>,
    /// The app to plan for, by the name that `/v1/run` takes: `NAMESPACE/NAME`, `tools/NAME`, `agents/NAME`, `flows/NAME`, or a model.
    app: Option<String>,
    /// The input of the app, to be compared with its schema.
    input: Option<Value>,
    /// The modality: `chat`, `embedding`, `image`, `audio`, `video`, `rerank`, `moderation` or `realtime`; by default the model's
    /// own.
    modality: Option<String>,
    /// The dialect of the request: `chat` (the default), `responses`, `anthropic`, `gemini`, `converse`, `invoke` or `run`. It decides
    /// where an unknown model name goes.
    dialect: Option<String>,
    project_id: Option<String>,
    #[schemars(length(min = 1, max = ENVIRONMENT_BYTES_MAX), regex(pattern = ENVIRONMENT))]
    environment: Option<String>,
    key_id: Option<String>,
    tag: Option<String>,
    /// The end user of the request, by whom an alias assigns it to a target. Without one it is drawn.
    end_user: Option<String>,
    /// The request itself, as its client would send it in JSON; of a form its fields, with a file's name for a file. It
    /// is planned with all that a request is planned with, and priced.
    request: Option<Value>,
    /// The path that the request would be sent to, with its query. By default the dialect's own for the modality.
    #[schemars(length(min = 1, max = PLANNED_PATH_BYTES_MAX), regex(pattern = "^/"))]
    path: Option<String>,
    /// `POST`, `GET` or `DELETE`; by default the path's own.
    #[schemars(extend("enum" = ["POST", "GET", "DELETE", null]))]
    method: Option<String>,
    /// Headers of the request that a plan may depend on, such as `Agent-Hints`.
    headers: Option<BTreeMap<String, String>>,
}

/// The request's own bytes: a name that is there twice is refused as it would be if it were sent.
#[derive(Deserialize)]
struct Unread<'a> {
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// Whose request it is taken for.
struct Assumed {
    snapshot: Arc<Snapshot>,
    workspace: Arc<WorkspaceEntry>,
    project: Arc<ProjectEntry>,
    key: Option<Arc<KeyEntry>>,
    environment: String,
}

async fn explain(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let modality = input.modality.as_deref().map(modality).transpose()?;
    let dialect = input.dialect.as_deref().map_or(Ok(Dialect::Chat), dialect)?;
    let assumed = assumed(control, &request, &input)?;
    if let Some(planned) = planned_app(control, &input, &assumed).await? {
        let plan = explain_app(control, &request, &input, &assumed, &planned).await?;
        return Reply::json(&plan.with_hooks(hooks::planned(&assumed.project)));
    }
    if input.request.is_none() && input.path.is_none() && input.run_of_model().is_none() {
        let now_unix_ms = control.deps.world.clock.unix_ms();
        let spent = used_up(control, &assumed.workspace, now_unix_ms).await?;
        let board = CommitmentBoard::new(&*control.deps.board, spent);
        let model = input.model.as_deref().or(input.app.as_deref());
        let plan = explain_model(control, &request, &input, model, (modality, dialect), &assumed, &board)?;
        return Reply::json(&plan.with_hooks(hooks::planned(&assumed.project)));
    }
    let run = input.run_of_model();
    let address = match &input.path {
        Some(path) => PlanAddress::Path(checked_path(path)?),
        None if run.is_some() => PlanAddress::Path(RUNS[0].to_owned()),
        None => {
            let model = named_model(&input).unwrap_or_default();
            // The paths of the other dialects are those of their conversations, and messages are a conversation anywhere.
            let has_messages =
                input.request.as_ref().is_some_and(|request| request.get("messages").is_some());
            let is_open = dialect == Dialect::Chat && !has_messages;
            let own = || modality_of(control, &input, &assumed, &model).filter(|_| is_open);
            PlanAddress::Usual(dialect, modality.or_else(own).unwrap_or(Modality::Chat), model)
        }
    };
    let unread: Unread<'_> =
        serde_json::from_slice(&request.body).map_err(|_| Box::new(Fault::internal()))?;
    let body = match (unread.request, run) {
        (Some(body), _) => request.body.slice_ref(body.get().as_bytes()),
        (None, Some(run)) => run.to_string().into(),
        (None, None) => request.body.slice(..0),
    };
    let planned = PlanRequest {
        caller: caller_of(&assumed)?,
        environment: assumed.environment.as_str().into(),
        method: input.method.as_deref().map(checked_method).transpose()?,
        address,
        headers: checked_headers(&input)?,
        body,
        trace: request.trace,
    };
    let mut explained = control.web.planner.plan(planned).await?;
    let refusal = money_refusal(control, &explained).await?;
    let refusal = refusal.filter(|_| serves(&explained));
    explained.refusal = explained.refusal.take().or(refusal);
    let plan = Plan::of_call(&assumed.environment, explained, request.is_operator());
    Reply::json(&plan.with_hooks(hooks::planned(&assumed.project)))
}

/// Today's question: a model, and what a route may match beside it.
fn explain_model(
    control: &Control,
    request: &ApiRequest,
    input: &Input,
    model: Option<&str>,
    (modality, dialect): (Option<Modality>, Dialect),
    assumed: &Assumed,
    board: &CommitmentBoard<'_>,
) -> Result<Plan, Box<Fault>> {
    let fix = "Name a model, as publisher/model or as its seller names it, or send the request itself in \"request\".";
    let model = model.ok_or_else(|| missing("model", fix))?;
    let world = &control.deps.world;
    let random = world.random.next_u64();
    let question = PlanQuery { dialect, ..question(input, assumed, model, random) };
    let plan = plan::explain(
        &question,
        modality,
        &assumed.snapshot,
        board,
        random,
        world.clock.monotonic_us(),
        world.clock.unix_ms(),
    );
    Ok(Plan::of_model(model, &assumed.environment, plan, request.is_operator()))
}

fn question<'a>(input: &'a Input, assumed: &'a Assumed, model: &'a str, random: u64) -> PlanQuery<'a> {
    PlanQuery {
        model,
        workspace: &assumed.workspace,
        project: &assumed.project,
        environment: &assumed.environment,
        key: assumed.key.as_ref().map(|key| key.id),
        tag: input.tag.as_deref(),
        split_key: assigned_by(input, random),
        session_key: None,
        session_seat: None,
        modality: Modality::Chat,
        dialect: Dialect::Chat,
        terms: PriceTerms::default(),
        size: plan::RequestSize::default(),
        needs: plan::RequestNeeds::default(),
        traits: None,
        prompt: None,
        hints: None,
    }
}

/// The modality of a request's model, by which its path is chosen.
fn modality_of(control: &Control, input: &Input, assumed: &Assumed, model: &str) -> Option<Modality> {
    let now_unix_ms = control.deps.world.clock.unix_ms();
    plan::modality_of(&question(input, assumed, model, 0), &assumed.snapshot, now_unix_ms)
}

impl Input {
    /// The run of a model whose input is there, which is planned as the request that it makes.
    fn run_of_model(&self) -> Option<Value> {
        let (app, input) = (self.app.as_ref()?, self.input.as_ref()?);
        let is_all = self.request.is_none() && self.path.is_none();
        is_all.then(|| json!({"app": app, "input": input}))
    }
}

/// The app that is asked about, with its input: named beside the request, or in a request to run it.
fn app_of(input: &Input) -> Option<(String, Option<Value>)> {
    if let Some(app) = &input.app {
        return Some((app.clone(), input.input.clone()));
    }
    let path = input.path.as_deref().map(|path| path.split('?').next().unwrap_or(path));
    let is_run = match path {
        Some(path) => RUNS.contains(&path),
        None => input.dialect.as_deref() == Some(Dialect::Run.as_str()),
    };
    let request = input.request.as_ref().filter(|_| is_run)?;
    let app = request.get("app")?.as_str()?.to_owned();
    Some((app, request.get("input").cloned()))
}

/// The plan of an app that is no model; `None` where a model is asked about.
async fn planned_app(
    control: &Control,
    input: &Input,
    assumed: &Assumed,
) -> Result<Option<AppPlan>, Box<Fault>> {
    let Some((app, given)) = app_of(input) else { return Ok(None) };
    let caller = caller_of(assumed)?;
    control.web.planner.plan_app(AppPlanRequest { caller, app, input: given }).await
}

/// A run of an app that is no model. Of an agent, the rest of the plan is of its model.
async fn explain_app(
    control: &Control,
    request: &ApiRequest,
    input: &Input,
    assumed: &Assumed,
    planned: &AppPlan,
) -> Result<Plan, Box<Fault>> {
    let plan = match planned.model.as_deref() {
        None => Plan::of_app(&planned.name, &assumed.environment),
        model => {
            let now_unix_ms = control.deps.world.clock.unix_ms();
            let spent = used_up(control, &assumed.workspace, now_unix_ms).await?;
            let board = CommitmentBoard::new(&*control.deps.board, spent);
            explain_model(control, request, input, model, (None, Dialect::Chat), assumed, &board)?
        }
    };
    Ok(plan.with_app(planned))
}

fn caller_of(assumed: &Assumed) -> Result<Caller, Box<Fault>> {
    let caller = assumed_caller(
        Arc::clone(&assumed.snapshot),
        &assumed.workspace,
        Arc::clone(&assumed.project),
        assumed.key.clone(),
    );
    caller.ok_or_else(|| Box::new(Fault::internal()))
}

fn assumed(control: &Control, request: &ApiRequest, input: &Input) -> Result<Assumed, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace()).ok_or_else(|| Box::new(Fault::internal()))?;
    let workspace = Arc::clone(workspace);
    let project = match &input.project_id {
        None => {
            let home = request.caller.project().ok_or_else(|| {
                missing("project_id", "This workspace has no project yet: create one, and name it here.")
            })?;
            Arc::clone(home)
        }
        Some(text) => {
            let found = workspace.projects.iter().find(|project| project.id.to_string() == *text);
            Arc::clone(found.ok_or_else(|| not_found("project", text))?)
        }
    };
    let key = match &input.key_id {
        None => request.caller.key().cloned(),
        Some(text) => {
            let found =
                text.parse().ok().and_then(|id| snapshot.key(id)).filter(|key| key.workspace == workspace.id);
            Some(Arc::clone(found.ok_or_else(|| not_found("API key", text))?))
        }
    };
    // The requested environment; else the project's, if one is named; else the key's own.
    let own =
        if input.project_id.is_some() { None } else { key.as_ref().map(|key| key.environment.to_string()) };
    let environment = match input.environment.as_deref() {
        Some(text) => checked_environment(text, "environment")?,
        None => own.unwrap_or_else(|| project.environment.to_string()),
    };
    Ok(Assumed { snapshot, workspace, project, key, environment })
}

/// The fault of the first budget that has no room for the first attempt: those budgets are asked in the database, so
/// that nothing is leased for a plan.
async fn money_refusal(
    control: &Control,
    explained: &CallExplanation,
) -> Result<Option<Box<Fault>>, Box<Fault>> {
    let Some(plan) = &explained.plan else { return Ok(None) };
    let first =
        plan.explanation.attempts.first().zip(plan.attempts.first().and_then(|preview| preview.price));
    let Some((attempt, quote)) = first else { return Ok(None) };
    let (budgets, now_unix_ms) = (control.deps.store.budgets(), control.deps.world.clock.unix_ms());
    for budget in &plan.budgets {
        let standing =
            budgets.standing(budget.id, budget.period.start(now_unix_ms)).await.map_err(of_store)?;
        let left = domain::Nanos(budget.limit.0.saturating_sub(standing.spent.0));
        let fault = over_budget(budget, left, attempt.profile, &quote.reserved, now_unix_ms);
        if fault.is_some() {
            return Ok(fault);
        }
    }
    Ok(None)
}

fn serves(explained: &CallExplanation) -> bool {
    explained.plan.as_ref().is_some_and(|plan| plan.explanation.fault.is_none())
}

/// The model for an address that names it.
fn named_model(input: &Input) -> Option<String> {
    let own = || input.request.as_ref()?.get("model")?.as_str().map(str::to_owned);
    input.model.clone().or_else(own)
}

fn checked_path(path: &str) -> Result<String, Box<Fault>> {
    let fix = "Name the path as a client does, such as /v1/chat/completions.";
    if !path.starts_with('/') || path.len() > PLANNED_PATH_BYTES_MAX {
        let message = format!("A path begins with a slash and has {PLANNED_PATH_BYTES_MAX} bytes at most.");
        return Err(invalid("path", message, fix));
    }
    Ok(path.to_owned())
}

fn checked_method(word: &str) -> Result<Method, Box<Fault>> {
    let found = METHODS.into_iter().find(|method| method.as_str() == word);
    found.ok_or_else(|| one_of("method", word, &["POST", "GET", "DELETE"]))
}

/// The headers of the planned request. A tag that is named beside them is added as its client would send it.
fn checked_headers(input: &Input) -> Result<HeaderMap, Box<Fault>> {
    let mut headers = HeaderMap::new();
    let given = input.headers.iter().flatten();
    let bytes: usize = given.clone().map(|(name, value)| name.len() + value.len()).sum();
    if given.clone().count() > PLANNED_HEADERS_MAX || bytes > PLANNED_HEADER_BYTES_MAX {
        let message = format!(
            "A plan takes {PLANNED_HEADERS_MAX} headers at most, of {PLANNED_HEADER_BYTES_MAX} bytes together."
        );
        return Err(invalid(
            "headers",
            message,
            "Send those that a plan may depend on, such as Agent-Hints.",
        ));
    }
    for (name, value) in given {
        let field = || format!("headers.{name}");
        let name = HeaderName::try_from(name.as_str()).ok();
        let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) else {
            return Err(invalid(field(), "This isn't a header.", "Correct its name or its value."));
        };
        if name == AUTHORIZATION || name == COOKIE || SECRET.contains(&name.as_str()) {
            let fix = "Leave it out: key_id names the key that the request is planned for.";
            return Err(invalid(field(), "A plan takes no secrets.", fix));
        }
        headers.insert(name, value);
    }
    if let Some(tag) = &input.tag {
        let hints = line::tag_hints(tag);
        if headers.insert(HeaderName::from_static("agent-hints"), hints).is_some() {
            return Err(invalid("tag", "Agent-Hints names the tag, too.", "Send one of both."));
        }
    }
    Ok(headers)
}

/// Whom an alias assigns to a target; drawn where the plan names no end user.
fn assigned_by(input: &Input, random: u64) -> u64 {
    input.end_user.as_ref().map_or(random, |user| split_key(SplitBy::EndUser, user.as_bytes()))
}

fn modality(word: &str) -> Result<Modality, Box<Fault>> {
    Modality::from_word(word).ok_or_else(|| one_of("modality", word, &Modality::ALL.map(Modality::as_str)))
}

fn dialect(word: &str) -> Result<Dialect, Box<Fault>> {
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == word);
    found.ok_or_else(|| one_of("dialect", word, &Dialect::ALL.map(Dialect::as_str)))
}

fn one_of(field: &'static str, word: &str, known: &[&str]) -> Box<Fault> {
    let truncated: String = word.chars().filter(|letter| !letter.is_control()).take(64).collect();
    invalid(field, format!("Unknown {field} \"{truncated}\"."), format!("Use one of {}.", known.join(", ")))
}
