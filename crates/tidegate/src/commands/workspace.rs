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
    /// Shows one workspace.
    Show { id: String },
    /// Gives it another name.
    Rename { id: String, name: String },
    /// Removes it, once its projects, credentials and nodes are gone.
    Remove { id: String },
}

const PATH: &str = "/v2/workspaces";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Create { name } => {
            output::object(shared, &api.post(PATH, &json!({"name": name}))?);
        }
        Command::Show { id } => output::object(shared, &api.get(&format!("{PATH}/{id}"))?),
        Command::Rename { id, name } => {
            output::object(shared, &api.patch(&format!("{PATH}/{id}"), &json!({"name": name}))?);
        }
        Command::Remove { id } => {
            api.delete(&format!("{PATH}/{id}"))?;
            shared.done(&format!("{id} is removed."));
        }
        Command::List => {
            output::list(shared, &api.get(PATH)?, &["id", "name", "created_at"], "No workspaces.");
        }
    }
    Ok(())
}
