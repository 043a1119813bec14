//! `tidegate context`: the gateways that this person is signed in to, and which of them is current.

use serde_json::{Value, json};

use crate::contexts::{Context, Contexts};
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the gateways that `tidegate login` knows; the current one is marked.
    List,
    /// Selects the current context.
    Use { name: String },
    /// Shows one, or the current one; its key is never shown.
    Show { name: Option<String> },
    /// Forgets a context. Its key stays valid until `tidegate logout` or a revocation.
    Remove { name: String },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let mut contexts = Contexts::read()?;
    match command {
        Command::List => {
            let current = contexts.current.as_deref();
            let rows: Vec<Value> = contexts
                .contexts
                .iter()
                .map(|(name, context)| summary(name, context, current == Some(name.as_str())))
                .collect();
            let columns = ["name", "url", "workspace_id", "current"];
            output::rows(shared, &rows, &columns, "No contexts. `tidegate login` makes one.");
        }
        Command::Use { name } => {
            check_exists(&contexts, &name)?;
            contexts.current = Some(name.clone());
            contexts.write()?;
            shared.report(&format!("{name} is the current context."));
        }
        Command::Show { name } => {
            let wanted = name.as_deref().or(shared.context.as_deref());
            let (name, context) = contexts.choose(wanted)?.ok_or_else(|| {
                Failure::new(output::AUTHENTICATION, "Nobody is signed in on this machine: `tidegate login`.")
            })?;
            output::object(shared, &summary(name, context, contexts.current.as_deref() == Some(name)));
        }
        Command::Remove { name } => {
            check_exists(&contexts, &name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.write()?;
            shared.report(&format!("{name} is forgotten on this machine. Its key is not revoked."));
        }
    }
    Ok(())
}

fn check_exists(contexts: &Contexts, name: &str) -> Result<(), Failure> {
    if contexts.contexts.contains_key(name) {
        return Ok(());
    }
    let names: Vec<_> = contexts.contexts.keys().map(String::as_str).collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Failure::new(output::NOT_FOUND, format!("There is no context {name}; there is {there}.")))
}

fn summary(name: &str, context: &Context, is_current: bool) -> Value {
    json!({"name": name, "url": context.url, "workspace_id": context.workspace_id, "current": is_current})
}
