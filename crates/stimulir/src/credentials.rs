//! Provider credentials of a workspace's own: `workspace/byok`.

use serde_json::{Value, json};

use crate::limits::EVENTS_MAX;
use compat::answer::Answer;
use compat::call::{Call, Handled};

const PATH: &str = "/v2/provider-credentials";

fn show(row: &Value) -> Value {
    let status = match row["status"].as_str() {
        Some("active") if row["last_verified_at"].is_null() => "pending",
        Some("unverified") => "pending",
        Some("active" | "expiring") => "valid",
        Some(other) => other,
        None => "error",
    };
    json!({
        "id": row["id"], "provider": row["provider"], "label": row["display_name"], "status": status,
        "last_verified_at": row["last_verified_at"], "last_error": row["last_error"],
        "created_at": row["created_at"],
    })
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let listed = call.rows(PATH, &[], EVENTS_MAX, |_| true).await?;
    let view: Vec<_> = listed.rows.iter().map(show).collect();
    Ok(Answer::json(&json!({"credentials": view, "has_more": listed.has_more})))
}

/// Stores a credential and asks its provider whether it is good. One that the provider can't be asked about is stored, too.
pub(crate) async fn add(call: &Call<'_>) -> Handled {
    let mut body = json!({
        "provider": call.needed("provider")?, "display_name": call.needed("label")?,
        "secret": call.body.get("secret"), "verify": true,
    });
    // Providers at an address of the customer's own need more than a secret.
    for field in ["base_url", "region", "config"] {
        if let Some(value) = call.body.get(field) {
            body[field] = value.clone();
        }
    }
    let renamed = |refusal: compat::answer::Refusal| refusal.renamed("display_name", "label");
    let added = call.post(PATH, &body).await.map_err(renamed)?;
    Ok(Answer::created(&show(&added)))
}

pub(crate) async fn verify(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}/verify", call.id("provider credential")?);
    Ok(Answer::json(&show(&call.post(&path, &json!({})).await?)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    let id = call.id("provider credential")?;
    call.delete(&format!("{PATH}/{id}")).await?;
    Ok(Answer::json(&json!({"id": id, "deleted": true})))
}
