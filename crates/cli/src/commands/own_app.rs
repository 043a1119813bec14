//! `tidegate app`: HTTP servers that a project declares as apps.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::body::{Body, json_of_file};
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Declares an HTTP server as an app.
    Add {
        /// The name that runs use for it: NAMESPACE/NAME.
        name: String,
        #[command(flatten)]
        fields: Fields,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Declares an app for each operation of an OpenAPI document.
    Import {
        /// The namespace of the apps.
        namespace: String,
        /// The document, as JSON.
        file: PathBuf,
        /// The operations, by their ids; by default all.
        #[arg(long = "operation", value_delimiter = ',')]
        operations: Vec<String>,
        /// The server to call, instead of the document's first.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// A secret to send to the server, by its name: NAME, or NAME=HEADER.
        #[arg(long = "secret", value_name = "NAME[=HEADER]")]
        secrets: Vec<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists apps.
    List,
    /// Shows an app.
    Show { id: String },
    /// Lists the versions of an app.
    Versions { id: String },
    /// Changes an app; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Enables a disabled app.
    Enable { id: String },
    /// Disables an app.
    Disable { id: String },
    /// Deletes an app.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Fields {
    /// What it does.
    #[arg(long)]
    description: Option<String>,
    /// The URL to call, which may have `{field}` in its path.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(long)]
    method: Option<String>,
    /// A file with the JSON Schema of its input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A file with the JSON Schema of its output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A secret to send to the server, by its name: NAME, or NAME=HEADER.
    #[arg(long = "secret", value_name = "NAME[=HEADER]")]
    secrets: Vec<String>,
    /// A provider for which the workspace must have a credential.
    #[arg(long = "needs", value_name = "PROVIDER")]
    needs: Vec<String>,
}

const PATH: &str = "/v2/apps";

/// `None` where none is named, so that those of an app stay.
fn secrets(named: &[String]) -> Option<Value> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, header)) => json!({"name": name, "header": header}),
        None => json!({"name": text}),
    };
    (!named.is_empty()).then(|| named.iter().map(one).collect())
}

fn body(fields: &Fields) -> Result<Body, Failure> {
    let needs = fields.needs.iter().map(|provider| json!({"type": "integration", "provider": provider}));
    let needs = (!fields.needs.is_empty()).then(|| needs.collect::<Value>());
    Ok(Body::new()
        .with_some("description", fields.description.clone())
        .with_some("url", fields.to.clone())
        .with_some("method", fields.method.clone())
        .with_some("input_schema", fields.input.as_deref().map(json_of_file).transpose()?)
        .with_some("output_schema", fields.output.as_deref().map(json_of_file).transpose()?)
        .with_some("secrets", secrets(&fields.secrets))
        .with_some("requirements", needs))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let apps = Collection::connect(shared, PATH)?;
    match command {
        Command::Add { name, fields, project } => {
            let body = body(&fields)?.with("name", name).with_some("project_id", project);
            apps.create(&body.build())
        }
        Command::Import { namespace, file, operations, to, secrets: named, project } => {
            let body = Body::new()
                .with("namespace", namespace)
                .with("document", json_of_file(&file)?)
                .with_list("operation_ids", &operations)
                .with_some("base_url", to)
                .with_some("secrets", secrets(&named))
                .with_some("project_id", project);
            let made = apps.api.post(&format!("{PATH}/import"), &body.build())?;
            output::list(shared, &made, &["id", "name", "method", "url"], "The document has no operations.");
            Ok(())
        }
        Command::List => apps.list(
            &["id", "name", "method", "url", "enabled"],
            "No apps. `tidegate app add NAMESPACE/NAME --to URL` declares one.",
        ),
        Command::Show { id } => apps.show(&id),
        Command::Versions { id } => {
            let versions = apps.api.get(&format!("{}/versions", apps.at(&id)))?;
            output::list(
                shared,
                &versions,
                &["version", "method", "url", "replaced_at"],
                "It has no versions.",
            );
            Ok(())
        }
        Command::Set { id, name, fields } => {
            apps.change(&id, &body(&fields)?.with_some("name", name).build())
        }
        Command::Enable { id } => apps.change(&id, &json!({"enabled": true})),
        Command::Disable { id } => apps.change(&id, &json!({"enabled": false})),
        Command::Remove { id } => apps.remove(&id),
    }
}
