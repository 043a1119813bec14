//! Engines, which are nodes here.

use compat::call::{Call, Handled};
use serde_json::{Value, json};

use crate::page::{delete_row, page, row, view_of};

const PATH: &str = "/v2/byoc/nodes";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let own = json!({
        "name": ours["name"], "api_url": ours["base_url"], "status": ours["status"], "engine_version": "",
        "config": {}, "workers": [],
    });
    row(call, ours, own)
}

pub(crate) fn list<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(async move { page(call, PATH, &[], |ours| Some(show(call, ours))).await })
}

pub(crate) fn read<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(view_of(call, (PATH, "node"), show))
}

pub(crate) fn remove<'a>(call: &'a Call<'a>) -> Handled<'a> {
    Box::pin(delete_row(call, PATH, "node"))
}
