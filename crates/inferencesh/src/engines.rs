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

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    view_of(call, (PATH, "node"), show).await
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "node").await
}
