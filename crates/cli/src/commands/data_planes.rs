//! `tidegate data-planes`: gateways elsewhere that serve what this workspace configures.

use serde_json::json;

use crate::api;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a token for a data plane, and shows it once.
    Invite {
        name: String,
        /// How long the token is valid: an hour by default, a week at most.
        #[arg(long)]
        expires_in_minutes: Option<u64>,
    },
    /// Lists data planes, with the version of the configuration that each serves.
    List,
    /// Shows a data plane.
    Show { id: String },
    /// Revokes a data plane, or its token: within seconds it serves nothing any more.
    Revoke { id: String },
    /// Lists what a data plane signed: receipts of purges, and heads of its audit.
    Evidence { id: String },
}

const PATH: &str = "/v2/data-planes";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let planes = Collection::connect(shared, PATH)?;
    match command {
        Command::Invite { name, expires_in_minutes } => {
            let body = Body::new().with("name", name).with_some("expires_in_minutes", expires_in_minutes);
            let invited = planes.api.post(PATH, &body.build())?;
            output::object(shared, &invited);
            if shared.form() == Form::Table {
                let (control, token) = (planes.api.address(), api::field(&invited, "token"));
                eprintln!("It is shown this once. Where the data plane runs, which must reach this address:");
                eprintln!("  tidegate gateway --control {control} --token {token} --data-dir ./data-plane");
            }
            Ok(())
        }
        Command::List => planes.list(
            &["id", "name", "status", "applied_version", "is_current", "last_seen_at"],
            "There are no data planes. `tidegate data-planes invite NAME` makes a token for one.",
        ),
        Command::Show { id } => planes.show(&id),
        Command::Revoke { id } => {
            planes.api.post(&format!("{}/revoke", planes.at(&id)), &json!({}))?;
            shared.report(&format!("{id} is revoked."));
            Ok(())
        }
        Command::Evidence { id } => {
            let rows = planes.api.get_all(&format!("{}/evidence", planes.at(&id)))?;
            output::rows(shared, &rows, &["kind", "of", "received_at"], "It has signed nothing yet.");
            Ok(())
        }
    }
}
