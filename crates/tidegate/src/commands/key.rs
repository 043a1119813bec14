//! `tidegate key`: API keys, which are shown once and revoked at once.

use super::Shared;
use crate::api::Api;
use crate::body::Body;
use crate::output::{self, Failure};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes a key and prints it: it is not shown again.
    Create {
        name: String,
        /// The project it belongs to; the key's own project where left out.
        #[arg(long)]
        project: Option<String>,
        /// The environment whose routes it uses; the project's where left out.
        #[arg(long)]
        environment: Option<String>,
        /// What it may do: inference (default), read, admin.
        #[arg(long = "scope", value_delimiter = ',')]
        scopes: Vec<String>,
        #[arg(long)]
        expires_in_days: Option<u32>,
        /// Addresses or blocks that may use it.
        #[arg(long = "ip", value_delimiter = ',')]
        ip_allowlist: Vec<String>,
    },
    /// Lists keys.
    List,
    /// Shows one key; its text is not kept.
    Show { id: String },
    /// Changes a key; what is left out stays.
    Set {
        id: String,
        #[arg(long)]
        name: Option<String>,
        /// What it may do: inference, read, admin.
        #[arg(long = "scope", value_delimiter = ',')]
        scopes: Vec<String>,
        #[arg(long)]
        expires_in_days: Option<u32>,
        /// Addresses or blocks that may use it.
        #[arg(long = "ip", value_delimiter = ',')]
        ip_allowlist: Vec<String>,
    },
    /// Revokes a key: it is refused within a second.
    Revoke { id: String },
}

const PATH: &str = "/v2/api-keys";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Create { name, project, environment, scopes, expires_in_days, ip_allowlist } => {
            let body = Body::new()
                .with("name", name)
                .with_some("project_id", project)
                .with_some("environment", environment)
                .with_some("expires_in_days", expires_in_days)
                .with_list("scopes", &scopes)
                .with_list("ip_allowlist", &ip_allowlist)
                .done();
            output::object(shared, &api.post(PATH, &body)?);
        }
        Command::List => output::list(
            shared,
            &api.get(PATH)?,
            &["id", "name", "last4", "environment", "scopes", "status", "expires_at"],
            "No keys. `tidegate key create NAME` makes one.",
        ),
        Command::Show { id } => output::object(shared, &api.get(&format!("{PATH}/{id}"))?),
        Command::Set { id, name, scopes, expires_in_days, ip_allowlist } => {
            // Two expiries would be two truths: the new one takes the old one's place.
            let no_moment = expires_in_days.map(|_| serde_json::Value::Null);
            let body = Body::new()
                .with_some("name", name)
                .with_some("expires_at", no_moment)
                .with_some("expires_in_days", expires_in_days)
                .with_list("scopes", &scopes)
                .with_list("ip_allowlist", &ip_allowlist)
                .done();
            output::object(shared, &api.patch(&format!("{PATH}/{id}"), &body)?);
        }
        Command::Revoke { id } => {
            api.delete(&format!("{PATH}/{id}"))?;
            shared.done(&format!("{id} is revoked."));
        }
    }
    Ok(())
}
