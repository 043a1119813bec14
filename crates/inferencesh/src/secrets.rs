//! Secrets of the project, by their names.

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};
use http::Method;
use serde_json::{Value, json};

use crate::page::{changes, page, row};

const PATH: &str = "/v2/secrets";
const NAMES: [(&str, &str); 3] = [("value", "value"), ("hosts", "hosts"), ("description", "description")];

fn show(call: &Call<'_>, ours: &Value) -> Value {
    // Nothing of a value is shown.
    let own = json!({
        "key": ours["name"], "masked_value": "", "description": ours["description"], "hosts": ours["hosts"],
    });
    row(call, ours, own)
}

/// The path of the secret that the client names.
async fn named(call: &Call<'_>) -> Result<String, Refusal> {
    let name = call.id("secret")?;
    let rows = call.rows(PATH, &[], 1, |ours| ours["name"] == name).await?.rows;
    let found = rows.first().and_then(|ours| ours["id"].as_str());
    let id = found.ok_or_else(|| Refusal::from(api::failure::not_found("secret", name)))?;
    Ok(format!("{PATH}/{id}"))
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

/// The platform's secrets go wherever its apps send them; here `hosts` says where to, and without them a secret is kept and sent nowhere.
pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let mut body = changes(&call.body, &NAMES);
    body["name"] = json!(call.needed("key")?);
    if body.get("hosts").is_none() {
        body["hosts"] = json!([]);
    }
    let made = call.post(PATH, &body).await.map_err(|refusal| refusal.renamed("name", "key"))?;
    Ok(Answer::json(&show(call, &made)))
}

pub(crate) async fn change(call: &Call<'_>) -> Handled {
    let path = named(call).await?;
    let changed = call.ask(Method::PATCH, &path, &[], Some(&changes(&call.body, &NAMES))).await?;
    Ok(Answer::json(&show(call, &changed)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    call.delete(&named(call).await?).await?;
    Ok(Answer::json(&Value::Null))
}
