//! `/v2/requests`: every settled exchange, newest first, and one whole: timeline, plan, attempts, cost; `/v2/records`: all of them whole.

use std::sync::Arc;

use domain::{AttemptRecord, Charge, MeterRecord, Outcome, Priced, Usage};
use http::Method;
use serde_json::{Map, Value, json};
use store::{RequestFilter, RequestRow};

use super::plan::rejected;
use super::usage::{columns, parsed};
use crate::access::Access;
use crate::failure::{invalid, of_store};
use crate::filter::{self, Of};
use crate::reply::Page;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/requests", Access::LOOK, list),
        Route::new(Method::GET, "/v2/requests/{id}", Access::LOOK, get),
        Route::new(Method::GET, "/v2/records", Access::LOOK, records),
    ]
}

const QUERY: &[&str] = &[
    "limit",
    "cursor",
    "model",
    "provider",
    "profile",
    "key_id",
    "project_id",
    "environment",
    "status",
    "outcome",
    "tag",
    "since",
    "until",
    "filter",
    "format",
];

fn list(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(QUERY)?;
        let filter = filter(control, &ask).await?;
        let listed =
            control.store.records().requests(ask.workspace(), filter, ask.page()?).await.map_err(of_store)?;
        Reply::list(ask.query.get("format").map(String::as_str), &Page::of(listed, row))
    })
}

async fn filter(control: &Control, ask: &Ask) -> Result<RequestFilter, Box<domain::Fault>> {
    let asked = filter::read(control, ask, Of::Requests).await?;
    let text = |name: &str| ask.query.get(name).cloned();
    let moment_of = |name: &'static str| ask.query.get(name).map(|text| moment::read(text, name)).transpose();
    let outcomes = [
        Outcome::Completed,
        Outcome::Failed,
        Outcome::ClientCancelled,
        Outcome::Interrupted,
        Outcome::Deadline,
    ];
    let outcome = match ask.query.get("outcome") {
        None => None,
        Some(name) => {
            Some(outcomes.into_iter().find(|outcome| outcome.as_str() == name).ok_or_else(|| {
                let known: Vec<_> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
                invalid("outcome", format!("\"{name}\" is no outcome."), format!("Use {}.", known.join(", ")))
            })?)
        }
    };
    Ok(RequestFilter {
        model: text("model"),
        provider: text("provider"),
        profile: text("profile"),
        key: parsed(ask, "key_id")?,
        project: parsed(ask, "project_id")?,
        environment: text("environment"),
        status: parsed(ask, "status")?,
        outcome,
        tag: text("tag"),
        since_unix_ms: filter::later(moment_of("since")?, asked.since_unix_ms),
        until_unix_ms: filter::earlier(moment_of("until")?, asked.until_unix_ms),
        terms: asked.terms,
    })
}

fn row(row: &RequestRow) -> Value {
    let head = json!({
        "id": row.trace.to_string(),
        "object": "request",
        "started_at": moment::write(row.started_unix_ms),
        "finished_at": moment::write(row.finished_unix_ms),
        "project_id": row.project.to_string(),
        "key_id": row.key.map(|id| id.to_string()),
        "environment": row.environment,
        "operation": row.operation,
        "dialect": row.dialect,
        "stream": row.stream,
        "requested_model": row.requested_model,
        "resolved_model": row.resolved_model,
        "outcome": row.outcome,
        "status": row.status,
        "error_code": row.fault_code,
        "profile": Some(&row.profile).filter(|profile| !profile.is_empty()),
        "principal": row.principal.map(|principal| principal.to_string()),
        "provider": Some(&row.provider).filter(|provider| !provider.is_empty()),
        "region": row.region,
        "attempts": row.attempts,
        "fallback_used": row.fallback_used,
        "tag": row.tag,
        "latency_us": row.latency_us,
        "time_to_first_byte_us": row.first_byte_us,
        "bytes_out": row.bytes_out,
    });
    let mut fields = head.as_object().cloned().unwrap_or_default();
    fields.extend(columns(&row.sums).into_iter().filter(|(name, _)| name != "requests"));
    fields.insert("estimated".into(), json!(row.sums.estimated > 0));
    fields.insert("unpriced".into(), json!(row.sums.unpriced > 0));
    Value::Object(fields)
}

fn get(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let record =
            control.store.records().request(ask.workspace(), ask.id("request")?).await.map_err(of_store)?;
        Reply::json(&whole(&record))
    })
}

