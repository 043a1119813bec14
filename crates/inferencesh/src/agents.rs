//! Agents: their definitions in the form of these clients.

use agents::from_config;
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};
use domain::{Fault, FaultClass};
use http::Method;
use serde_json::{Value, json};

use crate::page::{all, delete_row, page, row};

const PATH: &str = "/v2/agents";

fn tool(ours: &Value) -> Value {
    let name = &ours["name"];
    match ours["type"].as_str() {
        Some("client") => json!({
            "name": name, "description": ours["description"], "type": "client",
            "client": {"input_schema": ours["parameters"]},
        }),
        Some("agent") => json!({
            "name": name, "type": "agent", "require_approval": ours["require_approval"], "agent": {"ref": name},
        }),
        _ => json!({
            "name": name, "type": "call", "require_approval": ours["require_approval"], "call": {"tool": name},
        }),
    }
}

fn config(call: &Call<'_>, id: &str, ours: &Value) -> Value {
    let definition = &ours["definition"];
    let tools: Vec<Value> = definition["tools"].as_array().into_iter().flatten().map(tool).collect();
    let own = json!({
        "id": ours["version"].as_u64().map(|version| format!("{id}@{version}")),
        "description": definition["description"], "system_prompt": definition["instructions"],
        "example_prompts": [], "core_app": {"ref": definition["model"]}, "tools": tools, "skills": [],
        "hooks": definition["hooks"], "output_schema": definition["output_schema"],
    });
    row(call, ours, own)
}

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let id = ours["id"].as_str().unwrap_or_default();
    let version = config(call, id, ours);
    let own = json!({
        "namespace": "", "name": ours["name"], "title": ours["name"], "images": {},
        "version_id": version["id"], "version": version,
    });
    row(call, ours, own)
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

/// By its id, or by its name after a namespace, which a project has none of.
async fn found(call: &Call<'_>) -> Result<Value, Refusal> {
    if let [_, name] = call.parameters.as_slice() {
        let is_named = |ours: &Value| ours["name"] == name.as_str();
        let rows = call.rows(PATH, &[], 1, is_named).await?.rows;
        let missing = || Refusal::from(api::failure::not_found("agent", name));
        return rows.into_iter().next().ok_or_else(missing);
    }
    call.get(&format!("{PATH}/{}", call.id("agent")?), &[]).await
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    Ok(Answer::json(&show(call, &found(call).await?)))
}

/// The definition that a body describes, with its first mistake as the error.
fn definition(call: &Call<'_>) -> Result<Option<Value>, Refusal> {
    let Some(config) = call.body.get("version").filter(|config| config.is_object()) else { return Ok(None) };
    let read = from_config(config).map_err(|wrong| {
        let first = wrong.first();
        let (pointer, message) = first.map_or(("", ""), |wrong| (&*wrong.pointer, &*wrong.message));
        let fault =
            Fault::new(FaultClass::BadRequest, "invalid_value", format!("version{pointer}: {message}."));
        Refusal::from(Box::new(
            fault.param(format!("version{pointer}")).fix("docs/agents.md describes agents."),
        ))
    })?;
    Ok(Some(serde_json::to_value(read).map_err(|_| Refusal::from(Box::new(Fault::internal())))?))
}

pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let Some(definition) = definition(call)? else {
        return Err(api::failure::missing("version", "Send version, with core_app.ref.").into());
    };
    let body = json!({"name": call.needed("name")?, "definition": definition});
    Ok(Answer::json(&show(call, &call.post(PATH, &body).await?)))
}

pub(crate) async fn change(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}", call.id("agent")?);
    let mut body = json!({});
    if let Some(name) = call.text("name")? {
        body["name"] = json!(name);
    }
    if let Some(definition) = definition(call)? {
        body["definition"] = definition;
    }
    let changed = call.ask(Method::PATCH, &path, &[], Some(&body)).await?;
    Ok(Answer::json(&show(call, &changed)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "agent").await
}

pub(crate) async fn versions(call: &Call<'_>) -> Handled {
    let id = call.id("agent")?;
    all(call, &format!("{PATH}/{id}/versions"), |ours| Some(config(call, id, ours))).await
}

/// A version by its number, or by the id that lists of versions show.
pub(crate) async fn version(call: &Call<'_>) -> Handled {
    let id = call.id("agent")?;
    let wanted = call.parameters.get(1).map_or("", String::as_str);
    let number = wanted.rsplit('@').next().unwrap_or(wanted);
    let found = call.get(&format!("{PATH}/{id}/versions"), &[]).await?;
    let is_it = |ours: &&Value| ours["version"].as_u64().is_some_and(|version| version.to_string() == number);
    let missing = || Refusal::from(api::failure::not_found("version", wanted));
    let ours = found["data"].as_array().into_iter().flatten().find(is_it).ok_or_else(missing)?;
    Ok(Answer::json(&config(call, id, ours)))
}
