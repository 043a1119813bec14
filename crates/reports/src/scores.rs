//! `/v2/scores`: how good applications, evaluators and people found the answers of requests, and how models, providers and routes
//! compare by it.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FaultClass, MeterRecord, RouteId, ScoreId, TraceId, WorkspaceId};
use http::Method;
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Page, ScoreFilter, ScoreGroup, ScoreRow, ScoreSum, Scored, StoreError};

use crate::limits::{SCORE_LINES_MAX, SCORE_NAME_BYTES_MAX, SCORE_VALUE_MAX, SCORES_OF_REQUEST_MAX};
use crate::requests::non_empty;
use crate::usage::parse_param;

const PATH: &str = "/v2/scores";
const MICROS: f64 = 1_000_000.0;

pub fn routes() -> Vec<Route> {
    let listed = Route::new(Method::GET, PATH, Access::READ_STATE, list)
        .says("Lists scores, newest first.")
        .query("request_id", "Only those of this request.");
    let compared = Route::new(Method::GET, "/v2/scores/summary", Access::READ_STATE, compare)
        .says("Compares models, providers or routes by the scores of their answers.")
        .query("by", "What to compare: `model` by default.")
        .one_of("by", &ScoreGroup::WORDS);
    let of_route = Route::new(Method::GET, "/v2/routes/{id}/scores", Access::LOOK, compare_targets)
        .says("Compares the models or providers that a route chose, by the scores of their answers.")
        .query("by", "What to compare: `model` by default.")
        .one_of("by", &["model", "provider"]);
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, create)
            .says("Scores the answer to a request. Another score with the same name replaces it.")
            .takes::<NewScore>()
            .makes::<ScoreView>()
            .refuses(409, "too_many_scores"),
        with_filters(listed).lists::<ScoreView>(),
        with_filters(compared).returns_value::<ScoreComparison>(),
        with_filters(of_route).returns_value::<ScoreComparison>(),
        Route::new(Method::GET, "/v2/scores/{id}", Access::READ_STATE, get)
            .says("Shows a score.")
            .returns::<ScoreView>(),
        Route::new(Method::DELETE, "/v2/scores/{id}", Access::WRITE_STATE, delete)
            .says("Deletes a score.")
            .returns_no_content(),
    ]
}

fn with_filters(route: Route) -> Route {
    route
        .query("name", "Only those of this name.")
        .query("project_id", "Only those of this project.")
        .query("since", "Only those of requests that started at or after this time.")
        .query("until", "Only those of requests that started before this time.")
}

/// How good the answer of a request was.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScoreInput")]
struct NewScore {
    /// The id of the request, as its answer's `x-request-id` has it.
    #[schemars(length(min = 1))]
    request_id: String,
    /// What is judged, for example `helpful` or `json.valid`: lower-case letters, digits, `_`, `-` and `.`.
    #[schemars(length(min = 1, max = SCORE_NAME_BYTES_MAX), regex(pattern = "^[a-z0-9_.-]+$"))]
    name: String,
    /// A number of a scale of your own, for example 1 for a thumb up and 0 for a thumb down. Six decimals are kept.
    value: f64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Score")]
pub(crate) struct ScoreView {
    id: String,
    object: &'static str,
    request_id: String,
    project_id: String,
    name: String,
    value: f64,
    /// The key or person that gave it.
    scored_by: String,
    /// The model that answered.
    model: Option<String>,
    provider: Option<String>,
    /// The route that decided, if one did.
    route_id: Option<String>,
    scored_at: Moment,
    /// When the request began.
    started_at: Moment,
}

/// How models, providers or routes compare.
#[derive(Serialize, JsonSchema)]
struct ScoreComparison {
    object: &'static str,
    #[schemars(extend("enum" = ["model", "provider", "route"]))]
    by: &'static str,
    data: Vec<ScoreLine>,
    /// Whether there are more lines than are shown.
    truncated: bool,
}

/// The scores of one name that one of them got.
#[derive(Serialize, JsonSchema)]
struct ScoreLine {
    /// The model, provider or route; `null` where the requests had none.
    group: Option<String>,
    name: String,
    scores: u64,
    mean: f64,
    lowest: f64,
    highest: f64,
}

#[expect(clippy::cast_precision_loss, reason = "at most a million, in millionths: twelve digits of fifteen")]
pub(crate) fn decimal(micros: i64) -> f64 {
    micros as f64 / MICROS
}

fn show(row: &ScoreRow) -> ScoreView {
    ScoreView {
        id: row.id.to_string(),
        object: "score",
        request_id: row.request.to_string(),
        project_id: row.project.to_string(),
        name: row.name.clone(),
        value: decimal(row.value_micros),
        scored_by: row.author.clone(),
        model: non_empty(&row.model),
        provider: non_empty(&row.provider),
        route_id: non_empty(&row.route),
        scored_at: Moment(row.scored_unix_ms),
        started_at: Moment(row.started_unix_ms),
    }
}

fn line(sum: ScoreSum) -> ScoreLine {
    ScoreLine {
        group: non_empty(&sum.group),
        mean: sum.mean(),
        lowest: decimal(sum.lowest_micros),
        highest: decimal(sum.highest_micros),
        name: sum.name,
        scores: sum.scores,
    }
}

fn checked_name(name: String) -> Result<String, Box<Fault>> {
    let is_fine = !name.is_empty()
        && name.len() <= SCORE_NAME_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte));
    if is_fine {
        return Ok(name);
    }
    let fix = format!("Use 1 to {SCORE_NAME_BYTES_MAX} lower-case letters, digits, \"_\", \"-\" and \".\".");
    Err(invalid("name", "This isn't a valid name for a score.", fix))
}

