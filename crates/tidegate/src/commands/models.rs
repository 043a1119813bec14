//! `tidegate models` and `tidegate capabilities`: the known models, what they cost, and what they and their
//! sellers can do, each with its source; and the models on this machine's disk.

use cli::api::Api;
use cli::commands::capability::facts_of;
use cli::output::{self, Failure, Form};
use cli::shared::Shared;
use hub::{Entry, HubError, Reference, memory_of};
use serde_json::{Value, json};

use crate::shelf::{self, ModelsDir};

const MODEL_COLUMNS: [&str; 8] =
    ["model", "provider", "upstream_model", "context", "input", "output", "cached_input", "price_of"];
const HERE_COLUMNS: [&str; 6] =
    ["name", "repository", "bytes", "weights_bytes", "thousand_tokens_bytes", "pulled_at"];
const FACT_COLUMNS: [&str; 5] = ["provider", "models", "fact", "value", "source"];

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the offers of this provider.
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

/// `list`, which needs no verb, asks the gateway; the others look at the disk.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Models {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the known models, their sellers and their prices, as the command does without a verb.
    List(Options),
    /// Lists the models on this machine's disk, and the memory that each needs.
    Local(ModelsDir),
    /// Shows a model on this machine's disk: its files, their origin, and the memory that it needs.
    Show(ModelOptions),
    /// Removes a model from this machine's disk, including partial downloads.
    Rm(ModelOptions),
}

#[derive(Debug, clap::Args)]
struct ModelOptions {
    /// The model's name, as it was pulled.
    name: String,
    #[command(flatten)]
    place: ModelsDir,
}

impl ModelOptions {
    /// # Errors
    /// No model can have that name, so that none of this machine has it.
    fn reference(&self) -> Result<Reference, Failure> {
        Reference::read(&self.name).map_err(|_| {
            let text = format!(
                "There is no model {} on this machine. `tidegate models local` lists them.",
                self.name
            );
            Failure::new(output::NOT_FOUND, text)
        })
    }
}

/// Prices are in dollars per million tokens.
pub fn models(shared: &Shared, models: Models) -> Result<(), Failure> {
    let failure = |error: HubError| shelf::failure(&error);
    match models.verb {
        None => list_known(shared, &models.options),
        Some(Verb::List(options)) => list_known(shared, &options),
        Some(Verb::Local(place)) => {
            let rows: Vec<Value> =
                place.shelf()?.entries().map_err(failure)?.iter().map(|e| row(shared, e)).collect();
            let empty = "No model is here. `tidegate pull qwen3:0.6b` brings one.";
            output::rows(shared, &rows, &HERE_COLUMNS, empty);
            Ok(())
        }
        Some(Verb::Show(named)) => {
            let model = named.reference()?;
            let entry = named.place.shelf()?.find(&model).ok_or_else(|| {
                let text = format!("{model} is not here. `tidegate pull {model}` brings it.");
                Failure::new(output::NOT_FOUND, text)
            })?;
            show(shared, &entry);
            Ok(())
        }
        Some(Verb::Rm(named)) => {
            let model = named.reference()?;
            let bytes = named.place.shelf()?.remove(&model).map_err(failure)?;
            shared.report(&format!("{model} is removed: {} are free again.", output::bytes(bytes)));
            Ok(())
        }
    }
}

/// Human-readable sizes in a table, bytes for programs.
fn row(shared: &Shared, entry: &Entry) -> Value {
    let memory = memory_of(entry);
    if shared.form() != Form::Table {
        return shelf::document(entry, &memory);
    }
    json!({
        "name": entry.manifest.name,
        "repository": entry.manifest.repository,
        "bytes": output::bytes(entry.manifest.bytes),
        "weights_bytes": output::bytes(memory.weights_bytes),
        "thousand_tokens_bytes": memory.thousand_tokens_bytes.map(output::bytes),
        "pulled_at": entry.manifest.pulled_at,
    })
}

fn show(shared: &Shared, entry: &Entry) {
    let memory = memory_of(entry);
    let mut document = shelf::document(entry, &memory);
    if shared.form() != Form::Table {
        return output::object(shared, &document);
    }
    let files = document.as_object_mut().and_then(|fields| {
        fields.retain(|name, _| name != "weights_bytes" && name != "thousand_tokens_bytes");
        fields.insert("memory".to_owned(), Value::from(shelf::need(&memory)));
        fields.remove("files")
    });
    output::object(shared, &document);
    println!();
    let files = files.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    output::rows(shared, files, &["name", "bytes", "sha256"], "It has no files.");
}

fn list_known(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let book = Api::connect(shared)?.get(&options.path("price-books"))?;
    if shared.form() == Form::Json {
        println!("{book}");
        return Ok(());
    }
    let rows: Vec<Value> = list(&book, "data").iter().flat_map(offers).collect();
    output::rows(shared, &rows, &MODEL_COLUMNS, "No model is known there.");
    let is_unread = |row: &Value| row.get("price_of").and_then(Value::as_str) == Some("unverified");
    if shared.form() == Form::Table && rows.iter().any(is_unread) {
        println!("Where the price is unverified: `tidegate credential set NAME --price MODEL=IN/OUT`");
    }
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
            "price_of": price_day(offer),
        })
    };
    list(model, "offers").iter().map(row).collect()
}

/// The day of a price: its source's own, or the day it was read if the source has none.
fn price_day(offer: &Value) -> String {
    let day = offer
        .get("as_of")
        .and_then(Value::as_str)
        .map_or_else(|| output::cell(offer, "checked"), str::to_owned);
    match offer.get("third_hand").and_then(Value::as_bool) {
        Some(true) => format!("{day} third hand").trim_start().to_owned(),
        _ if output::cell(offer, "source") == "unverified" => "unverified".to_owned(),
        _ => day,
    }
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
    for mut row in facts_of(models, owner) {
        if let Some(cells) = row.as_object_mut() {
            cells.insert("provider".to_owned(), json!(provider));
        }
        rows.push(row);
    }
}

fn list<'a>(owner: &'a Value, name: &str) -> &'a [Value] {
    owner.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
