//! The capabilities of OpenAI-compatible servers, as the commands for credentials and nodes show and state
//! them.

use serde_json::{Map, Value, json};

use crate::api::{self, Api};
use crate::body::Body;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

/// Facts that are stated by hand on the command line.
#[derive(Debug, clap::Args)]
pub struct FactOptions {
    /// States a feature of a compatible server, such as `stream_options=no`; without a value, the probe's result applies again.
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
}

impl FactOptions {
    /// The merge patch of the stated capabilities; `None` if none was stated.
    pub fn patch(&self) -> Result<Option<Value>, Failure> {
        let mut stated = Map::new();
        for fact in &self.facts {
            let Some((name, value)) = fact.split_once('=') else {
                let message =
                    format!("\"{fact}\" isn't a fact: write NAME=VALUE, such as stream_options=no.");
                return Err(Failure::new(output::USAGE, message));
            };
            let value = if value.is_empty() { Value::Null } else { value.into() };
            stated.insert(name.to_owned(), value);
        }
        Ok((!stated.is_empty()).then(|| Value::Object(stated)))
    }
}

/// Whether a new secret is tried immediately.
#[derive(Debug, clap::Args)]
pub struct Verifying {
    /// Skips the call that checks the secret.
    #[arg(long)]
    pub no_verify: bool,
}

impl Verifying {
    /// Verifies the credential or account at `path` that was just written, unless that is switched off.
    ///
    /// # Errors
    /// The provider refused the secret, or could not be reached.
    pub fn verify(&self, api: &Api, path: &str, written: Value) -> Result<Value, Failure> {
        if self.no_verify {
            return Ok(written);
        }
        verify(api, &format!("{path}/{}", api::field(&written, "id")))
    }

    /// Checks a node that was just written and that the gateway has probed already.
    ///
    /// # Errors
    /// The node could not be reached.
    pub fn check_reached(&self, written: Value) -> Result<Value, Failure> {
        let Some(error) = written.get("last_error").and_then(Value::as_str).filter(|_| !self.no_verify)
        else {
            return Ok(written);
        };
        let message = format!(
            "The node {} is kept as {}, but it can't be used yet: {error}",
            api::field(&written, "name"),
            api::field(&written, "id"),
        );
        Err(Failure { document: Some(written), ..Failure::new(output::UPSTREAM, message) })
    }
}

/// Verifies the secret of the credential or account at `path` with its provider.
///
/// # Errors
/// The provider refused the secret, or could not be reached.
pub fn verify(api: &Api, path: &str) -> Result<Value, Failure> {
    accepted(api.post(&format!("{path}/verify"), &json!({}))?)
}

/// A credential or account whose secret was verified.
///
/// # Errors
/// The provider refused the secret, or could not be reached.
pub fn accepted(verified: Value) -> Result<Value, Failure> {
    let Some(error) = verified.get("last_error").and_then(Value::as_str) else { return Ok(verified) };
    let text = |name| api::field(&verified, name);
    let what = if text("status") == "invalid" {
        format!("{} refused this key", text("provider"))
    } else {
        "This key could not be verified".to_owned()
    };
    let (noun, id) = (if text("object") == "account" { "account" } else { "credential" }, text("id"));
    let use_of_it = match text("status").as_str() {
        "invalid" => ", and serves nothing until a key is accepted".to_owned(),
        "unverified" => format!(
            ", and serves nothing until it is verified; `tidegate {noun} enable {id}` has it serve unverified"
        ),
        _ => String::new(),
    };
    let message = format!("{what}: {error} It is kept as {} ({id}){use_of_it}.", text("display_name"));
    let fix = format!(
        "`tidegate {noun} rotate {id}` replaces the key, `tidegate {noun} verify {id}` tries again; where the base URL is wrong, \
         `tidegate {noun} rm {id}` and add it again."
    );
    Err(Failure { document: Some(verified), ..Failure::new(output::UPSTREAM, message).fix(fix) })
}

/// Probes a server's capabilities, and shows them.
pub fn probe(shared: &Shared, api: &Api, path: &str, model: Option<String>) -> Result<(), Failure> {
    let body = Body::new().with_some("model", model).build();
    let probed = api.post(&format!("{path}/probe"), &body)?;
    show(shared, &probed);
    match probed.pointer("/server/error").and_then(Value::as_str) {
        None => Ok(()),
        Some(error) => Err(Failure::new(output::UPSTREAM, format!("Not everything was found out. {error}"))),
    }
}

/// Shows a credential or node, with its server's capabilities as a table below.
pub fn show(shared: &Shared, value: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, value);
    }
    output::object(shared, &without_server(value));
    let Some(server) = value.get("server").filter(|server| server.is_object()) else { return };
    let summary = json!({
        "probed_at": server.get("probed_at"),
        "probed_model": server.get("model"),
        "probe_error": server.get("error"),
    });
    output::object(shared, &summary);
    println!();
    let facts = server.get("facts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    output::rows(shared, facts, &["name", "value", "evidence", "at"], "Nothing is known of it.");
}

/// Like `output::object`, but without the server's capabilities; only why they are not known.
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
