//! `tidegate nodes`: the runtimes on the customer's own hardware.

use serde_json::json;

use super::{Shared, servers};
use crate::api::{self, Api};
use crate::body::Body;
use crate::output::{self, Failure};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Registers a node: our own runtime, or any server that speaks the OpenAI dialect.
    Add {
        name: String,
        /// Its address, ending in /v1.
        #[arg(long)]
        base_url: String,
        /// What it serves; it is asked where left out.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        /// Labels that routes choose by.
        #[arg(long = "label", value_delimiter = ',')]
        labels: Vec<String>,
        /// Asks for the node's key, or reads it from standard input.
        #[arg(long)]
        with_key: bool,
    },
    /// Lists nodes.
    List,
    /// Shows one node.
    Show { id: String },
    /// Changes a node; what is left out stays.
    Set {
        id: String,
        #[arg(long)]
        name: Option<String>,
        /// What it serves.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        /// Labels that routes choose by.
        #[arg(long = "label", value_delimiter = ',')]
        labels: Vec<String>,
        #[command(flatten)]
        stating: servers::Stating,
    },
    /// Asks it what it takes of the OpenAI dialect, with a handful of small calls, and keeps what it said.
    Probe {
        id: String,
        /// Which of its models to ask; without it the first.
        #[arg(long)]
        model: Option<String>,
    },
    /// Gives it the key that it asks for, typed or from standard input.
    Rotate { id: String },
    /// Sends it nothing new; what runs on it finishes.
    Drain { id: String },
    /// Takes a drained node back.
    Resume { id: String },
    /// Removes it.
    Remove { id: String },
}

const PATH: &str = "/v2/byoc/nodes";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Add { name, base_url, models, labels, with_key } => {
            let secret = if with_key { Some(api::ask_secret(shared, &name)?) } else { None };
            let body = Body::new()
                .with("name", name)
                .with("base_url", base_url)
                .with_some("secret", secret)
                .with_list("models", &models)
                .with_list("labels", &labels)
                .done();
            servers::brief(shared, &api.post(PATH, &body)?);
        }
        Command::List => output::list(
            shared,
            &api.get(PATH)?,
            &["id", "name", "base_url", "status", "models", "labels", "last_seen_at", "last_error"],
            "No nodes. `tidegate node --model echo` starts one, `tidegate nodes add` registers it.",
        ),
        Command::Show { id } => servers::show(shared, &api.get(&format!("{PATH}/{id}"))?),
        Command::Set { id, name, models, labels, stating } => {
            let body = Body::new()
                .with_some("name", name)
                .with_list("models", &models)
                .with_list("labels", &labels)
                .with_some("stated_facts", stating.patch()?)
                .done();
            servers::brief(shared, &api.patch(&format!("{PATH}/{id}"), &body)?);
        }
        Command::Probe { id, model } => servers::probe(shared, &api, &format!("{PATH}/{id}"), model)?,
        Command::Rotate { id } => {
            let secret = api::ask_secret(shared, &id)?;
            servers::brief(shared, &api.patch(&format!("{PATH}/{id}"), &json!({"secret": secret}))?);
        }
        Command::Drain { id } => {
            servers::brief(shared, &api.patch(&format!("{PATH}/{id}"), &json!({"status": "draining"}))?);
        }
        Command::Resume { id } => {
            servers::brief(shared, &api.patch(&format!("{PATH}/{id}"), &json!({"status": "ready"}))?);
        }
        Command::Remove { id } => {
            api.delete(&format!("{PATH}/{id}"))?;
            shared.done(&format!("{id} is removed."));
        }
    }
    Ok(())
}
