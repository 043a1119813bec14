//! `tidegate mcp-server`: MCP servers whose tools a project offers its models.

use serde_json::{Value, json};

use super::tool::Auth;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Declares an MCP server, and reads its tools.
    Add {
        /// By which requests name it; the names of its tools begin with it.
        name: String,
        /// Its endpoint of streamable HTTP.
        #[arg(value_name = "URL")]
        to: String,
        #[command(flatten)]
        fields: Fields,
        /// The project; by default the key's own.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists MCP servers.
    List,
    /// Shows an MCP server with its tools.
    Show { id: String },
    /// Changes fields of an MCP server; omitted ones stay.
    Set {
        id: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Reads its tools now. What changed is held back until it is accepted.
    Refresh { id: String },
    /// Accepts tools as the server lists them now; by default all that wait.
    Accept { id: String, tools: Vec<String> },
    /// Offers its tools again.
    Enable { id: String },
    /// Offers its tools no more.
    Disable { id: String },
    /// Deletes an MCP server.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Fields {
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    auth: Auth,
    /// The tools that may be used; by default all that are accepted.
    #[arg(long = "allow", value_delimiter = ',')]
    allowed: Vec<String>,
    /// `always` or `never`: whether calls wait for the client's approval.
    #[arg(long)]
    approval: Option<String>,
}

const PATH: &str = "/v2/mcp-servers";
const TOOLS: [&str; 4] = ["name", "status", "suspicious", "description"];

fn body(shared: &Shared, of: &str, fields: Fields) -> Result<Body, Failure> {
    Ok(Body::new()
        .with_some("description", fields.description)
        .with_some("auth", fields.auth.read(shared, of)?)
        .with_list("allowed_tools", &fields.allowed)
        .with_some("require_approval", fields.approval))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let servers = Collection::connect(shared, PATH)?;
    let refresh = |id: &str| servers.api.post(&format!("{}/refresh", servers.at(id)), &json!({}));
    match command {
        Command::Add { name, to, fields, project } => {
            let body = body(shared, &name, fields)?.with("name", name).with("url", to);
            let made = servers.api.post(PATH, &body.with_some("project_id", project).build())?;
            let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
            output::object(shared, &refresh(id)?);
            Ok(())
        }
        Command::List => servers.list(
            &["id", "name", "url", "health", "enabled"],
            "No MCP servers. `tidegate mcp-server add NAME URL` declares one.",
        ),
        Command::Show { id } => servers.show(&id),
        Command::Set { id, name, to, fields } => {
            let body = body(shared, &id, fields)?.with_some("name", name).with_some("url", to);
            servers.change(&id, &body.build())
        }
        Command::Refresh { id } => {
            let read = refresh(&id)?;
            let tools = json!({"data": read.get("tools").cloned().unwrap_or_default()});
            output::list(
                shared,
                &tools,
                &TOOLS,
                "It lists no tools. `tidegate mcp-server show ID` says why.",
            );
            Ok(())
        }
        Command::Accept { id, tools } => {
            let read = servers.api.get(&servers.at(&id))?;
            let body = json!({"tools": accepted(&read, &tools)?});
            output::object(shared, &servers.api.post(&format!("{}/accept", servers.at(&id)), &body)?);
            Ok(())
        }
        Command::Enable { id } => servers.change(&id, &json!({"enabled": true})),
        Command::Disable { id } => servers.change(&id, &json!({"enabled": false})),
        Command::Remove { id } => servers.remove(&id),
    }
}

/// The named tools, or all that wait, with the digests of what was just read.
fn accepted(server: &Value, names: &[String]) -> Result<Vec<Value>, Failure> {
    let tools = server.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |tool: &Value, field: &str| tool.get(field).and_then(Value::as_str).map(str::to_owned);
    let waits =
        |tool: &Value| matches!(text(tool, "status").as_deref(), Some("new" | "changed" | "suspicious"));
    let is_meant = |tool: &&Value| match text(tool, "name") {
        Some(name) if !names.is_empty() => names.contains(&name),
        _ => waits(tool),
    };
    let found = tools.iter().filter(is_meant);
    let found: Vec<Value> = found
        .map(|tool| {
            let digest = text(tool, "listed_digest").or_else(|| text(tool, "digest"));
            json!({"name": text(tool, "name"), "digest": digest})
        })
        .collect();
    if found.is_empty() {
        return Err(Failure::new(output::USAGE, "No such tool waits to be accepted."));
    }
    Ok(found)
}
