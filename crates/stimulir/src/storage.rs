//! Storage: an object is a file, its key names the workspace and the file, and a folder is a project.

use api::failure::{invalid, not_found};
use domain::FileId;
use reconcilers::moment;
use serde_json::{Value, json};

use crate::accounts::check_workspace;
use crate::limits::{LINK_SECONDS_MAX, OBJECTS_MAX};
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const PATH: &str = "/v2/files";
const LINK_SECONDS: u64 = 900;
const NO_TASKS: &str = "Leave task_id out, or list what a task made with GET /tasks/{id}/files.";

/// The name by which the client knows a file, before and after its content is there.
fn key(call: &Call<'_>, row: &Value) -> String {
    format!("{}/{}", call.workspace(), row["id"].as_str().unwrap_or_default())
}

fn show(call: &Call<'_>, row: &Value) -> Value {
    json!({
        "id": row["id"], "storage_key": key(call, row), "filename": row["filename"],
        "category": row["purpose"], "content_type": row["content_type"], "size_bytes": row["bytes"],
        "project_id": row["project_id"], "created_at": row["created_at"], "expires_at": row["expires_at"],
    })
}

fn of_project<'c>(call: &'c Call<'_>) -> Vec<(&'static str, &'c str)> {
    call.project.as_deref().map(|project| ("project_id", project)).into_iter().collect()
}

/// A file that the call may reach: if it names a project, one of that project's.
async fn find(call: &Call<'_>, id: &str) -> Result<(FileId, Value), Refusal> {
    let file = id.parse().map_err(|_| not_found("file", id))?;
    let row = call.get(&format!("{PATH}/{id}"), &[]).await?;
    match call.project.as_deref() {
        Some(project) if row["project_id"] != project => Err(not_found("file", id).into()),
        _ => Ok((file, row)),
    }
}

pub(crate) async fn upload(call: &Call<'_>) -> Handled {
    check_workspace(call)?;
    let body = json!({"filename": call.needed("filename")?, "project_id": call.project});
    let made = call.post(PATH, &body).await?;
    Ok(Answer::json(&json!({"upload_url": made["upload_url"], "storage_key": key(call, &made)})))
}

/// The upload has made the file already, so that this only reads it.
pub(crate) async fn register(call: &Call<'_>) -> Handled {
    check_workspace(call)?;
    let key = call.needed("storage_key")?;
    let id = key.strip_prefix(call.workspace()).and_then(|rest| rest.strip_prefix('/'));
    let id = id.ok_or_else(|| not_found("file", &key.chars().take(100).collect::<String>()))?;
    Ok(Answer::created(&show(call, &find(call, id).await?.1)))
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    check_workspace(call)?;
    if call.option("task_id").is_some() {
        return Err(Refusal::instead("task_id", NO_TASKS));
    }
    let listed = call.rows(PATH, &of_project(call), OBJECTS_MAX, |_| true).await?;
    let view = listed.rows.iter().map(|row| show(call, row));
    Ok(Answer::json(&Value::Array(view.collect())))
}

pub(crate) async fn folders(call: &Call<'_>) -> Handled {
    check_workspace(call)?;
    let stored = call.get("/v2/file-storage", &of_project(call)).await?;
    let view = stored["data"].as_array().into_iter().flatten().map(|row| {
        let id = &row["project_id"];
        json!({"id": id, "name": id, "object_count": row["files"], "total_bytes": row["bytes"]})
    });
    Ok(Answer::json(&Value::Array(view.collect())))
}

pub(crate) async fn link(call: &Call<'_>) -> Handled {
    let (file, _) = find(call, call.id("file")?).await?;
    let seconds = call.body.get("expires_in_seconds").map_or(Some(LINK_SECONDS), Value::as_u64);
    let wrong = || invalid("expires_in_seconds", "It isn't a number of seconds.", "Send a whole number.");
    let seconds = seconds.ok_or_else(wrong)?.min(LINK_SECONDS_MAX);
    // Who gives a file away reads it: `/v2` says whether they may, and the audit that they did.
    call.get(&format!("{PATH}/{file}/content"), &[]).await?;
    let until_unix_ms = call.unix_ms() + seconds * 1_000;
    let url = call.link(file, until_unix_ms).await?;
    Ok(Answer::json(&json!({"access_url": url, "expires_at": moment::write(until_unix_ms)})))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    let (file, _) = find(call, call.id("file")?).await?;
    call.delete(&format!("{PATH}/{file}")).await?;
    Ok(Answer::json(&json!({"id": file.to_string(), "deleted": true})))
}
