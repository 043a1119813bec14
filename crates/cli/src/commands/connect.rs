//! `tidegate connect`: what a tool needs to use the gateway, printed or written to its settings file, and one call
//! that shows that it works.

mod settings;

use std::time::Instant;

use clients::{Client, Clients, Place};
use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::limits::NEW_KEY_NAMES_MAX;
use crate::output::{self, Failure};
use crate::shared::Shared;

/// Printed for the key: terminals are recorded and shared.
const KEY_PRINTED: &str = "YOUR_API_KEY";
/// The models that a message names.
const MODELS_NAMED: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The tool, such as claude-code, codex, opencode or cursor; without it, all tools are listed.
    tool: Option<String>,
    /// The model that the tool uses; may be omitted if the gateway serves only one.
    #[arg(long)]
    model: Option<String>,
    /// Creates an API key for the tool, which can only call models, instead of using yours.
    #[arg(long)]
    new_key: bool,
    /// Writes the tool's settings file, if it has one, and keeps its other settings.
    #[arg(long)]
    write: bool,
    /// Skips the verification call.
    #[arg(long)]
    no_verify: bool,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let table = clients::clients().map_err(anyhow::Error::from)?;
    let Some(tool) = &options.tool else {
        list(shared, &table);
        return Ok(());
    };
    let client = find(&table, tool)?;
    let file = if options.write { Some(settings::File::of(client)?) } else { None };
    let (url, own) = shared.gateway()?;
    let api = Api::connect(shared)?;
    let model = match &options.model {
        Some(model) => model.clone(),
        None => only_model(&api, tool)?,
    };
    let key = if options.new_key { Some(new_key(&api, client)?) } else { own };
    let key = key.unwrap_or_default();
    // A key that was just made is shown once.
    let printed_key = if options.new_key { key.as_str() } else { KEY_PRINTED };
    let place = Place { url: &url, key: printed_key, model: &model };
    let written = match &file {
        Some(file) if !shared.dry_run => {
            file.write(client, &Place { key: &key, ..place })?;
            Some(file.display())
        }
        Some(file) => Some(file.display()),
        None => None,
    };
    if !shared.json {
        print(client, &place, written.as_deref(), shared.dry_run);
    }
    let verified = if options.no_verify || shared.dry_run { None } else { Some(verify(&url, &key, &model)?) };
    if shared.json {
        let answer = json!({
            "tool": client.id,
            "model": model,
            "settings": written,
            "environment": filled(client, &place),
            "verified_in_ms": verified,
        });
        println!("{answer}");
    } else if let Some(ms) = verified {
        println!("\nVerified: {model} answered in {ms} ms.");
    }
    Ok(())
}

fn list(shared: &Shared, table: &Clients) {
    let rows: Vec<Value> = table
        .clients
        .iter()
        .map(|client| {
            let writes = client.settings.as_ref().map(|settings| settings.path.as_str());
            json!({"tool": client.id, "name": client.name, "kind": client.group, "writes": writes})
        })
        .collect();
    output::rows(shared, &rows, &["tool", "name", "kind", "writes"], "");
    if !shared.json {
        println!("\n`tidegate connect TOOL` prints its settings; --write writes them.");
    }
}

fn find<'a>(table: &'a Clients, tool: &str) -> Result<&'a Client, Failure> {
    table.find(tool).ok_or_else(|| {
        let known = table.clients.iter().map(|client| client.id.as_str());
        let fix = output::did_you_mean(tool, known).unwrap_or_else(|| {
            "`tidegate connect` lists them. Use env for any other tool that speaks OpenAI's format."
                .to_owned()
        });
        Failure::new(output::NOT_FOUND, format!("There is no tool \"{}\".", output::printable(tool))).fix(fix)
    })
}

/// The model, if the gateway serves only one; which of several a tool is to use, nobody but its user knows.
fn only_model(api: &Api, tool: &str) -> Result<String, Failure> {
    let list = api.get("/v1/models")?;
    let rows = list.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = rows.iter().map(|row| field(row, "id")).collect();
    match names.as_slice() {
        [] => Err(Failure::new(output::NOT_FOUND, "The gateway serves no model yet.")
            .fix("`tidegate credential add PROVIDER` connects one, or `tidegate nodes invite NAME` a node.")),
        [only] => Ok(only.clone()),
        several @ [first, ..] => {
            let example = output::printable(first);
            let first = several.iter().take(MODELS_NAMED).map(|name| output::printable(name));
            let message = format!(
                "The gateway serves {} models, such as {}.",
                several.len(),
                first.collect::<Vec<_>>().join(", ")
            );
            let fix = format!("Choose one: tidegate connect {tool} --model {example}");
            Err(Failure::new(output::USAGE, message).fix(fix))
        }
    }
}

fn new_key(api: &Api, client: &Client) -> Result<String, Failure> {
    let mut number = 1;
    let made = loop {
        let name = if number == 1 { client.id.clone() } else { format!("{}-{number}", client.id) };
        match api.post("/v2/api-keys", &json!({"name": name, "scopes": ["inference"]})) {
            // The project has a key of this name, from another machine.
            Err(failure) if failure.code == output::CONFLICT && number < NEW_KEY_NAMES_MAX => number += 1,
            made => break made?,
        }
    };
    Ok(made.get("key").and_then(Value::as_str).unwrap_or(KEY_PRINTED).to_owned())
}

/// The environment that the tool reads, filled in.
fn filled(client: &Client, place: &Place<'_>) -> Value {
    client.env.iter().map(|(name, text)| (name.clone(), Value::String(place.fill(text)))).collect()
}

fn print(client: &Client, place: &Place<'_>, written: Option<&str>, is_dry: bool) {
    if let Some(path) = written {
        let done = if is_dry { "Dry run: it would write" } else { "Wrote" };
        println!("{done} {path}.");
        // What the file refers to and does not hold.
        for (name, text) in client.env.iter().filter(|(name, _)| settings::names(client, name)) {
            println!("Set {name}={} where the tool runs.", place.fill(text));
        }
        return;
    }
    for snippet in &client.snippets {
        println!("# {}\n{}", snippet.label, place.fill(snippet.text.trim()));
        println!();
    }
    if !client.note.is_empty() {
        println!("{}", client.note);
    }
    if client.settings.is_some() {
        println!("`tidegate connect {} --write` writes this for you.", client.id);
    }
}

/// One short call with what the tool will use; the milliseconds that it took.
fn verify(url: &str, key: &str, model: &str) -> Result<u64, Failure> {
    let start = Instant::now();
    // Without a limit of tokens: models of OpenAI that reason refuse `max_tokens`, and others don't know its successor.
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Answer with OK."}]});
    Api::with_key(url, key)?.post("/v1/chat/completions", &body).map_err(|mut failure| {
        failure.message = format!("The first call failed. {}", failure.message);
        match failure.code {
            output::FORBIDDEN => failure.fix("Add --new-key: your own key may not call models."),
            _ => failure,
        }
    })?;
    Ok(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_tool_is_recognised() {
        let table = clients::clients().unwrap();
        assert_eq!(find(&table, "codex").unwrap().id, "codex");
        assert!(find(&table, "claudecode").unwrap_err().fix_text().unwrap().contains("claude-code"));
        assert!(find(&table, "emacs").unwrap_err().fix_text().unwrap().contains("env"));
    }
}
