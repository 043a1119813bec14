//! Warm sessions, which keep the runs of an app where the first one ran.

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};
use serde_json::{Value, json};

use crate::limits::SESSIONS_MAX;
use crate::page::row;

const PATH: &str = "/v2/sessions";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let warm = &ours["warm"];
    let own = json!({
        "worker_id": warm["seat"].as_str().unwrap_or_default(), "app_id": warm["app"], "app_version_id": "",
        "status": warm["status"], "expires_at": warm["expires_at"], "ended_at": warm["ended_at"], "task_id": "",
        "call_count": warm["calls"], "last_call_at": ours["used_at"], "idle_timeout": warm["idle_timeout_seconds"],
        "updated_at": ours["used_at"],
    });
    row(call, ours, own)
}

/// The clients have a code of their own for a session that is not there.
fn named(mut refusal: Refusal) -> Refusal {
    if refusal.code == "not_found" {
        "session_not_found".clone_into(&mut refusal.code);
    }
    refusal
}

fn unknown(call: &Call<'_>) -> Refusal {
    named(api::failure::not_found("session", call.id("session").unwrap_or_default()).into())
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let found = call.rows(PATH, &[("warm", "true")], SESSIONS_MAX, |_| true).await?;
    Ok(Answer::json(&found.rows.iter().map(|ours| show(call, ours)).collect()))
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}", call.id("session").map_err(named)?);
    let found = call.get(&path, &[]).await.map_err(named)?;
    if found["warm"].is_null() {
        return Err(unknown(call));
    }
    Ok(Answer::json(&show(call, &found)))
}

pub(crate) async fn keep_alive(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}/keep-alive", call.id("session").map_err(named)?);
    let kept = call.post(&path, &json!({})).await.map_err(named)?;
    Ok(Answer::json(&show(call, &kept)))
}

pub(crate) async fn end(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}/end", call.id("session").map_err(named)?);
    call.post(&path, &json!({})).await.map_err(named)?;
    Ok(Answer::json(&Value::Null))
}
