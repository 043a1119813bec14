//! What was used and what it cost: sums, events, and the month so far by mode.
//!
//! Money here is US dollars: amounts are in `cost_usd` and, exact, in `cost_micros`. The client's fields in pounds and pence are
//! there where the operator states a rate.

use api::failure::invalid;
use api::pounds::PoundRate;
use serde_json::{Value, json};

use crate::limits::EVENTS_MAX;
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const MICROS_PER_USD: f64 = 1_000_000.0;
const MICROS_PER_POUND: f64 = 1_000_000.0;
const CURRENCY: &str = "USD";

/// An amount, with the currency that it is in.
fn money(row: &Value) -> (Value, Value) {
    let micros = row["cost_micros"].as_i64().unwrap_or_default();
    (json!(micros), json!(micros as f64 / MICROS_PER_USD))
}

/// The columns that every sum of the client has.
fn sums(row: &Value, rate: Option<&PoundRate>) -> Value {
    let (cost_micros, cost_usd) = money(row);
    let mut view = json!({
        "requests": row["requests"], "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"], "cached_tokens": row["cached_tokens"],
        "cost_micros": cost_micros, "cost_usd": cost_usd, "currency": CURRENCY,
    });
    add_pounds(&mut view, rate, ("cost", cost_micros.as_i64().unwrap_or_default()));
    view
}

/// An amount in pounds and in pence, and exact in millionths of a pound.
fn add_pounds(view: &mut Value, rate: Option<&PoundRate>, (name, micros): (&str, i64)) {
    let Some(rate) = rate else { return };
    let micro_pounds = rate.micros_of(micros);
    view[format!("{name}_micro_gbp")] = json!(micro_pounds);
    view[format!("{name}_gbp")] = json!(micro_pounds as f64 / MICROS_PER_POUND);
    view[format!("{name}_pence")] = json!(rate.pence_of(micros));
}

/// The rate itself, beside what it was used for; null without one.
fn rate_view(rate: Option<&PoundRate>) -> Value {
    rate.map_or(Value::Null, |rate| json!({"gbp_per_usd": rate.text, "day": rate.day}))
}

fn labelled(row: &Value, label: Value, rate: Option<&PoundRate>) -> Value {
    let mut view = sums(row, rate);
    view["label"] = label;
    view
}

fn scope<'c>(call: &'c Call<'_>) -> Vec<(&'static str, &'c str)> {
    call.project.as_deref().map(|project| ("project_id", project)).into_iter().collect()
}

/// Sums of a window by one dimension, named as the client names it.
async fn by(
    call: &Call<'_>,
    window: &str,
    group: &str,
    project: &[(&str, &str)],
) -> Result<Vec<Value>, Refusal> {
    let ours = match group {
        "provider" | "model" | "modality" | "day" => group,
        "task" | "agent" | "tag" => "tag",
        other => {
            let fix = "Use provider, model, modality, day or tag.";
            return Err(invalid("group_by", format!("\"{other}\" isn't a group."), fix).into());
        }
    };
    let query = [&[("window", window), ("group_by", ours)], project].concat();
    let usage = call.get("/v2/usage", &query).await?;
    let rows = usage["data"].as_array().cloned().unwrap_or_default();
    let label = |row: &Value| match ours {
        "day" => json!(row["start"].as_str().map(|start| start.chars().take(10).collect::<String>())),
        dimension => row[dimension].clone(),
    };
    Ok(rows.iter().map(|row| labelled(row, label(row), call.pounds())).collect())
}

pub(crate) async fn summary(call: &Call<'_>) -> Handled {
    let window = call.option("window").unwrap_or("7d");
    let (group, project) = (call.option("group_by").unwrap_or("day"), scope(call));
    let points = by(call, window, group, &project).await?;
    let all = [&[("window", window)], &*project].concat();
    let all = call.get("/v2/usage", &all).await?;
    let totals = sums(&all["data"][0], call.pounds());
    Ok(Answer::json(&json!({
        "window": window, "group_by": group, "period_start": all["start"], "period_end": all["end"],
        "points": points, "totals": totals, "currency": CURRENCY, "exchange_rate": rate_view(call.pounds()),
    })))
}

/// The mode of a profile, as the client names it.
fn mode(profile: &Value) -> Option<&'static str> {
    match profile.as_str()? {
        "managed_provider" => Some("mi"),
        "byoc" => Some("byoc"),
        _ => Some("byok"),
    }
}

