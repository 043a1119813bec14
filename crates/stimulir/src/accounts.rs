//! Who calls, their workspaces and projects.

use api::failure::not_found;
use serde_json::{Value, json};

use crate::limits::EVENTS_MAX;
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

pub(crate) async fn me(call: &Call<'_>) -> Handled {
    Ok(Answer::json(&show_me(call, &call.me).await))
}

/// The person, or the key and the person who created it, where the caller may read who that is.
pub(crate) async fn show_me(call: &Call<'_>, me: &Value) -> Value {
    let mut view = json!({
        "id": text(me, "/member/id"), "email": text(me, "/member/email"), "name": text(me, "/member/name"),
        "workspace_id": text(me, "/workspace_id"), "role": text(me, "/role"),
    });
    let Some(key) = text(me, "/key/id") else { return view };
    let mut put = |name: &str, value: Value| {
        if let Some(fields) = view.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    put("id", json!(key));
    put("name", json!(text(me, "/key/name")));
    put("api_key_id", json!(key));
    put("project_id", json!(text(me, "/key/project_id")));
    put("scopes", me.pointer("/key/scopes").cloned().unwrap_or_default());
    let creator = call.get(&format!("/v2/api-keys/{key}"), &[]).await.ok();
    let creator = creator.as_ref().and_then(|key| text(key, "/created_by"));
    if let Some(creator) = creator
        && let Ok(member) = call.get(&format!("/v2/members/{creator}"), &[]).await
    {
        put("id", json!(creator));
        put("email", json!(text(&member, "/email")));
    }
    view
}

pub(crate) async fn workspaces(call: &Call<'_>) -> Handled {
    let own = call.me.get("workspaces").and_then(Value::as_array).cloned().unwrap_or_default();
    let view = own.iter().map(
        |workspace| json!({"id": workspace["id"], "name": workspace["name"], "role": workspace["role"]}),
    );
    Ok(Answer::json(&Value::Array(view.collect())))
}

/// Where a call names its workspace once more, in its body or its address, it is the same.
pub(crate) fn check_workspace(call: &Call<'_>) -> Result<(), Refusal> {
    let named = call.text("business_profile_id")?.or_else(|| call.option("business_profile_id"));
    match named.filter(|named| *named != call.workspace()) {
        Some(other) => Err(not_found("workspace", &other.chars().take(100).collect::<String>()).into()),
        None => Ok(()),
    }
}

pub(crate) async fn projects(call: &Call<'_>) -> Handled {
    let listed = call.rows("/v2/projects", &[], EVENTS_MAX, |_| true).await?;
    let own = text(&call.me, "/key/project_id").map(str::to_owned);
    let first = listed.rows.first().and_then(|row| text(row, "/id")).map(str::to_owned);
    // What a request that names no project belongs to.
    let usual = own.or(first);
    let view = listed.rows.iter().map(|row| show_project(row, usual.as_deref()));
    Ok(Answer::json(&Value::Array(view.collect())))
}

fn show_project(row: &Value, usual: Option<&str>) -> Value {
    let name = text(row, "/name").unwrap_or_default();
    json!({
        "id": row["id"], "name": name, "slug": name.to_lowercase().replace(' ', "-"),
        "is_default": text(row, "/id") == usual, "status": "active", "environment": row["environment"],
        "created_at": row["created_at"],
    })
}

pub(crate) async fn make_project(call: &Call<'_>) -> Handled {
    let made = call.post("/v2/projects", &json!({"name": call.needed("name")?})).await?;
    Ok(Answer::created(&show_project(&made, None)))
}
