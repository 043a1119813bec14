//! `tidegate health`: what the gateway knows of the credentials, nodes and accounts that it serves with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

const UPSTREAMS: [&str; 9] =
    ["id", "display_name", "provider", "region", "status", "model", "in_flight", "first_byte_p50_ms", "why"];
const BREAKERS: [&str; 6] = ["level", "name", "state", "since", "until", "detail"];

pub fn run(shared: &Shared) -> Result<(), Failure> {
    let health = Api::connect(shared)?.get("/v2/health/upstreams")?;
    if shared.form() == Form::Json {
        println!("{health}");
        return Ok(());
    }
    let names: BTreeMap<String, String> =
        list(&health, "data").iter().map(|one| (field(one, "id"), field(one, "display_name"))).collect();
    let rows: Vec<Value> = list(&health, "data").iter().flat_map(upstream).collect();
    output::rows(
        shared,
        &rows,
        &UPSTREAMS,
        "Nothing serves yet. `tidegate credential add` or `tidegate nodes add` adds what does.",
    );
    let breakers: Vec<Value> = list(&health, "breakers").iter().map(|one| breaker(one, &names)).collect();
    if !breakers.is_empty() {
        println!();
        output::rows(shared, &breakers, &BREAKERS, "");
    }
    let gateways = health.get("gateways").and_then(Value::as_u64).unwrap_or(1);
    if gateways > 1 {
        let gateway = field(&health, "gateway");
        shared.report(&format!("As {gateway} knows it, one of {gateways} gateways."));
    }
    Ok(())
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A row for each model that it was asked for, or one.
fn upstream(one: &Value) -> Vec<Value> {
    let why: Vec<String> = list(one, "pauses").iter().map(|pause| field(pause, "detail")).collect();
    let count = |name: &str| one.pointer("/failures")?.get(name)?.as_u64();
    let row = |model: &Value| {
        let mut row = one.clone();
        if let Some(fields) = row.as_object_mut() {
            for name in ["model", "in_flight", "first_byte_p50_ms"] {
                fields.insert(name.to_owned(), model.get(name).cloned().unwrap_or_default());
            }
            if let (Some(failed), Some(attempts)) = (count("failed"), count("attempts")) {
                let status = format!("{} ({failed} of {attempts} failed)", field(one, "status"));
                fields.insert("status".to_owned(), json!(status));
            }
            fields.insert("why".to_owned(), json!(why.join(" ")));
        }
        row
    };
    match list(one, "models") {
        [] => vec![row(&Value::Null)],
        models => models.iter().map(row).collect(),
    }
}

/// With the name of a credential instead of its id.
fn breaker(one: &Value, names: &BTreeMap<String, String>) -> Value {
    let mut row = one.clone();
    if let (Some(name), Some(fields)) = (names.get(&field(one, "name")), row.as_object_mut()) {
        fields.insert("name".to_owned(), json!(name));
    }
    row
}
