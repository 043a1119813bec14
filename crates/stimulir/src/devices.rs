//! The device login: a person approves it at the console, and the client polls for a key of theirs, which it knows as a token.

use reconcilers::moment;
use serde_json::{Value, json};

use crate::accounts::show_me;
use compat::answer::Answer;
use compat::call::{Call, Handled};

/// What the client's tokens begin with.
const PREFIX: &str = "stim_cli_";
/// How much of a token the client compares with the list of its tokens.
const PREFIX_CHARS: usize = PREFIX.len() + 4;

pub(crate) async fn begin(call: &Call<'_>) -> Handled {
    let waiting = call.post("/v2/device", &json!({"client_name": call.needed("client_name")?})).await?;
    Ok(Answer::json(&json!({
        "device_code": waiting["device_code"], "user_code": waiting["user_code"],
        "verification_uri": waiting["verification_url"],
        "verification_uri_complete": waiting["verification_url_complete"],
        "interval": waiting["interval_s"], "expires_in": waiting["expires_in_s"],
    })))
}

pub(crate) async fn poll(call: &Call<'_>) -> Handled {
    let granted = call.post("/v2/device/token", &json!({"device_code": call.needed("device_code")?})).await?;
    let key = granted["api_key"].as_str().unwrap_or_default();
    let me = call.me_of(key).await?;
    let person = show_me(call, &me).await;
    Ok(Answer::json(&json!({
        "access_token": format!("{PREFIX}{}", key), "token_type": "bearer", "token_id": granted["key_id"],
        "expires_in": seconds_left(call, &granted), "workspace_id": granted["workspace_id"],
        "project_id": me.pointer("/key/project_id"), "email": person["email"],
    })))
}

fn seconds_left(call: &Call<'_>, granted: &Value) -> Option<u64> {
    let expires = granted["expires_at"].as_str()?;
    let expires = moment::read(expires, "expires_at").ok()?;
    Some(expires.saturating_sub(call.unix_ms()) / 1000)
}

/// The caller's own token alone: the client looks it up by its beginning to revoke it, and those of others begin alike.
pub(crate) async fn tokens(call: &Call<'_>) -> Handled {
    let (Some(token), Some(key)) = (call.presented(), call.me.pointer("/key/id").and_then(Value::as_str))
    else {
        return Ok(Answer::json(&json!({"tokens": []})));
    };
    let view = call.get(&format!("/v2/api-keys/{key}"), &[]).await.unwrap_or_default();
    let prefix: String = token.chars().take(PREFIX_CHARS).collect();
    Ok(Answer::json(&json!({"tokens": [{
        "id": key, "prefix": prefix, "name": call.me.pointer("/key/name"),
        "created_at": view["created_at"], "expires_at": view["expires_at"],
    }]})))
}

pub(crate) async fn revoke_token(call: &Call<'_>) -> Handled {
    let id = call.id("token")?;
    let is_own = call.me.pointer("/key/id").and_then(Value::as_str) == Some(id);
    if is_own {
        call.post("/v2/sign-out", &json!({})).await?;
    } else {
        call.delete(&format!("/v2/api-keys/{id}")).await?;
    }
    Ok(Answer::json(&json!({"id": id, "revoked": true})))
}
