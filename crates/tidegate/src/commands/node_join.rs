//! `tidegate node join`: exchanges a join token for the node's own credential.

use std::path::PathBuf;

use cli::api::{self, Api};
use cli::output::Failure;
use node::{Membership, NodeKey};
use serde_json::json;

use crate::node_keys::{self, DATA_DIR};

/// Where a node listens by default.
const USUAL_ADDRESS: &str = "http://127.0.0.1:8080";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The control plane's address, such as https://gateway.example.
    #[arg(long)]
    control: String,
    /// The join token from `tidegate nodes invite`.
    #[arg(long)]
    token: String,
    /// The node's data directory.
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The address where the gateway reaches this node; by default where it listened last, or `http://127.0.0.1:8080` if it never
    /// did.
    #[arg(long, conflicts_with = "tunnel")]
    address: Option<String>,
    /// Has the node open a tunnel to the gateway, which then needs no address for it; for nodes that can't be reached from
    /// outside.
    #[arg(long)]
    tunnel: bool,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let control = options.control.trim().trim_end_matches('/').to_owned();
    let last = || node_keys::last_address(&options.data_dir).map(|address| format!("http://{address}"));
    let address = options.address.clone().or_else(last).unwrap_or_else(|| USUAL_ADDRESS.to_owned());
    let address = address.trim().trim_end_matches('/');
    let base_url = if address.ends_with("/v1") { address.to_owned() } else { format!("{address}/v1") };
    // The directory comes first: a node that can't store its credential must not use up the token.
    node_keys::create(&options.data_dir)?;
    let before = Membership::read(&options.data_dir)?;
    let key = node_keys::mint();
    let node_key = NodeKey::open_or_create(&options.data_dir)?;
    let base_url = (!options.tunnel).then_some(base_url);
    let body = json!({
        "token": options.token,
        "base_url": base_url,
        "tunnel": options.tunnel,
        "public_key": node_key.public_key().to_string(),
        "secret": key,
    });
    let joined = Api::without_key(&control)?.post("/v2/byoc/nodes/join", &body)?;
    node_keys::keep(&options.data_dir, &key)?;
    let membership = Membership {
        control,
        node_id: api::field(&joined, "node_id"),
        name: api::field(&joined, "name"),
        credential: api::field(&joined, "credential"),
        // Control planes before the tunnel name none.
        control_key: api::field(&joined, "control_key").parse().ok(),
        tunnel: options.tunnel,
    };
    membership.write(&options.data_dir)?;
    println!("{}", membership.node_id);
    if !options.tunnel {
        eprintln!(
            "The gateway reaches it at {address}, where it has to listen; --address names another one."
        );
    }
    if let Some(before) = before {
        eprintln!("It reports no more as {} to {}.", before.name, before.control);
    }
    eprintln!(
        "This node is {} at {}. It says so from its next start on: tidegate node --model … --data-dir {}",
        membership.name,
        membership.control,
        options.data_dir.display()
    );
    Ok(())
}
