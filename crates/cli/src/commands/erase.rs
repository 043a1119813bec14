//! `tidegate erase`: erases a person or a workspace, with a signed receipt.

use serde_json::Value;

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Erases a person, by their sessions and the requests that named them, or all content of the workspace.
    Add {
        #[command(flatten)]
        scope: Scope,
    },
    /// Shows an erasure: what is erased, and what is retained.
    Show { id: String },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// A person, by the name that their sessions and requests have.
    #[arg(long)]
    end_user: Option<String>,
    /// A person, by the ids of their sessions.
    #[arg(long = "session", value_delimiter = ',')]
    sessions: Vec<String>,
    /// Everything in your key's workspace.
    #[arg(long)]
    whole_workspace: bool,
}

impl Scope {
    fn body(self) -> Value {
        Body::new()
            .with_some("end_user", self.end_user)
            .with_list("session_ids", &self.sessions)
            .with_some("workspace", self.whole_workspace.then_some(true))
            .build()
    }
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let erasures = Collection::connect(shared, "/v2/deletion-requests")?;
    match command {
        Command::Add { scope } => erasures.create(&scope.body()),
        Command::Show { id } => erasures.show(&id),
    }
}
