//! `tidegate models` and `tidegate capabilities`: which models are known, what they cost, and what they and their sellers
//! can do, each with where that was read.

use serde_json::{Map, Value, json};

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure, Form};

const MODEL_COLUMNS: [&str; 8] =
    ["model", "provider", "upstream_model", "context", "input", "output", "cached_input", "checked"];
const FACT_COLUMNS: [&str; 5] = ["provider", "models", "fact", "value", "source"];

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only what this provider sells.
    provider: Option<String>,
}

impl Options {
    fn path(&self, noun: &str) -> String {
        match &self.provider {
            Some(provider) => format!("/v2/{noun}?provider={provider}"),
            None => format!("/v2/{noun}"),
        }
    }
}

/// Prices are in dollars for a million tokens.
pub fn models(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let book = Api::connect(shared)?.get(&options.path("price-books"))?;
    if shared.form() == Form::Json {
        println!("{book}");
        return Ok(());
    }
    let rows: Vec<Value> = list(&book, "data").iter().flat_map(offers).collect();
    output::rows(shared, &rows, &MODEL_COLUMNS, "No model is known there.");
    Ok(())
}

fn offers(model: &Value) -> Vec<Value> {
    let row = |offer: &Value| {
        let price = |name: &str| {
            let micros = offer.get("price").and_then(|price| price.get(name)).and_then(Value::as_i64);
            micros.map(output::dollars)
        };
        json!({
            "model": output::cell(model, "model"),
            "provider": output::cell(offer, "provider"),
            "upstream_model": output::cell(offer, "upstream_model"),
            "context": model.get("context_tokens"),
            "input": price("input_micros_per_million").unwrap_or_else(|| "unpriced".to_owned()),
            "output": price("output_micros_per_million"),
            "cached_input": price("cached_input_micros_per_million"),
            "checked": output::cell(offer, "checked"),
        })
    };
    list(model, "offers").iter().map(row).collect()
}

pub fn capabilities(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let manifest = Api::connect(shared)?.get(&options.path("capabilities"))?;
    if shared.form() == Form::Json {
        println!("{manifest}");
        return Ok(());
    }
    let mut rows = Vec::new();
    for provider in list(&manifest, "data") {
        let slug = output::cell(provider, "provider");
        facts(&mut rows, &slug, "all", provider);
        for model in list(provider, "models") {
            let names = list(model, "names").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
            facts(&mut rows, &slug, &names, model);
        }
    }
    output::rows(shared, &rows, &FACT_COLUMNS, "Nothing is known of such a provider.");
    Ok(())
}

fn facts(rows: &mut Vec<Value>, provider: &str, models: &str, owner: &Value) {
    let none = Map::new();
    let facts = owner.get("facts").and_then(Value::as_object).unwrap_or(&none);
    for (name, fact) in facts {
        let said = fact.get("value").unwrap_or(fact);
        let source = output::cell(fact, "source");
        rows.push(json!({
            "provider": provider,
            "models": models,
            "fact": name,
            "value": said.as_str().map_or_else(|| said.to_string(), str::to_owned),
            "source": source,
        }));
    }
}

fn list<'a>(owner: &'a Value, name: &str) -> &'a [Value] {
    owner.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