/// Every exchange whole, oldest first, for whoever takes their books elsewhere.
fn records(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&["limit", "cursor", "format"])?;
        let page = ask.page()?;
        let listed = control.store.records().every_record(ask.workspace(), page).await.map_err(of_store)?;
        Reply::list(ask.query.get("format").map(String::as_str), &Page::of(listed, whole))
    })
}

fn whole(record: &MeterRecord) -> Value {
    let timeline = &record.timeline;
    let head = json!({
        "id": record.trace.to_string(),
        "object": "request",
        "started_at": moment::write(record.started_unix_ms),
        "finished_at": moment::write(record.finished_unix_ms),
        "workspace_id": record.workspace.to_string(),
        "project_id": record.project.to_string(),
        "key_id": record.key.map(|id| id.to_string()),
        "environment": record.environment,
        "operation": record.operation.as_str(),
        "dialect": record.dialect.as_str(),
        "stream": record.stream,
        "requested_model": record.requested_model,
        "resolved_model": Some(&record.resolved_model).filter(|model| !model.is_empty()),
        "outcome": record.outcome.as_str(),
        "status": record.status,
        "error_class": record.fault.map(domain::FaultClass::as_str),
        "error_code": record.fault_code,
        "profile": record.profile().map(domain::Profile::as_str),
        "mode": record.profile().map(|profile| profile.mode().as_str()),
        "principal": record.principal.map(|principal| principal.to_string()),
        "provider": Some(&record.provider).filter(|provider| !provider.is_empty()),
        "fallback_used": record.fallback_used,
        "tag": record.tag,
        "bytes_out": record.bytes_out,
        "timeline": {
            "decoded_us": timeline.decoded_us,
            "admitted_us": timeline.admitted_us,
            "planned_us": timeline.planned_us,
            "intent_us": timeline.intent_us,
            "upstream_head_us": timeline.upstream_head_us,
            "first_byte_us": timeline.first_byte_us,
            "settled_us": timeline.settled_us,
        },
        "plan": {
            "resolution": record.plan.resolution,
            "route_id": Some(&record.plan.route).filter(|route| !route.is_empty()),
            "candidates": record.plan.candidates.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "rejected": record.plan.rejected.iter().map(rejected).collect::<Vec<_>>(),
            "snapshot_version": record.plan.snapshot_version,
        },
        "attempts": record.attempts.iter().map(attempt).collect::<Vec<_>>(),
    });
    let mut fields = head.as_object().cloned().unwrap_or_default();
    fields.extend(metered(&record.usage, &record.charge));
    Value::Object(fields)
}

fn attempt(attempt: &AttemptRecord) -> Value {
    let head = json!({
        "number": attempt.number,
        "profile": attempt.profile().as_str(),
        "principal": attempt.principal.to_string(),
        "provider": attempt.provider,
        "upstream_model": attempt.upstream_model,
        "region": attempt.region,
        "started_us": attempt.started_us,
        "duration_us": attempt.duration_us,
        "status": attempt.status,
        "fault": attempt.fault.map(domain::FaultClass::as_str),
        "upstream_request_id": attempt.upstream_request_id,
        "markup_bps": attempt.markup_bps,
        "receipt": attempt.rates.map(|rates| {
            let lines = rates.lines(&attempt.usage);
            lines.iter().map(|line| json!({
                "class": line.class,
                "tokens": line.units,
                "price_micros_per_million": line.price.0,
                "nanos": line.nanos.0,
            })).collect::<Vec<_>>()
        }),
    });
    let mut fields = head.as_object().cloned().unwrap_or_default();
    fields.extend(metered(&attempt.usage, &attempt.charge));
    Value::Object(fields)
}

fn metered(usage: &Usage, charge: &Charge) -> Map<String, Value> {
    let fields = json!({
        "input_tokens": usage.prompt_total(),
        "output_tokens": usage.completion_total(),
        "cached_tokens": usage.cached_read,
        "cache_write_tokens": usage.cache_write + usage.cache_write_long,
        "reasoning_tokens": usage.reasoning,
        "estimated": usage.is_estimated(),
        "cost_micros": charge.cost.micros(),
        "cost_nanos": charge.cost.0,
        "provider_cost_micros": charge.provider_cost.micros(),
        "provider_cost_nanos": charge.provider_cost.0,
        "unpriced": charge.priced == Priced::Unpriced,
    });
    fields.as_object().cloned().unwrap_or_default()
}
