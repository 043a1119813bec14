//! `tidegate workspace`: workspaces, for the operator.

use serde_json::json;

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes a workspace with a project and keys; the keys are shown once.
    Create { name: String },
    /// Lists workspaces.
    List,
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Create { name } => {
            output::object(shared.json, &api.post("/v2/workspaces", &json!({"name": name}))?);
        }
        Command::List => {
            output::list(
                shared.json,
                &api.get("/v2/workspaces")?,
                &["id", "name", "created_at"],
                "No workspaces.",
            );
        }
    }
    Ok(())
}
