//! `tidegate capability`: the facts of one provider, what the operator states in their place, and their revisions.

use serde_json::{Map, Value, json};

use super::route::print_versions;
use crate::api::{Api, escape};
use crate::body::Body;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows what is known of a provider, now or in an earlier revision.
    Show {
        provider: String,
        /// The revision (`cap_…`).
        #[arg(long)]
        revision: Option<String>,
    },
    /// States facts that override the built-in ones, immediately and for all requests.
    Set(Set),
    /// Removes stated facts; the built-in ones apply again.
    Unset {
        provider: String,
        #[arg(required = true)]
        facts: Vec<String>,
        /// Only facts of this model, or of all models whose names begin so: `gpt-4o*`.
        #[arg(long)]
        model: Option<String>,
    },
    /// Lists the revisions that were served, newest first, with what each changed.
    Revisions { provider: String },
    /// Restores the stated facts of an earlier revision, and nothing else.
    Rollback { provider: String, revision: String },
}

#[derive(Debug, clap::Args)]
pub struct Set {
    provider: String,
    /// Facts with their values: `batch_api_supported=false`, `service_tiers=["default","flex"]`; the value `unverified` means
    /// that it isn't known.
    #[arg(required = true, value_name = "FACT=VALUE")]
    facts: Vec<String>,
    /// Only for this model of the provider, or for all models whose names begin so: `gpt-4o*`.
    #[arg(long)]
    model: Option<String>,
    /// The source of the fact; by default the operator.
    #[arg(long)]
    source: Option<String>,
    /// The day when the source was checked, such as 2026-11-24; by default today.
    #[arg(long)]
    checked: Option<String>,
}

const FACT_COLUMNS: [&str; 4] = ["models", "fact", "value", "source"];

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let at = |provider: &str| format!("/v2/capabilities/{}", escape(provider));
    match command {
        Command::Show { provider, revision } => {
            let query = revision.map(|revision| format!("?revision={}", escape(&revision)));
            let path = format!("{}{}", at(&provider), query.unwrap_or_default());
            show(shared, &api.get(&path)?);
        }
        Command::Set(set) => {
            let facts =
                set.facts.iter().map(|fact| read_fact(fact, &set)).collect::<Result<Map<_, _>, _>>()?;
            show(shared, &api.patch(&at(&set.provider), &statement(&facts, set.model.as_deref()))?);
        }
        Command::Unset { provider, facts, model } => {
            let facts: Map<_, _> = facts.into_iter().map(|fact| (fact, Value::Null)).collect();
            show(shared, &api.patch(&at(&provider), &statement(&facts, model.as_deref()))?);
        }
        Command::Revisions { provider } => {
            let page = api.get(&format!("{}/revisions", at(&provider)))?;
            if shared.json {
                println!("{page}");
            } else {
                print_versions(&page, ["revision", "served_at", "served_by"]);
            }
        }
        Command::Rollback { provider, revision } => {
            let body = Body::new().with("revision", revision).build();
            show(shared, &api.post(&format!("{}/rollback", at(&provider)), &body)?);
        }
    }
    Ok(())
}

/// The merge patch: of all models, or of some.
fn statement(facts: &Map<String, Value>, model: Option<&str>) -> Value {
    match model {
        Some(model) => json!({"models": {model: facts}}),
        None => json!({"facts": facts}),
    }
}

/// A fact from its argument. A word that isn't JSON is a text.
fn read_fact(argument: &str, set: &Set) -> Result<(String, Value), Failure> {
    let (name, value) = argument.split_once('=').ok_or_else(|| {
        Failure::new(output::USAGE, format!("\"{argument}\" isn't a fact: write it as FACT=VALUE."))
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    // Null takes away what was stated of this fact before: a value where nobody knows it, or its source.
    let fact = if value == "unverified" {
        json!({"value": null, "source": "unverified", "checked": null})
    } else {
        json!({"value": value, "source": set.source, "checked": set.checked})
    };
    Ok((name.to_owned(), fact))
}

fn show(shared: &Shared, manifest: &Value) {
    if shared.json {
        println!("{manifest}");
        return;
    }
    let cell = |name: &str| output::printable(&output::cell(manifest, name));
    println!("{} {}", cell("provider"), cell("manifest_revision"));
    let mut rows = facts_of("all", manifest);
    for row in manifest.get("models").and_then(Value::as_array).into_iter().flatten() {
        let names = row.get("names").and_then(Value::as_array).into_iter().flatten();
        let names = names.filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        rows.extend(facts_of(&names, row));
    }
    output::rows(shared, &rows, &FACT_COLUMNS, "Nothing is known of it.");
}

/// The facts of a row of the manifest, each as a row of a table.
pub fn facts_of(models: &str, owner: &Value) -> Vec<Value> {
    let facts = owner.get("facts").and_then(Value::as_object).into_iter().flatten();
    let row = |(name, fact): (&String, &Value)| {
        let value = fact.get("value").unwrap_or(fact);
        json!({
            "models": models,
            "fact": name,
            "value": value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            "source": output::cell(fact, "source"),
        })
    };
    facts.map(row).collect()
}
