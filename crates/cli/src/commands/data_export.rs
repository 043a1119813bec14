//! `tidegate data-export`: a copy of what the workspace owns.

use std::fs::File;
use std::io::Write as _;

use serde_json::Value;

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::progress::Progress;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Exports the workspace's data: JSON lines or Parquet in a tar archive, without secrets.
    Add {
        /// Only this project's data, by name or id.
        #[arg(long)]
        project: Option<String>,
        /// jsonl, or parquet.
        #[arg(long)]
        format: Option<String>,
    },
    /// Lists exports.
    List,
    /// Shows an export's progress and its files.
    Show { id: String },
    /// Writes the archive of an export to a file.
    Save { id: String, file: String },
    /// Deletes an export with its archive.
    Remove { id: String },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let exports = Collection::connect(shared, "/v2/data-exports")?;
    match command {
        Command::Add { project, format } => {
            let body = Body::new().with_some("project_id", project).with_some("format", format);
            exports.create(&body.build())
        }
        Command::List => exports.list(
            &["id", "status", "project_id", "bytes", "created_at", "expires_at"],
            "There is no export. `tidegate data-export add` makes one.",
        ),
        Command::Show { id } => exports.show(&id),
        Command::Save { id, file } => save(shared, &exports, &id, &file),
        Command::Remove { id } => exports.remove(&id),
    }
}

fn save(shared: &Shared, exports: &Collection<'_>, id: &str, path: &str) -> Result<(), Failure> {
    let part = |number| exports.api.bytes(&format!("{}/content?part={number}", exports.at(id)));
    let unwritten = |error| Failure::new(1, format!("{path} can't be written: {error}."));
    let first = part(1)?;
    let export = exports.api.get(&exports.at(id))?;
    let [parts, bytes] =
        ["parts", "bytes"].map(|name| export.get(name).and_then(Value::as_u64).unwrap_or_default());
    let mut file = File::create_new(path).map_err(unwritten)?;
    file.write_all(&first).map_err(unwritten)?;
    let (progress, mut written) = (Progress::new(false), first.len() as u64);
    for number in 2..=parts {
        progress.moved(written, bytes);
        let next = part(number)?;
        file.write_all(&next).map_err(unwritten)?;
        written = written.saturating_add(next.len() as u64);
    }
    shared.report(&format!("{id} is in {path}."));
    Ok(())
}
