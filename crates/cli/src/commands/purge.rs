//! `tidegate purge`: removes what is stored of requests, and gets the signed receipt of it.

use serde_json::Value;

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Purges the stored data of requests everywhere. Give one scope.
    Add {
        #[command(flatten)]
        scope: Box<Scope>,
    },
    /// Lists the purges of the workspace.
    List,
    /// Shows a purge's progress, place by place.
    Show { id: String },
    /// Prints the signed receipt of a finished purge, for `tidegate receipt verify`.
    Receipt { id: String },
}

#[derive(Debug, clap::Args)]
#[group(required = true)]
pub struct Scope {
    /// Requests, by their ids.
    #[arg(long = "request", value_delimiter = ',')]
    requests: Vec<String>,
    /// A project, by name or id.
    #[arg(long)]
    project: Option<String>,
    /// The requests of an API key, by name or id.
    #[arg(long)]
    key: Option<String>,
    /// Requests from this time on, alone, with --key or with --end-user.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Requests before this time, alone, with --key or with --end-user.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The requests of an end user, by the name that the requests gave.
    #[arg(long)]
    end_user: Option<String>,
    /// A session, by its id.
    #[arg(long)]
    session: Option<String>,
    /// Artifacts, by their ids.
    #[arg(long = "artifact", value_delimiter = ',')]
    artifacts: Vec<String>,
    /// Everything in your key's workspace.
    #[arg(long)]
    whole_workspace: bool,
}

impl Scope {
    fn body(self) -> Value {
        Body::new()
            .with_list("request_ids", &self.requests)
            .with_some("project_id", self.project)
            .with_some("key_id", self.key)
            .with_some("from", self.from)
            .with_some("to", self.to)
            .with_some("end_user", self.end_user)
            .with_some("session_id", self.session)
            .with_list("artifact_ids", &self.artifacts)
            .with_some("workspace", self.whole_workspace.then_some(true))
            .build()
    }
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let purges = Collection::connect(shared, "/v2/purge-jobs")?;
    match command {
        Command::Add { scope } => purges.create(&scope.body()),
        Command::List => purges.list(
            &["id", "status", "scope", "created_at", "completed_at"],
            "Nothing was purged. `tidegate purge add --project ID --dry-run` counts what there is.",
        ),
        Command::Show { id } => purges.show(&id),
        Command::Receipt { id } => {
            println!("{:#}", purges.api.get(&format!("{}/receipt", purges.at(&id)))?);
            Ok(())
        }
    }
}
