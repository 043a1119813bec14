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

pub(crate) fn list<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(async move { page(call, PATH, &[], |ours| Some(show(call, ours))).await })
}

pub(crate) fn read<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(view_of(call, (PATH, "project"), show))
}

pub(crate) fn make<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(async move {
        let made = call.post(PATH, &json!({"name": call.needed("name")?})).await?;
        Ok(Answer::json(&show(call, &made)))
    })
}

pub(crate) fn change<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(async move {
        let path = format!("{PATH}/{}", call.id("project")?);
        let wanted = changes(&call.body, &[("name", "name")]);
        let changed = call.ask(Method::PATCH, &path, &[], Some(&wanted)).await?;
        Ok(Answer::json(&show(call, &changed)))
    })
}

pub(crate) fn remove<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(delete_row(call, PATH, "project"))
}