/// The value in millionths.
fn checked_value(value: f64) -> Result<i64, Box<Fault>> {
    if value.is_nan() || value.abs() > SCORE_VALUE_MAX {
        let fix = format!("Send a number within plus and minus {SCORE_VALUE_MAX}.");
        return Err(invalid("value", format!("{value} is out of bounds."), fix));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within bounds, and rounded")]
    let micros = (value * MICROS).round() as i64;
    Ok(micros)
}

/// The record of the request that is scored, where the caller may see it.
async fn record_of(control: &Control, request: &ApiRequest, text: &str) -> Result<MeterRecord, Box<Fault>> {
    if text.is_empty() {
        return Err(missing("request_id", "Send the x-request-id of the answer."));
    }
    let trace: TraceId = text.parse().map_err(|_| {
        invalid(
            "request_id",
            format!("\"{text}\" isn't a request's id."),
            "Send the x-request-id of the answer.",
        )
    })?;
    let record = match control.deps.store.records().request(request.workspace(), trace).await {
        Err(StoreError::NotFound { .. }) => None,
        found => Some(found.map_err(of_store)?),
    };
    let is_seen = |record: &MeterRecord| request.confined_to().is_none_or(|own| own == record.project);
    record.filter(is_seen).ok_or_else(|| {
        let message = format!("There is no request {trace} here.");
        let fault = Fault::new(FaultClass::NotFound, "not_found", message).param("request_id");
        Box::new(fault.fix("Send the x-request-id of an answer; it is known about a second after its end."))
    })
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: NewScore = request.json()?;
    let (name, value_micros) = (checked_name(input.name)?, checked_value(input.value)?);
    let record = record_of(control, &request, &input.request_id).await?;
    let world = &control.deps.world;
    let now_unix_ms = world.clock.unix_ms();
    let row = ScoreRow {
        id: ScoreId::new(now_unix_ms, world.id_bytes()),
        workspace: record.workspace,
        project: record.project,
        request: record.trace,
        name,
        value_micros,
        version: 1,
        author: request.caller.actor(),
        model: record.resolved_model,
        provider: record.provider,
        route: record.plan.route,
        scored_unix_ms: now_unix_ms,
        started_unix_ms: record.started_unix_ms,
    };
    let scored = control.deps.store.scores().put(row, SCORES_OF_REQUEST_MAX).await.map_err(of_store)?;
    let Scored::Stored(row) = scored else { return Err(too_many(record.trace)) };
    Ok(Reply::json(&show(&row))?.version(row.version).as_created(format!("{PATH}/{}", row.id)))
}

fn too_many(request: TraceId) -> Box<Fault> {
    let message =
        format!("The request {request} has {SCORES_OF_REQUEST_MAX} scores, the most that one may have.");
    let fault = Fault::new(FaultClass::Conflict, "too_many_scores", message);
    Box::new(fault.fix("Score it under a name that it has already, or delete a score."))
}

/// The filter in a request's query, within what the caller may see.
fn filter(request: &ApiRequest) -> Result<ScoreFilter, Box<Fault>> {
    let moment_of =
        |name: &'static str| request.query.get(name).map(|text| moment::read(text, name)).transpose();
    Ok(ScoreFilter {
        project: request.seen_project(parse_param(request, "project_id")?)?,
        request: parse_param(request, "request_id")?,
        name: request.query.get("name").cloned(),
        route: None,
        since_unix_ms: moment_of("since")?,
        until_unix_ms: moment_of("until")?,
    })
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let scores = control.deps.store.scores();
    let row = scores.get(request.workspace(), request.confined_to(), request.id("score")?).await;
    let row = row.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(row.version))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let scores = control.deps.store.scores();
    let listed = scores.list(request.workspace(), filter(&request)?, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, show))
}

