//! `/v2/diagnostics`: signed reports on how well a workload's prompts are reused, and what it costs that they are not; from own records
//! or from traces without content.

mod content;
mod own;
mod report;
mod upload;

use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::Catalogue;
use diagnostics::{BudgetForecast, Trace, findings, input_document, recommend, score};
use domain::{DiagnosticsId, Fault, FaultClass};
use http::Method;
use proof::Digest;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use store::DiagnosticsRow;

use self::own::{Sample, Scope};
use self::report::{Made, Report, ScopeView, SignedReport, SummaryView};
use self::upload::TraceForm;
use crate::limits::DIAGNOSTICS_KEPT_MAX;
use crate::usage::window_of;

const PATH: &str = "/v2/diagnostics";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::DEVELOP, create)
            .says("Creates a signed report on a workload, from the workspace's own records or from traces without content.")
            .takes::<Input>()
            .refuses(400, "content_not_accepted")
            .makes::<SignedReport>(),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the reports on workloads, newest first; the newest 100 are kept.")
            .lists::<SummaryView>(),
        Route::new(Method::GET, "/v2/diagnostics/{id}", Access::LOOK, get)
            .says("Shows a report as it was signed, for `tidegate diagnostics verify`.")
            .returns::<SignedReport>(),
    ]
}

/// Either traces, or which of the workspace's own records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiagnosticsInput")]
struct Input {
    /// `24h`, `7d` (the default), `30d` or `month`.
    window: Option<String>,
    /// The start of the window, instead of `window`.
    start: Option<String>,
    /// The end of the window; by default now.
    end: Option<String>,
    /// Only this project's requests.
    project_id: Option<String>,
    /// Only this model's.
    model: Option<String>,
    /// Traces of requests that were served anywhere, without content; instead of all the others.
    traces: Option<Vec<TraceForm>>,
}

/// What a report is made from.
struct Workload {
    source: &'static str,
    scope: ScopeView,
    sample: Sample,
    budgets: Vec<BudgetForecast>,
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input = read_input(&request)?;
    let workload = workload(control, &request, input).await?;
    let id = DiagnosticsId::new(control.deps.world.clock.unix_ms(), control.deps.world.id_bytes());
    let report = evaluate(control, &request, id, workload)?;
    let (summary, document) = (text(&report.summary())?, signed(control, &report)?);
    let row = DiagnosticsRow {
        id,
        workspace: request.workspace(),
        created_unix_ms: control.deps.world.clock.unix_ms(),
        summary,
        report: document.clone(),
    };
    let act = request.act(&control.deps.world);
    control.deps.store.diagnostics().add(row, DIAGNOSTICS_KEPT_MAX, act).await.map_err(of_store)?;
    Ok(Reply::verbatim(document.into()).version(1).as_created(format!("{PATH}/{id}")))
}

/// The body, which is looked through for content before anything of it is read.
fn read_input(request: &ApiRequest) -> Result<Input, Box<Fault>> {
    if let Ok(body) = serde_json::from_slice::<Value>(&request.body) {
        content::refuse(&body)?;
    }
    request.json()
}

async fn workload(control: &Control, request: &ApiRequest, input: Input) -> Result<Workload, Box<Fault>> {
    let Input { window, start, end, project_id, model, traces } = input;
    let Some(forms) = traces else {
        let now = control.deps.world.clock.unix_ms();
        let named = window.as_deref().or_else(|| start.is_none().then_some("7d"));
        let window = window_of([named, start.as_deref(), end.as_deref()], now)?;
        let project = match &project_id {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                invalid(
                    "project_id",
                    format!("\"{text}\" isn't a project's id."),
                    "Copy it from GET /v2/projects.",
                )
            })?),
        };
        let scope = Scope { window, project, model: model.clone() };
        let sample = own::sample(control, request, &scope).await?;
        let budgets = match model {
            None => own::budgets(control, request.workspace(), project).await?,
            Some(_) => Vec::new(),
        };
        let (start, end) = (Some(Moment(window.start_unix_ms)), Some(Moment(window.end_unix_ms)));
        let scope = ScopeView { start, end, project_id, model };
        return Ok(Workload { source: "records", scope, sample, budgets });
    };
    let others = [
        ("window", &window),
        ("start", &start),
        ("end", &end),
        ("project_id", &project_id),
        ("model", &model),
    ];
    if let Some((name, _)) = others.into_iter().find(|(_, given)| given.is_some()) {
        let message = format!("{name} chooses among own records, and traces are given.");
        return Err(invalid(name, message, "Leave out one of both."));
    }
    let traces = upload::read(forms, control.deps.keeper.current().catalogue())?;
    let sample = Sample { traces, is_sampled: false };
    Ok(Workload { source: "traces", scope: ScopeView::default(), sample, budgets: Vec::new() })
}

