//! API keys.

use compat::answer::Answer;
use compat::call::{Call, Handled};
use serde_json::{Value, json};

use crate::page::{delete_row, page, row};

const PATH: &str = "/v2/api-keys";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    // A key is shown once, when it is made: later its end alone is known.
    let hidden = format!("…{}", ours["last4"].as_str().unwrap_or_default());
    let key = ours.get("key").and_then(Value::as_str).map_or(hidden, str::to_owned);
    let own = json!({
        "name": ours["name"], "key": key, "expires_at": ours["expires_at"], "scopes": ours["scopes"],
    });
    row(call, ours, own)
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| (ours["status"] != "revoked").then(|| show(call, ours))).await
}

/// The scopes of the platform's keys are other ones: a key that names none may call models and read.
pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let mut body = json!({"name": call.needed("name")?, "scopes": ["inference", "read"]});
    for field in ["expires_at", "scopes"] {
        if let Some(value) = call.body.get(field).filter(|value| !value.is_null()) {
            body[field] = value.clone();
        }
    }
    Ok(Answer::json(&show(call, &call.post(PATH, &body).await?)))
}

pub(crate) async fn revoke(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "API key").await
}
