//! `tidegate artifact` and `tidegate bundle`: content that never changes, and lists of it.

use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum ArtifactCommand {
    /// Stores a file as an artifact; `-` reads standard input.
    Add {
        file: String,
        /// `text_context`, `tool_bundle_source`, `response_schema`, document, `retrieval_chunk`, policy, checkpoint,
        /// `compaction_summary` or `binary_attachment`.
        #[arg(long = "type", default_value = "document")]
        kind: String,
        /// A name for people to recognise it by; by default the file's name.
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        media_type: Option<String>,
        /// ephemeral: a day; standard: 30 days; extended: until it is deleted.
        #[arg(long)]
        retention: Option<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists artifacts.
    List,
    /// Shows an artifact, without its content.
    Show { id: String },
    /// Writes the content of an artifact to standard output.
    Read { id: String },
    /// Deletes the content of an artifact.
    Remove { id: String },
}

#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Creates a bundle of artifacts, in the order given.
    Add {
        #[arg(required = true)]
        artifacts: Vec<String>,
        /// A name for people to recognise it by.
        #[arg(long)]
        name: Option<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists bundles.
    List,
    /// Shows a bundle.
    Show { id: String },
    /// Deletes a bundle; its artifacts stay.
    Remove { id: String },
}

fn read(file: &str) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let done = match file {
        "-" => std::io::stdin().read_to_end(&mut content).map(drop),
        path => std::fs::read(path).map(|read| content = read),
    };
    done.map_err(|error| output::unreadable(file, &error))?;
    Ok(content)
}

fn write(answer: &Value) -> Result<(), Failure> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let content = match (text("content"), text("content_base64")) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(encoded)) => STANDARD.decode(encoded).unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let done = std::io::stdout().write_all(&content);
    done.map_err(|error| Failure::new(1, format!("The standard output can't be written: {error}.")))
}

pub fn run_artifact(shared: &Shared, command: ArtifactCommand) -> Result<(), Failure> {
    let artifacts = Collection::connect(shared, "/v2/artifacts")?;
    match command {
        ArtifactCommand::Add { file, kind, name, media_type, retention, project } => {
            let content = read(&file)?;
            let of_file = Path::new(&file).file_name().filter(|_| file != "-");
            let name = name.or_else(|| of_file.map(|name| name.to_string_lossy().into_owned()));
            let body = Body::new()
                .with("type", kind)
                .with_some("name", name)
                .with_some("media_type", media_type)
                .with_some("retention", retention)
                .with_some("project_id", project);
            let body = match String::from_utf8(content) {
                Ok(text) => body.with("content", text),
                Err(error) => body.with("content_base64", STANDARD.encode(error.as_bytes())),
            };
            artifacts.create(&body.build())
        }
        ArtifactCommand::List => artifacts.list(
            &["id", "type", "name", "bytes", "status", "expires_at"],
            "No artifacts. `tidegate artifact add FILE` stores one.",
        ),
        ArtifactCommand::Show { id } => artifacts.show(&id),
        ArtifactCommand::Read { id } => write(&artifacts.api.get(&format!("{}/content", artifacts.at(&id)))?),
        ArtifactCommand::Remove { id } => artifacts.remove(&id),
    }
}

pub fn run_bundle(shared: &Shared, command: BundleCommand) -> Result<(), Failure> {
    let bundles = Collection::connect(shared, "/v2/bundles")?;
    match command {
        BundleCommand::Add { artifacts, name, project } => {
            let body =
                Body::new().with("items", artifacts).with_some("name", name).with_some("project_id", project);
            bundles.create(&body.build())
        }
        BundleCommand::List => bundles.list(
            &["id", "name", "items", "created_at"],
            "No bundles. `tidegate bundle add ARTIFACT…` makes one.",
        ),
        BundleCommand::Show { id } => bundles.show(&id),
        BundleCommand::Remove { id } => bundles.remove(&id),
    }
}
