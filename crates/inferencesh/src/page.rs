//! Lists and rows in the form of these clients.

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Query};
use serde_json::{Map, Value, json};

use crate::limits::{PAGE_ROWS, PAGE_ROWS_MAX};

/// What every row of these clients has.
pub(crate) fn row(call: &Call<'_>, ours: &Value, more: Value) -> Value {
    let id = ours["id"].as_str().unwrap_or_default();
    let mut row = json!({
        "id": id,
        "short_id": id.get(id.len().saturating_sub(8)..).unwrap_or(id),
        "created_at": ours["created_at"],
        "updated_at": ours.get("updated_at").unwrap_or(&ours["created_at"]),
        "user_id": "",
        "team_id": call.workspace(),
        "visibility": "private",
    });
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

/// A page of a list of `/v2`, of which `show` may leave rows out.
pub(crate) async fn page(
    call: &Call<'_>,
    path: &str,
    query: Query<'_>,
    show: impl Fn(&Value) -> Option<Value>,
) -> Result<Answer, Refusal> {
    let limit = match call.body.get("limit").and_then(Value::as_u64) {
        None | Some(0) => PAGE_ROWS,
        Some(limit) => limit.min(PAGE_ROWS_MAX),
    };
    let rows = limit.to_string();
    let cursor = call.text("cursor")?.filter(|cursor| !cursor.is_empty());
    let mut query = query.to_vec();
    query.push(("limit", &rows));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    let found = call.get(path, &query).await?;
    let items: Vec<Value> = found["data"].as_array().into_iter().flatten().filter_map(show).collect();
    let next = found["next_cursor"].as_str();
    Ok(Answer::json(&json!({
        "items": items,
        "next_cursor": next.unwrap_or_default(),
        "prev_cursor": "",
        "has_next": next.is_some(),
        "has_previous": cursor.is_some(),
        "items_per_page": limit,
    })))
}

/// One row of `/v2`, by the id in the path.
pub(crate) async fn view_of(
    call: &Call<'_>,
    (path, what): (&str, &str),
    show: impl Fn(&Call<'_>, &Value) -> Value,
) -> Result<Answer, Refusal> {
    let found = call.get(&format!("{path}/{}", call.id(what)?), &[]).await?;
    Ok(Answer::json(&show(call, &found)))
}

/// Deletes a row of `/v2`, by the id in the path.
pub(crate) async fn delete_row(call: &Call<'_>, path: &str, what: &str) -> Result<Answer, Refusal> {
    call.delete(&format!("{path}/{}", call.id(what)?)).await?;
    Ok(Answer::json(&Value::Null))
}

/// A list of `/v2` that has no pages.
pub(crate) async fn all(
    call: &Call<'_>,
    path: &str,
    show: impl Fn(&Value) -> Option<Value>,
) -> Result<Answer, Refusal> {
    let found = call.get(path, &[]).await?;
    Ok(whole(&found["data"].as_array().into_iter().flatten().filter_map(show).collect::<Vec<_>>()))
}

/// All of a list as one page.
fn whole(items: &[Value]) -> Answer {
    Answer::json(&json!({
        "items": items, "next_cursor": "", "prev_cursor": "", "has_next": false, "has_previous": false,
        "items_per_page": items.len(), "total_items": items.len(),
    }))
}

/// The fields of the body that a change names, under their names in `/v2`.
pub(crate) fn changes(body: &Value, names: &[(&str, &str)]) -> Value {
    let named = names.iter().filter_map(|(theirs, ours)| {
        let value = body.get(*theirs).filter(|value| !value.is_null())?;
        Some(((*ours).to_owned(), value.clone()))
    });
    Value::Object(named.collect::<Map<_, _>>())
}
