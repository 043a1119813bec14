//! What compatible servers take, as the commands for credentials and nodes show it and state it.

use serde_json::{Map, Value, json};

use super::Shared;
use crate::api::Api;
use crate::body::Body;
use crate::output::{self, Failure, Form};

/// Facts that are stated by hand on the command line.
#[derive(Debug, clap::Args)]
pub struct Stating {
    /// States what a compatible server takes, such as `stream_options=no`; without a value a probe is believed again.
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
}

impl Stating {
    /// The merge patch that states them; `None` where nothing was stated.
    pub fn patch(&self) -> Result<Option<Value>, Failure> {
        let mut stated = Map::new();
        for fact in &self.facts {
            let Some((name, value)) = fact.split_once('=') else {
                let message = format!("\"{fact}\" is no fact: write NAME=VALUE, such as stream_options=no.");
                return Err(Failure::new(output::USAGE, message));
            };
            let value = if value.is_empty() { Value::Null } else { value.into() };
            stated.insert(name.to_owned(), value);
        }
        Ok((!stated.is_empty()).then(|| Value::Object(stated)))
    }
}

/// Asks a server what it takes, and shows what it said.
pub fn probe(shared: &Shared, api: &Api, path: &str, model: Option<String>) -> Result<(), Failure> {
    let body = Body::new().with_some("model", model).done();
    let probed = api.post(&format!("{path}/probe"), &body)?;
    show(shared, &probed);
    match probed.pointer("/server/error").and_then(Value::as_str) {
        None => Ok(()),
        Some(error) => Err(Failure::new(output::UPSTREAM, format!("Not everything was found out. {error}"))),
    }
}

/// A credential or node, and what its server takes as a table below.
pub fn show(shared: &Shared, value: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, value);
    }
    output::object(shared, &without_server(value));
    let Some(server) = value.get("server").filter(|server| server.is_object()) else { return };
    let asked = json!({
        "probed_at": server.get("probed_at"),
        "probed_model": server.get("model"),
        "probe_error": server.get("error"),
    });
    output::object(shared, &asked);
    println!();
    let facts = server.get("facts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    output::rows(shared, facts, &["name", "value", "evidence", "at"], "Nothing is known of it.");
}

/// As `output::object`; of its server no more than why it could not be asked.
pub fn brief(shared: &Shared, value: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, value);
    }
    output::object(shared, &without_server(value));
    if let Some(error) = value.pointer("/server/error").and_then(Value::as_str) {
        println!("What its server takes is not known: {}", output::printable(error));
    }
}

fn without_server(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("server");
        fields.remove("stated_facts");
    }
    value
}
