//! API keys of a workspace, and the short-lived ones that a command asks for itself.

use api::failure::invalid;
use reconcilers::moment;
use serde_json::{Value, json};

use crate::limits::{EVENTS_MAX, SESSION_KEY_SECONDS_MAX};
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const PATH: &str = "/v2/api-keys";
/// What the client's own keys begin with, which it looks for.
const PREFIX: &str = "hyb_";
/// The client's names of environments, and ours.
const ENVIRONMENTS: [(&str, &str); 3] =
    [("prod", "production"), ("staging", "staging"), ("dev", "development")];
const NO_PENCE: &str = "Amounts here are US dollars, and a limit must not change with a rate: limit the key's spend with a budget, POST /v2/budgets.";

fn show(row: &Value) -> Value {
    let environment = row["environment"].as_str().unwrap_or_default();
    let theirs = ENVIRONMENTS.iter().find(|(_, ours)| *ours == environment).map(|(theirs, _)| *theirs);
    // Only the end of a key is kept, so this stands for its visible part.
    let prefix = format!("{PREFIX}…{}", row["last4"].as_str().unwrap_or_default());
    json!({
        "id": row["id"], "prefix": prefix, "name": row["name"], "env": theirs.unwrap_or(environment),
        "status": row["status"], "project_id": row["project_id"], "scopes": row["scopes"],
        "ip_allowlist": row["ip_allowlist"], "created_at": row["created_at"],
        "expires_at": row["expires_at"], "revoked_at": row["revoked_at"],
    })
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let with_revoked = call.option("include_revoked").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let project = call.project.as_deref().map(|project| ("project_id", project));
    let query: Vec<_> = project.into_iter().collect();
    let wanted = |row: &Value| with_revoked || row["status"] != "revoked";
    let listed = call.rows(PATH, &query, EVENTS_MAX, wanted).await?;
    let view: Vec<_> = listed.rows.iter().map(show).collect();
    Ok(Answer::json(&json!({"api_keys": view, "has_more": listed.has_more})))
}

pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let env = call.text("env")?.unwrap_or("prod");
    let known = ENVIRONMENTS.iter().find(|(theirs, _)| *theirs == env);
    let environment = known.map_or(env, |(_, ours)| ours);
    // Like the client's own keys, it also reads what the console shows.
    let mut body = json!({
        "name": call.needed("name")?, "environment": environment, "scopes": ["inference", "read"],
    });
    take_settings(call, &mut body)?;
    if let Some(project) = call.text("project_id")?.or(call.project.as_deref()) {
        body["project_id"] = json!(project);
    }
    let made = call.post(PATH, &body).await.map_err(|refusal| refusal.renamed("environment", "env"))?;
    let mut view = show(&made);
    view["key"] = json!(format!("{PREFIX}{}", made["key"].as_str().unwrap_or_default()));
    Ok(Answer::created(&view))
}

/// The settings that a key may have when it is made, and later.
fn take_settings(call: &Call<'_>, body: &mut Value) -> Result<(), Refusal> {
    for field in ["expires_in_days", "ip_allowlist"] {
        if let Some(value) = call.body.get(field).filter(|value| !value.is_null()) {
            body[field] = value.clone();
        }
    }
    for field in ["credit_limit_pence", "credit_limit_reset_period"] {
        if call.body.get(field).is_some_and(|value| !value.is_null()) {
            return Err(Refusal::instead(field, NO_PENCE));
        }
    }
    Ok(())
}

pub(crate) async fn change(call: &Call<'_>) -> Handled {
    let mut body = json!({});
    if let Some(name) = call.text("name")? {
        body["name"] = json!(name);
    }
    take_settings(call, &mut body)?;
    let path = format!("{PATH}/{}", call.id("API key")?);
    let changed = call.ask(http::Method::PATCH, &path, &[], Some(&body)).await?;
    Ok(Answer::json(&show(&changed)))
}

pub(crate) async fn revoke(call: &Call<'_>) -> Handled {
    let id = call.id("API key")?;
    call.delete(&format!("{PATH}/{id}")).await?;
    Ok(Answer::json(&json!({"id": id, "status": "revoked"})))
}

fn session_name(session: &str) -> String {
    format!("session {session}")
}

/// A key for one command. A caller whose key may not make keys, but may call models, is answered with that key.
pub(crate) async fn make_session_key(call: &Call<'_>) -> Handled {
    let session = call.needed("runtime_session_id")?;
    let seconds = match call.body.get("ttl_seconds") {
        None | Some(Value::Null) => 3600,
        Some(value) => value
            .as_u64()
            .filter(|seconds| (1..=SESSION_KEY_SECONDS_MAX).contains(seconds))
            .ok_or_else(|| {
                let fix = format!("Give a number from 1 to {SESSION_KEY_SECONDS_MAX}.");
                invalid("ttl_seconds", "A session key can't be valid for that long.", fix)
            })?,
    };
    let expires_at = moment::write(call.unix_ms().saturating_add(seconds.saturating_mul(1000)));
    let mut body = json!({
        "name": format!("{} {}", session_name(session), call.unix_ms()), "scopes": ["inference"], "expires_at": expires_at,
    });
    if let Some(project) = &call.project {
        body["project_id"] = json!(project);
    }
    let answer = |key: &str, id: &Value, expires_at: Value| {
        Answer::json(&json!({
            "api_key": format!("{PREFIX}{}", key), "key_id": id, "expires_at": expires_at,
            "runtime_session_id": session,
        }))
    };
    match call.post(PATH, &body).await {
        Ok(made) => Ok(answer(made["key"].as_str().unwrap_or_default(), &made["id"], json!(expires_at))),
        Err(refusal) if refusal.code == "insufficient_scope" && may_infer(&call.me) => {
            let own = call.presented().map(domain::api_key::without_client_prefix).ok_or(refusal)?;
            Ok(answer(own, &Value::Null, Value::Null))
        }
        Err(refusal) => Err(refusal.renamed("name", "runtime_session_id")),
    }
}

fn may_infer(me: &Value) -> bool {
    let scopes = me.pointer("/key/scopes").and_then(Value::as_array);
    scopes.is_some_and(|scopes| scopes.iter().any(|scope| scope == "inference"))
}

pub(crate) async fn revoke_session_key(call: &Call<'_>) -> Handled {
    let session = call.needed("runtime_session_id")?;
    let name = session_name(session);
    // A session may have several keys, each with the time in its name, which is unique.
    let is_its = |rest: &str| rest.is_empty() || rest.trim_start().parse::<u64>().is_ok();
    let mine = |row: &Value| {
        row["name"].as_str().and_then(|text| text.strip_prefix(&*name)).is_some_and(is_its)
            && row["status"] == "active"
    };
    let listed = match call.rows(PATH, &[], EVENTS_MAX, mine).await {
        Ok(listed) => listed.rows,
        // It can't have made one either.
        Err(refusal) if refusal.code == "insufficient_scope" => Vec::new(),
        Err(refusal) => return Err(refusal),
    };
    for row in &listed {
        if let Some(id) = row["id"].as_str() {
            call.delete(&format!("{PATH}/{id}")).await?;
        }
    }
    Ok(Answer::json(&json!({"runtime_session_id": session, "revoked": listed.len()})))
}
