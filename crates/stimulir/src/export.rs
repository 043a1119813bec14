//! Traces: the settled exchanges, as a list and as a file.

use api::failure::invalid;
use bytes::Bytes;
use reconcilers::moment;
use serde_json::{Value, json};

use crate::limits::{EVENTS_MAX, EXPORT_ROWS_MAX};
use crate::usage::event;
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const DAY_MS: u64 = 86_400_000;
const USUAL_ROWS: usize = 10_000;
const COLUMNS: [&str; 19] = [
    "id",
    "ts",
    "provider",
    "model",
    "mode",
    "modality",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_micros",
    "cost_usd",
    "currency",
    "latency_ms",
    "status",
    "status_code",
    "error_code",
    "api_key_id",
    "project_id",
    "tag",
];
const NO_CONTENT: &str = "Read stored contents one by one where a policy keeps them: GET /v2/requests/{id}/content (docs/content.md).";
const NO_AGENTS: &str =
    "Traces here are exchanges with models: leave source and context out, or send source=usage.";

/// The filters of a request, as those of `/v2/requests`.
fn filters(call: &Call<'_>) -> Result<Vec<(&'static str, String)>, Refusal> {
    let mut query = Vec::new();
    for (theirs, ours) in
        [("api_key_id", "key_id"), ("tag", "tag"), ("provider", "provider"), ("model", "model")]
    {
        query.extend(call.option(theirs).map(|value| (ours, value.to_owned())));
    }
    query.extend(call.project.clone().map(|project| ("project_id", project)));
    if let Some(from) = call.option("ts_from") {
        query.push(("since", moment::write(moment::read(from, "ts_from")?)));
    }
    if let Some(to) = call.option("ts_to") {
        // A date stands for the whole of its day.
        let day = if to.len() == 10 { DAY_MS } else { 0 };
        query.push(("until", moment::write(moment::read(to, "ts_to")?.saturating_add(day))));
    }
    Ok(query)
}

fn limit(call: &Call<'_>, usual: usize, rows_max: usize) -> Result<usize, Refusal> {
    let Some(text) = call.option("limit") else { return Ok(usual) };
    text.parse().ok().filter(|limit| (1..=rows_max).contains(limit)).ok_or_else(|| {
        invalid("limit", format!("limit is {text}."), format!("Give a number from 1 to {rows_max}.")).into()
    })
}

async fn traces(call: &Call<'_>, rows_max: usize) -> Result<(Vec<Value>, bool), Refusal> {
    if call.option("include_content").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Err(Refusal::instead("include_content", NO_CONTENT));
    }
    if call.option("source").is_some_and(|source| source != "usage") || call.option("context").is_some() {
        return Err(Refusal::instead("source=agent", NO_AGENTS));
    }
    let status = call.option("status");
    let wanted = |row: &Value| match status {
        None => true,
        Some("completed") => row["outcome"] == "completed",
        Some("failed") => row["outcome"] != "completed",
        // What still runs is in no book.
        Some(_) => false,
    };
    if let Some(other) = status.filter(|word| !["completed", "failed", "running"].contains(word)) {
        let fix = "Use completed, failed or running.";
        return Err(invalid("status", format!("\"{other}\" isn't a status."), fix).into());
    }
    let filters = filters(call)?;
    let query: Vec<_> = filters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let listed = call.rows("/v2/requests", &query, rows_max, wanted).await?;
    Ok((listed.rows.iter().map(|row| event(row, call.pounds())).collect(), listed.has_more))
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let (traces, has_more) = traces(call, limit(call, 50, EVENTS_MAX)?).await?;
    Ok(Answer::json(&json!({"traces": traces, "has_more": has_more})))
}

pub(crate) async fn export(call: &Call<'_>) -> Handled {
    let limit = limit(call, USUAL_ROWS, EXPORT_ROWS_MAX)?;
    let format = call.option("format").unwrap_or("jsonl");
    if !["jsonl", "json", "csv"].contains(&format) {
        let message = format!("\"{format}\" isn't a format.");
        return Err(invalid("format", message, "Use jsonl, json or csv.").into());
    }
    let (traces, is_cut) = traces(call, limit).await?;
    let count = traces.len().to_string();
    let (content_type, file) = match format {
        "csv" => ("text/csv; charset=utf-8", csv(&traces)),
        "json" => ("application/json", Value::Array(traces).to_string()),
        _ => ("application/x-ndjson", traces.iter().map(|trace| format!("{trace}\n")).collect()),
    };
    let answer = Answer::file(content_type, Bytes::from(file)).with("x-export-count", &count);
    Ok(answer.with("x-export-truncated", if is_cut { "true" } else { "false" }))
}

fn csv(traces: &[Value]) -> String {
    let mut file = format!("{}\r\n", COLUMNS.join(","));
    for trace in traces {
        let cells: Vec<_> = COLUMNS.iter().map(|column| cell(&trace[*column])).collect();
        file.push_str(&cells.join(","));
        file.push_str("\r\n");
    }
    file
}

/// A cell that a spreadsheet takes for text, whatever it begins with.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => return other.to_string(),
    };
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_stays_one_cell() {
        for (text, expected) in
            [("=1+1", "'=1+1"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("plain", "plain")]
        {
            assert_eq!(cell(&json!(text)), expected);
        }
        assert_eq!((cell(&Value::Null), cell(&json!(-3))), (String::new(), "-3".to_owned()));
    }
}
