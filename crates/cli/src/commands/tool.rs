//! `tidegate tool`: functions and HTTP calls that a project declares for its models.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::ask_secret;
use crate::body::{Body, json_of_file};
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Declares a tool: an HTTP call with --to, an app with --app, or otherwise a function that the client runs.
    Add {
        /// The name that requests and models use for it.
        name: String,
        #[command(flatten)]
        fields: Fields,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Declares an HTTP tool for each operation of an OpenAPI document.
    Import {
        /// The document, as JSON.
        file: PathBuf,
        /// The operations, by their ids; by default all.
        #[arg(long = "operation", value_delimiter = ',')]
        operations: Vec<String>,
        /// A prefix for the names of the tools.
        #[arg(long)]
        prefix: Option<String>,
        /// The server to call, instead of the document's first.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        #[command(flatten)]
        auth: Auth,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists tools.
    List,
    /// Shows a tool; its secrets are never shown.
    Show { id: String },
    /// Changes a tool; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Enables a disabled tool.
    Enable { id: String },
    /// Disables a tool: it is hidden from models.
    Disable { id: String },
    /// Deletes a tool.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Fields {
    /// The description that models read.
    #[arg(long)]
    description: Option<String>,
    /// A file with the JSON Schema of its arguments.
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// The URL to call, which may have `{argument}` in its path.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(long)]
    method: Option<String>,
    /// The app that it runs: a model, or an HTTP server of the project.
    #[arg(long, value_name = "APP", conflicts_with_all = ["to", "method"])]
    app: Option<String>,
    #[command(flatten)]
    auth: Auth,
    /// Whether each call waits for the client's approval: true or false.
    #[arg(long)]
    approval: Option<bool>,
}

/// What a server is shown of its caller. The secret is prompted for, or read from standard input.
#[derive(Debug, clap::Args)]
pub struct Auth {
    /// Sends a bearer token with each call; prompts for it, or reads it from standard input.
    #[arg(long)]
    bearer: bool,
    /// Sends a key in this header with each call; prompts for it, or reads it from standard input.
    #[arg(long, value_name = "NAME", conflicts_with = "bearer")]
    key_header: Option<String>,
}

impl Auth {
    pub(super) fn read(self, shared: &Shared, of: &str) -> Result<Option<Value>, Failure> {
        Ok(match (self.bearer, self.key_header) {
            (true, _) => Some(json!({"type": "bearer", "token": ask_secret(shared, of)?})),
            (false, Some(header)) => {
                Some(json!({"type": "api_key", "header": header, "value": ask_secret(shared, of)?}))
            }
            (false, None) => None,
        })
    }
}

const PATH: &str = "/v2/tools";

fn body(shared: &Shared, of: &str, fields: Fields) -> Result<Body, Failure> {
    let parameters = fields.parameters.as_deref().map(json_of_file).transpose()?;
    Ok(Body::new()
        .with_some("description", fields.description)
        .with_some("parameters", parameters)
        .with_some("url", fields.to)
        .with_some("method", fields.method)
        .with_some("app", fields.app)
        .with_some("auth", fields.auth.read(shared, of)?)
        .with_some("require_approval", fields.approval))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let tools = Collection::connect(shared, PATH)?;
    match command {
        Command::Add { name, fields, project } => {
            let kind = match (&fields.app, &fields.to) {
                (Some(_), _) => "app",
                (None, Some(_)) => "http",
                (None, None) => "function",
            };
            let body = body(shared, &name, fields)?.with("name", name).with("kind", kind);
            tools.create(&body.with_some("project_id", project).build())
        }
        Command::Import { file, operations, prefix, to, auth, project } => {
            let body = Body::new()
                .with("document", json_of_file(&file)?)
                .with_list("operation_ids", &operations)
                .with_some("prefix", prefix)
                .with_some("base_url", to)
                .with_some("auth", auth.read(shared, "the tools")?)
                .with_some("project_id", project);
            let made = tools.api.post(&format!("{PATH}/import"), &body.build())?;
            output::list(shared, &made, &["id", "name", "method", "url"], "The document has no operations.");
            Ok(())
        }
        Command::List => tools.list(
            &["id", "name", "kind", "method", "url", "enabled"],
            "No tools. `tidegate tool add NAME --to URL` declares one.",
        ),
        Command::Show { id } => tools.show(&id),
        Command::Set { id, name, fields } => {
            let body = body(shared, &id, fields)?.with_some("name", name);
            tools.change(&id, &body.build())
        }
        Command::Enable { id } => tools.change(&id, &json!({"enabled": true})),
        Command::Disable { id } => tools.change(&id, &json!({"enabled": false})),
        Command::Remove { id } => tools.remove(&id),
    }
}
