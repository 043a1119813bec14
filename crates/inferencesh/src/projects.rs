//! Projects of the workspace.

use compat::answer::Answer;
use compat::call::{Call, Handled};
use http::Method;
use serde_json::{Value, json};

use crate::page::{changes, delete_row, page, row, view_of};

const PATH: &str = "/v2/projects";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let own = json!({"name": ours["name"], "description": "", "type": "other", "children": []});
    row(call, ours, own)
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    view_of(call, (PATH, "project"), show).await
}

pub(crate) async fn make(call: &Call<'_>) -> Handled {
    let made = call.post(PATH, &json!({"name": call.needed("name")?})).await?;
    Ok(Answer::json(&show(call, &made)))
}

pub(crate) async fn change(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}", call.id("project")?);
    let wanted = changes(&call.body, &[("name", "name")]);
    let changed = call.ask(Method::PATCH, &path, &[], Some(&wanted)).await?;
    Ok(Answer::json(&show(call, &changed)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "project").await
}
