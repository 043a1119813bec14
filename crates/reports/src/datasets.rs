//! `/v2/datasets`: kept conversations as examples for training and evaluation.

use std::sync::Arc;

use api::access::Access;
use api::auditing::record_act;
use api::failure::{invalid, missing};
use api::reply::{Page as PageOf, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::purge::first_request_at;
use domain::{Fault, MeterRecord};
use http::Method;
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Page, ScoreFilter, StoreError};
use transcripts::{ContentFilter, RequestContentRow, RequestContents};

use crate::contents::{self, Conversation};
use crate::limits::SCORES_OF_REQUEST_MAX;
use crate::usage::{FORMAT, parse_param};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/datasets", Access::DEVELOP, list)
            .says("Lists kept conversations as examples, newest first. In `jsonl`, each line has `messages` and `tools`, as trainers expect. The audit log records who read them.")
            .lists::<ExampleView>()
            .query(FORMAT.0, FORMAT.1)
            .query("project_id", "Only those of this project.")
            .query("model", "Only those that this model answered.")
            .query("since", "Only those that started at or after this time.")
            .query("until", "Only those that started before this time.")
            .query("score", "Only those with a score of this name.")
            .query("score_min", "Only those whose score is at least this."),
    ]
}

/// A conversation with its answer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DatasetExample")]
struct ExampleView {
    object: &'static str,
    request_id: String,
    model: String,
    /// In the chat format, the answer last.
    messages: Vec<Value>,
    /// The tools that it could call.
    tools: Option<Value>,
    /// By which it was chosen.
    score: Option<f64>,
}

struct Wanted {
    content: ContentFilter,
    model: Option<String>,
    score: Option<(String, f64)>,
}

fn wanted(control: &Control, request: &ApiRequest) -> Result<Wanted, Box<Fault>> {
    let project = request.seen_project(parse_param(request, "project_id")?)?;
    let moment_of =
        |name: &'static str| request.query.get(name).map(|text| moment::read(text, name)).transpose();
    let mut content = ContentFilter::all(project, control.deps.world.clock.unix_ms());
    let (since, until) = (moment_of("since")?, moment_of("until")?);
    content.range.0 = since.map_or(content.range.0, first_request_at);
    content.range.1 = until.map_or(content.range.1, first_request_at);
    let least: Option<f64> = parse_param(request, "score_min")?;
    let score = match (request.query.get("score"), least) {
        (Some(name), least) => Some((name.clone(), least.unwrap_or(f64::NEG_INFINITY))),
        (None, None) => None,
        (None, Some(_)) => return Err(missing("score", "Name the score that score_min is about.")),
    };
    if score.as_ref().is_some_and(|(_, least)| least.is_nan()) {
        return Err(invalid("score_min", "score_min isn't a number.", "Send a number."));
    }
    Ok(Wanted { content, model: request.query.get("model").cloned(), score })
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let wanted = wanted(control, &request)?;
    let rows = RequestContents::of(control.deps.store.database());
    let listed = rows.list(request.workspace(), wanted.content, request.page()?).await.map_err(of_store)?;
    let detail = format!("{} requests", listed.rows.len());
    let owner = wanted.content.project.map(|id| id.to_string());
    let owner = owner.unwrap_or_else(|| request.workspace().to_string());
    record_act(control, &request, "dataset.read", &owner, &detail).await?;
    let mut examples = Vec::new();
    for row in &listed.rows {
        examples.extend(example(control, &request, &wanted, row).await?);
    }
    let page = request.page_of(listed, |_| ());
    let of = |data| PageOf { data, next_cursor: page.next_cursor.clone(), has_more: page.has_more };
    match request.query.get("format").map(String::as_str) {
        format @ (None | Some("json" | "csv")) => Reply::list(format, &of(examples)),
        format => {
            let lines = examples.iter().map(line).collect();
            Reply::list(
                format,
                &PageOf { data: lines, next_cursor: page.next_cursor, has_more: page.has_more },
            )
        }
    }
}

/// An example as trainers take it.
fn line(example: &ExampleView) -> Value {
    let mut line = Map::from_iter([("messages".to_owned(), Value::from(example.messages.clone()))]);
    if let Some(tools) = &example.tools {
        line.insert("tools".to_owned(), tools.clone());
    }
    Value::Object(line)
}

/// `None` for what is not wanted, or is no whole conversation with an answer.
async fn example(
    control: &Control,
    request: &ApiRequest,
    wanted: &Wanted,
    row: &RequestContentRow,
) -> Result<Option<ExampleView>, Box<Fault>> {
    let trace = row.content.request;
    let record = match control.deps.store.records().request(request.workspace(), trace).await {
        // Its record is not there yet, or not any more.
        Err(StoreError::NotFound { .. }) => return Ok(None),
        found => found.map_err(of_store)?,
    };
    if wanted.model.as_ref().is_some_and(|model| *model != record.resolved_model) {
        return Ok(None);
    }
    let score = match &wanted.score {
        None => None,
        Some((name, least)) => {
            let score = score_of(control, &record, name).await?.filter(|score| score >= least);
            if score.is_none() {
                return Ok(None);
            }
            score
        }
    };
    let content = contents::open(control, request, row)?;
    let conversation = Conversation::of(&content, &record.requested_model);
    let Some(conversation) = conversation.filter(|one| one.answer.is_some()) else { return Ok(None) };
    Ok(Some(ExampleView {
        object: "dataset.example",
        request_id: trace.to_string(),
        model: record.resolved_model,
        messages: conversation.messages(),
        tools: conversation.request.get("tools").cloned(),
        score,
    }))
}

async fn score_of(control: &Control, record: &MeterRecord, name: &str) -> Result<Option<f64>, Box<Fault>> {
    let filter =
        ScoreFilter { request: Some(record.trace), name: Some(name.to_owned()), ..ScoreFilter::default() };
    let page = Page::first(SCORES_OF_REQUEST_MAX);
    let listed = control.deps.store.scores().list(record.workspace, filter, page).await.map_err(of_store)?;
    Ok(listed.rows.first().map(|row| crate::scores::decimal(row.value_micros)))
}
