//! `tidegate route`: rules in the account, never in the code that calls.

use serde_json::{Map, Value, json};

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a rule. Without any scope it is the workspace's default.
    Add(Box<Rule>),
    /// Lists rules.
    List,
    /// Shows one rule.
    Show { id: String },
    /// Removes a rule.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Rule {
    /// A model's full name, or the beginning of it: the longest match wins.
    #[arg(long, help_heading = "Scope")]
    model: Option<String>,
    #[arg(long, help_heading = "Scope")]
    provider: Option<String>,
    #[arg(long, help_heading = "Scope")]
    environment: Option<String>,
    #[arg(long, help_heading = "Scope")]
    project: Option<String>,
    #[arg(long, help_heading = "Scope")]
    key: Option<String>,
    /// The tag that a request carries in `Agent-Hints`.
    #[arg(long, help_heading = "Scope")]
    tag: Option<String>,
    /// byok, byoc, `managed_provider`, in order of choice.
    #[arg(long = "profile", value_delimiter = ',')]
    profiles: Vec<String>,
    /// Sellers in order of choice.
    #[arg(long = "seller", value_delimiter = ',')]
    providers: Vec<String>,
    #[arg(long = "credential", value_delimiter = ',')]
    credential_ids: Vec<String>,
    #[arg(long = "region", value_delimiter = ',')]
    regions: Vec<String>,
    #[arg(long = "node-label", value_delimiter = ',')]
    node_labels: Vec<String>,
    /// never (default) or managed: what serves when your own credentials have failed.
    #[arg(long)]
    byok_fallback: Option<String>,
    /// The failures that the fallback may follow: auth, quota, `rate_limit`, overloaded, upstream, timeout.
    #[arg(long = "fallback-on", value_delimiter = ',')]
    fallback_on: Vec<String>,
}

impl Rule {
    fn body(&self) -> Value {
        let mut scope = Map::new();
        for (field, value) in [
            ("model", &self.model),
            ("provider", &self.provider),
            ("environment", &self.environment),
            ("project_id", &self.project),
            ("key_id", &self.key),
            ("tag", &self.tag),
        ] {
            if let Some(value) = value {
                scope.insert(field.into(), json!(value));
            }
        }
        let mut body = json!({"scope": scope});
        for (field, list) in [
            ("profiles", &self.profiles),
            ("providers", &self.providers),
            ("credential_ids", &self.credential_ids),
            ("regions", &self.regions),
            ("node_labels", &self.node_labels),
            ("fallback_on", &self.fallback_on),
        ] {
            if !list.is_empty() {
                body[field] = json!(list);
            }
        }
        if let Some(fallback) = &self.byok_fallback {
            body["byok_fallback"] = json!(fallback);
        }
        body
    }
}

const PATH: &str = "/v2/routes";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Add(rule) => output::object(shared.json, &api.post(PATH, &rule.body())?),
        Command::List => output::list(
            shared.json,
            &api.get(PATH)?,
            &["id", "scope", "profiles", "providers", "credential_ids", "byok_fallback"],
            "No routes: own credentials serve first, then nodes, then managed accounts.",
        ),
        Command::Show { id } => output::object(shared.json, &api.get(&format!("{PATH}/{id}"))?),
        Command::Remove { id } => {
            api.delete(&format!("{PATH}/{id}"))?;
            api.done(shared, &format!("{id} is removed."));
        }
    }
    Ok(())
}
