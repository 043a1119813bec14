//! `tidegate mcp-server`: MCP servers whose tools a project offers its models.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tool::Auth;
use crate::api::ask_secret;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Declares an MCP server, and reads its tools.
    Add {
        /// The name that requests use for it; the names of its tools begin with it.
        name: String,
        /// Its streamable HTTP endpoint, or `stdio:NAME` for a program that the operator declared.
        #[arg(value_name = "URL")]
        to: String,
        #[command(flatten)]
        fields: Fields,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists MCP servers.
    List,
    /// Shows an MCP server with its tools.
    Show { id: String },
    /// Changes an MCP server; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Reads an MCP server's tools again. Changed tools are held back until you accept them.
    Refresh { id: String },
    /// Prints the address where a person authorizes an MCP server, and waits until they have.
    Authorize {
        /// Its id or its name.
        server: String,
        /// Prints the address without waiting.
        #[arg(long)]
        no_wait: bool,
    },
    /// Accepts tools as the server lists them now; by default all that are waiting.
    Accept { id: String, tools: Vec<String> },
    /// Enables a disabled MCP server.
    Enable { id: String },
    /// Disables an MCP server: its tools are hidden from models.
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
    /// Uses OAuth: a person signs in at its authorization server.
    #[arg(long, conflicts_with_all = ["bearer", "key_header"])]
    oauth: bool,
    /// The OAuth scopes to request; by default the server's own.
    #[arg(long = "scope", requires = "oauth", value_delimiter = ',')]
    scopes: Vec<String>,
    /// The client ID that you registered at its authorization server; the client's secret, if any, is read from standard input.
    #[arg(long, requires = "oauth")]
    client_id: Option<String>,
    /// The client has a secret.
    #[arg(long, requires = "client_id")]
    client_secret: bool,
    /// The tools that may be used; by default all accepted tools.
    #[arg(long = "allow", value_delimiter = ',')]
    allowed: Vec<String>,
    /// Whether calls wait for the client's approval: `always` or `never`.
    #[arg(long)]
    approval: Option<String>,
}

const PATH: &str = "/v2/mcp-servers";
const TOOLS: [&str; 4] = ["name", "status", "suspicious", "description"];

/// How long a person has.
const SIGN_IN_TIME: Duration = Duration::from_secs(600);
/// How often it is looked whether a person has signed in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

fn oauth(shared: &Shared, of: &str, fields: &Fields) -> Result<Value, Failure> {
    let secret = if fields.client_secret { Some(ask_secret(shared, of)?) } else { None };
    Ok(Body::new()
        .with("type", "oauth")
        .with_list("scopes", &fields.scopes)
        .with_some("client_id", fields.client_id.clone())
        .with_some("client_secret", secret)
        .build())
}

fn body(shared: &Shared, of: &str, fields: Fields) -> Result<Body, Failure> {
    let auth = if fields.oauth { Some(oauth(shared, of, &fields)?) } else { fields.auth.read(shared, of)? };
    Ok(Body::new()
        .with_some("description", fields.description)
        .with_some("auth", auth)
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
        Command::Authorize { server, no_wait } => authorize(shared, &servers, &server, !no_wait),
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

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn authorize(shared: &Shared, servers: &Collection<'_>, named: &str, waits: bool) -> Result<(), Failure> {
    let all = servers.api.get_all(PATH)?;
    let found = all.iter().find(|server| text(server, "/id") == named || text(server, "/name") == named);
    let found = found.ok_or_else(|| {
        Failure::new(
            output::USAGE,
            format!("There is no MCP server \"{named}\": `tidegate mcp-server list`."),
        )
    })?;
    let at = servers.at(text(found, "/id"));
    let sign_in = servers.api.post(&format!("{at}/authorize"), &json!({}))?;
    if !waits {
        output::object(shared, &sign_in);
        return Ok(());
    }
    eprintln!("Open {} and sign in", text(&sign_in, "/authorization_url"));
    let checked_before = text(found, "/checked_at").to_owned();
    let deadline = Instant::now() + SIGN_IN_TIME;
    while Instant::now() < deadline {
        servers.api.pause(LOOK_EVERY);
        let server = servers.api.get(&at)?;
        // Its tools are read once the sign-in has ended.
        if text(&server, "/authorization/state") == "authorized"
            && text(&server, "/checked_at") != checked_before
        {
            output::object(shared, &server);
            return Ok(());
        }
    }
    Err(Failure::new(output::FAILED, "Nobody signed in in time: begin again."))
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