/// The client's word for what an operation asks for.
fn modality(operation: &str) -> &'static str {
    match operation {
        "embeddings" => "embedding",
        "speech" => "tts",
        "transcription" | "translation" => "stt",
        "realtime" => "voice_realtime",
        "image" | "image_edit" | "video" => "vision",
        _ => "text",
    }
}

/// An exchange as the client's event.
pub(crate) fn event(row: &Value, rate: Option<&PoundRate>) -> Value {
    let mut view = sums(row, rate);
    let route = match (row["fallback_used"].as_bool(), row["alias"].is_null()) {
        (Some(true), _) => "fallback",
        (_, false) => "alias",
        _ => "direct",
    };
    let of_row = json!({
        "id": row["id"], "ts": row["started_at"], "provider": row["provider"],
        "model": if row["resolved_model"] == "" { &row["requested_model"] } else { &row["resolved_model"] },
        "mode": mode(&row["profile"]), "modality": modality(row["operation"].as_str().unwrap_or_default()),
        "latency_ms": row["latency_us"].as_u64().map(|us| us / 1000),
        "status": if row["outcome"] == "completed" { "completed" } else { "failed" },
        "status_code": row["status"], "error_code": row["error_code"], "route_decision": route,
        "adapter_id": null, "api_key_id": row["key_id"], "project_id": row["project_id"], "tag": row["tag"],
    });
    if let (Some(fields), Value::Object(more)) = (view.as_object_mut(), of_row) {
        fields.remove("requests");
        fields.extend(more);
    }
    view
}

pub(crate) async fn events(call: &Call<'_>) -> Handled {
    let limit = match call.option("limit") {
        None => 100,
        Some(text) => {
            text.parse::<usize>().ok().filter(|limit| (1..=EVENTS_MAX).contains(limit)).ok_or_else(|| {
                let fix = format!("Give a number from 1 to {EVENTS_MAX}.");
                invalid("limit", format!("limit is {text}."), fix)
            })?
        }
    };
    let limit = limit.to_string();
    let mut query = scope(call);
    query.push(("limit", &limit));
    for name in ["provider", "model", "cursor"] {
        query.extend(call.option(name).map(|value| (name, value)));
    }
    let filter = match call.option("mode") {
        None => None,
        Some(mode @ ("mi" | "byok" | "byoc")) => Some(format!("mode:{mode}")),
        Some(other) => {
            return Err(invalid("mode", format!("\"{other}\" isn't a mode."), "Use mi, byok or byoc.").into());
        }
    };
    query.extend(filter.as_deref().map(|filter| ("filter", filter)));
    let page = call.get("/v2/requests", &query).await?;
    let events: Vec<_> =
        page["data"].as_array().into_iter().flatten().map(|row| event(row, call.pounds())).collect();
    Ok(Answer::json(&json!({
        "events": events, "next_cursor": page["next_cursor"], "currency": CURRENCY,
        "exchange_rate": rate_view(call.pounds()),
    })))
}

pub(crate) async fn snapshot(call: &Call<'_>) -> Handled {
    let month = call.get("/v2/billing/snapshot", &[]).await?;
    let rate = call.pounds();
    let mut mtd = sums(&month["mtd"], rate);
    let by_mode = month["mtd"]["by_mode"].as_array().into_iter().flatten().map(|row| {
        let mut view = sums(row, rate);
        view["mode"] = row["mode"].clone();
        view
    });
    mtd["by_mode"] = by_mode.collect();
    mtd["by_provider"] = Value::Array(by(call, "month", "provider", &[]).await?);
    let owed_micros = month["owed_micros"].as_i64().unwrap_or_default();
    let mut view = json!({
        "period_start": month["period_start"], "period_end": month["period_end"], "mtd": mtd,
        "daily": by(call, "month", "day", &[]).await?,
        "owed_micros": owed_micros, "owed_usd": owed_micros as f64 / MICROS_PER_USD,
        "unmetered_event_count": month["unmetered_event_count"],
        "unpriced_event_count": month["unpriced_event_count"],
        // Nothing is sent to another meter: the ledger is the only one.
        "autumn_events": [], "currency": CURRENCY, "exchange_rate": rate_view(rate),
    });
    add_pounds(&mut view, rate, ("owed", owed_micros));
    Ok(Answer::json(&view))
}
