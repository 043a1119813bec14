//! `tidegate hold`: legal holds, which keep stored content from being deleted.

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Places a hold on stored content: it isn't purged or deleted, and doesn't expire.
    Add {
        #[command(flatten)]
        scope: Scope,
        /// The reason, for people who run into the hold.
        #[arg(long)]
        reason: String,
    },
    /// Lists holds, including released ones.
    List,
    /// Shows a hold.
    Show { id: String },
    /// Releases a hold.
    Release { id: String },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// A project, by name or id.
    #[arg(long)]
    project: Option<String>,
    /// Sessions, by their ids.
    #[arg(long = "session", value_delimiter = ',')]
    sessions: Vec<String>,
    /// Everything in your key's workspace.
    #[arg(long)]
    whole_workspace: bool,
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let holds = Collection::connect(shared, "/v2/legal-holds")?;
    match command {
        Command::Add { scope, reason } => holds.create(
            &Body::new()
                .with_some("project_id", scope.project)
                .with_list("session_ids", &scope.sessions)
                .with_some("workspace", scope.whole_workspace.then_some(true))
                .with_some("reason", Some(reason))
                .build(),
        ),
        Command::List => holds.list(
            &["id", "status", "reason", "created_at", "released_at"],
            "Nothing is held. `tidegate hold add --project ID --reason TEXT` holds a project.",
        ),
        Command::Show { id } => holds.show(&id),
        Command::Release { id } => {
            holds.api.delete(&holds.at(&id))?;
            shared.report(&format!("{id} is released."));
            Ok(())
        }
    }
}
