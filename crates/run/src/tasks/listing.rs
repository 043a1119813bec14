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
    let after = match text_of(&wanted, "cursor")? {
        Some(cursor) => Some(cursor.parse::<TaskId>().map_err(|_| {
            refusal(
                "invalid_cursor",
                "\"cursor\" isn't a cursor of this list.",
                "Send \"next_cursor\" of the previous page.",
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
        app: text_of(&wanted, "app")?.map(str::to_owned),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    }))
}

/// A field that is a text, unless it is left out, null or empty.
fn text_of<'a>(wanted: &'a Value, name: &'static str) -> Result<Option<&'a str>, Box<Fault>> {
    match wanted.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => {
            let message = format!("\"{name}\" must be a string.");
            Err(refusal("invalid_value", message, "Correct it, or leave it out.", name))
        }
    }
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
    let filters = match wanted.get_mut("filters").map(Value::take) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(filters)) => filters,
        Some(_) => return Err(wrong_filter("\"filters\" must be a list.".to_owned())),
    };
    for filter in &filters {
        let (field, value) = read_filter(filter)?;
        if let Some(fields) = wanted.as_object_mut() {
            let before = fields.insert(field.to_owned(), value);
            if before.is_some_and(|before| !before.is_null()) {
                return Err(wrong_filter(format!("\"filters\" name \"{field}\" twice.")));
            }
        }
    }
    Ok(wanted)
}

fn wrong_filter(message: String) -> Box<Fault> {
    let fix = "Send {\"field\": \"status\" or \"app\", \"operator\": \"eq\", \"value\": …}, each field once; \"in\" takes a list of statuses.";
    refusal("invalid_value", message, fix, "filters")
}

/// The field and the value of a filter.
fn read_filter(filter: &Value) -> Result<(&str, Value), Box<Fault>> {
    let field = filter.get("field").and_then(Value::as_str).unwrap_or_default();
    if !matches!(field, "status" | "app") {
        let field = runbody::sanitize(field);
        return Err(wrong_filter(format!("\"filters\" name \"{field}\", which tasks can't be filtered by.")));
    }
    let value = filter.get("value").cloned().unwrap_or_default();
    match filter.get("operator") {
        None | Some(Value::Null) => {}
        Some(Value::String(operator)) if operator == "eq" => {}
        Some(Value::String(operator)) if operator == "in" && field == "status" && value.is_array() => {}
        Some(operator) => {
            let operator = runbody::sanitize(operator.as_str().unwrap_or("a value that isn't text"));
            let message =
                format!("\"filters\" compare \"{field}\" by \"{operator}\", which isn't supported.");
            return Err(wrong_filter(message));
        }
    }
    let fits = match field {
        "app" => value.is_string(),
        _ => !value.is_null(),
    };
    let why = if field == "app" { "must be a string" } else { "is missing" };
    if fits { Ok((field, value)) } else { Err(wrong_filter(format!("The value for \"{field}\" {why}."))) }
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
        for wrong in [
            json!({"filters": [{"field": "status", "operator": "neq", "value": 10}]}),
            json!({"filters": [{"field": "status", "operator": 1, "value": 10}]}),
            json!({"filters": [{"field": "status", "operator": "in", "value": 10}]}),
            json!({"filters": [{"field": "app", "operator": "in", "value": ["m1"]}]}),
            json!({"filters": [{"field": "app", "operator": "eq", "value": {"a": 1}}]}),
            json!({"filters": [{"field": "status", "operator": "eq"}]}),
            json!({"filters": [{"field": "status", "value": 10}, {"field": "status", "value": 11}]}),
            json!({"filters": {"field": "status", "value": 10}}),
        ] {
            let fault = of_body(wrong.to_string().as_bytes()).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some("filters")), "{wrong}");
        }
        let many =
            br#"{"status": null, "filters": [{"field": "status", "operator": "in", "value": [10, 11]}]}"#;
        assert_eq!(of_body(many).unwrap()["status"], json!([10, 11]));
        assert_eq!(text_of(&json!({"app": 1}), "app").unwrap_err().param.as_deref(), Some("app"));
        assert_eq!(text_of(&json!({"app": ""}), "app").unwrap(), None);
        assert_eq!(of_query("status=failed&app=a%2Fb"), json!({"status": "failed", "app": "a/b"}));
        assert_eq!((limit_of(&json!(5_000)).unwrap(), limit_of(&json!("7")).unwrap()), (100, 7));
    }
}