async fn compare(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let word = request.query.get("by").map_or("model", String::as_str);
    let by = ScoreGroup::ALL.into_iter().find(|by| by.as_str() == word);
    let by = by.ok_or_else(|| {
        invalid("by", format!("Scores are not compared by {word}."), "Use model, provider or route.")
    })?;
    comparison(control, request.workspace(), by, filter(&request)?).await
}

/// What a route chose, by the scores of its requests.
async fn compare_targets(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let by = match request.query.get("by").map(String::as_str) {
        None | Some("model") => ScoreGroup::Model,
        Some("provider") => ScoreGroup::Provider,
        Some(word) => {
            let message = format!("A route's targets are not compared by {word}.");
            return Err(invalid("by", message, "Use model or provider."));
        }
    };
    let route: RouteId = request.id("route")?;
    control.deps.store.routes().get(request.workspace(), route).await.map_err(of_store)?;
    let filter = ScoreFilter { route: Some(route.to_string()), ..filter(&request)? };
    comparison(control, request.workspace(), by, filter).await
}

async fn comparison(
    control: &Control,
    workspace: WorkspaceId,
    by: ScoreGroup,
    filter: ScoreFilter,
) -> Result<Reply, Box<Fault>> {
    let sums = control.deps.store.scores().sums(workspace, by, filter, SCORE_LINES_MAX + 1).await;
    let mut data: Vec<_> = sums.map_err(of_store)?.into_iter().map(line).collect();
    let truncated = data.len() > SCORE_LINES_MAX as usize;
    data.truncate(SCORE_LINES_MAX as usize);
    Reply::json(&ScoreComparison { object: "score.comparison", by: by.as_str(), data, truncated })
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: ScoreId = request.id("score")?;
    let scores = control.deps.store.scores();
    let expected = request.if_match()?;
    let deleted = scores.delete(request.workspace(), request.confined_to(), id, expected).await;
    deleted.map_err(of_store)?;
    Ok(Reply::no_content())
}

/// All scores of a request.
pub(crate) async fn of_request(
    control: &Control,
    record: &MeterRecord,
) -> Result<Vec<ScoreView>, Box<Fault>> {
    let filter = ScoreFilter { request: Some(record.trace), ..ScoreFilter::default() };
    let page = Page::first(SCORES_OF_REQUEST_MAX);
    let listed = control.deps.store.scores().list(record.workspace, filter, page).await;
    Ok(listed.map_err(of_store)?.rows.iter().map(show).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_words() {
        for fine in ["helpful", "json.valid", "thumbs_2", "a-b"] {
            assert_eq!(checked_name(fine.to_owned()).unwrap(), fine);
        }
        let long = "x".repeat(SCORE_NAME_BYTES_MAX + 1);
        for bad in ["", "Helpful", "two words", "what did the model say?", &long] {
            assert!(checked_name(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_within_bounds() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1_000_000.1, -1e300] {
            assert!(checked_value(bad).is_err(), "{bad}");
        }
        assert_eq!(checked_value(-0.0).unwrap(), 0);
        assert_eq!(checked_value(1_000_000.0).unwrap(), 1_000_000_000_000);
    }

    proptest! {
        #[test]
        fn six_decimals_are_kept(micros in -1_000_000_000_000_i64..=1_000_000_000_000) {
            prop_assert_eq!(checked_value(decimal(micros)).unwrap(), micros);
        }
    }
}
