//! A project's tasks, newest first, by cursor.

use admit::Caller;
use domain::{Fault, TaskId, TaskListQuery, TaskStatus};
use http::Method;
use line::Core;
use serde_json::{Value, json};

use super::acting::TaskCallRequest;
use super::following::seen;
use crate::kept_content::store_away;
use crate::limits::{LIST_PAGE_ITEMS, LIST_PAGE_ITEMS_MAX};
use runbody::refusal;

/// The list that a request asks for; `None` if it asks for something else.
///
/// # Errors
/// What is wrong with the list that it asks for.
pub(super) fn query_of(
    caller: &Caller,
    request: &TaskCallRequest<'_>,
) -> Result<Option<TaskListQuery>, Box<Fault>> {
    let wanted = match (request.method, request.rest) {
        (&Method::POST, "list") => of_body(&request.body)?,
        (&Method::GET | &Method::HEAD, "") => of_query(request.query),
        _ => return Ok(None),
    };
    let text = |name: &str| wanted.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let after = match text("cursor") {
        Some(cursor) => Some(cursor.parse::<TaskId>().map_err(|_| {
            refusal(
                "invalid_cursor",
                "\"cursor\" is no cursor of this list.",
                "Send \"next_cursor\" of the page before.",
                "cursor",
            )
        })?),
        None => None,
    };
    let statuses = match wanted.get("status") {
        None | Some(Value::Null) => Vec::new(),
        Some(status) => statuses(status)?,
    };
    let limit = match wanted.get("limit") {
        None | Some(Value::Null) => LIST_PAGE_ITEMS as u64,
        Some(limit) => limit_of(limit)?,
    };
    Ok(Some(TaskListQuery {
        owner: caller.owner(),
        after,
        statuses,
        app: text("app").map(str::to_owned),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    }))
}

fn limit_of(limit: &Value) -> Result<u64, Box<Fault>> {
    let number = limit.as_u64().or_else(|| limit.as_str()?.parse().ok());
    match number {
        Some(0) => Ok(LIST_PAGE_ITEMS as u64),
        Some(number) => Ok(number.min(LIST_PAGE_ITEMS_MAX as u64)),
        None => Err(refusal(
            "invalid_value",
            "\"limit\" must be a whole number.",
            "Correct it, or leave it out.",
            "limit",
        )),
    }
}

fn statuses(wanted: &Value) -> Result<Vec<TaskStatus>, Box<Fault>> {
    let one = |value: &Value| match value {
        Value::String(text) => TaskStatus::by_name(text).or_else(|| TaskStatus::by_code(text.parse().ok()?)),
        value => TaskStatus::by_code(u8::try_from(value.as_u64()?).ok()?),
    };
    let list = wanted.as_array().map_or(std::slice::from_ref(wanted), Vec::as_slice);
    list.iter().map(one).collect::<Option<_>>().ok_or_else(|| {
        let message = "\"status\" must be a status of tasks, as a word or a number.";
        refusal("invalid_value", message, "Send \"completed\" or 10, for example.", "status")
    })
}

/// The fields that decide; the client's own lists have more, which are usually empty.
fn of_body(body: &[u8]) -> Result<Value, Box<Fault>> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let sent: Value = serde_json::from_slice(body).map_err(|error| {
        let message = format!("The body is not valid JSON: {error}.");
        refusal("invalid_json", message, "Send one JSON object.", "")
    })?;
    if !sent.is_object() {
        return Err(refusal("invalid_type", "The body must be a JSON object.", "Send one JSON object.", ""));
    }
    let mut wanted = sent;
    let filters = wanted.get("filters").and_then(Value::as_array).cloned().unwrap_or_default();
    for filter in filters {
        let field = filter.get("field").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !matches!(field.as_str(), "status" | "app") {
            let message =
                format!("\"filters\" name \"{}\", by which tasks are not listed.", runbody::sanitize(&field));
            return Err(refusal("invalid_value", message, "Filter by \"status\" or \"app\".", "filters"));
        }
        if let Some(fields) = wanted.as_object_mut() {
            fields.insert(field, filter.get("value").cloned().unwrap_or_default());
        }
    }
    Ok(wanted)
}

fn of_query(query: &str) -> Value {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = pairs.filter_map(|(name, value)| {
        let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
        Some((name.to_owned(), Value::from(value.into_owned())))
    });
    Value::Object(decoded.collect())
}

/// A page, in the form of the lists of this API.
///
/// # Errors
/// The store does not answer.
pub(super) async fn page(core: &Core, query: TaskListQuery) -> Result<Value, Box<Fault>> {
    let limit = query.limit;
    let (has_previous, more) =
        (query.after.is_some(), TaskListQuery { limit: limit.saturating_add(1), ..query });
    let mut found = core.tasks.list(more).await.ok_or_else(store_away)?;
    let has_next = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().map(|(task, _)| task.id.to_string()).filter(|_| has_next);
    let items: Vec<Value> = found.iter().map(|(task, contents)| seen(core, task, contents)).collect();
    Ok(json!({
        "items": items,
        "next_cursor": last.unwrap_or_default(),
        "prev_cursor": "",
        "has_next": has_next,
        "has_previous": has_previous,
        "items_per_page": limit,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_filtered_by_words_numbers_and_the_clients_own_filters() {
        let of = |wanted: Value| statuses(&wanted).map_err(|fault| fault.code);
        assert_eq!(of(json!("completed")), Ok(vec![TaskStatus::Completed]));
        assert_eq!(of(json!(10)), Ok(vec![TaskStatus::Completed]));
        assert_eq!(of(json!(["10", "failed"])), Ok(vec![TaskStatus::Completed, TaskStatus::Failed]));
        assert_eq!(of(json!("done")), Err("invalid_value"));
        let body =
            br#"{"cursor": "", "limit": 3, "filters": [{"field": "status", "operator": "eq", "value": 11}]}"#;
        assert_eq!(of_body(body).unwrap()["status"], 11);
        assert_eq!(
            of_body(br#"{"filters": [{"field": "x"}]}"#).unwrap_err().param.as_deref(),
            Some("filters")
        );
        assert_eq!(of_query("status=failed&app=a%2Fb"), json!({"status": "failed", "app": "a/b"}));
        assert_eq!((limit_of(&json!(5_000)).unwrap(), limit_of(&json!("7")).unwrap()), (100, 7));
    }
}
