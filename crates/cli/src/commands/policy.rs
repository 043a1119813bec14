//! `tidegate policy`: what the requests of a project may reach, whatever a route says.

use serde_json::Value;

use super::agreement::retention;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates the policy of a project. An omitted field allows everything.
    Add {
        #[arg(long)]
        project: String,
        #[command(flatten)]
        rules: Box<Rules>,
    },
    /// Lists policies.
    List,
    /// Shows one policy.
    Show { id: String },
    /// Changes a policy; omitted fields stay.
    Set {
        id: String,
        #[command(flatten)]
        rules: Box<Rules>,
    },
    /// Removes a policy. Only routes then decide where its project's requests go.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Rules {
    /// The only sellers that may serve; byoc stands for your own nodes.
    #[arg(long = "provider", value_delimiter = ',')]
    providers: Vec<String>,
    /// The only models, by their full names: each exact unless it ends in `*` or `/`.
    #[arg(long = "model", value_delimiter = ',')]
    models: Vec<String>,
    /// The only regions. A target of unknown region is not allowed.
    #[arg(long = "region", value_delimiter = ',')]
    regions: Vec<String>,
    /// byok, byoc, `managed_provider`.
    #[arg(long = "profile", value_delimiter = ',')]
    profiles: Vec<String>,
    /// The longest time that a provider may retain requests: zero, or days.
    #[arg(long)]
    retention: Option<String>,
    /// Compliance regimes that a credential or account must be agreed for, such as hipaa.
    #[arg(long = "compliance", value_delimiter = ',')]
    compliance: Vec<String>,
}

impl Rules {
    fn body(&self, project: Option<&String>) -> Result<Value, Failure> {
        Ok(Body::new()
            .with_some("project_id", project)
            .with_list("allowed_providers", &self.providers)
            .with_list("allowed_models", &self.models)
            .with_list("allowed_regions", &self.regions)
            .with_list("profiles", &self.profiles)
            .with_some("retention", self.retention.as_deref().map(retention).transpose()?)
            .with_list("compliance", &self.compliance)
            .build())
    }
}

const PATH: &str = "/v2/policies";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let policies = Collection::connect(shared, PATH)?;
    match command {
        Command::Add { project, rules } => {
            policies.create(&rules.body(Some(&project))?)?;
        }
        Command::List => policies.list(
            &[
                "id",
                "project_id",
                "allowed_providers",
                "allowed_models",
                "allowed_regions",
                "profiles",
                "retention",
            ],
            "No policies: requests reach what routes say.",
        )?,
        Command::Show { id } => policies.show(&id)?,
        Command::Set { id, rules } => {
            policies.change(&id, &rules.body(None)?)?;
        }
        Command::Remove { id } => policies.remove(&id)?,
    }
    Ok(())
}