fn evaluate(
    control: &Control,
    request: &ApiRequest,
    id: DiagnosticsId,
    workload: Workload,
) -> Result<Report, Box<Fault>> {
    let Workload { source, scope, sample, budgets } = workload;
    let score = score(&sample.traces);
    Ok(Report::of(Made {
        id,
        workspace: request.workspace(),
        created_unix_ms: control.deps.world.clock.unix_ms(),
        source,
        scope,
        is_sampled: sample.is_sampled,
        evidence_digest: evidence_digest(&sample.traces).map_err(|()| Box::new(Fault::internal()))?,
        recommendation: recommend(&sample.traces, &score),
        score: &score,
        findings: findings(&sample.traces, &budgets),
        traces: &sample.traces,
    }))
}

/// The digest over what a score was computed from.
fn evidence_digest(traces: &[Trace]) -> Result<String, ()> {
    let bytes = proof::document::canonical(&input_document(traces)).map_err(|_| ())?;
    Ok(Digest::of(&[&bytes]).to_string())
}

/// The evidence digest and the points of an upload's body, for whoever verifies a report with its traces in hand.
///
/// # Errors
/// 400, as the route answers it.
pub fn recompute_upload(body: &[u8]) -> Result<(String, u64), Box<Fault>> {
    let wrong = |error: serde_json::Error| {
        Box::new(Fault::new(
            FaultClass::BadRequest,
            "invalid_json",
            format!("The file isn't an upload: {error}."),
        ))
    };
    let value: Value = serde_json::from_slice(body).map_err(wrong)?;
    content::refuse(&value)?;
    let input: Input = serde_json::from_value(value).map_err(wrong)?;
    let catalogue = Catalogue::embedded().map_err(|_| Box::new(Fault::internal()))?;
    let traces = upload::read(input.traces.unwrap_or_default(), &catalogue)?;
    let digest = evidence_digest(&traces).map_err(|()| Box::new(Fault::internal()))?;
    Ok((digest, score(&traces).points))
}

fn text(value: &impl serde::Serialize) -> Result<String, Box<Fault>> {
    serde_json::to_string(value).map_err(|_| Box::new(Fault::internal()))
}

fn signed(control: &Control, report: &Report) -> Result<String, Box<Fault>> {
    let document = match serde_json::to_value(report) {
        Ok(Value::Object(fields)) => control.deps.auditor.sign(fields).ok(),
        _ => None,
    };
    text(&document.ok_or_else(|| Box::new(Fault::internal()))?)
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let listed = control.deps.store.diagnostics().list(request.workspace(), request.page()?).await;
    let page = request.page_of(listed.map_err(of_store)?, |row| row.summary.clone());
    let data = page.data.iter().map(|summary| serde_json::from_str::<SummaryView>(summary));
    let data = data.collect::<Result<Vec<_>, _>>().map_err(|_| Box::new(Fault::internal()))?;
    Reply::json(&Page { data, next_cursor: page.next_cursor, has_more: page.has_more })
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id = request.id("report")?;
    let row = control.deps.store.diagnostics().get(request.workspace(), id).await.map_err(of_store)?;
    Ok(Reply::verbatim(row.report.into()).version(1))
}
