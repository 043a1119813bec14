//! MCP servers of the project.

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};
use http::Method;
use serde_json::{Value, json};

use crate::page::{changes, delete_row, page, row, view_of};

const PATH: &str = "/v2/mcp-servers";
const NAMES: [(&str, &str); 3] = [("slug", "name"), ("description", "description"), ("server_url", "url")];
const OAUTH: &str = "Add the server with POST /v2/mcp-servers and a token in \"auth\".";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let auth = if ours["auth"].is_null() { "none" } else { "api_key" };
    let own = json!({
        "slug": ours["name"], "name": ours["name"], "title": ours["name"], "description": ours["description"],
        "icon_url": "", "server_url": ours["url"], "auth_type": auth, "default_scopes": [],
        "documentation_url": "", "connection_status": ours["health"],
    });
    row(call, ours, own)
}

/// What a body says of a server, in the words of `/v2`.
fn wanted(call: &Call<'_>) -> Result<Value, Refusal> {
    if call.text("auth_type")?.is_some_and(|kind| kind == "oauth") {
        return Err(Refusal::instead("auth_type", OAUTH));
    }
    let mut wanted = changes(&call.body, &NAMES);
    if wanted.get("name").is_none()
        && let Some(name) = call.text("name")?
    {
        wanted["name"] = json!(name);
    }
    Ok(wanted)
}

fn renamed(refusal: Refusal) -> Refusal {
    refusal.renamed("url", "server_url")
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    view_of(call, (PATH, "MCP server"), show).await
}

pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let made = call.post(PATH, &wanted(call)?).await.map_err(renamed)?;
    Ok(Answer::json(&show(call, &made)))
}

pub(crate) async fn change(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}", call.id("MCP server")?);
    let changed = call.ask(Method::PATCH, &path, &[], Some(&wanted(call)?)).await.map_err(renamed)?;
    Ok(Answer::json(&show(call, &changed)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "MCP server").await
}
