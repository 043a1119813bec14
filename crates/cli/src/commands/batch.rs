//! `tidegate batch`: batches, how far each is, and who works through it.

use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the batches of the workspace, newest first.
    List,
    /// Shows a batch's progress, and its cost so far.
    Show { id: String },
    /// Cancels a batch that the gateway is processing; requests that haven't started never will.
    Cancel { id: String },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let batches = Collection::connect(shared, "/v2/batches")?;
    match command {
        Command::List => batches.list(
            &[
                "id",
                "dialect",
                "execution",
                "status",
                "requests",
                "cost_micros",
                "provider_cost_micros",
                "created_at",
            ],
            "No batch yet. Clients make them, over any model.",
        ),
        Command::Show { id } => batches.show(&id),
        Command::Cancel { id } => {
            let cancelled =
                batches.api.post(&format!("{}/cancel", batches.at(&id)), &serde_json::json!({}))?;
            output::object(shared, &cancelled);
            Ok(())
        }
    }
}
