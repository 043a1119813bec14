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
    /// Revokes a key: it is refused within a second.
    Revoke { id: String },
}

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
            output::object(shared.json, &api.post("/v2/api-keys", &body)?);
        }
        Command::List => output::list(
            shared.json,
            &api.get("/v2/api-keys")?,
            &["id", "name", "last4", "environment", "scopes", "status", "expires_at"],
            "No keys. `tidegate key create NAME` makes one.",
        ),
        Command::Revoke { id } => {
            api.delete(&format!("/v2/api-keys/{id}"))?;
            shared.done(&format!("{id} is revoked."));
        }
    }
    Ok(())
}
