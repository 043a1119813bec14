//! `tidegate data-planes`: gateways elsewhere that serve what this workspace configures.

use serde_json::{Value, json};

use cli::api;
use cli::body::Body;
use cli::collection::Collection;
use cli::output::{self, Failure, Form};
use cli::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a token for a data plane, and shows it once.
    Invite {
        /// The data plane's name.
        name: String,
        /// Minutes until the token expires: an hour by default, a week at most.
        #[arg(long)]
        expires_in_minutes: Option<u64>,
    },
    /// Lists data planes with the configuration version that each serves.
    List,
    /// Shows a data plane.
    Show { id: String },
    /// Revokes a data plane or its token; it stops serving within seconds.
    Revoke { id: String },
    /// Has a data plane take this installation's configuration although its own is newer. For a data plane that is `ahead`: it
    /// has changes that this installation lost when it was restored from a backup.
    Supersede { id: String },
    /// Lists what a data plane signed: purge receipts, and heads of its audit log.
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
            if shared.form() == Form::Table && !shared.dry_run {
                let (control, token) = (planes.api.address(), api::field(&invited, "token"));
                eprintln!("It is shown this once. Where the data plane runs, which must reach this address:");
                eprintln!("  tidegate gateway --control {control} --token {token} --data-dir ./data-plane");
            }
            Ok(())
        }
        Command::List => {
            let listed = planes.api.get(PATH)?;
            output::list(
                shared,
                &listed,
                &["id", "name", "status", "applied_version", "configuration", "last_seen_at"],
                "There are no data planes. `tidegate data-planes invite NAME` makes a token for one.",
            );
            let rows = listed.get("data").and_then(Value::as_array);
            rows.into_iter().flatten().for_each(|plane| warn_if_ahead(shared, plane));
            Ok(())
        }
        Command::Show { id } => {
            let plane = planes.api.get(&planes.at(&id))?;
            output::object(shared, &plane);
            warn_if_ahead(shared, &plane);
            Ok(())
        }
        Command::Supersede { id } => {
            planes.api.post(&format!("{}/supersede", planes.at(&id)), &json!({}))?;
            shared.report(&format!(
                "What is configured here is newer than what {id} has; it takes it within seconds."
            ));
            Ok(())
        }
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

/// What an operator does about a data plane that has what its control plane lost.
fn warn_if_ahead(shared: &Shared, plane: &Value) {
    if plane["configuration"] != "ahead" || plane["status"] != "joined" || shared.form() != Form::Table {
        return;
    }
    let (id, name) = (api::field(plane, "id"), api::field(plane, "name"));
    let version = &plane["applied_version"];
    eprintln!(
        "{name} is ahead: its version {version} has changes that this installation does not have, as after a restore from a backup. It \
         serves on with them until their life is over, and takes nothing older."
    );
    eprintln!(
        "  Make them here again, if they are to stay. Then let what is here count: tidegate data-planes supersede {id}"
    );
}
