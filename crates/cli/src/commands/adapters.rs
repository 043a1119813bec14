//! `tidegate adapters`: the LoRA adapters of the workspace's own runtimes.

use serde_json::{Value, json};

use crate::api::{Api, escape};
use crate::body::Body;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

/// Which node is meant.
#[derive(Debug, clap::Args)]
pub struct OnNode {
    /// The node, by name or id; optional if only one node runs `tidegate node`.
    #[arg(long)]
    pub node: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the adapters of every node that runs `tidegate node`.
    List(OnNode),
    /// Registers a directory in a node's adapter folder under a name.
    Register {
        /// The adapter's name; requests name it as MODEL:ADAPTER.
        name: String,
        #[command(flatten)]
        on: OnNode,
        /// Its directory in the adapter folder; by default the one with its name.
        #[arg(long)]
        path: Option<String>,
        /// Keeps it in memory when others are loaded.
        #[arg(long)]
        pin: bool,
        /// Replaces another adapter of that name; running answers keep the one that they started with.
        #[arg(long)]
        replace: bool,
    },
    /// Loads an adapter into its node's memory.
    Load {
        /// The adapter's name.
        name: String,
        #[command(flatten)]
        on: OnNode,
        /// Waits until the adapter is loaded.
        #[arg(long)]
        wait: bool,
        /// Keeps it in memory when others are loaded.
        #[arg(long, conflicts_with = "unpin")]
        pin: bool,
        /// Lets it be evicted again.
        #[arg(long)]
        unpin: bool,
    },
    /// Unregisters an adapter on a node. Its files stay.
    Unload {
        /// The adapter's name.
        name: String,
        #[command(flatten)]
        on: OnNode,
    },
}

const PATH: &str = "/v2/adapters";
const COLUMNS: [&str; 8] = ["id", "node", "status", "rank", "bytes", "pinned", "in_use", "error"];

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::List(on) => list(shared, &api.get(&format!("{PATH}{}", query(&on)))?),
        Command::Register { name, on, path, pin, replace } => {
            let body = Body::new()
                .with("id", name)
                .with_some("node", on.node)
                .with_some("path", path)
                .with("pinned", pin)
                .with("replace", replace)
                .build();
            output::object(shared, &api.post(PATH, &body)?);
        }
        Command::Load { name, on, wait, pin, unpin } => {
            let pinned = if pin || unpin { Some(pin) } else { None };
            let body =
                Body::new().with_some("node", on.node).with("wait", wait).with_some("pinned", pinned).build();
            output::object(shared, &api.post(&format!("{PATH}/{}/load", escape(&name)), &body)?);
        }
        Command::Unload { name, on } => {
            let body = Body::new().with_some("node", on.node).build();
            api.post(&format!("{PATH}/{}/unload", escape(&name)), &body)?;
            shared.report(&format!("{name} is forgotten there; its files are where they were."));
        }
    }
    Ok(())
}

/// The query string that selects a node.
pub fn query(on: &OnNode) -> String {
    on.node.as_ref().map(|node| format!("?node={}", escape(node))).unwrap_or_default()
}

fn list(shared: &Shared, listed: &Value) {
    let rows: Vec<Value> = rows_of(listed, "data").iter().map(|row| for_people(shared, row)).collect();
    let empty = "No adapters. A node reads them from its --adapters folder; docs/node.md explains how.";
    output::rows(shared, &rows, &COLUMNS, empty);
    print_unreachable(listed);
}

/// Reports the nodes that could not be reached, on standard error.
pub fn print_unreachable(listed: &Value) {
    for away in rows_of(listed, "away") {
        eprintln!("{}", output::printable(&output::cell(away, "message")));
    }
}

/// The array under this name; empty if there is none.
pub fn rows_of<'v>(listed: &'v Value, name: &str) -> &'v [Value] {
    listed.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// In a table, sizes are in human-readable units.
fn for_people(shared: &Shared, row: &Value) -> Value {
    let mut row = row.clone();
    let bytes = row.get("bytes").and_then(Value::as_u64);
    if let (Form::Table, Some(bytes), Some(fields)) = (shared.form(), bytes, row.as_object_mut()) {
        fields.insert("bytes".to_owned(), json!(output::bytes(bytes)));
    }
    row
}
